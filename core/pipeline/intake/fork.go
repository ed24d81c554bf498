package intake

import (
	"context"
	"fmt"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// fork is a message that a policy at queue.expand made from the current one, for one
// of its recipients or for those that replace it.
type fork struct {
	msg        *hooks.Message
	madeFor    envelope.Address // the recipient that it was made for
	includesIt bool             // madeFor is among rcpts
	rcpts      []*envelope.Recipient
}

// forkStep makes one fork of a message, in the same commit. The fork has its own id
// and trail; a body that was not changed is stored once. The hooks of the queue run
// for the fork too, and may fork it again, up to MaxDepth times.
type forkStep struct {
	in *Incoming
	f  fork
}

func (s forkStep) run(ctx context.Context, b *builder) *envelope.Status {
	in, f := s.in, s.f
	if in.Envelope.Depth >= MaxDepth {
		return envelope.Reject(554, "5.4.6", "mail loop: too many forks of forks")
	}
	if st := b.verifyBeforeFork(ctx, in, f); st != nil {
		return st
	}
	now := b.clock.Now()
	more := &Incoming{
		Envelope: in.Envelope, Header: f.msg.Header, Body: in.Body, Rcpts: f.rcpts, Gen: in.Gen, Due: in.Due, Quarantine: in.Quarantine,
		Ours: in.Ours, Budget: in.Budget, forked: true,
		forkedBy: append(slices.Clone(in.forkedBy), f.msg.ForkMakersFor(f.madeFor, f.includesIt)...),
		reports:  true, submits: in.submits,
	}
	more.Envelope.ID, more.Envelope.Depth = envelope.NewID(now), in.Envelope.Depth+1
	more.Envelope.Meta, more.Envelope.Priority = f.msg.Meta, f.msg.Priority
	if f.msg.HasBodyEdits() {
		header, draft, placeholders, err := b.Rewrite(ctx, b.u, f.msg)
		if err != nil {
			return ReadStatus(fmt.Errorf("fork of %s: %w", in.Envelope.ID, err))
		}
		more.Header, more.Body, more.Envelope.Placeholders = header, NewBody(draft), placeholders
		if f.msg.Encrypt != nil {
			more.Envelope.EightBit = mime.Has8Bit(header.Bytes())
		}
	}
	more.maySign = f.msg.MaySign
	if before := in.maySign; before != nil {
		more.maySign = func(domain string) bool { return before(domain) && (f.msg.MaySign == nil || f.msg.MaySign(domain)) }
	}
	more.Envelope.Subject, _ = more.Header.Get("Subject")
	more.Envelope.Subject = trail.Clean(more.Envelope.Subject)
	more.Sign = f.msg.Sign
	more.Envelope.Sign, more.Sign = b.signatures(more), nil // each copy is signed at its delivery
	in.addTrail(envelope.TrailEntry{Time: now, Step: "queue", Rcpt: f.madeFor, Text: "goes on as message " + more.Envelope.ID.String()})
	more.addTrail(envelope.TrailEntry{Time: now, Step: "queue", Rcpt: f.madeFor,
		Text: fmt.Sprintf("made of message %s for %d recipients", in.Envelope.ID, len(f.rcpts))})
	b.add(expandStep{more})
	return nil
}

// verifyBeforeFork verifies the current message if a copy of the fork will get an
// ARC seal: the seal records how the original arrived, and the fork may have other
// content.
func (b *builder) verifyBeforeFork(ctx context.Context, in *Incoming, f fork) *envelope.Status {
	if in.Ours || !slices.ContainsFunc(f.rcpts, func(r *envelope.Recipient) bool { return r.ARC != "" }) {
		return nil
	}
	check := b.Verification(&in.Envelope, in.Header, in.Body.Open)
	if check == nil {
		return nil
	}
	if _, err := check(ctx); err != nil {
		return ReadStatus(fmt.Errorf("verify %s: %w", in.Envelope.ID, err))
	}
	return nil
}
