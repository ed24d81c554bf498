package deliver

import (
	"context"

	"carteiro/core/message/envelope"
)

// expandHeld sends what was held on its way, as queue.expand says now.
func (a *attempt) expandHeld(ctx context.Context, due []*envelope.Recipient) {
	for _, r := range due {
		before := a.savepoint(r)
		st := a.addRecipient(ctx, envelope.Recipient{Address: r.Address, Orig: r.Orig, ORcpt: r.ORcpt, Notify: r.Notify, Sender: r.Sender, Released: true})
		switch {
		case st == nil:
			a.resolve(ctx, r, own(envelope.Expanded, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "released"}))
		case st.Code < 500:
			a.deferRcpt(ctx, r, before, *st)
		default:
			a.resolve(ctx, r, own(envelope.Failed, *st))
		}
	}
}
