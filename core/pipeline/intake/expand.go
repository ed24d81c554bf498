package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/core/service/auth"
	"carteiro/core/store"
	"carteiro/hooks"
)

// MaxExpansion is how often a recipient may be replaced by others, one after the other.
const MaxExpansion = 20

// pendingRcpt is a recipient that still has to be expanded.
type pendingRcpt struct {
	r     *envelope.Recipient
	root  *envelope.Recipient // the recipient of the transaction that led to it
	depth int
	from  string // key of the recipient that it replaces
	key   string // its own, see keyOf
}

// expansion turns the recipients that a message came with into those that it will
// be delivered to.
type expansion struct {
	b        *builder
	in       *Incoming
	msg      *hooks.Message
	work     []pendingRcpt
	seen     map[string]bool
	final    []*envelope.Recipient
	rejected Rejections
	graph    aliasGraph
	keys     map[*envelope.Recipient]string // of the recipients that came with the message
	expanded []*envelope.Recipient          // replaced by several others, and the sender wants DSNs of success
	forks    []fork
}

// expand runs queue.expand and follows aliases for each recipient, until only
// mailboxes and foreign addresses are left, each once. If all recipients that came
// with the message were rejected, it returns the rejection of the first.
func (b *builder) expand(ctx context.Context, in *Incoming) *envelope.Status {
	x := &expansion{b: b, in: in, seen: map[string]bool{}, rejected: Rejections{}, graph: newAliasGraph(),
		keys: map[*envelope.Recipient]string{}}
	x.msg = b.view(in)
	for _, r := range in.Rcpts {
		x.work = append(x.work, pendingRcpt{r: r, root: r})
	}
	for len(x.work) > 0 {
		next := x.work[0]
		x.work = x.work[1:]
		if st := x.expandOne(ctx, next); st != nil {
			return st
		}
	}
	x.rejectLoops(in.Rcpts, x.keys)
	if len(x.rejected) > 0 && len(x.rejected) == len(in.Rcpts) && len(x.final) == 0 && len(x.forks) == 0 && !in.forked {
		return x.rejected[in.Rcpts[0]]
	}
	in.Rcpts, in.expanded, in.forks, in.rejected = x.final, x.expanded, append(in.forks, x.forks...), x.rejected
	return nil
}

