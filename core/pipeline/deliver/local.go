package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/pipeline/intake"
	"carteiro/core/service/auth"
	"carteiro/core/store"
	"carteiro/hooks"
)

// localDelivery is an attempt for mailboxes here.
type localDelivery struct {
	*attempt
	due     []*envelope.Recipient
	before  snapshot
	full    map[uint32]bool // recipients whose mailboxes are full
	unlocks []func()        // of the mailboxes that are delivered to
}

func newLocalDelivery(a *attempt, due []*envelope.Recipient) *localDelivery {
	l := &localDelivery{attempt: a, due: due, before: a.snapshot()}
	a.retry = l
	return l
}

// run decides about each mailbox and prepares the deliveries, which are committed
// together with the recipients' new states. The mailboxes are locked in the order of
// their names, and stay locked until unlockMailboxes.
func (l *localDelivery) run(ctx context.Context) {
	due := l.due
	owners := make([]envelope.Address, len(due))
	for i, r := range due {
		if r.Filed != nil && r.Filed.Anybody {
			owners[i] = r.Address.Base()
			continue
		}
		res, err := l.dir.Resolve(ctx, r.Address)
		switch {
		case errors.Is(err, auth.ErrUnknown) || err == nil && res.Mailbox == "":
			l.resolve(ctx, r, localOutcome(envelope.Failed, envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no such user here"}))
		case err != nil:
			l.resolve(ctx, r, localOutcome(envelope.Queued, *store.StatusOf(err)))
		case r.Filed == nil && l.hasVisited(res.Mailbox):
			l.resolve(ctx, r, localOutcome(envelope.Failed, envelope.Status{Code: 554, Enhanced: "5.4.6", Text: "mail forwarding loop"}))
		default:
			owners[i] = res.Mailbox
		}
	}
	l.lockMailboxes(owners)
	for i, r := range due {
		if owners[i] != "" {
			l.deliverTo(ctx, r, owners[i])
		}
	}
}

// hasVisited reports whether this mailbox got the message before.
func (l *localDelivery) hasVisited(owner envelope.Address) bool {
	return slices.ContainsFunc(l.msg.Header.All("Delivered-To"), func(v string) bool {
		return envelope.Address(v).Base() == owner
	})
}

// lockMailboxes keeps other deliveries away from the mailboxes, if there are policies
// at deliver.local.
func (l *localDelivery) lockMailboxes(owners []envelope.Address) {
	if !l.policies.Chain.Has(hooks.DeliverLocal) || len(l.unlocks) > 0 {
		return
	}
	sorted := slices.Clone(owners)
	slices.Sort(sorted)
	for _, o := range slices.Compact(sorted) {
		if o != "" {
			l.unlocks = append(l.unlocks, l.mailboxes.lock(string(o)))
		}
	}
}

func (l *localDelivery) unlockMailboxes() {
	for _, u := range l.unlocks {
		u()
	}
	l.unlocks = nil
}

// deliverTo runs deliver.local for one mailbox and carries out the verdict. Without a
// verdict, or if a policy fails, the message goes into INBOX.
func (l *localDelivery) deliverTo(ctx context.Context, r *envelope.Recipient, owner envelope.Address) {
	before := l.savepoint(r)
	switch {
	case l.full[r.N]:
		l.resolve(ctx, r, localOutcome(envelope.Queued, mailboxFull))
		return
	case r.Filed != nil:
		l.deliver(ctx, r, owner, r.Filed.Folder, r.Filed.Flags, before)
		return
	}
	folder, flags := store.Inbox, []string(nil)
	if name, ok := r.Meta["folder"].(string); ok && name != "" {
		folder = name
	}
	v, st := l.runLocalHook(ctx, r, owner)
	if st != nil {
		l.deferRcpt(ctx, r, before, *st)
		return
	}
	switch v.Action {
	case hooks.FileInto:
		folder, flags = v.Folder, v.Flags
	case hooks.Keep:
		flags = v.Flags
	case hooks.Discard:
		l.resolve(ctx, r, localOutcome(envelope.Discarded, envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "discarded: " + v.Reason}))
		return
	case hooks.Reject:
		l.resolve(ctx, r, localOutcome(envelope.Failed, v.Status))
		return
	case hooks.Redirect:
		st = l.redirect(ctx, r, v.Address)
		switch {
		case st == nil:
			l.resolve(ctx, r, localOutcome(envelope.Expanded, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "redirected"}))
			return
		case st.Code < 500:
			l.deferRcpt(ctx, r, before, *st)
			return
		}
		l.u.Trail = append(l.u.Trail, envelope.TrailEntry{Time: l.now, Step: "deliver", Rcpt: r.Address,
			Text: "kept, redirect to " + string(v.Address) + " is impossible: " + st.Reply()})
		l.log.WarnContext(ctx, "redirect impossible, message kept", "id", l.env.ID.String(), "rcpt", string(r.Address), "to", string(v.Address),
			"status", st.Reply())
	}
	l.deliver(ctx, r, owner, folder, flags, before)
}

