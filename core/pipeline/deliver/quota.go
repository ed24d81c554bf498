package deliver

import (
	"context"
	"errors"
	"maps"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/commit"
	"carteiro/core/store"
	"carteiro/hooks"
)

var mailboxFull = envelope.Status{Code: 452, Enhanced: "4.2.2", Text: "mailbox is full"}

// snapshot is the state of an attempt before its recipients were tried.
type snapshot struct {
	unit  commit.Savepoint
	rcpts []envelope.Recipient
}

func (a *attempt) snapshot() snapshot {
	s := snapshot{unit: a.u.Savepoint(), rcpts: slices.Clone(a.g.Recipients)}
	for i := range s.rcpts {
		s.rcpts[i].Meta = maps.Clone(s.rcpts[i].Meta)
	}
	return s
}

// retryCommit makes the attempt once more after its commit was refused because
// mailboxes are full. Full mailboxes get nothing, and deliver.local does not run for
// them. It returns false if the commit failed for another reason.
func (l *localDelivery) retryCommit(ctx context.Context, err error) bool {
	full, ok := errors.AsType[*store.QuotaError](err)
	if !ok {
		return false
	}
	if l.full == nil {
		l.full = map[uint32]bool{}
	}
	known := len(l.full)
	for _, n := range full.Deliveries {
		l.full[l.u.Deliveries[n].Rcpt] = true
	}
	if len(l.full) == known {
		return false
	}
	l.u.Restart(l.before.unit)
	for i := range l.before.rcpts {
		r := l.before.rcpts[i]
		r.Meta = maps.Clone(r.Meta)
		l.g.Recipients[i] = r
	}
	l.run(ctx)
	l.reschedule()
	return true
}

// wouldExceed checks the quota before the commit if there is a policy at
// deliver.result: it must not see a delivery that the commit then refuses. Without
// such a policy only the commit checks the quota.
func (l *localDelivery) wouldExceed(ctx context.Context, owner envelope.Address, size int64) bool {
	if !l.policies.Chain.Has(hooks.DeliverResult) {
		return false
	}
	used, limit, err := l.store.Usage(ctx, owner)
	if err != nil || limit == 0 {
		return false // the commit will find out
	}
	for _, d := range l.u.Deliveries {
		if d.Owner == owner {
			used += d.Size
		}
	}
	return used+size > limit
}
