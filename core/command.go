package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// ErrNoCommand: no policy in force has a command of that name.
var ErrNoCommand = errors.New("no policy in force has this command")

// Commands are the handlers of commands, in their order.
func (p *Pipeline) Commands() []hooks.Info {
	return p.gen.Get().Chain.Infos(hooks.AdminCommand)
}

// Command has the policies carry out what an operator typed. It returns
// ErrNoCommand, what a policy refused it with, or how the policy failed. It
// blocks for the policy and for the commit of its effects.
func (p *Pipeline) Command(ctx context.Context, cmd *hooks.Command) (hooks.Response, error) {
	gen := p.gen.Get()
	asked := false
	for n, info := range gen.Chain.Infos(hooks.AdminCommand) {
		if info.Command != cmd.Name {
			continue
		}
		e := &hooks.Event{Point: hooks.AdminCommand, Now: p.clock.Now(), Command: cmd}
		e.Apply = func(f []envelope.Effect, s []hooks.Submit) error { return p.apply(ctx, gen, f, s) }
		v, trail := gen.Chain.RunOne(ctx, e, n)
		p.logFailures(ctx, "command", trail)
		asked = true
		switch {
		case v.Response != nil && v.Response.Status >= 400: // a failure, said as a page says it
			return hooks.Response{}, errors.New(cmp.Or(strings.TrimSpace(v.Response.Body), "refused"))
		case v.Response != nil:
			return *v.Response, nil
		case v.Action == hooks.Reject:
			return hooks.Response{}, errors.New(v.Status.Text)
		}
		for _, t := range trail {
			if t.Err != "" {
				return hooks.Response{}, fmt.Errorf("%s failed: %s", t.Handler, t.Err)
			}
		}
	}
	if asked { // a handler that returned nothing did what it had to
		return hooks.Response{Status: 200, Type: "text/plain; charset=utf-8"}, nil
	}
	return hooks.Response{}, fmt.Errorf("%s: %w", cmd.Name, ErrNoCommand)
}
