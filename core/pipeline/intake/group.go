package intake

import (
	"cmp"
	"context"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// LocalKey is the group key of recipients with a mailbox here, as policies see it.
const LocalKey = "local"

// groupKey holds what recipients must have in common to be in one group.
type groupKey struct {
	kind     envelope.GroupKind
	key      string
	domain   string // one for each group, because a policy may belong to a domain
	priority envelope.Priority
	state    envelope.State
	ownCopy  bool // the copies of the recipients differ
}

// maxCopies is the most recipients in a group whose copies differ. Such copies need
// one transaction each, one after the other; groups are delivered in parallel.
const maxCopies = 20

// group sorts recipients into groups of one destination and priority, with at most
// envelope.MaxGroup recipients, or maxCopies if their copies differ, and runs
// queue.commit for each group.
func (b *builder) group(ctx context.Context, in *Incoming) *envelope.Status {
	byKey := map[groupKey]*envelope.Group{}
	for _, r := range in.Rcpts {
		k := groupKey{kind: envelope.Remote, key: r.Address.Domain(), domain: r.Address.Domain(), priority: in.Envelope.Priority, state: r.State}
		if r.IsLocal {
			k.kind, k.key = envelope.Mailbox, LocalKey
		}
		k.ownCopy = k.kind == envelope.Remote && (r.Sender != nil || r.Values != nil)
		if r.Priority != nil {
			k.priority = *r.Priority
		}
		g := byKey[k]
		if g == nil || len(g.Recipients) >= envelope.MaxGroup || k.ownCopy && len(g.Recipients) >= maxCopies {
			g = b.newGroup(in, k)
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
		if st := b.runCommitHook(ctx, in, g); st != nil {
			return st
		}
	}
	return nil
}

func (k *Intake) newGroup(in *Incoming, key groupKey) *envelope.Group {
	now := k.clock.Now()
	g := &envelope.Group{Kind: key.kind, Key: key.key, Domain: key.domain, Priority: key.priority, Due: now,
		Expires: in.Envelope.ReceivedAt.Add(k.expire)}
	if by := in.Envelope.By; !by.IsZero() && !in.Envelope.ByNotify && by.Before(g.Expires) {
		g.Expires = by // after that time it is returned (RFC 2852 4.1.2)
	}
	if in.Due.After(now) {
		g.Due = in.Due
	}
	if in.Quarantine != "" || key.state == envelope.Quarantine {
		g.Held, g.Reason = true, cmp.Or(in.Quarantine, "quarantined by a policy")
	}
	return g
}

func (b *builder) runCommitHook(ctx context.Context, in *Incoming, g *envelope.Group) *envelope.Status {
	if !in.Gen.Chain.Has(hooks.QueueCommit) {
		return nil
	}
	e := &hooks.Event{Point: hooks.QueueCommit, Now: b.clock.Now(), Msg: b.view(in), Group: g, Pending: &b.u.Pending,
		Outgoing: b.OutgoingGroup(&in.Envelope, g), OnExhausted: in.exhausted()}
	v, entries := in.Gen.Chain.Run(ctx, e)
	in.addTrail(entries...)
	trail.LogFailures(ctx, b.log, in.Envelope.ID.String(), entries)
	switch v.Action {
	case hooks.Defer:
		return v.Refusal()
	case hooks.Hold:
		Hold(g, v.Reason)
	case hooks.Quarantine: // a policy exceeded its budget
		g.Held, g.Reason = true, v.Reason
		for i := range g.Recipients {
			g.Recipients[i].State = envelope.Quarantine
		}
	case hooks.Schedule:
		g.Due = v.At
	}
	return nil
}

// Hold takes a group out of the queue until an operator releases it.
func Hold(g *envelope.Group, reason string) {
	g.Held, g.Reason = true, reason
	for i := range g.Recipients {
		if g.Recipients[i].State == envelope.Queued {
			g.Recipients[i].State = envelope.Held
		}
	}
}

// HeldKey is the group key of messages that policies hold for a list of people, as
// `queue list` and logs show it. When the message is released, queue.expand runs
// again for its recipient, with rcpt.released.
const HeldKey = "held"

// HeldGroup returns the group that holds a message for a list of people until it is
// released or dropped. It does not expire while it is held.
func (k *Intake) HeldGroup(env *envelope.Envelope, name, sender envelope.Address) *envelope.Group {
	g := k.newGroup(&Incoming{Envelope: *env}, groupKey{kind: envelope.HeldForGroup, key: HeldKey, priority: env.Priority})
	g.Held, g.Reason = true, "held for "+string(name)
	r := envelope.Recipient{Address: name, Orig: name, IsLocal: true, State: envelope.Held}
	if sender != env.Sender {
		r.Sender = &sender
	}
	g.Recipients = []envelope.Recipient{r}
	return g
}

// asyncKey is the group key of handlers that run after the 250.
const asyncKey = "async"

// asyncGroup returns the group whose recipients are the handlers that run after the
// 250; nil if there are none, or if nobody gets the message. It is committed with the
// message, and keeps it in the store until the last handler has run.
func (k *Intake) asyncGroup(in *Incoming) *envelope.Group {
	if in.Arrival == nil || len(in.groups)+len(in.forks) == 0 || !in.Gen.Chain.Has(hooks.ReceiveAfter) {
		return nil
	}
	g := k.newGroup(in, groupKey{kind: envelope.Asynchronous, key: asyncKey, priority: in.Envelope.Priority})
	g.Async, g.Held, g.Reason = in.Arrival, false, ""
	for _, info := range in.Gen.Chain.Infos(hooks.ReceiveAfter) {
		name := envelope.Address(info.Key())
		g.Recipients = append(g.Recipients, envelope.Recipient{Address: name, Orig: name, State: envelope.Queued, Notify: envelope.NotifyNever})
	}
	return g
}

// unexpandedKey is the group key of recipients that wait for queue.expand, as `queue
// list` and logs show it.
const unexpandedKey = "expand"

// UnexpandedGroup returns the group of a further recipient for which queue.expand
// failed temporarily. Its attempts run the hook again.
func (k *Intake) UnexpandedGroup(env *envelope.Envelope, r envelope.Recipient, due time.Time) *envelope.Group {
	g := k.newGroup(&Incoming{Envelope: *env}, groupKey{kind: envelope.Unexpanded, key: unexpandedKey, priority: env.Priority})
	g.Due, r.State = due, envelope.Queued
	g.Recipients = []envelope.Recipient{r}
	return g
}