// markExpanded notes that n others replace a recipient. If there are several, and
// the sender wants DSNs of success, they get the DSN "expanded", and about the
// others only DSNs of delays and failures (RFC 3461 5.2.7.3). It returns the Notify
// of the others.
func (x *expansion) markExpanded(r *envelope.Recipient, n int) envelope.Notify {
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

func (x *expansion) expandOne(ctx context.Context, it pendingRcpt) *envelope.Status {
	r := it.r
	if r.Discard {
		x.addTrail(r, "discarded")
		return nil
	}
	if r.Filed != nil {
		return x.expandFiled(ctx, it)
	}
	if it.depth > MaxExpansion {
		x.reject(it, envelope.Reject(554, "5.4.6", "alias loop: recipient is replaced too often"))
		return nil
	}
	if st := x.reverseReturnPath(r); st != nil {
		x.reject(it, st)
		return nil
	}
	it.key = x.keyOf(ctx, r)
	x.graph.add(it.from, it.key)
	if it.r == it.root {
		x.keys[r] = it.key
	}
	if x.seen[it.key] {
		x.addTrail(r, "duplicate of an earlier recipient")
		return nil
	}
	x.seen[it.key] = true
	done, st := x.runHook(ctx, it)
	if done || st != nil {
		return st
	}
	if !r.IsLocal {
		x.final = append(x.final, r)
		return nil
	}
	return x.expandLocal(ctx, it)
}

// expandFiled accepts a copy for a folder. The mailbox may get another copy, as a
// recipient.
func (x *expansion) expandFiled(ctx context.Context, it pendingRcpt) *envelope.Status {
	if it.r.Filed.Anybody {
		x.final = append(x.final, it.r)
		return nil
	}
	res, err := x.b.dir.Resolve(ctx, it.r.Address)
	switch {
	case err != nil && !errors.Is(err, auth.ErrUnknown):
		return store.StatusOf(err)
	case !it.r.IsLocal || err != nil || res.Mailbox == "":
		x.addTrail(it.r, "no mailbox here for a copy")
		return nil
	}
	x.final = append(x.final, it.r)
	return nil
}

// keyOf returns a key that is equal for duplicate recipients. For a local address it
// is the address without its tag, unless there is an alias for the address with the
// tag.
func (x *expansion) keyOf(ctx context.Context, r *envelope.Recipient) string {
	base := r.Address.Base()
	if !r.IsLocal {
		return string(r.Address)
	}
	if r.Address.Tag() != "" {
		own, err := x.b.dir.Resolve(ctx, r.Address)
		if err == nil && own.Mailbox == "" {
			if others, err := x.b.dir.Resolve(ctx, base); err != nil || !slices.Equal(own.Targets, others.Targets) {
				return strings.ToLower(r.Address.Local()) + "@" + r.Address.Domain()
			}
		}
	}
	return string(base)
}

// runHook runs queue.expand for a recipient; done says that nothing is left to do
// for it.
func (x *expansion) runHook(ctx context.Context, it pendingRcpt) (done bool, st *envelope.Status) {
	if !x.in.Gen.Chain.Has(hooks.QueueExpand) {
		x.in.Gen.Chain.CountEmpty(hooks.QueueExpand)
		return false, nil
	}
	hr := &hooks.Rcpt{Recipient: it.r}
	e := &hooks.Event{Point: hooks.QueueExpand, Now: x.b.clock.Now(), Msg: x.msg, Rcpt: hr, Pending: &x.b.u.Pending,
		Outgoing: x.b.Outgoing(&x.in.Envelope, it.r), OnExhausted: x.in.exhausted()}
	v, entries := x.in.Gen.Chain.Run(ctx, e)
	x.in.addTrail(entries...)
	trail.LogFailures(ctx, x.b.log, x.in.Envelope.ID.String(), entries)
	switch v.Action {
	case hooks.Defer:
		return true, v.Refusal()
	case hooks.Reject:
		x.reject(it, v.Refusal())
		return true, nil
	case hooks.Quarantine:
		it.r.State = envelope.Quarantine
	}
	state := inheritedState(it.r)
	notify := it.r.Notify
	if len(hr.Replace) > 0 {
		notify = x.markExpanded(it.r, len(hr.Replace))
	}
	named := append(x.targetRcpts(it, hr.Copies, it.r.Notify), x.targetRcpts(it, hr.Replace, notify)...)
	for _, r := range named {
		r.State = state
	}
	wanted := append(hr.Copies[:len(hr.Copies):len(hr.Copies)], hr.Replace...)
	stays := hr.Replace == nil && v.Action != hooks.Discard
	if i := x.indexOfSelf(ctx, it, wanted, named, len(hr.Copies)); i >= 0 {
		named[i].Meta, named[i].Released = it.r.Meta, it.r.Released
		*it.r, stays = *named[i], v.Action != hooks.Discard
		wanted, named = slices.Delete(wanted, i, i+1), slices.Delete(named, i, i+1)
	}
	others := x.splitVariants(it, wanted, named)
	if hr.Fork != nil && (hr.Fork.IsChangedFork() || !stays || len(others) > 0) {
		if stays {
			others = append(others, it.r)
		}
		x.forks = append(x.forks, fork{msg: hr.Fork, madeFor: it.r.Address, includesIt: stays, rcpts: others})
		return true, nil
	}
	x.graph.aliasOnly[it.key] = !stays && len(others) > 0
	for _, r := range others {
		x.work = append(x.work, pendingRcpt{r: r, root: it.root, depth: it.depth + 1, from: it.key})
	}
	return !stays, nil
}

// indexOfSelf returns the index of a recipient among those that replace it, from
// first on, or -1. A recipient that a policy replaced by itself, perhaps with another
// tag, stays, with the changes that the policy made. The hook does not run for it
// again.
func (x *expansion) indexOfSelf(ctx context.Context, it pendingRcpt, wanted []hooks.Target, named []*envelope.Recipient, first int) int {
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

// inheritedState returns the state of the recipients that replace r: they are
// quarantined if r is.
func inheritedState(r *envelope.Recipient) envelope.State {
	if r.State == envelope.Quarantine {
		return envelope.Quarantine
	}
	return ""
}

// splitVariants makes a fork for each variant of the message that a policy gave to
// some of its recipients, and returns the other recipients.
func (x *expansion) splitVariants(it pendingRcpt, targets []hooks.Target, rcpts []*envelope.Recipient) []*envelope.Recipient {
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
			x.forks = append(x.forks, fork{msg: t.Msg, madeFor: it.r.Address})
		}
		x.forks[first+n].rcpts = append(x.forks[first+n].rcpts, rcpts[i])
	}
	return rest
}

