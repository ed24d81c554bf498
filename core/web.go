package core

import (
	"context"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// Web asks the policies about an HTTP request to a bundle, named without its
// publisher ("scripts" are the admin's). ok is false when nobody answers at
// that path; a policy that fails is answered 500. It blocks for the policy
// and for the commit of its effects.
func (p *Pipeline) Web(ctx context.Context, bundle string, req *hooks.Request) (answer hooks.Response, ok bool) {
	gen := p.gen.Get()
	for n, info := range gen.Chain.Infos(hooks.WebRequest) {
		if webName(info.Bundle) != bundle || !webBelow(req.Path, info.Path) {
			continue
		}
		e := &hooks.Event{Point: hooks.WebRequest, Now: p.clock.Now(), Req: req}
		e.Apply = func(f []envelope.Effect, s []hooks.Submit) error { return p.apply(ctx, gen, f, s) }
		v, trail := gen.Chain.RunOne(ctx, e, n)
		p.logFailures(ctx, "web", trail)
		if v.Response != nil {
			answer = *v.Response
			confine(&info, &answer)
			return answer, true
		}
		for _, t := range trail {
			if t.Err != "" {
				answer = hooks.Response{Status: 500, Type: "text/plain; charset=utf-8", Body: "internal error\n"}
				confine(&info, &answer)
				return answer, true
			}
		}
	}
	return hooks.Response{}, false
}

func webName(bundle string) string {
	if bundle == "" {
		return "scripts"
	}
	return bundle[strings.LastIndexByte(bundle, '/')+1:]
}

// webBelow reports whether path is that of the handler or below it.
func webBelow(path, at string) bool {
	return path == at || strings.HasPrefix(path, strings.TrimSuffix(at, "/")+"/")
}
