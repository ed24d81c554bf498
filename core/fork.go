package core

import (
	"context"
	"fmt"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/hooks"
)

// fork is a message that policies of the queue made of the one at hand, for
// one of its recipients or those that stand for it.
type fork struct {
	msg   *hooks.Message
	of    envelope.Address // the recipient that it was made for
	stays bool             // and it is among rcpts
	rcpts []*envelope.Recipient
}

// forks makes the messages that policies made of this one, for its commit.
// Each has an id and a story of its own; a body that was not changed is stored
// once: owner is the message that has it, nil when none of this commit has. They pass
// the policies of the queue in their turn, MaxDepth times. A status says that
// the message cannot be taken.
func (p *Pipeline) forks(ctx context.Context, in *intake, owner *envelope.Envelope) ([]*store.Message, *envelope.Status) {
	var out []*store.Message
	for _, f := range in.forks {
		more, st := p.forked(ctx, in, f)
		if st != nil {
			discard(out)
			return nil, st
		}
		changed := more.draft != nil
		if !changed && owner != nil {
			more.share = owner
		} else if !changed {
			more.draft = in.draft
		}
		messages, _, st := p.assemble(ctx, more, true)
		if changed {
			more.made(messages)
		}
		if st != nil {
			discard(out)
			return nil, st
		}
		for _, m := range messages {
			if m.Draft != nil && m.Draft == in.draft {
				owner = &m.Envelope
			}
		}
		out = append(out, messages...)
	}
	return out, nil
}

// forked is the intake of one fork; it has a draft if the body was changed.
func (p *Pipeline) forked(ctx context.Context, in *intake, f fork) (*intake, *envelope.Status) {
	if in.env.Depth >= MaxDepth {
		return nil, envelope.Reject(554, "5.4.6", "recipient stands for itself")
	}
	now := p.clock.Now()
	if st := p.arrived(ctx, in, f); st != nil {
		return nil, st
	}
	more := &intake{env: in.env, header: f.msg.Header, body: in.body, rcpts: f.rcpts, pending: in.pending, gen: in.gen, due: in.due,
		quarantine: in.quarantine, ours: in.ours, forked: true, spent: in.spent, forkedBy: append(slices.Clone(in.forkedBy), f.msg.MadeFor(f.of, f.stays)...)}
	more.env.ID, more.env.Depth, more.env.Meta, more.env.Priority = envelope.NewID(now), in.env.Depth+1, f.msg.Meta, f.msg.Priority
	if f.msg.Rewritten() {
		var err error
		if more.header, more.draft, more.env.Marks, err = p.rewritten(ctx, f.msg); err != nil {
			return nil, incoming(fmt.Errorf("fork of %s: %w", in.env.ID, err))
		}
		more.body = more.draft.Open
		if f.msg.Encrypt != nil {
			more.env.EightBit = has8Bit(more.header.Bytes())
		}
	}
	more.maySign = f.msg.MaySign
	if before := in.maySign; before != nil {
		more.maySign = func(domain string) bool { return before(domain) && (f.msg.MaySign == nil || f.msg.MaySign(domain)) }
	}
	more.env.Subject, _ = more.header.Get("Subject")
	more.env.Subject = clean(more.env.Subject)
	more.sign = f.msg.Sign
	more.env.Sign, more.sign = p.signatures(more), nil
	in.trail = append(in.trail, envelope.TrailEntry{Time: now, Step: "queue", Rcpt: f.of, Text: "goes on as message " + more.env.ID.String()})
	more.trail = []envelope.TrailEntry{{Time: now, Step: "queue", Rcpt: f.of, Text: fmt.Sprintf("made of message %s for %d recipients", in.env.ID, len(f.rcpts))}}
	return more, nil
}

// arrived sees to it that a fork whose copies are sealed knows how the message
// arrived: itself it may be changed.
func (p *Pipeline) arrived(ctx context.Context, in *intake, f fork) *envelope.Status {
	if in.ours || !slices.ContainsFunc(f.rcpts, func(r *envelope.Recipient) bool { return r.ARC != "" }) {
		return nil
	}
	check := p.auth(&in.env, in.header, in.body)
	if check == nil {
		return nil
	}
	if _, err := check(ctx); err != nil {
		return incoming(fmt.Errorf("verify %s: %w", in.env.ID, err))
	}
	return nil
}
