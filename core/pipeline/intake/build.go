package intake

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// builder makes the messages of one commit. Messages that result from a message (its
// forks, DSNs about it, mail that policies send) are put on a list of steps, and the
// newest step runs first: everything that results from one message is made before
// the next one begins, and can be rolled back together.
type builder struct {
	*Intake
	u     *commit.Unit
	steps []listedStep
	scope *scope        // of the step that runs
	space [8]listedStep // of steps, as long as they are few
}

// step is a part of making messages. A status says that it failed; its scope fails
// then, or the whole commit if it has no scope.
type step interface {
	run(ctx context.Context, b *builder) *envelope.Status
}

type listedStep struct {
	step
	scope *scope
}

// scope is a part of the commit that can fail without the rest, such as a DSN or a
// message that a policy sends.
type scope struct {
	parent *scope
	save   commit.Savepoint
	steps  int // length of the list when the scope began
	// failed is called after the scope was rolled back. It may return a step to run
	// instead.
	failed func(st *envelope.Status) step
}

// build runs steps and the steps that they add, until none is left or a step without
// a scope fails.
func (k *Intake) build(ctx context.Context, u *commit.Unit, first ...step) *envelope.Status {
	b := &builder{Intake: k, u: u}
	b.steps = b.space[:0]
	b.add(first...)
	for len(b.steps) > 0 {
		next := b.steps[len(b.steps)-1]
		b.steps = b.steps[:len(b.steps)-1]
		b.scope = next.scope
		st := next.run(ctx, b)
		if st == nil {
			continue
		}
		if b.scope == nil {
			return st
		}
		failed := b.scope
		b.steps, b.scope = b.steps[:failed.steps], failed.parent
		u.Rollback(failed.save)
		if instead := failed.failed(st); instead != nil {
			b.add(instead)
		}
	}
	return nil
}

// add puts steps on the list, in the order in which they are to run.
func (b *builder) add(steps ...step) {
	for i := len(steps) - 1; i >= 0; i-- {
		b.steps = append(b.steps, listedStep{steps[i], b.scope})
	}
}

// failAll makes the whole commit fail, whatever the scope: the store failed, and no
// message may be lost because of that.
func (b *builder) failAll(err error) *envelope.Status {
	b.scope = nil
	return ReadStatus(err)
}

// begin opens a scope for the rest of the step that runs and for what it adds.
func (b *builder) begin(failed func(st *envelope.Status) step) {
	b.scope = &scope{parent: b.scope, save: b.u.Savepoint(), steps: len(b.steps), failed: failed}
}

// expandStep expands and groups the recipients of a message.
type expandStep struct{ in *Incoming }

func (s expandStep) run(ctx context.Context, b *builder) *envelope.Status {
	in := s.in
	if st := b.expand(ctx, in); st != nil {
		return st
	}
	if st := b.group(ctx, in); st != nil {
		return st
	}
	b.add(messageStep{in}) // after the DSNs
	if !in.reports {
		return nil
	}
	var due []commit.DSN
	if !in.PerRcpt {
		due = in.rejectedDSNs()
	}
	if len(in.expanded) > 0 && in.Envelope.Sender != "" {
		due = append(due, commit.DSN{Action: "expanded", To: in.Envelope.Sender, Rcpts: in.expanded})
	}
	for _, d := range slices.Backward(due) {
		b.add(dsnStep{about: b.dsnSubject(in), dsn: d})
	}
	return nil
}

// messageStep makes the message itself, and adds the steps for its forks.
type messageStep struct{ in *Incoming }

func (s messageStep) run(ctx context.Context, b *builder) *envelope.Status {
	in := s.in
	if st := b.forward(ctx, in); st != nil {
		return st
	}
	if len(in.groups) > 0 {
		if st := b.sign(in); st != nil {
			return st
		}
	}
	if g := b.asyncGroup(in); g != nil {
		in.groups = append(in.groups, g)
	}
	if len(in.groups) > 0 {
		in.message = in.newMessage()
		b.u.Messages = append(b.u.Messages, in.message)
	}
	b.add(trailStep{in}) // after the forks
	for _, f := range slices.Backward(in.forks) {
		b.add(forkStep{in, f})
	}
	return nil
}

// trailStep sets the trail of a message after everything that results from it is
// made.
type trailStep struct{ in *Incoming }

