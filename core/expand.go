package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/service/auth"
	"carteiro/core/store"
	"carteiro/hooks"
)

// maxExpansion bounds how often recipients may stand for others in turn.
const maxExpansion = 20

// pendingRcpt is a recipient that still has to be looked at.
type pendingRcpt struct {
	r     *envelope.Recipient
	root  *envelope.Recipient // the one of the transaction it comes from
	depth int
	from  string // key of the one that led here
	key   string // its own, see keyOf
}

// expansion is one message's walk from the recipients it came with to those
// that it goes to.
type expansion struct {
	p        *Pipeline
	in       *intake
	msg      *hooks.Message
	work     []pendingRcpt
	seen     map[string]bool
	final    []*envelope.Recipient
	rejected rejection
	links    links
	keys     map[*envelope.Recipient]string // of those who came with the message
	expanded []*envelope.Recipient          // stand for several, and the sender wants to hear of success
	forks    []fork
}

// expand asks queue.expand and follows aliases, per recipient, until what is
// left are mailboxes and foreign addresses, each once. When everybody who
// came with the message was rejected, that is the answer to the message.
func (p *Pipeline) expand(ctx context.Context, in *intake) (rejection, *envelope.Status) {
	x := &expansion{p: p, in: in, seen: map[string]bool{}, rejected: rejection{}, links: newLinks(), keys: map[*envelope.Recipient]string{}}
	x.msg = p.view(in)
	for _, r := range in.rcpts {
		x.work = append(x.work, pendingRcpt{r: r, root: r})
	}
	for len(x.work) > 0 {
		next := x.work[0]
		x.work = x.work[1:]
		if st := x.one(ctx, next); st != nil {
			return nil, st
		}
	}
	x.circles(in.rcpts, x.keys)
	if len(x.rejected) > 0 && len(x.rejected) == len(in.rcpts) && len(x.final) == 0 && len(x.forks) == 0 && !in.forked {
		return nil, x.rejected[in.rcpts[0]]
	}
	in.rcpts, in.expanded, in.forks = x.final, x.expanded, append(in.forks, x.forks...)
	return x.rejected, nil
}

// becomes notes that a recipient stands for several others. A sender who asked
// about success hears that it was expanded, and of the others only what goes
// wrong (RFC 3461 5.2.7.3). It returns what they are to be notified of.
func (x *expansion) becomes(r *envelope.Recipient, n int) envelope.Notify {
	if n < 2 || !r.Notify.Wants(envelope.NotifySuccess) {
		return r.Notify
	}
	r.State, r.Last = envelope.Expanded, &envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "expanded"}
	x.expanded = append(x.expanded, r)
	if rest := r.Notify &^ envelope.NotifySuccess; rest != 0 {
		return rest
	}
	return envelope.NotifyNever
}

// size is the message's, of what is stored already or of what will be.
func (in *intake) size() int64 {
	if in.draft != nil {
		return int64(len(in.header.Bytes())) + in.draft.Size()
	}
	return in.env.Size
}

// exhausted is asked about policies of the queue that ran out of their budget;
// nil: the message did not come by a session, so its failures are not counted.
func (in *intake) exhausted() func(hooks.Info, hooks.Verdict, error) hooks.Verdict {
	if in.spent == nil {
		return nil
	}
	in.spent.pending = in.pending
	return in.spent.judge
}

// view is a message as policies of the queue see it.
func (p *Pipeline) view(in *intake) *hooks.Message {
	return &hooks.Message{Auth: p.auth(&in.env, in.header, func() (io.ReadCloser, error) { return in.body() }),
		ID: in.env.ID, Ours: in.ours, Sender: in.env.Sender, Size: in.size(), ReceivedAt: in.env.ReceivedAt, Scores: in.scores,
		Header: in.header, Priority: in.env.Priority, Meta: in.env.Meta, Earlier: in.earlier(), Identity: in.env.Identity,
		Listener: in.env.Listener, Client: in.env.Client, Made: in.forkedBy,
		Body: func() (io.ReadCloser, error) { return in.body() }}
}