// targetRcpts makes the recipients that a policy named instead of one or in addition
// to it.
func (x *expansion) targetRcpts(it pendingRcpt, targets []hooks.Target, notify envelope.Notify) []*envelope.Recipient {
	out := make([]*envelope.Recipient, 0, len(targets))
	for _, t := range targets {
		r := &envelope.Recipient{Address: t.Address, Orig: it.r.Orig, ORcpt: it.r.ORcpt, Notify: notify, Sender: t.Sender,
			IsLocal: x.b.dir.Local(t.Address.Domain()), From: append(slices.Clone(it.r.From), t.From), Edit: it.r.Edit,
			Values: it.r.Values, ARC: cmp.Or(t.ARC, it.r.ARC)}
		if t.Fill != nil {
			r.Values = t.Fill
		}
		r.From[len(r.From)-1].Address = it.r.Address
		r.Edit.Prepend = t.Fields + r.Edit.Prepend
		if t.Sender == nil {
			r.Sender = it.r.Sender
		}
		r.Priority = cmp.Or(t.Priority, it.r.Priority)
		ApplyTarget(r, t)
		out = append(out, r)
	}
	return out
}

// ApplyTarget copies the notify setting and the filing that a policy asked for to
// the recipient.
func ApplyTarget(r *envelope.Recipient, t hooks.Target) {
	if t.Notify != nil {
		r.Notify = *t.Notify
	}
	if t.Mailbox {
		r.Filed, r.IsLocal, r.Notify = &envelope.Filing{Folder: store.Inbox, Anybody: true}, true, envelope.NotifyNever
	}
}

// expandLocal looks up a local address: a mailbox is final, an alias is replaced by
// its targets.
func (x *expansion) expandLocal(ctx context.Context, it pendingRcpt) *envelope.Status {
	r := it.r
	res, err := x.b.dir.Resolve(ctx, r.Address)
	switch {
	case errors.Is(err, auth.ErrUnknown):
		x.reject(it, envelope.Reject(550, "5.1.1", "no such user here"))
		return nil
	case err != nil:
		return store.StatusOf(err)
	case res.Mailbox != "":
		x.final = append(x.final, r)
		return nil
	}
	state := inheritedState(r)
	notify := x.markExpanded(r, len(res.Targets))
	x.graph.aliasOnly[it.key] = true
	for _, a := range res.Targets {
		t := *r
		t.Notify, t.State, t.Last = notify, state, nil
		t.Address, t.IsLocal = a, x.b.dir.Local(a.Domain())
		t.Meta = maps.Clone(r.Meta) // each recipient may get different data
		t.From = append(slices.Clone(r.From), envelope.Change{Address: r.Address, Hook: "alias"})
		x.work = append(x.work, pendingRcpt{r: &t, root: it.root, depth: it.depth + 1, from: it.key})
	}
	x.addTrail(r, fmt.Sprintf("alias for %d", len(res.Targets)))
	return nil
}

// reject notes the rejection of a recipient of the transaction.
func (x *expansion) reject(it pendingRcpt, st *envelope.Status) {
	x.rejected[it.root] = st
	x.in.addTrail(envelope.TrailEntry{Time: x.b.clock.Now(), Step: "queue", Rcpt: it.r.Address, Verdict: "reject " + st.Reply()})
}

func (x *expansion) addTrail(r *envelope.Recipient, text string) {
	x.in.addTrail(envelope.TrailEntry{Time: x.b.clock.Now(), Step: "queue", Rcpt: r.Address, Text: text})
}
