package core

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/store"
	"carteiro/hooks"
)

// intake is a message on its way into the queue, whether it came by SMTP, is
// a DSN, or was submitted by a policy.
type intake struct {
	env        envelope.Envelope
	header     *mime.Header
	draft      store.Draft
	body       func() (io.ReadCloser, error)
	rcpts      []*envelope.Recipient
	pending    *hooks.Pending
	trail      []envelope.TrailEntry
	gen        *hooks.Generation
	due        time.Time                // not before
	quarantine string                   // reason, for all recipients
	lmtp       bool                     // rejections can be told per recipient
	sign       []envelope.Signature     // asked for by policies
	ours       bool                     // it is mail of our users, of who may relay or of policies
	forked     bool                     // policies made it of another message
	forkedBy   []hooks.Making           // those policies
	arrival    *envelope.Arrival        // nil: it did not come by a session
	share      *envelope.Envelope       // the spooled message whose body it has, where it has no draft
	scores     []hooks.Score            // that policies gave
	spent      *exhausted               // of a message that came by a session
	maySign    func(domain string) bool // as mail of its author's domain; nil: for all

	groups   []*envelope.Group
	expanded []*envelope.Recipient // a report about their expansion is due
	forks    []fork
}

// rejection maps recipients that came with the transaction to why they were
// refused by queue.expand.
type rejection map[*envelope.Recipient]*envelope.Status

// enqueue expands, groups and commits a message with everything it gives rise
// to, and wakes the queue. A status says why the whole message was refused;
// then nothing was written. What is rejected in part becomes a DSN, unless
// the client can be told.
//
// Crash: before Commit returns there is nothing or everything, and the sender
// was not told yet. The wake-up may be lost; the queue scans the store.
func (p *Pipeline) enqueue(ctx context.Context, in *intake) (rejection, *envelope.Status) {
	messages, rejected, st := p.prepare(ctx, in, true)
	if st != nil {
		return nil, st
	}
	defer discard(messages)
	var effects []envelope.Effect
	if in.pending != nil {
		effects = in.pending.Effects
	}
	told := in.gen != nil && in.env.Auto == "" && in.gen.Chain.Observes("accepted", "learned")
	if told {
		effects = append(slices.Clone(effects), p.events(in.gen, append(learned(effects), in.accepted())...)...)
	}
	ctx = context.WithoutCancel(ctx)
	if err := p.store.Commit(ctx, effects, messages...); err != nil {
		return nil, storeStatus(err)
	}
	p.wake(messages)
	if told {
		p.observed()
	}
	p.decided(effects)
	if len(in.groups) == 0 { // accepted and discarded, or gone on as others: only its story stays
		if len(in.forks) == 0 {
			in.trail = append(in.trail, envelope.TrailEntry{Time: p.clock.Now(), Step: "queue", Text: "nobody left to deliver to"})
		}
		if err := p.store.AppendTrail(ctx, in.env.ID, legible(in.trail)); err != nil {
			p.log.WarnContext(ctx, "trail not kept", "id", in.env.ID.String(), "err", err)
		}
	}
	return rejected, nil
}

// wake tells the queue of committed messages.
func (p *Pipeline) wake(messages []*store.Message) {
	for _, m := range messages {
		for _, g := range m.Groups {
			if !g.Held {
				p.queue.offer(dueEntry(m.Envelope.ID, g))
			}
		}
	}
}

// dueEntry is a group's entry of the due index.
func dueEntry(id envelope.ID, g *envelope.Group) store.DueEntry {
	return store.DueEntry{ID: id, Block: g.Block, Due: g.Due, Class: g.Priority.Class(), Kind: g.Kind, Key: g.Key, Domain: g.Domain}
}

// prepare makes the messages that one commit takes: the message itself, DSNs
// about recipients rejected in expansion when reports is set, and what
// policies submitted.
func (p *Pipeline) prepare(ctx context.Context, in *intake, reports bool) ([]*store.Message, rejection, *envelope.Status) {
	out, rejected, st := p.assemble(ctx, in, reports)
	if st == nil && in.pending != nil {
		for _, s := range in.pending.Submits {
			out = append(out, p.submitted(ctx, in.env, in.gen, in.pending, s)...)
		}
	}
	return out, rejected, st
}

