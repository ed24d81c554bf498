package core

import (
	"context"
	"errors"
	"maps"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/hooks"
)

// mark is how much an attempt has prepared so far, and a recipient as it is.
type mark struct {
	effects, submits, undo, groups, messages, deliveries int

	of   *envelope.Recipient // nil: the attempt alone
	edit envelope.HeaderEdit
	meta map[string]any
}

func (a *attempt) mark(r *envelope.Recipient) mark {
	m := mark{effects: len(a.pending.Effects), submits: len(a.pending.Submits), undo: len(a.pending.Undo), groups: len(a.out.Add), messages: len(a.out.Messages),
		deliveries: len(a.out.Deliveries), of: r}
	if r != nil {
		m.edit, m.meta = r.Edit, maps.Clone(r.Meta)
		m.edit.Remove = slices.Clone(r.Edit.Remove)
	}
	return m
}

// back takes back what was prepared since, for one recipient who gets nothing
// now: it is all prepared again at the next try.
func (a *attempt) back(m mark) {
	discard(a.out.Messages[m.messages:])
	a.pending.Back(m.effects, m.submits, m.undo)
	a.out.Add, a.out.Messages, a.out.Deliveries = a.out.Add[:m.groups], a.out.Messages[:m.messages], a.out.Deliveries[:m.deliveries]
	if m.of != nil {
		m.of.Edit, m.of.Meta = m.edit, m.meta
	}
}

// putOff takes a recipient back for a later try.
func (a *attempt) putOff(ctx context.Context, r *envelope.Recipient, m mark, why envelope.Status) {
	a.back(m)
	a.resolve(ctx, r, local(envelope.Queued, why))
}

// saved is an attempt before its mailboxes were looked at.
type saved struct {
	mark  mark
	trail int
	rcpts []envelope.Recipient
	due   []*envelope.Recipient
}

func (a *attempt) save(due []*envelope.Recipient) {
	s := &saved{mark: a.mark(nil), trail: len(a.out.Trail), rcpts: slices.Clone(a.g.Recipients), due: due}
	for i := range s.rcpts {
		s.rcpts[i].Meta = maps.Clone(s.rcpts[i].Meta)
	}
	a.saved = s
}

// overQuota makes the attempt once more after its commit was refused because
// mailboxes are full: those get nothing, and policies are not asked about them;
// nothing of what they would have got or caused is left. It reports whether
// that is all that was wrong.
func (a *attempt) overQuota(ctx context.Context, err error) bool {
	full, ok := errors.AsType[*store.QuotaError](err)
	if !ok || a.saved == nil {
		return false
	}
	if a.full == nil {
		a.full = map[uint32]bool{}
	}
	known := len(a.full)
	for _, n := range full.Deliveries {
		a.full[a.out.Deliveries[n].Rcpt] = true
	}
	if len(a.full) == known {
		return false
	}
	a.back(a.saved.mark)
	a.out.Trail, a.reports, a.events = a.out.Trail[:a.saved.trail], nil, nil
	for i := range a.saved.rcpts {
		r := a.saved.rcpts[i]
		r.Meta = maps.Clone(r.Meta)
		a.g.Recipients[i] = r
	}
	a.deliverLocal(ctx, a.saved.due)
	a.reschedule()
	return true
}

// tooFull looks ahead, where policies are told of each outcome: they are not to
// hear of one that the commit then refuses. Elsewhere the commit alone says so.
func (a *attempt) tooFull(ctx context.Context, owner envelope.Address, size int64) bool {
	if !a.gen.Chain.Has(hooks.DeliverResult) {
		return false
	}
	used, limit, err := a.p.store.Usage(ctx, owner)
	if err != nil || limit == 0 {
		return false // then the commit will tell
	}
	for _, d := range a.out.Deliveries {
		if d.Owner == owner {
			used += d.Size
		}
	}
	return used+size > limit
}

var mailboxFull = envelope.Status{Code: 452, Enhanced: "4.2.2", Text: "mailbox is full"}
