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

// copyKey is what recipients must have in common to be in one mail transaction: the
// route, the sender, the edits of the header section and the values that are filled
// in.
type copyKey struct {
	route, sender, prepend, remove, fill, arc string
}

// remoteDelivery is an attempt for a next hop.
type remoteDelivery struct{ *attempt }

// run sends the message to next hops, with one transaction for the recipients of the
// same copy. If there are several copies, as for a mailing list, the outcome of each
// is recorded before the next one is sent.
//
// Crash: the copies that were recorded are not sent again.
func (d remoteDelivery) run(ctx context.Context, due []*envelope.Recipient) error {
	copies := map[copyKey][]*envelope.Recipient{}
	var order []copyKey
	for _, r := range due {
		k := copyKey{route: r.Route, sender: string(d.returnPath(r)), prepend: r.Edit.Prepend, arc: r.ARC}
		if d.hasPlaceholders(r) {
			k.fill = fmt.Sprintf("%q", r.Values) // quoted, so that different values never give the same text
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
			d.resolve(ctx, r, peerOutcome(envelope.Outcome{Status: *st}))
		}
		return
	}
	edit := rcpts[0].Edit
	section := mime.EditHeader(d.outgoing, edit)
	signature, st := d.copies.sign(ctx, rcpts[0], section, true)
	if st != nil {
		for _, r := range rcpts {
			d.resolve(ctx, r, peerOutcome(envelope.Outcome{Status: *st}))
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
		d.resolve(ctx, r, peerOutcome(o))
	}
	d.down = d.down || down
}

// hidesAddress reports whether the sender knows a recipient by another address. A DSN
// must not reveal the current one (RFC 3461 5.2.7.4).
func hidesAddress(r *envelope.Recipient) bool {
	return r.Orig != "" && r.Orig.Base() != r.Address.Base()
}

// rcptsForPeer returns the recipients with the Notify that the next hop gets. It must
// not send DSNs of success about an address that the sender does not know: we send the
// DSN "relayed" instead, and ask the next hop only for DSNs of delay and failure (RFC
// 3461 5.2.7.4).
func rcptsForPeer(rcpts []*envelope.Recipient) []*envelope.Recipient {
	out := make([]*envelope.Recipient, len(rcpts))
	for i, r := range rcpts {
		out[i] = r
		if r.Notify&envelope.NotifySuccess == 0 || !hidesAddress(r) {
			continue
		}
		changed := *r
		if changed.Notify &^= envelope.NotifySuccess; changed.Notify == 0 {
			changed.Notify = envelope.NotifyNever
		}
		out[i] = &changed
	}
	return out
}

// transfer sends a copy through the transport. If that panics there are no outcomes:
// the recipients are deferred, and the outcomes of other copies are kept.
func (d remoteDelivery) transfer(ctx context.Context, hop envelope.NextHop, t envelope.Transfer) (outcomes []envelope.Outcome) {
	if err := panics.Catch(func() error { outcomes = d.transport.Send(ctx, hop, t); return nil }); err != nil {
		d.log.ErrorContext(ctx, "transfer failed", "id", d.env.ID.String(), "block", d.g.Block, "err", err)
		return nil
	}
	for i := range outcomes { // the peer's text goes into logs, trails and DSNs
		o := &outcomes[i]
		o.Status.Text, o.Host = printable.Line(o.Status.Text, trail.MaxText), printable.Line(o.Host, envelope.MaxDomain)
	}
	return outcomes
}

// peerOutcome returns the outcome for a peer's reply; anything but 2xx and 5xx is
// tried again.
func peerOutcome(o envelope.Outcome) outcome {
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
