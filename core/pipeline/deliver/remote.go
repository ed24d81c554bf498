package deliver

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"carteiro/core/internal/panics"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/message/printable"
	"carteiro/core/pipeline/trail"
)

// copyKey is what recipients must share to be in one mail transaction: the
// way out, the sender, the header section and what is filled in.
type copyKey struct {
	route, sender, prepend, remove, fill, arc string
}

// remoteDelivery is an attempt for a destination elsewhere.
type remoteDelivery struct{ *attempt }

// run hands the message to next hops, recipients of one copy in one
// transaction. Where there are several copies, as a mailing list makes them,
// the outcome of each is recorded before the next one is sent.
//
// Crash: the copies that were recorded are not sent again.
func (d remoteDelivery) run(ctx context.Context, due []*envelope.Recipient) error {
	copies := map[copyKey][]*envelope.Recipient{}
	var order []copyKey
	for _, r := range due {
		k := copyKey{route: r.Route, sender: string(d.returnPath(r)), prepend: r.Edit.Prepend, arc: r.ARC}
		if d.hasPlaceholders(r) {
			k.fill = fmt.Sprintf("%q", r.Values) // quoted: two fills never read the same
		}
		for _, name := range r.Edit.Remove {
			k.remove += name + ":"
		}
		if copies[k] == nil {
			order = append(order, k)
		}
		copies[k] = append(copies[k], r)
	}
	for i, k := range order {
		d.sendCopy(ctx, copies[k])
		if i < len(order)-1 {
			if err := d.settleSome(ctx, copies[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d remoteDelivery) sendCopy(ctx context.Context, rcpts []*envelope.Recipient) {
	one := *d.g
	one.Recipients = []envelope.Recipient{*rcpts[0]}
	hop, st := d.router.Route(ctx, d.env, &one)
	if st != nil {
		for _, r := range rcpts {
			d.resolve(ctx, r, ofPeer(envelope.Outcome{Status: *st}))
		}
		return
	}
	edit := rcpts[0].Edit
	section := mime.EditHeader(d.outgoing, edit)
	signature, st := d.copies.sign(ctx, rcpts[0], section, true)
	if st != nil {
		for _, r := range rcpts {
			d.resolve(ctx, r, ofPeer(envelope.Outcome{Status: *st}))
		}
		return
	}
	if signature != "" {
		section = append([]byte(signature), section...)
	}
	open, longer := d.bodyOf(ctx, rcpts[0])
	t := envelope.Transfer{ID: d.env.ID, Sender: d.returnPath(rcpts[0]), Recipients: rcptsForPeer(rcpts),
		Size:     d.env.Size - int64(len(d.section)) + int64(len(section)) + longer,
		SMTPUTF8: d.env.SMTPUTF8, EightBit: d.env.EightBit, RequireTLS: d.env.RequireTLS, Priority: d.g.Priority,
		EnvID: d.env.EnvID, Ret: d.env.Ret, By: d.env.By, ByNotify: d.env.ByNotify}
	t.Open = func() (io.ReadCloser, error) {
		body, err := open()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(section), body), body}, nil
	}
	down := true
	outcomes := d.transfer(ctx, hop, t)
	for i, r := range rcpts {
		o := envelope.Outcome{Status: envelope.Status{Code: 451, Enhanced: "4.3.0", Text: "no outcome"}}
		if i < len(outcomes) {
			o = outcomes[i]
		}
		down = down && o.Down
		o.NoDSN = o.NoDSN || hidesAddress(r)
		d.resolve(ctx, r, ofPeer(o))
	}
	d.down = d.down || down
}

// hidesAddress reports whether the sender knows a recipient by another
// address, which a report must not go beyond (RFC 3461 5.2.7.4).
func hidesAddress(r *envelope.Recipient) bool {
	return r.Orig != "" && r.Orig.Base() != r.Address.Base()
}

// rcptsForPeer are the recipients as the next hop is told of them. It must not
// tell a sender who does not know an address that mail has arrived there: for
// that we say "relayed" ourselves, and only what goes wrong is left to it
// (RFC 3461 5.2.7.4).
func rcptsForPeer(rcpts []*envelope.Recipient) []*envelope.Recipient {
	out := make([]*envelope.Recipient, len(rcpts))
	for i, r := range rcpts {
		out[i] = r
		if r.Notify&envelope.NotifySuccess == 0 || !hidesAddress(r) {
			continue
		}
		told := *r
		if told.Notify &^= envelope.NotifySuccess; told.Notify == 0 {
			told.Notify = envelope.NotifyNever
		}
		out[i] = &told
	}
	return out
}

// transfer hands a copy to the transport. What a fault of it leaves without an
// outcome is deferred; what other copies of this attempt met stays known.
func (d remoteDelivery) transfer(ctx context.Context, hop envelope.NextHop, t envelope.Transfer) (outcomes []envelope.Outcome) {
	if err := panics.Catch(func() error { outcomes = d.send.Send(ctx, hop, t); return nil }); err != nil {
		d.log.ErrorContext(ctx, "transfer failed", "id", d.env.ID.String(), "block", d.g.Block, "err", err)
		return nil
	}
	for i := range outcomes { // what the peer said, for logs, trails and reports
		o := &outcomes[i]
		o.Status.Text, o.Host = printable.Line(o.Status.Text, trail.MaxText), printable.Line(o.Host, envelope.MaxDomain)
	}
	return outcomes
}

// ofPeer is the outcome that a reply means; anything but 2xx and 5xx is worth
// another try.
func ofPeer(o envelope.Outcome) outcome {
	switch {
	case o.Status.Code >= 200 && o.Status.Code < 300 && o.NoDSN:
		return outcome{o, envelope.Relayed}
	case o.Status.Code >= 200 && o.Status.Code < 300:
		return outcome{o, envelope.Delivered}
	case o.Status.Code >= 500:
		return outcome{o, envelope.Failed}
	}
	return outcome{o, envelope.Queued}
}
