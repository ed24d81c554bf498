package core

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/message/printable"
)

// copyKey is what recipients must share to be in one mail transaction: the
// way out, the sender, the header section and what is filled in.
type copyKey struct {
	route, sender, prepend, remove, fill, arc string
}

// deliverRemote hands the message to next hops, recipients of one copy in one
// transaction. Where there are several copies, as a mailing list makes them,
// the outcome of each is recorded before the next one is sent.
//
// Crash: the copies that were recorded are not sent again.
func (a *attempt) deliverRemote(ctx context.Context, due []*envelope.Recipient) error {
	copies := map[copyKey][]*envelope.Recipient{}
	var order []copyKey
	for _, r := range due {
		k := copyKey{route: r.Route, sender: string(a.sender(r)), prepend: r.Edit.Prepend, arc: r.ARC}
		if a.fills(r) {
			k.fill = fmt.Sprintf("%q", r.Fill) // quoted: two fills never read the same
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
		a.sendCopy(ctx, copies[k])
		if i < len(order)-1 {
			if err := a.settleSome(ctx, copies[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *attempt) sender(r *envelope.Recipient) envelope.Address {
	if r.Sender != nil {
		return *r.Sender
	}
	return a.env.Sender
}

func (a *attempt) sendCopy(ctx context.Context, rcpts []*envelope.Recipient) {
	one := *a.g
	one.Recipients = []envelope.Recipient{*rcpts[0]}
	hop, st := a.p.route(ctx, a.env, &one)
	if st != nil {
		for _, r := range rcpts {
			a.resolve(ctx, r, remote(envelope.Outcome{Status: *st}))
		}
		return
	}
	edit := rcpts[0].Edit
	section := mime.EditHeader(a.outgoing, edit)
	signature, st := a.signature(ctx, rcpts[0], section, true)
	if st != nil {
		for _, r := range rcpts {
			a.resolve(ctx, r, remote(envelope.Outcome{Status: *st}))
		}
		return
	}
	if signature != "" {
		section = append([]byte(signature), section...)
	}
	open, longer := a.bodyOf(ctx, rcpts[0])
	t := envelope.Transfer{ID: a.env.ID, Sender: a.sender(rcpts[0]), Recipients: discreet(rcpts),
		Size:     a.env.Size - int64(len(a.section)) + int64(len(section)) + longer,
		SMTPUTF8: a.env.SMTPUTF8, EightBit: a.env.EightBit, RequireTLS: a.env.RequireTLS, Priority: a.g.Priority,
		EnvID: a.env.EnvID, Ret: a.env.Ret, By: a.env.By, ByNotify: a.env.ByNotify}
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
	outcomes := a.transfer(ctx, hop, t)
	for i, r := range rcpts {
		o := envelope.Outcome{Status: envelope.Status{Code: 451, Enhanced: "4.3.0", Text: "no outcome"}}
		if i < len(outcomes) {
			o = outcomes[i]
		}
		down = down && o.Down
		o.NoDSN = o.NoDSN || confidential(r)
		a.resolve(ctx, r, remote(o))
	}
	a.down = a.down || down
}

// confidential reports whether the sender knows a recipient by another
// address, which a report must not go beyond (RFC 3461 5.2.7.4).
func confidential(r *envelope.Recipient) bool {
	return r.Orig != "" && r.Orig.Base() != r.Address.Base()
}

// discreet are the recipients as the next hop is told of them. It must not
// tell a sender who does not know an address that mail has arrived there: for
// that we say "relayed" ourselves, and only what goes wrong is left to it
// (RFC 3461 5.2.7.4).
func discreet(rcpts []*envelope.Recipient) []*envelope.Recipient {
	out := make([]*envelope.Recipient, len(rcpts))
	for i, r := range rcpts {
		out[i] = r
		if r.Notify&envelope.NotifySuccess == 0 || !confidential(r) {
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
func (a *attempt) transfer(ctx context.Context, hop envelope.NextHop, t envelope.Transfer) (outcomes []envelope.Outcome) {
	if err := safely(func() error { outcomes = a.p.send.Send(ctx, hop, t); return nil }); err != nil {
		a.p.log.ErrorContext(ctx, "transfer failed", "id", a.env.ID.String(), "block", a.g.Block, "err", err)
		return nil
	}
	for i := range outcomes { // what the peer said, for logs, trails and reports
		o := &outcomes[i]
		o.Status.Text, o.Host = printable.Line(o.Status.Text, maxTrailText), printable.Line(o.Host, envelope.MaxDomain)
	}
	return outcomes
}

// remote is the state that a reply means; anything but 2xx and 5xx is worth
// another try.
func remote(o envelope.Outcome) outcome {
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
