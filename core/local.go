package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/auth"
	"carteiro/core/store"
	"carteiro/hooks"
)

// deliverLocal decides about each mailbox and prepares the deliveries; they
// are written by settle, together with the recipients' new states. The
// mailboxes stay locked, in the order of their names, until unlockBoxes.
func (a *attempt) deliverLocal(ctx context.Context, due []*envelope.Recipient) {
	owners := make([]envelope.Address, len(due))
	for i, r := range due {
		if r.Filed != nil && r.Filed.Anybody {
			owners[i] = r.Address.Base()
			continue
		}
		res, err := a.p.dir.Resolve(ctx, r.Address)
		switch {
		case errors.Is(err, auth.ErrUnknown) || err == nil && res.Mailbox == "":
			a.resolve(ctx, r, local(envelope.Failed, envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no such user here"}))
		case err != nil:
			a.resolve(ctx, r, local(envelope.Queued, *storeStatus(err)))
		case r.Filed == nil && a.loops(res.Mailbox):
			a.resolve(ctx, r, local(envelope.Failed, envelope.Status{Code: 554, Enhanced: "5.4.6", Text: "mail forwarding loop"}))
		default:
			owners[i] = res.Mailbox
		}
	}
	a.lockBoxes(owners)
	for i, r := range due {
		if owners[i] != "" {
			a.intoBox(ctx, r, owners[i])
		}
	}
}

func local(s envelope.State, st envelope.Status) outcome {
	return outcome{Outcome: envelope.Outcome{Status: st}, state: s}
}

// loops reports whether this mailbox got the message before.
func (a *attempt) loops(owner envelope.Address) bool {
	return slices.ContainsFunc(a.msg.Header.All("Delivered-To"), func(v string) bool {
		return envelope.Address(v).Base() == owner
	})
}

// lockBoxes keeps other deliveries away, where policies want that.
func (a *attempt) lockBoxes(owners []envelope.Address) {
	if !a.gen.Chain.Has(hooks.DeliverLocal) || len(a.unlocks) > 0 {
		return
	}
	sorted := slices.Clone(owners)
	slices.Sort(sorted)
	for _, o := range slices.Compact(sorted) {
		if o != "" {
			a.unlocks = append(a.unlocks, a.p.boxes.lock(string(o)))
		}
	}
}

func (a *attempt) unlockBoxes() {
	for _, u := range a.unlocks {
		u()
	}
	a.unlocks = nil
}

// intoBox asks deliver.local about one mailbox and does what it says. Core's
// default, also when a policy fails, is to keep the message.
func (a *attempt) intoBox(ctx context.Context, r *envelope.Recipient, owner envelope.Address) {
	m := a.mark(r)
	switch {
	case a.full[r.N]:
		a.resolve(ctx, r, local(envelope.Queued, mailboxFull))
		return
	case r.Filed != nil:
		a.deliver(ctx, r, owner, r.Filed.Folder, r.Filed.Flags, m)
		return
	}
	folder, flags := store.Inbox, []string(nil)
	if name, ok := r.Meta["folder"].(string); ok && name != "" {
		folder = name
	}
	v, st := a.askLocal(ctx, r, owner)
	if st != nil {
		a.putOff(ctx, r, m, *st)
		return
	}
	switch v.Action {
	case hooks.FileInto:
		folder, flags = v.Folder, v.Flags
	case hooks.Keep:
		flags = v.Flags
	case hooks.Discard:
		a.resolve(ctx, r, local(envelope.Discarded, envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "discarded: " + v.Reason}))
		return
	case hooks.Reject:
		a.resolve(ctx, r, local(envelope.Failed, v.Status))
		return
	case hooks.Redirect:
		st = a.redirect(ctx, r, v.Address)
		switch {
		case st == nil:
			a.resolve(ctx, r, local(envelope.Expanded, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "redirected"}))
			return
		case st.Code < 500:
			a.putOff(ctx, r, m, *st)
			return
		}
		a.out.Trail = append(a.out.Trail, envelope.TrailEntry{Time: a.now, Step: "deliver", Rcpt: r.Address, Text: "kept, redirect to " + string(v.Address) + " is impossible: " + st.Reply()})
		a.p.log.WarnContext(ctx, "redirect impossible, message kept", "id", a.env.ID.String(), "rcpt", string(r.Address), "to", string(v.Address), "status", st.Reply())
	}
	a.deliver(ctx, r, owner, folder, flags, m)
}

// redirect sends the message on instead of keeping it; a status says why that
// cannot be.
func (a *attempt) redirect(ctx context.Context, r *envelope.Recipient, to envelope.Address) *envelope.Status {
	from := onward(r, envelope.Change{Hook: string(hooks.DeliverLocal)})
	if goesRound(from, to) {
		return envelope.Reject(554, "5.4.6", "mail forwarding loop")
	}
	return a.expand(ctx, envelope.Recipient{Address: to, Orig: r.Orig, ORcpt: r.ORcpt, Notify: r.Notify, Sender: r.Sender, From: from})
}

