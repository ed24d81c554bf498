package core

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"carteiro/core/mail"
	"carteiro/core/store"
	"carteiro/hooks"
)

// circles reports whether mail that went by all these addresses would come by
// one of them again, or goes on and on: policies of several mailboxes may send
// it around without knowing of each other.
func circles(by []mail.Change, to mail.Address) bool {
	return len(by) > maxExpansion || slices.ContainsFunc(by, func(c mail.Change) bool { return strings.EqualFold(string(c.Address), string(to)) })
}

// onward is the way of mail that leaves a recipient at deliver.local.
func onward(r *mail.Recipient, by mail.Change) []mail.Change {
	by.Address = r.Address
	return append(slices.Clone(r.From), by)
}

// mark is how much an attempt has prepared so far.
type mark struct{ effects, submits, groups, messages, deliveries int }

func (a *attempt) mark() mark {
	return mark{len(a.pending.Effects), len(a.pending.Submits), len(a.out.Add), len(a.out.Messages), len(a.out.Deliveries)}
}

// back takes back what was prepared since, for one mailbox that gets nothing
// now: it is all prepared again at the next try.
func (a *attempt) back(m mark) {
	discard(a.out.Messages[m.messages:])
	a.pending.Effects, a.pending.Submits = a.pending.Effects[:m.effects], a.pending.Submits[:m.submits]
	a.out.Add, a.out.Messages, a.out.Deliveries = a.out.Add[:m.groups], a.out.Messages[:m.messages], a.out.Deliveries[:m.deliveries]
}

// saved is an attempt before its mailboxes were looked at.
type saved struct {
	mark  mark
	trail int
	rcpts []mail.Recipient
	due   []*mail.Recipient
}

func (a *attempt) save(due []*mail.Recipient) {
	s := &saved{mark: a.mark(), trail: len(a.out.Trail), rcpts: slices.Clone(a.g.Recipients), due: due}
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
	known := len(a.full)
	for _, n := range full.Deliveries {
		a.fill(a.out.Deliveries[n].Rcpt)
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

// fill notes that a recipient's mailbox is full.
func (a *attempt) fill(rcpt uint32) {
	if a.full == nil {
		a.full = map[uint32]bool{}
	}
	a.full[rcpt] = true
}

// tooFull looks ahead, where policies are told of each outcome: they are not to
// hear of one that the commit then refuses. Elsewhere the commit alone says so.
func (a *attempt) tooFull(ctx context.Context, owner mail.Address, size int64) bool {
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

var mailboxFull = mail.Status{Code: 452, Enhanced: "4.2.2", Text: "mailbox is full"}