func (x *expansion) one(ctx context.Context, it pendingRcpt) *envelope.Status {
	r := it.r
	if r.Discard {
		x.tell(r, "discarded")
		return nil
	}
	if r.Filed != nil {
		return x.filed(ctx, it)
	}
	if it.depth > maxExpansion {
		x.reject(it, envelope.Reject(554, "5.4.6", "recipient stands for itself"))
		return nil
	}
	if st := x.goHome(r); st != nil {
		x.reject(it, st)
		return nil
	}
	it.key = x.keyOf(ctx, r)
	x.links.add(it.from, it.key)
	if it.r == it.root {
		x.keys[r] = it.key
	}
	if x.seen[it.key] {
		x.tell(r, "duplicate of an earlier recipient")
		return nil
	}
	x.seen[it.key] = true
	done, st := x.policies(ctx, it)
	if done || st != nil {
		return st
	}
	if !r.IsLocal {
		x.final = append(x.final, r)
		return nil
	}
	return x.local(ctx, it)
}

// filed takes a copy for a folder, beside what the mailbox gets anyhow.
func (x *expansion) filed(ctx context.Context, it pendingRcpt) *envelope.Status {
	if it.r.Filed.Anybody {
		x.final = append(x.final, it.r)
		return nil
	}
	res, err := x.p.dir.Resolve(ctx, it.r.Address)
	switch {
	case err != nil && !errors.Is(err, auth.ErrUnknown):
		return storeStatus(err)
	case !it.r.IsLocal || err != nil || res.Mailbox == "":
		x.tell(it.r, "no mailbox here for a copy")
		return nil
	}
	x.final = append(x.final, it.r)
	return nil
}

// keyOf is what recipients who are the same share: here the address without its
// tag, unless with it it is an alias of its own.
func (x *expansion) keyOf(ctx context.Context, r *envelope.Recipient) string {
	base := r.Address.Base()
	if !r.IsLocal {
		return string(r.Address)
	}
	if r.Address.Tag() != "" {
		own, err := x.p.dir.Resolve(ctx, r.Address)
		if err == nil && own.Mailbox == "" {
			if others, err := x.p.dir.Resolve(ctx, base); err != nil || !slices.Equal(own.Targets, others.Targets) {
				return strings.ToLower(r.Address.Local()) + "@" + r.Address.Domain()
			}
		}
	}
	return string(base)
}

// policies asks queue.expand; done says that the recipient is dealt with.
func (x *expansion) policies(ctx context.Context, it pendingRcpt) (done bool, st *envelope.Status) {
	if !x.in.gen.Chain.Has(hooks.QueueExpand) {
		x.in.gen.Chain.Passed(hooks.QueueExpand)
		return false, nil
	}
	hr := &hooks.Rcpt{Recipient: it.r}
	e := &hooks.Event{Point: hooks.QueueExpand, Now: x.p.clock.Now(), Msg: x.msg, Rcpt: hr, Pending: x.in.pending,
		Outgoing: x.p.outgoing(&x.in.env, it.r), Exhausted: x.in.exhausted()}
	v, trail := x.in.gen.Chain.Run(ctx, e)
	x.in.trail = append(x.in.trail, trail...)
	x.p.logFailures(ctx, x.in.env.ID.String(), trail)
	switch v.Action {
	case hooks.Defer:
		return true, refusal(v)
	case hooks.Reject:
		x.reject(it, refusal(v))
		return true, nil
	case hooks.Quarantine:
		it.r.State = envelope.Quarantine
	}
	apart := kept(it.r)
	told := it.r.Notify
	if len(hr.Replace) > 0 {
		told = x.becomes(it.r, len(hr.Replace))
	}
	named := append(x.targets(it, hr.Copies, it.r.Notify), x.targets(it, hr.Replace, told)...)
	for _, r := range named {
		r.State = apart
	}
	wanted := append(hr.Copies[:len(hr.Copies):len(hr.Copies)], hr.Replace...)
	stays := hr.Replace == nil && v.Action != hooks.Discard
	if i := x.itself(ctx, it, wanted, named, len(hr.Copies)); i >= 0 {
		named[i].Meta, named[i].Released = it.r.Meta, it.r.Released
		*it.r, stays = *named[i], v.Action != hooks.Discard
		wanted, named = slices.Delete(wanted, i, i+1), slices.Delete(named, i, i+1)
	}
	others := x.others(it, wanted, named)
	if hr.Fork != nil && (hr.Fork.Differs() || !stays || len(others) > 0) {
		if stays {
			others = append(others, it.r)
		}
		x.forks = append(x.forks, fork{msg: hr.Fork, of: it.r.Address, stays: stays, rcpts: others})
		return true, nil
	}
	x.links.passed[it.key] = !stays && len(others) > 0
	for _, r := range others {
		x.work = append(x.work, pendingRcpt{r: r, root: it.root, depth: it.depth + 1, from: it.key})
	}
	return !stays, nil
}

