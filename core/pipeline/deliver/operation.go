package deliver

import (
	"context"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/intake"
)

// Operation is an operator's change of one group. It uses an attempt that tries
// nothing. Nothing is written before Commit.
type Operation struct{ a *attempt }

// Open reads a group for an operator's change. The Operation is nil if the group has
// no recipients left. The error is store.ErrNotFound if there is no such group.
func (d *Deliverer) Open(ctx context.Context, id envelope.ID, block uint32) (*Operation, error) {
	env, g, err := d.store.Load(ctx, id, block)
	if err != nil || len(g.Recipients) == 0 {
		return nil, err
	}
	a, err := d.newAttempt(ctx, env, g)
	if err != nil {
		return nil, err
	}
	return &Operation{a}, nil
}

// Group returns the group with the changes so far.
func (o *Operation) Group() *envelope.Group { return o.a.g }

// Note adds to the trail what was done and why.
func (o *Operation) Note(verb, reason string) {
	o.a.u.Trail = append(o.a.u.Trail, envelope.TrailEntry{Time: o.a.now, Step: "operator", Verdict: verb, Text: reason})
}

// AddEffects commits further effects with the change.
func (o *Operation) AddEffects(effects ...envelope.Effect) {
	o.a.u.Pending.Effects = append(o.a.u.Pending.Effects, effects...)
}

// Hold takes the group out of the queue.
func (o *Operation) Hold(reason string) { intake.Hold(o.a.g, reason) }

// Queue makes the group due now.
func (o *Operation) Queue() {
	g := o.a.g
	g.Held, g.Reason = false, ""
	for i := range g.Recipients {
		g.Recipients[i].State, g.Recipients[i].Next = envelope.Queued, time.Time{}
	}
	g.Due = o.a.now
}

// Drop removes the group from the queue without a DSN.
func (o *Operation) Drop() {
	g := o.a.g
	g.Held = false
	for i := range g.Recipients {
		g.Recipients[i].State, g.Recipients[i].Last = envelope.Discarded, &envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "dropped"}
	}
}

// Bounce makes the recipients of the group fail, with DSNs to senders who want them.
func (o *Operation) Bounce(ctx context.Context) {
	g := o.a.g
	g.Held = false
	for i := range g.Recipients {
		o.a.resolve(ctx, &g.Recipients[i], localOutcome(envelope.Failed, envelope.Status{Code: 550, Enhanced: "5.0.0",
			Text: "returned by the postmaster"}))
	}
}

// Commit writes the change. It blocks until it is on disk.
func (o *Operation) Commit(ctx context.Context) error {
	defer o.a.u.Close()
	return o.a.settle(ctx)
}
