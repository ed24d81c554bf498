package policyrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// ErrNoCommand: no policy of the current generation has a command of that name.
var ErrNoCommand = errors.New("no policy in force has this command")

// Commands returns the handlers of commands, in their order.
func (r *Runner) Commands() []hooks.Info {
	return r.policies.Get().Chain.Infos(hooks.AdminCommand)
}

// Command runs the policies for a command that an operator typed. The error is
// ErrNoCommand, a policy's refusal, or a policy's failure. It blocks for the policy and
// for the commit of its effects.
func (r *Runner) Command(ctx context.Context, cmd *hooks.Command) (hooks.Response, error) {
	gen := r.policies.Get()
	asked := false
	for n, info := range gen.Chain.Infos(hooks.AdminCommand) {
		if info.Command != cmd.Name {
			continue
		}
		e := &hooks.Event{Point: hooks.AdminCommand, Now: r.clock.Now(), Command: cmd}
		e.Apply = func(f []envelope.Effect, s []hooks.Submit) error { return r.apply(ctx, gen, f, s) }
		v, entries := gen.Chain.RunOne(ctx, e, n)
		trail.LogFailures(ctx, r.log, "command", entries)
		asked = true
		switch {
		case v.Response != nil && v.Response.Status >= 400: // a failure, given as an HTTP status
			return hooks.Response{}, errors.New(cmp.Or(strings.TrimSpace(v.Response.Body), "refused"))
		case v.Response != nil:
			return *v.Response, nil
		case v.Action == hooks.Reject:
			return hooks.Response{}, errors.New(v.Status.Text)
		}
		if failed := trail.Failed(entries); failed != nil {
			return hooks.Response{}, fmt.Errorf("%s failed: %s", failed.Handler, failed.Err)
		}
	}
	if asked { // a handler that returned nothing has succeeded
		return hooks.Response{Status: 200, Type: "text/plain; charset=utf-8"}, nil
	}
	return hooks.Response{}, fmt.Errorf("%s: %w", cmd.Name, ErrNoCommand)
}
