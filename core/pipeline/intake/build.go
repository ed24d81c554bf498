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

// builder makes the messages of one commit. What a message gives rise to (its
// forks, DSNs about it, mail that policies send) is put on a list of steps, and
// the newest step runs first: so everything that comes of one message is made
// before the next one begins, and can be taken back together.
type builder struct {
	*Intake
	u     *commit.Unit
	steps []listedStep
	scope *scope        // of the step that runs
	space [8]listedStep // of steps, as long as they are few
}

// step is a part of making messages. A status says that it failed: with it fails
// its scope, or the whole commit where it has none.
type step interface {
	run(ctx context.Context, b *builder) *envelope.Status
}

type listedStep struct {
	step
	scope *scope
}

// scope is a part of the commit that fails alone, as a DSN or a message that a
// policy sends.
type scope struct {
	parent *scope
	save   commit.Savepoint
	steps  int // length of the list when the scope began
	// failed is called when all of the scope was taken back. It may return a step
	// to run instead.
	failed func(st *envelope.Status) step
}

// build runs steps and all that they add, until none is left or one that has no
// scope fails.
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

// failAll makes a status fail the whole commit, whatever the scope: the store
// failed, and nothing is to be lost for that.
func (b *builder) failAll(err error) *envelope.Status {
	b.scope = nil
	return ReadStatus(err)
}

// begin opens a scope for the rest of the step that runs and for what it adds.
func (b *builder) begin(failed func(st *envelope.Status) step) {
	b.scope = &scope{parent: b.scope, save: b.u.Savepoint(), steps: len(b.steps), failed: failed}
}

// expandStep finds out to whom a message goes.
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

// messageStep makes the message itself, and has its forks made.
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

// trailStep gives a message its trail, when all that came of it is made.
type trailStep struct{ in *Incoming }

func (s trailStep) run(_ context.Context, b *builder) *envelope.Status {
	in := s.in
	if in.message != nil {
		in.addTrail(envelope.TrailEntry{Time: b.clock.Now(), Step: "queue", Text: "committed: " + describe(in.groups)})
		in.message.Trail = trail.Printable(in.Trail)
	}
	return nil
}

// describe names the groups of a message for its trail.
func describe(groups []*envelope.Group) string {
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

// forward sends the message at hand to those to whom policies forwarded it with
// mail.forward: further recipients of one stored body. They pass the policies of
// the queue too, which may forward in their turn, MaxDepth times.
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
			return st // a policy failed: the client comes again
		}
		for r, why := range more.rejected {
			b.log.WarnContext(ctx, "forward not made", "id", in.Envelope.ID.String(), "to", string(r.Address), "status", why.Reply())
		}
		in.Trail = more.Trail
		if st == nil {
			in.groups, in.forks = append(in.groups, more.groups...), append(in.forks, more.forks...)
		}
	}
	b.takeForwards(in) // policies that forward what they forwarded are not asked again
	return nil
}

// takeForwards takes the forwards out of the unit's submissions, since those of
// the message began, and returns their recipients.
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

// AddRecipient adds a recipient to a message of the store, as the policies of the
// queue allow: its groups and the forks of the message go into the unit. A status
// says why it gets nothing; what policies noted stays in the unit even then.
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

// recipientStep finds out where one more recipient of a stored message is.
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
	in.submits = len(b.u.Pending.Submits) // what policies forward belongs to the attempt at hand, not to the forks
	for _, f := range in.forks {
		b.add(forkStep{in, f})
	}
	return nil
}