// itself is the place of a recipient among those that replace it, from first on,
// or -1. One that a policy replaced by itself, be it with another tag, stays, with
// what the policy wants for it: it does not come back to the policies.
func (x *expansion) itself(ctx context.Context, it pendingRcpt, wanted []hooks.Target, named []*envelope.Recipient, first int) int {
	same := -1
	for i := len(wanted) - 1; i >= first; i-- {
		switch t := wanted[i]; {
		case t.Msg != nil || t.Mailbox:
		case t.Address == it.r.Address:
			return i
		case same < 0 && named[i].IsLocal && x.keyOf(ctx, named[i]) == it.key:
			same = i
		}
	}
	return same
}

// kept is the state of those that a recipient stands for: what is kept apart
// for one is so for the other.
func kept(r *envelope.Recipient) envelope.State {
	if r.State == envelope.Quarantine {
		return envelope.Quarantine
	}
	return ""
}

// others takes those who get a variant of the message out of a policy's
// recipients, a fork for each variant, and returns the rest.
func (x *expansion) others(it pendingRcpt, targets []hooks.Target, rcpts []*envelope.Recipient) []*envelope.Recipient {
	var rest []*envelope.Recipient
	first := len(x.forks)
	for i, t := range targets {
		if t.Msg == nil {
			rest = append(rest, rcpts[i])
			continue
		}
		n := slices.IndexFunc(x.forks[first:], func(f fork) bool { return f.msg == t.Msg })
		if n < 0 {
			n = len(x.forks) - first
			x.forks = append(x.forks, fork{msg: t.Msg, of: it.r.Address})
		}
		x.forks[first+n].rcpts = append(x.forks[first+n].rcpts, rcpts[i])
	}
	return rest
}

// targets are the recipients that a policy named in place of one or beside it.
func (x *expansion) targets(it pendingRcpt, targets []hooks.Target, notify envelope.Notify) []*envelope.Recipient {
	out := make([]*envelope.Recipient, 0, len(targets))
	for _, t := range targets {
		r := &envelope.Recipient{Address: t.Address, Orig: it.r.Orig, ORcpt: it.r.ORcpt, Notify: notify, Sender: t.Sender,
			IsLocal: x.p.dir.Local(t.Address.Domain()), From: append(slices.Clone(it.r.From), t.From), Edit: it.r.Edit,
			Fill: it.r.Fill, ARC: cmp.Or(t.ARC, it.r.ARC)}
		if t.Fill != nil {
			r.Fill = t.Fill
		}
		r.From[len(r.From)-1].Address = it.r.Address
		r.Edit.Prepend = t.Fields + r.Edit.Prepend
		if t.Sender == nil {
			r.Sender = it.r.Sender
		}
		r.Priority = cmp.Or(t.Priority, it.r.Priority)
		asWished(r, t)
		out = append(out, r)
	}
	return out
}

// asWished has a recipient whom a policy named told of what the policy said, and
// filed where it wants the mail as it is.
func asWished(r *envelope.Recipient, t hooks.Target) {
	if t.Notify != nil {
		r.Notify = *t.Notify
	}
	if t.Mailbox {
		r.Filed, r.IsLocal, r.Notify = &envelope.Filing{Folder: store.Inbox, Anybody: true}, true, envelope.NotifyNever
	}
}

// local looks a local address up: a mailbox stays, an alias is followed.
func (x *expansion) local(ctx context.Context, it pendingRcpt) *envelope.Status {
	r := it.r
	res, err := x.p.dir.Resolve(ctx, r.Address)
	switch {
	case errors.Is(err, auth.ErrUnknown):
		x.reject(it, envelope.Reject(550, "5.1.1", "no such user here"))
		return nil
	case err != nil:
		return storeStatus(err)
	case res.Mailbox != "":
		x.final = append(x.final, r)
		return nil
	}
	apart := kept(r)
	notify := x.becomes(r, len(res.Targets))
	x.links.passed[it.key] = true
	for _, a := range res.Targets {
		t := *r
		t.Notify, t.State, t.Last = notify, apart, nil
		t.Address, t.IsLocal = a, x.p.dir.Local(a.Domain())
		t.Meta = maps.Clone(r.Meta) // each may note something of its own
		t.From = append(slices.Clone(r.From), envelope.Change{Address: r.Address, Hook: "alias"})
		x.work = append(x.work, pendingRcpt{r: &t, root: it.root, depth: it.depth + 1, from: it.key})
	}
	x.tell(r, fmt.Sprintf("alias for %d", len(res.Targets)))
	return nil
}