func (s trailStep) run(_ context.Context, b *builder) *envelope.Status {
	in := s.in
	if in.message != nil {
		in.addTrail(envelope.TrailEntry{Time: b.clock.Now(), Step: "queue", Text: "committed: " + describeGroups(in.groups)})
		in.message.Trail = trail.Printable(in.Trail)
	}
	return nil
}

// describeGroups names the groups of a message for its trail.
func describeGroups(groups []*envelope.Group) string {
	const named = 10
	var b strings.Builder
	for i, g := range groups {
		if i > 0 {
			b.WriteString("; ")
		}
		if i == named {
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

// forward adds the recipients to whom policies forwarded the message with
// mail.forward. The body is stored once. The hooks of the queue run for them too, and
// may forward again, up to MaxDepth times.
func (b *builder) forward(ctx context.Context, in *Incoming) *envelope.Status {
	for range MaxDepth {
		rcpts := b.takeForwards(in)
		if len(rcpts) == 0 {
			return nil
		}
		more := *in
		more.Rcpts, more.groups, more.expanded, more.forks = rcpts, nil, nil, nil
		st := b.expand(ctx, &more)
		if st == nil {
			st = b.group(ctx, &more)
		}
		if st != nil && st.Code < 500 {
			return st // a policy failed: the client sends it again
		}
		for r, why := range more.rejected {
			b.log.WarnContext(ctx, "forward not made", "id", in.Envelope.ID.String(), "to", string(r.Address), "status", why.Reply())
		}
		in.Trail = more.Trail
		if st == nil {
			in.groups, in.forks = append(in.groups, more.groups...), append(in.forks, more.forks...)
		}
	}
	b.takeForwards(in) // forwards beyond MaxDepth are dropped
	return nil
}

// takeForwards removes the forwards of the message from the unit's submissions, and
// returns their recipients.
func (b *builder) takeForwards(in *Incoming) []*envelope.Recipient {
	var rcpts []*envelope.Recipient
	submits := b.u.Pending.Submits
	rest := append([]hooks.Submit(nil), submits[:in.submits]...)
	for _, s := range submits[in.submits:] {
		if !s.Forward {
			rest = append(rest, s)
			continue
		}
		for _, to := range s.Rcpts {
			sender := s.Sender
			if s.Hold {
				in.groups = append(in.groups, b.HeldGroup(&in.Envelope, to, sender))
				continue
			}
			rcpts = append(rcpts, &envelope.Recipient{Address: to, Orig: to, Sender: &sender, Edit: s.Edit, IsLocal: b.dir.Local(to.Domain())})
		}
		rcpts = append(rcpts, b.FiledCopies(s)...)
	}
	b.u.Pending.Submits = rest
	return rcpts
}

// AddRecipient adds a recipient to a message in the store: it runs the hooks of the
// queue, and adds the groups of the recipient and the forks of the message to the
// unit. A status says why the recipient gets nothing; the effects of policies stay in
// the unit even then.
func (k *Intake) AddRecipient(
	ctx context.Context, u *commit.Unit, gen *hooks.Generation, env *envelope.Envelope, h *mime.Header, r envelope.Recipient,
) *envelope.Status {
	r.IsLocal, r.State = k.dir.Local(r.Address.Domain()) || r.Filed != nil && r.Filed.Anybody, envelope.Queued
	in := &Incoming{Envelope: *env, Header: h, Rcpts: []*envelope.Recipient{&r}, Gen: gen, Ours: env.Ours, Body: StoredBody(ctx, k.store, env),
		submits: len(u.Pending.Submits)}
	before := u.Savepoint()
	st := k.build(ctx, u, recipientStep{in})
	u.Trail = append(u.Trail, in.Trail...)
	if st != nil {
		u.RollbackMessages(before)
	}
	return st
}

// recipientStep expands and groups one more recipient of a stored message.
type recipientStep struct{ in *Incoming }

func (s recipientStep) run(ctx context.Context, b *builder) *envelope.Status {
	in := s.in
	if st := b.expand(ctx, in); st != nil {
		return st
	}
	if st := b.group(ctx, in); st != nil {
		return st
	}
	for _, why := range in.rejected {
		return why
	}
	b.u.Groups = append(b.u.Groups, in.groups...)
	in.submits = len(b.u.Pending.Submits) // forwards so far belong to the running attempt, not to the forks
	for _, f := range in.forks {
		b.add(forkStep{in, f})
	}
	return nil
}