// assemble is prepare without what policies submitted.
func (p *Pipeline) assemble(ctx context.Context, in *intake, reports bool) ([]*store.Message, rejection, *envelope.Status) {
	rejected, st := p.expand(ctx, in)
	if st != nil {
		return nil, nil, st
	}
	if st := p.group(ctx, in); st != nil {
		return nil, nil, st
	}
	var out []*store.Message
	if reports && len(rejected) > 0 && !in.lmtp {
		out = append(out, p.rejectedReport(ctx, in, rejected)...)
	}
	if reports && len(in.expanded) > 0 && in.env.Sender != "" {
		out = append(out, p.reportOf(ctx, in, report{action: "expanded", to: in.env.Sender, rcpts: in.expanded})...)
	}
	if st := p.forward(ctx, in); st != nil {
		discard(out)
		return nil, nil, st
	}
	if len(in.groups) > 0 {
		if st := p.sign(in); st != nil {
			discard(out)
			return nil, nil, st
		}
	}
	if g := p.asyncGroup(in); g != nil {
		in.groups = append(in.groups, g)
	}
	own := in.message()
	owner := in.share
	if len(in.groups) > 0 {
		out, owner = append(out, own), &own.Envelope
	}
	forked, st := p.forks(ctx, in, owner)
	if st != nil {
		discard(out)
		return nil, nil, st
	}
	if len(in.groups) > 0 {
		in.trail = append(in.trail, envelope.TrailEntry{Time: p.clock.Now(), Step: "queue", Text: "committed: " + describe(in.groups)})
		own.Trail = legible(in.trail)
	}
	return append(out, forked...), rejected, nil
}

// forward sends the message at hand to those whom policies forwarded it to
// with mail.forward: further recipients of one stored body. They pass the
// policies of the queue too, which may forward in their turn, MaxDepth times.
func (p *Pipeline) forward(ctx context.Context, in *intake) *envelope.Status {
	for range MaxDepth {
		rcpts := in.forwarded(p)
		if len(rcpts) == 0 {
			return nil
		}
		more := *in
		more.rcpts, more.groups, more.expanded, more.forks = rcpts, nil, nil, nil
		rejected, st := p.expand(ctx, &more)
		if st == nil {
			st = p.group(ctx, &more)
		}
		if st != nil && st.Code < 500 {
			return st // a policy failed: the client comes again
		}
		for r, why := range rejected {
			p.log.WarnContext(ctx, "forward not made", "id", in.env.ID.String(), "to", string(r.Address), "status", why.Reply())
		}
		in.trail = more.trail
		if st == nil {
			in.groups, in.forks = append(in.groups, more.groups...), append(in.forks, more.forks...)
		}
	}
	in.forwarded(p) // policies that forward what they forwarded are not asked again
	return nil
}

// forwarded takes the recipients of mail.forward out of what is pending.
func (in *intake) forwarded(p *Pipeline) []*envelope.Recipient {
	if in.pending == nil {
		return nil
	}
	var rcpts []*envelope.Recipient
	var rest []hooks.Submit
	for _, s := range in.pending.Submits {
		if !s.Forward {
			rest = append(rest, s)
			continue
		}
		for _, to := range s.Rcpts {
			sender := s.Sender
			if s.Hold {
				in.groups = append(in.groups, p.heldGroup(in, to, sender))
				continue
			}
			rcpts = append(rcpts, &envelope.Recipient{Address: to, Orig: to, Sender: &sender, Edit: s.Edit, IsLocal: p.dir.Local(to.Domain())})
		}
		rcpts = append(rcpts, p.copies(s)...)
	}
	in.pending.Submits = rest
	return rcpts
}

// copies are the recipients that stand for the copies of a submission.
func (p *Pipeline) copies(s hooks.Submit) []*envelope.Recipient {
	var rcpts []*envelope.Recipient
	for _, c := range s.Copies {
		filing := c.Filing
		rcpts = append(rcpts, &envelope.Recipient{Address: c.Owner, Orig: c.Owner, Notify: envelope.NotifyNever, Edit: s.Edit, IsLocal: p.dir.Local(c.Owner.Domain()), Filed: &filing})
	}
	return rcpts
}

// earlier is the spam score of a message whose single scores are not at hand
// any more.
func (in *intake) earlier() float64 {
	if len(in.scores) > 0 {
		return 0
	}
	return in.env.Score
}

// describe names the groups of a message for its trail.
func describe(groups []*envelope.Group) string {
	var b strings.Builder
	for i, g := range groups {
		if i > 0 {
			b.WriteString("; ")
		}
		if i == 10 {
			fmt.Fprintf(&b, "and %d groups more", len(groups)-i)
			break
		}
		fmt.Fprintf(&b, "%d for %s, class %s", len(g.Recipients), g.Key, g.Priority.Class())
		if g.Held {
			b.WriteString(", held: " + g.Reason)
		}
	}
	return b.String()
}

func (in *intake) message() *store.Message {
	m := &store.Message{Envelope: in.env, Header: in.header.Bytes(), Draft: in.draft, Groups: in.groups}
	if m.Draft == nil {
		m.Share = in.share
	}
	return m
}

// discard gives up the drafts of messages; those that are committed stay.
func discard(messages []*store.Message) {
	for _, m := range messages {
		if m.Draft != nil {
			m.Draft.Discard()
		}
	}
}