// askLocal asks the policies, and makes the copies that they want; a status says
// that one cannot be had for a while.
func (a *attempt) askLocal(ctx context.Context, r *envelope.Recipient, owner envelope.Address) (hooks.Verdict, *envelope.Status) {
	if !a.gen.Chain.Has(hooks.DeliverLocal) {
		return hooks.Verdict{}, nil
	}
	e := a.event(hooks.DeliverLocal)
	e.Outgoing = a.p.outgoing(a.env, r)
	e.Rcpt = &hooks.Rcpt{Recipient: r}
	e.Box = &box{ctx: ctx, p: a.p, owner: owner}
	v := a.run(ctx, e)
	for _, t := range e.Rcpt.Copies {
		copied := envelope.Recipient{Address: t.Address, Orig: r.Orig, Notify: r.Notify, Sender: t.Sender, Priority: t.Priority,
			Edit: envelope.HeaderEdit{Prepend: t.Fields}, From: onward(r, t.From), Fill: t.Fill, ARC: t.ARC}
		asWished(&copied, t)
		if st := a.add(ctx, copied); st != nil && st.Code < 500 {
			return v, st
		}
	}
	return v, nil
}

// deliver prepares the entry in the mailbox: Return-Path and Delivered-To on
// top (RFC 5321 4.4), nothing else changed. What was prepared since m is for this
// mailbox, and is taken back where it gets nothing now.
func (a *attempt) deliver(ctx context.Context, r *envelope.Recipient, owner envelope.Address, folder string, flags []string, m mark) {
	if a.fills(r) {
		if err := a.filled(ctx, r, folder, flags); err != nil {
			a.putOff(ctx, r, m, *storeStatus(err))
			return
		}
		a.resolve(ctx, r, local(envelope.Expanded, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "goes on as a message of its own"}))
		return
	}
	sender := a.sender(r)
	signature, st := a.signature(ctx, r, mime.EditHeader(a.section, r.Edit), false)
	if st != nil {
		a.putOff(ctx, r, m, *st)
		return
	}
	edit := r.Edit
	edit.Remove = append(slices.Clone(edit.Remove), "Return-Path")
	edit.Prepend = fmt.Sprintf("Return-Path: %s\r\nDelivered-To: %s\r\n", sender.Path(), owner) + signature + edit.Prepend
	size := a.env.Size - int64(len(a.section)) + int64(len(mime.EditHeader(a.section, edit)))
	if a.tooFull(ctx, owner, size) {
		a.putOff(ctx, r, m, mailboxFull)
		return
	}
	a.out.Deliveries = append(a.out.Deliveries, store.Delivery{Owner: owner, Folder: folder, Message: a.env.ID, Rcpt: r.N,
		Source: a.env, Edit: edit, Size: size, Flags: flags, Date: a.now})
	a.resolve(ctx, r, local(envelope.Delivered, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "delivered to mailbox"}))
}

// add sends this message to one more recipient: a group of its own in the
// same commit. One that cannot be had is logged, with the status that is
// returned.
func (a *attempt) add(ctx context.Context, r envelope.Recipient) *envelope.Status {
	st := envelope.Reject(554, "5.4.6", "mail forwarding loop")
	if !goesRound(r.From, r.Address) {
		st = a.expand(ctx, r)
	}
	if st != nil {
		a.p.log.WarnContext(ctx, "copy not made", "id", a.env.ID.String(), "to", string(r.Address), "status", st.Reply())
	}
	return st
}

// expand has a further recipient pass the policies of the queue; a status says
// why it gets nothing.
func (a *attempt) expand(ctx context.Context, r envelope.Recipient) *envelope.Status {
	r.IsLocal, r.State = a.p.dir.Local(r.Address.Domain()) || r.Filed != nil && r.Filed.Anybody, envelope.Queued
	in := &intake{env: *a.env, header: a.msg.Header, rcpts: []*envelope.Recipient{&r}, pending: a.pending, gen: a.gen, ours: a.env.Ours, share: a.env,
		body: func() (io.ReadCloser, error) { return a.p.store.Body(ctx, a.env) }}
	rejected, st := a.p.expand(ctx, in)
	if st == nil {
		st = a.p.group(ctx, in)
	}
	for _, why := range rejected {
		st = why
	}
	var forked []*store.Message
	if st == nil {
		forked, st = a.p.forks(ctx, in, a.env)
	}
	a.out.Trail = append(a.out.Trail, in.trail...)
	if st == nil {
		a.out.Add, a.out.Messages = append(a.out.Add, in.groups...), append(a.out.Messages, forked...)
	}
	return st
}

// box is a mailbox as policies see it.
type box struct {
	ctx   context.Context
	p     *Pipeline
	owner envelope.Address
}

func (b *box) Address() envelope.Address { return b.owner }

func (b *box) Folders() ([]string, error) {
	var out []string
	for f, err := range b.p.store.Folders(b.ctx, b.owner) {
		if err != nil {
			return nil, err
		}
		out = append(out, f.Folder)
	}
	return out, nil
}

func (b *box) Quota() (used, limit int64, err error) { return b.p.store.Usage(b.ctx, b.owner) }

func (b *box) Setting(name string) (any, error) { return b.p.dir.Setting(b.ctx, b.owner, name) }
