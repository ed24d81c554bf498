package core

import (
	"context"
	"errors"
	"fmt"

	"carteiro/core/mail"
	"carteiro/hooks"
)

// ErrNoCommand: no policy in force has a command of that name.
var ErrNoCommand = errors.New("no policy in force has this command")

// Command has the policies carry out what an operator typed. It returns
// ErrNoCommand, what a policy refused it with, or how the policy failed. It
// blocks for the policy and for the commit of its effects.
func (p *Pipeline) Command(ctx context.Context, cmd *hooks.Command) (hooks.Response, error) {
	gen := p.gen.Get()
	for n, info := range gen.Chain.Infos(hooks.AdminCommand) {
		if info.Command != cmd.Name {
			continue
		}
		e := &hooks.Event{Point: hooks.AdminCommand, Now: p.clock.Now(), Command: cmd}
		e.Apply = func(f []mail.Effect, s []hooks.Submit) error { return p.apply(ctx, gen, f, s) }
		v, trail := gen.Chain.RunOne(ctx, e, n)
		p.logFailures(ctx, "command", trail)
		switch {
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
	return hooks.Response{}, fmt.Errorf("%s: %w", cmd.Name, ErrNoCommand)
}
