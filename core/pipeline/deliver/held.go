package deliver

import (
	"context"
	"time"

	"carteiro/core/message/envelope"
)

// expandHeld delivers a message that was released: it expands the recipients that it
// was held for.
func (a *attempt) expandHeld(ctx context.Context, due []*envelope.Recipient) {
	for _, r := range due {
		before := a.savepoint(r)
		st := a.addRecipient(ctx, envelope.Recipient{Address: r.Address, Orig: r.Orig, ORcpt: r.ORcpt, Notify: r.Notify, Sender: r.Sender,
			Released: true})
		switch {
		case st == nil:
			a.resolve(ctx, r, localOutcome(envelope.Expanded, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "released"}))
		case st.Code < 500:
			a.deferRcpt(ctx, r, before, *st)
		default:
			a.resolve(ctx, r, localOutcome(envelope.Failed, *st))
		}
	}
}

// expandLater expands forwards for which queue.expand failed before.
func (a *attempt) expandLater(ctx context.Context, due []*envelope.Recipient) {
	for _, r := range due {
		before := a.savepoint(r)
		forward := *r
		forward.Attempts, forward.First, forward.Next, forward.Last = 0, time.Time{}, time.Time{}, nil
		st := a.addCopy(ctx, forward)
		switch {
		case st == nil:
			r.State, r.Last = envelope.Expanded, &envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "forwarded"}
		case st.Code < 500 && !a.now.Before(a.g.Expires):
			a.deferRcpt(ctx, r, before, *st) // which fails it: its time has expired
		case st.Code < 500:
			a.u.Rollback(before.unit)
			r.Edit, r.Meta = before.edit, before.meta
			r.Next, r.Last = a.now.Add(a.cfg.retryDelay(r)), st
		default:
			a.resolve(ctx, r, localOutcome(envelope.Failed, *st))
		}
	}
}