// reject remembers why a recipient of the transaction gets nothing.
func (x *expansion) reject(it pendingRcpt, st *envelope.Status) {
	x.rejected[it.root] = st
	x.in.trail = append(x.in.trail, envelope.TrailEntry{Time: x.p.clock.Now(), Step: "queue", Rcpt: it.r.Address, Verdict: "reject " + st.Reply()})
}

func (x *expansion) tell(r *envelope.Recipient, text string) {
	x.in.trail = append(x.in.trail, envelope.TrailEntry{Time: x.p.clock.Now(), Step: "queue", Rcpt: r.Address, Text: text})
}

// localKey is the group key, as policies see it, of recipients with a mailbox
// here.
const localKey = "local"

// groupKey is what recipients must share to be tried together.
type groupKey struct {
	kind     envelope.GroupKind
	key      string
	domain   string // a group is of one, for policies that are of one domain
	priority envelope.Priority
	state    envelope.State
	own      bool // each has a copy of its own
}

// maxCopies is the most recipients in a group whose copies differ: they take a
// transaction each, one after the other, and groups leave side by side.
const maxCopies = 20

// group sorts recipients into groups of one next hop and priority, at most
// envelope.MaxGroup each, or maxCopies of those with copies of their own, and asks queue.commit about each.
func (p *Pipeline) group(ctx context.Context, in *intake) *envelope.Status {
	byKey := map[groupKey]*envelope.Group{}
	for _, r := range in.rcpts {
		k := groupKey{kind: envelope.Remote, key: r.Address.Domain(), domain: r.Address.Domain(), priority: in.env.Priority, state: r.State}
		if r.IsLocal {
			k.kind, k.key = envelope.Mailbox, localKey
		}
		k.own = k.kind == envelope.Remote && (r.Sender != nil || r.Fill != nil)
		if r.Priority != nil {
			k.priority = *r.Priority
		}
		g := byKey[k]
		if g == nil || len(g.Recipients) >= envelope.MaxGroup || k.own && len(g.Recipients) >= maxCopies {
			g = p.newGroup(in, k)
			byKey[k] = g
			in.groups = append(in.groups, g)
		}
		if r.State == "" {
			r.State = envelope.Queued
			if g.Held {
				r.State = envelope.Quarantine
			}
		}
		g.Recipients = append(g.Recipients, *r)
	}
	for _, g := range in.groups {
		if st := p.askCommit(ctx, in, g); st != nil {
			return st
		}
	}
	return nil
}

func (p *Pipeline) newGroup(in *intake, k groupKey) *envelope.Group {
	now := p.clock.Now()
	g := &envelope.Group{Kind: k.kind, Key: k.key, Domain: k.domain, Priority: k.priority, Due: now, Expires: in.env.ReceivedAt.Add(p.cfg.Expire)}
	if by := in.env.By; !by.IsZero() && !in.env.ByNotify && by.Before(g.Expires) {
		g.Expires = by // returned when it cannot be delivered in time (RFC 2852 4.1.2)
	}
	if in.due.After(now) {
		g.Due = in.due
	}
	if in.quarantine != "" || k.state == envelope.Quarantine {
		g.Held, g.Reason = true, cmp.Or(in.quarantine, "quarantined by a policy")
	}
	return g
}

func (p *Pipeline) askCommit(ctx context.Context, in *intake, g *envelope.Group) *envelope.Status {
	if !in.gen.Chain.Has(hooks.QueueCommit) {
		return nil
	}
	e := &hooks.Event{Point: hooks.QueueCommit, Now: p.clock.Now(), Msg: p.view(in), Group: g, Pending: in.pending,
		Outgoing: p.outgoingGroup(&in.env, g), Exhausted: in.exhausted()}
	v, trail := in.gen.Chain.Run(ctx, e)
	in.trail = append(in.trail, trail...)
	p.logFailures(ctx, in.env.ID.String(), trail)
	switch v.Action {
	case hooks.Defer:
		return refusal(v)
	case hooks.Hold:
		hold(g, v.Reason)
	case hooks.Quarantine: // a policy ran out of its budget
		g.Held, g.Reason = true, v.Reason
		for i := range g.Recipients {
			g.Recipients[i].State = envelope.Quarantine
		}
	case hooks.Schedule:
		g.Due = v.At
	}
	return nil
}

// hold takes a group out of the queue until an operator releases it.
func hold(g *envelope.Group, reason string) {
	g.Held, g.Reason = true, reason
	for i := range g.Recipients {
		if g.Recipients[i].State == envelope.Queued {
			g.Recipients[i].State = envelope.Held
		}
	}
}
