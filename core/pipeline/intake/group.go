package intake

import (
	"cmp"
	"context"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// LocalKey is the group key, as policies see it, of recipients with a mailbox
// here.
const LocalKey = "local"

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
func (b *builder) group(ctx context.Context, in *Incoming) *envelope.Status {
	byKey := map[groupKey]*envelope.Group{}
	for _, r := range in.Rcpts {
		k := groupKey{kind: envelope.Remote, key: r.Address.Domain(), domain: r.Address.Domain(), priority: in.Envelope.Priority, state: r.State}
		if r.IsLocal {
			k.kind, k.key = envelope.Mailbox, LocalKey
		}
		k.own = k.kind == envelope.Remote && (r.Sender != nil || r.Values != nil)
		if r.Priority != nil {
			k.priority = *r.Priority
		}
		g := byKey[k]
		if g == nil || len(g.Recipients) >= envelope.MaxGroup || k.own && len(g.Recipients) >= maxCopies {
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
		if st := b.askCommit(ctx, in, g); st != nil {
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
		g.Expires = by // returned when it cannot be delivered in time (RFC 2852 4.1.2)
	}
	if in.Due.After(now) {
		g.Due = in.Due
	}
	if in.Quarantine != "" || key.state == envelope.Quarantine {
		g.Held, g.Reason = true, cmp.Or(in.Quarantine, "quarantined by a policy")
	}
	return g
}

func (b *builder) askCommit(ctx context.Context, in *Incoming, g *envelope.Group) *envelope.Status {
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

// Hold takes a group out of the queue until an operator releases it.
func Hold(g *envelope.Group, reason string) {
	g.Held, g.Reason = true, reason
	for i := range g.Recipients {
		if g.Recipients[i].State == envelope.Queued {
			g.Recipients[i].State = envelope.Held
		}
	}
}

// HeldKey is the group key, in lists and logs, of messages that policies hold
// for a group. When it is released, its recipient passes queue.expand again,
// with rcpt.released.
const HeldKey = "held"

// HeldGroup keeps a message for a group of addresses until it is released or
// dropped. It does not expire: it is tried only then.
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

// asyncGroup is the part of a message that such handlers work on, nil where
// there are none, or where nothing is left of the message. It is committed
// with the message, and keeps it until the last of them has run.
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

// unexpandedKey is the group key, in lists and logs, of recipients that wait for
// queue.expand.
const unexpandedKey = "expand"

// UnexpandedGroup keeps a further recipient of a message until a policy that
// failed for a while answers at queue.expand.
func (k *Intake) UnexpandedGroup(env *envelope.Envelope, r envelope.Recipient, due time.Time) *envelope.Group {
	g := k.newGroup(&Incoming{Envelope: *env}, groupKey{kind: envelope.Unexpanded, key: unexpandedKey, priority: env.Priority})
	g.Due, r.State = due, envelope.Queued
	g.Recipients = []envelope.Recipient{r}
	return g
}