// made ends the making of a message of our own: its draft is given up unless
// it is among the messages to be committed.
func (in *intake) made(messages []*store.Message) {
	if in.draft != nil && !slices.ContainsFunc(messages, func(m *store.Message) bool { return m.Draft == in.draft }) {
		in.draft.Discard()
	}
}

// follow is what waits for the commit as a message sees it that comes about in
// the same commit. What its policies add joins it with joined.
func follow(pending *hooks.Pending) *hooks.Pending {
	if pending == nil {
		return &hooks.Pending{}
	}
	return &hooks.Pending{Effects: slices.Clip(pending.Effects)}
}

func joined(pending, followed *hooks.Pending) {
	if pending != nil {
		pending.Effects, pending.Undo = followed.Effects, append(pending.Undo, followed.Undo...)
	}
}

// submitted makes the messages of a policy's mail.submit. Effects of the
// policies that they meet join those of pending. One that cannot be made is
// logged and dropped: the message at hand does not depend on it.
func (p *Pipeline) submitted(ctx context.Context, cause envelope.Envelope, gen *hooks.Generation, pending *hooks.Pending, s hooks.Submit) []*store.Message {
	if cause.Depth >= MaxDepth {
		p.log.WarnContext(ctx, "submission dropped", "id", cause.ID.String(), "space", s.Space, "err", "policies answer policies")
		return nil
	}
	now := p.clock.Now()
	in := &intake{gen: gen, pending: follow(pending), ours: true}
	in.env = envelope.Envelope{ID: envelope.NewID(now), Sender: s.Sender, ReceivedAt: now, Depth: cause.Depth + 1, Auto: "policy", Protocol: "policy", Ours: true}
	in.header = mime.ParseHeader(s.Header)
	in.env.Outgoing = p.outgoingSubmit(&s, author(in.header))
	if err := p.fill(ctx, in, s.Body, s.Rcpts); err != nil {
		p.log.ErrorContext(ctx, "submission dropped", "id", cause.ID.String(), "space", s.Space, "err", err)
		return nil
	}
	in.rcpts = append(in.rcpts, p.copies(s)...)
	messages, _, st := p.prepare(ctx, in, true)
	in.made(messages)
	if st != nil {
		in.pending.Back(0, 0, 0)
		p.log.ErrorContext(ctx, "submission dropped", "id", cause.ID.String(), "space", s.Space, "status", st.Reply(), "err", st.Err)
		return nil
	}
	joined(pending, in.pending)
	p.log.Step(ctx, "submitted", in.env.ID.String(), "cause", cause.ID.String(), "space", s.Space, "from", string(s.Sender), "to", len(s.Rcpts))
	return messages
}

// fill gives an intake of our own making its body and recipients.
func (p *Pipeline) fill(ctx context.Context, in *intake, body []byte, rcpts []envelope.Address) error {
	in.draft = p.store.Draft(context.WithoutCancel(ctx))
	if _, err := in.draft.Write(body); err != nil {
		in.draft.Discard()
		in.draft = nil
		return err
	}
	in.body = in.draft.Open
	in.env.EightBit = has8Bit(body)
	in.env.Subject, _ = in.header.Get("Subject")
	in.env.Subject = clean(in.env.Subject)
	var notify envelope.Notify // of failures, whom the policy named as the sender
	if in.env.Sender == "" {
		notify = envelope.NotifyNever
	}
	for _, a := range rcpts {
		in.rcpts = append(in.rcpts, &envelope.Recipient{Address: a, Orig: a, Notify: notify, IsLocal: p.dir.Local(a.Domain())})
	}
	return nil
}

// apply commits the effects of a hook whose effects do not wait for a
// message, together with what it submitted.
func (p *Pipeline) apply(ctx context.Context, gen *hooks.Generation, effects []envelope.Effect, submits []hooks.Submit) error {
	ctx = context.WithoutCancel(ctx)
	defer p.decided(effects)
	return safely(func() error {
		if len(submits) == 0 {
			_, err := p.store.Apply(ctx, effects)
			return err
		}
		return p.commitSubmits(ctx, gen, effects, submits)
	})
}

func (p *Pipeline) commitSubmits(ctx context.Context, gen *hooks.Generation, effects []envelope.Effect, submits []hooks.Submit) error {
	var messages []*store.Message
	defer func() { discard(messages) }()
	pending := &hooks.Pending{Effects: effects}
	for _, s := range submits {
		messages = append(messages, p.submitted(ctx, envelope.Envelope{}, gen, pending, s)...)
	}
	if err := p.store.Commit(ctx, pending.Effects, messages...); err != nil {
		return err
	}
	p.wake(messages)
	return nil
}
