package policyrun

import (
	"context"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// Web runs the policies for an HTTP request to a bundle, named without its publisher
// ("scripts" means the scripts of the admin). ok is false if no handler serves that
// path. If a policy fails the answer is a 500. It blocks for the policy and for the
// commit of its effects.
func (r *Runner) Web(ctx context.Context, bundle string, req *hooks.Request) (answer hooks.Response, ok bool) {
	gen := r.policies.Get()
	for n, info := range gen.Chain.Infos(hooks.WebRequest) {
		if webName(info.Bundle) != bundle || !isBelow(req.Path, info.Path) {
			continue
		}
		e := &hooks.Event{Point: hooks.WebRequest, Now: r.clock.Now(), Req: req}
		e.Apply = func(f []envelope.Effect, s []hooks.Submit) error { return r.apply(ctx, gen, f, s) }
		v, entries := gen.Chain.RunOne(ctx, e, n)
		trail.LogFailures(ctx, r.log, "web", entries)
		if v.Response != nil {
			answer = *v.Response
			confine(&info, &answer)
			return answer, true
		}
		if trail.Failed(entries) != nil {
			answer = hooks.Response{Status: 500, Type: "text/plain; charset=utf-8", Body: "internal error\n"}
			confine(&info, &answer)
			return answer, true
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

// isBelow reports whether path is that of the handler or below it.
func isBelow(path, at string) bool {
	return path == at || strings.HasPrefix(path, strings.TrimSuffix(at, "/")+"/")
}