// redirect sends the message to another address instead of keeping it; a status says
// why that is not possible.
func (l *localDelivery) redirect(ctx context.Context, r *envelope.Recipient, to envelope.Address) *envelope.Status {
	from := appendHop(r, envelope.Change{Hook: string(hooks.DeliverLocal)})
	if wouldLoop(from, to) {
		return envelope.Reject(554, "5.4.6", "mail forwarding loop")
	}
	return l.addRecipient(ctx, envelope.Recipient{Address: to, Orig: r.Orig, ORcpt: r.ORcpt, Notify: r.Notify, Sender: r.Sender, From: from})
}

// runLocalHook runs deliver.local and makes the copies that policies ask for; a status
// says that a copy cannot be made now.
func (l *localDelivery) runLocalHook(ctx context.Context, r *envelope.Recipient, owner envelope.Address) (hooks.Verdict, *envelope.Status) {
	if !l.policies.Chain.Has(hooks.DeliverLocal) {
		return hooks.Verdict{}, nil
	}
	e := l.event(hooks.DeliverLocal)
	e.Outgoing = l.intake.Outgoing(l.env, r)
	e.Rcpt = &hooks.Rcpt{Recipient: r}
	e.Box = mailbox{ctx, l.Deliverer, owner}
	v := l.runHook(ctx, e)
	for _, t := range e.Rcpt.Copies {
		copied := envelope.Recipient{Address: t.Address, Orig: r.Orig, Notify: r.Notify, Sender: t.Sender, Priority: t.Priority,
			Edit: envelope.HeaderEdit{Prepend: t.Fields}, From: appendHop(r, t.From), Values: t.Fill, ARC: t.ARC}
		intake.ApplyTarget(&copied, t)
		if st := l.addCopy(ctx, copied); st != nil && st.Code < 500 {
			return v, st
		}
	}
	return v, nil
}

// deliver prepares the entry in the mailbox, with Return-Path and Delivered-To on top
// (RFC 5321 4.4). If the mailbox gets nothing now, everything since before is rolled
// back.
func (l *localDelivery) deliver(
	ctx context.Context, r *envelope.Recipient, owner envelope.Address, folder string, flags []string, before savepoint,
) {
	if l.hasPlaceholders(r) {
		if err := l.makeFilledCopy(ctx, r, folder, flags); err != nil {
			l.deferRcpt(ctx, r, before, *store.StatusOf(err))
			return
		}
		l.resolve(ctx, r, localOutcome(envelope.Expanded, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "goes on as a message of its own"}))
		return
	}
	sender := l.returnPath(r)
	signature, st := l.copies.sign(ctx, r, mime.EditHeader(l.section, r.Edit), false)
	if st != nil {
		l.deferRcpt(ctx, r, before, *st)
		return
	}
	edit := r.Edit
	edit.Remove = append(slices.Clone(edit.Remove), "Return-Path")
	edit.Prepend = fmt.Sprintf("Return-Path: %s\r\nDelivered-To: %s\r\n", sender.Path(), owner) + signature + edit.Prepend
	size := l.env.Size - int64(len(l.section)) + int64(len(mime.EditHeader(l.section, edit)))
	if l.wouldExceed(ctx, owner, size) {
		l.deferRcpt(ctx, r, before, mailboxFull)
		return
	}
	l.u.Deliveries = append(l.u.Deliveries, store.Delivery{Owner: owner, Folder: folder, Message: l.env.ID, Rcpt: r.N,
		Source: l.env, Edit: edit, Size: size, Flags: flags, Date: l.now})
	l.resolve(ctx, r, localOutcome(envelope.Delivered, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "delivered to mailbox"}))
}

// mailbox is a mailbox as policies see it.
type mailbox struct {
	ctx   context.Context // of the hook: policies read the mailbox only while it runs
	d     *Deliverer
	owner envelope.Address
}

func (m mailbox) Address() envelope.Address { return m.owner }

func (m mailbox) Folders() ([]string, error) {
	var out []string
	for f, err := range m.d.store.Folders(m.ctx, m.owner) {
		if err != nil {
			return nil, err
		}
		out = append(out, f.Folder)
	}
	return out, nil
}

func (m mailbox) Quota() (used, limit int64, err error) { return m.d.store.Usage(m.ctx, m.owner) }

func (m mailbox) Setting(name string) (any, error) { return m.d.dir.Setting(m.ctx, m.owner, name) }
