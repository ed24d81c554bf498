package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// ErrBusy: the message is being tried right now.
var ErrBusy = errors.New("is being tried right now, try again")

// Filter selects messages of the queue; empty fields select all.
type Filter struct {
	ID        string        `json:"id,omitempty"`
	Sender    string        `json:"sender,omitempty"`
	To        string        `json:"to,omitempty"`
	Domain    string        `json:"domain,omitempty"` // of a recipient
	OlderThan time.Duration `json:"older,omitempty"`
	Status    string        `json:"status,omitempty"` // queued, deferred, held, quarantine
}

// Empty reports whether the filter selects everything.
func (f Filter) Empty() bool { return f == Filter{} }

// Queued is a message of the queue with its groups and recipients.
type Queued struct {
	Envelope *envelope.Envelope
	Groups   []*envelope.Group
}

// Status is the word that `queue list` and Filter.Status use for a group.
func Status(g *envelope.Group) string {
	switch {
	case g.Held && slices.ContainsFunc(g.Recipients, func(r envelope.Recipient) bool { return r.State == envelope.Quarantine }):
		return "quarantine"
	case g.Held:
		return "held"
	case g.Attempts > 0:
		return "deferred"
	}
	return "queued"
}

func (f Filter) matches(q Queued, now time.Time) bool {
	if f.Sender != "" && f.Sender != string(q.Envelope.Sender) || f.OlderThan > 0 && now.Sub(q.Envelope.ReceivedAt) < f.OlderThan {
		return false
	}
	if f.Status != "" && !slices.ContainsFunc(q.Groups, func(g *envelope.Group) bool { return Status(g) == f.Status }) {
		return false
	}
	if f.To == "" && f.Domain == "" {
		return true
	}
	for _, g := range q.Groups {
		for _, r := range g.Recipients {
			if (f.To == "" || f.To == string(r.Address) || f.To == string(r.Orig)) && (f.Domain == "" || f.Domain == r.Address.Domain()) {
				return true
			}
		}
	}
	return false
}

// Queue returns the messages that a filter selects in the order of arrival,
// at most limit (0: all). It walks the queue.
func (p *Pipeline) Queue(ctx context.Context, f Filter, limit int) ([]Queued, error) {
	if f.ID != "" {
		id, err := envelope.ParseID(f.ID)
		if err != nil {
			return nil, err
		}
		q, err := p.queued(ctx, id)
		if err != nil || !f.matches(q, p.clock.Now()) {
			return nil, err
		}
		return []Queued{q}, nil
	}
	var ids []envelope.ID // first, since a walk must not hold its snapshot for long
	for env, err := range p.store.Messages(ctx) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, env.ID)
	}
	var out []Queued
	for _, id := range ids {
		q, err := p.queued(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if f.matches(q, p.clock.Now()) {
			out = append(out, q)
		}
		if limit > 0 && len(out) >= limit {
			break
		}
	}
	return out, nil
}

func (p *Pipeline) queued(ctx context.Context, id envelope.ID) (Queued, error) {
	env, err := p.store.Envelope(ctx, id)
	if err != nil {
		return Queued{}, fmt.Errorf("message %s: %w", id, err)
	}
	groups, err := p.store.Groups(ctx, id)
	if err != nil {
		return Queued{}, fmt.Errorf("message %s: %w", id, err)
	}
	return Queued{env, groups}, nil
}

// Operation is what an operator does to a message.
type Operation string

// The operations of `carteiro queue`.
const (
	OpHold    Operation = "hold"
	OpRelease Operation = "release"
	OpRetry   Operation = "retry"
	OpBounce  Operation = "bounce"
	OpDrop    Operation = "drop"
)

// Operate does op to one message, all its groups that are not done. A crash
// between two groups leaves some done; doing it again is harmless. ErrBusy,
// store.ErrNotFound.
func (p *Pipeline) Operate(ctx context.Context, op Operation, id envelope.ID, reason string) error {
	groups, err := p.store.Groups(ctx, id)
	if err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	for _, g := range groups {
		k := entryKey{id, g.Block}
		if !p.queue.claim(k) {
			return fmt.Errorf("message %s %w", id, ErrBusy)
		}
		defer p.queue.unclaim(k)
	}
	p.log.Step(ctx, "operator", id.String(), "operation", string(op), "reason", reason)
	if op == OpDrop {
		entry := envelope.TrailEntry{Time: p.clock.Now(), Step: "operator", Verdict: string(op), Text: reason}
		if err := p.store.AppendTrail(ctx, id, []envelope.TrailEntry{entry}); err != nil {
			return err
		}
		if err := p.store.Remove(ctx, id); err != nil {
			return err
		}
		var effects []envelope.Effect
		for _, g := range groups {
			effects = append(effects, forgotten(id, g)...)
		}
		return p.apply(ctx, nil, effects, nil)
	}
	for _, g := range groups {
		if err := p.operateGroup(ctx, op, id, g.Block, reason); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("message %s: %w", id, err)
		}
	}
	return nil
}

func (p *Pipeline) operateGroup(ctx context.Context, op Operation, id envelope.ID, block uint32, reason string) error {
	env, g, err := p.store.Load(ctx, id, block)
	if err != nil || len(g.Recipients) == 0 {
		return err
	}
	a, err := p.newAttempt(ctx, env, g)
	if err != nil {
		return err
	}
	a.out.Trail = []envelope.TrailEntry{{Time: a.now, Step: "operator", Verdict: string(op), Text: reason}}
	if g.Held && op != OpHold {
		a.pending.Effects = forgotten(id, g)
	}
	switch op {
	case OpHold:
		hold(g, reason)
	case OpRelease, OpRetry:
		if g.Held != (op == OpRelease) {
			return nil
		}
		g.Held, g.Reason = false, ""
		for i := range g.Recipients {
			g.Recipients[i].State, g.Recipients[i].Next = envelope.Queued, time.Time{}
		}
		g.Due = a.now
	case OpDrop:
		g.Held = false
		for i := range g.Recipients {
			g.Recipients[i].State, g.Recipients[i].Last = envelope.Discarded, &envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "dropped"}
		}
	case OpBounce:
		g.Held = false
		for i := range g.Recipients {
			a.resolve(ctx, &g.Recipients[i], outcome{Outcome: envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.0.0", Text: "returned by the postmaster"}}, state: envelope.Failed})
		}
	default:
		return fmt.Errorf("no operation %q", op)
	}
	return a.settle(ctx)
}
