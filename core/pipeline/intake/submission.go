package intake

import (
	"context"
	"fmt"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// Submit makes the message of a policy's mail.submit and adds it to the unit, with
// the effects of the policies that run for it. cause is the message whose hook
// submitted it. A message that cannot be made is logged and dropped: cause does not
// depend on it. A status says that the store failed; the unit must not be committed
// then.
func (k *Intake) Submit(
	ctx context.Context, u *commit.Unit, cause *envelope.Envelope, gen *hooks.Generation, s hooks.Submit,
) *envelope.Status {
	return k.build(ctx, u, submitStep{cause, gen, s})
}

// submissionsStep makes what policies submitted about a message: the unit's
// submissions since it began.
type submissionsStep struct{ in *Incoming }

func (s submissionsStep) run(_ context.Context, b *builder) *envelope.Status {
	from := s.in.submits
	list := b.u.Pending.Submits[from:]
	b.u.Pending.Submits = b.u.Pending.Submits[:from:from]
	for _, one := range slices.Backward(list) {
		b.add(submitStep{&s.in.Envelope, s.in.Gen, one})
	}
	return nil
}

// submitStep makes one message that a policy submitted.
type submitStep struct {
	cause  *envelope.Envelope
	gen    *hooks.Generation
	submit hooks.Submit
}

func (s submitStep) run(ctx context.Context, b *builder) *envelope.Status {
	cause := s.cause.ID.String()
	if s.cause.Depth >= MaxDepth {
		b.log.WarnContext(ctx, "submission dropped", "id", cause, "space", s.submit.Space, "err", "policies answer policies")
		return nil
	}
	b.begin(func(st *envelope.Status) step {
		b.log.ErrorContext(ctx, "submission dropped", "id", cause, "space", s.submit.Space, "status", st.Reply(), "err", st.Err)
		return nil
	})
	now := b.clock.Now()
	in := &Incoming{Gen: s.gen, Ours: true, reports: true, submits: len(b.u.Pending.Submits), Header: mime.ParseHeader(s.submit.Header)}
	in.Envelope = envelope.Envelope{
		ID:         envelope.NewID(now),
		Sender:     s.submit.Sender,
		ReceivedAt: now,
		Depth:      s.cause.Depth + 1,
		Auto:       "policy",
		Protocol:   "policy",
		Ours:       true,
	}
	in.Envelope.Outgoing = b.outgoingSubmit(&s.submit, author(in.Header))
	if err := b.fill(ctx, in, s.submit.Body, s.submit.Rcpts); err != nil {
		return b.failAll(fmt.Errorf("body of a submission: %w", err))
	}
	in.Rcpts = append(in.Rcpts, b.FiledCopies(s.submit)...)
	b.add(expandStep{in}, submissionsStep{in}, submittedStep{in, cause, s.submit})
	return nil
}

// submittedStep logs a submission after all steps for it are done.
type submittedStep struct {
	in     *Incoming
	cause  string
	submit hooks.Submit
}

func (s submittedStep) run(ctx context.Context, b *builder) *envelope.Status {
	b.log.Step(ctx, "submitted", s.in.Envelope.ID.String(),
		"cause", s.cause, "space", s.submit.Space, "from", string(s.submit.Sender), "to", len(s.submit.Rcpts))
	return nil
}

// fill sets the body and the recipients of a message that the server makes.
func (b *builder) fill(ctx context.Context, in *Incoming, body []byte, rcpts []envelope.Address) error {
	draft := b.u.Draft(ctx, b.store)
	if _, err := draft.Write(body); err != nil {
		return err
	}
	in.Body = NewBody(draft)
	in.Envelope.EightBit = mime.Has8Bit(body)
	in.Envelope.Subject, _ = in.Header.Get("Subject")
	in.Envelope.Subject = trail.Clean(in.Envelope.Subject)
	var notify envelope.Notify // zero: DSNs of failures go to the sender that the policy named
	if in.Envelope.Sender == "" {
		notify = envelope.NotifyNever
	}
	for _, a := range rcpts {
		in.Rcpts = append(in.Rcpts, &envelope.Recipient{Address: a, Orig: a, Notify: notify, IsLocal: b.dir.Local(a.Domain())})
	}
	return nil
}

// FiledCopies returns a recipient for each copy of a submission that goes into a
// folder.
func (k *Intake) FiledCopies(s hooks.Submit) []*envelope.Recipient {
	var rcpts []*envelope.Recipient
	for _, c := range s.Copies {
		filing := c.Filing
		rcpts = append(rcpts, &envelope.Recipient{Address: c.Owner, Orig: c.Owner, Notify: envelope.NotifyNever, Edit: s.Edit,
			IsLocal: k.dir.Local(c.Owner.Domain()), Filed: &filing})
	}
	return rcpts
}
