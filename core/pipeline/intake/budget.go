package intake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/pipeline/trail"
	"carteiro/core/store"
	"carteiro/hooks"
)

// A message that makes a policy exceed its budget is deferred, because the admin may
// correct the policy. If that happens maxExhausted times within exhaustedTTL, the
// message is accepted and quarantined: the client does not send it again, and the
// policy does not run for it again.
const (
	maxExhausted = 3
	exhaustedTTL = 24 * time.Hour
	// exhaustedSpace is the KV namespace in which the failures are counted; no
	// policy's namespace has this name.
	exhaustedSpace = "#exhausted"
)

// Budget counts how often handlers exceeded their budget for one message of a
// session, and decides whether to defer or quarantine it.
type Budget struct {
	// Message is the message, as policies see it.
	Message *hooks.Message
	// Reason is why the message is quarantined; "": it is not.
	Reason string

	k       *Intake
	ctx     context.Context
	pending *hooks.Pending
}

// NewBudget returns the Budget of an incoming message. Notices to the postmaster are
// added to pending, and committed with the message.
func (k *Intake) NewBudget(ctx context.Context, pending *hooks.Pending) *Budget {
	return &Budget{k: k, ctx: ctx, pending: pending}
}

// exhausted returns the function for Event.OnExhausted; nil for a message that came
// by no session: its failures are not counted.
func (in *Incoming) exhausted() func(hooks.Info, hooks.Verdict, error) hooks.Verdict {
	if in.Budget == nil {
		return nil
	}
	return in.Budget.Exhausted
}

// Exhausted is the function for hooks.Event.OnExhausted.
func (x *Budget) Exhausted(i hooks.Info, deferred hooks.Verdict, err error) hooks.Verdict {
	octets, parts, links, depth := shapeOf(x.Message)
	x.k.log.ErrorContext(x.ctx, "message ran a policy out of its budget",
		"id", x.Message.ID.String(), "hook", string(i.Point), "handler", i.Name(),
		"octets", octets, "parts", parts, "links", links, "depth", depth, "err", firstLine(err.Error()))
	if x.Reason == "" {
		n, err := x.count()
		if err != nil {
			x.k.log.ErrorContext(x.ctx, "not counted", "id", x.Message.ID.String(), "err", err)
			return deferred
		}
		if n < maxExhausted {
			return deferred
		}
		x.Reason = fmt.Sprintf("%s ran out of its budget on it %d times", i.Name(), n)
		x.notice(i)
	}
	return hooks.Verdict{Action: hooks.Quarantine, Reason: x.Reason}
}

// count adds one to the failures of the message, also if it is refused.
//
// Crash: the failure is counted, or the client gets no reply and sends the message
// again.
func (x *Budget) count() (int64, error) {
	one := envelope.Effect{Space: exhaustedSpace, Op: envelope.Incr, Key: x.key(), N: 1, TTL: exhaustedTTL}
	n, err := x.k.store.Apply(context.WithoutCancel(x.ctx), []envelope.Effect{one})
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// key returns a key that stays the same when the message is sent again: it is made
// from fields of the author, without fields that servers add.
func (x *Budget) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", x.Message.Sender)
	for _, name := range []string{"Message-ID", "Date", "From", "Subject"} {
		v, _ := x.Message.Header.Get(name)
		fmt.Fprintf(h, "%q", v)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

// notice sends a mail to the postmaster, in the commit of the message, at most once
// within exhaustedTTL.
func (x *Budget) notice(i hooks.Info) {
	k := x.k
	domains := k.dir.Domains()
	if len(domains) == 0 || x.pending == nil {
		return
	}
	noticeKey := x.key() + " told"
	if _, err := k.store.Get(x.ctx, exhaustedSpace, noticeKey); !errors.Is(err, store.ErrNotFound) {
		return
	}
	x.pending.Effects = append(x.pending.Effects, envelope.Effect{Space: exhaustedSpace, Op: envelope.Set, Key: noticeKey, TTL: exhaustedTTL})
	to := envelope.Address("postmaster@" + domains[0].Name)
	octets, parts, links, depth := shapeOf(x.Message)
	subject, _ := x.Message.Header.Get("Subject")
	h := &mime.Header{}
	for _, f := range [][2]string{{"From", "Mail Server <postmaster@" + domains[0].Name + ">"}, {"To", string(to)},
		{"Subject", "Quarantined: a policy ran out of its budget"}, {"Date", k.clock.Now().Format(time.RFC1123Z)},
		{"Message-ID", "<" + envelope.NewID(k.clock.Now()).String() + "@" + k.hostname + ">"}, {"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}} {
		if err := h.Append(f[0], f[1]); err != nil {
			k.log.ErrorContext(x.ctx, "notice not made", "id", x.Message.ID.String(), "err", err)
			return
		}
	}
	id := x.Message.ID
	text := fmt.Sprintf(`The message %s from %s, subject %q, was accepted and is in quarantine.

The policy %s ran out of its budget on it %d times within a day, at %s.
The message has %d octets, %d parts, %d links, and is nested %d deep.

carteiro explain %s shows what the policies did, and
carteiro queue release %s delivers the message.
`, id, x.Message.Sender.Path(), trail.Clean(subject), i.Name(), maxExhausted, i.Point, octets, parts, links, depth, id, id)
	x.pending.Submits = append(x.pending.Submits, hooks.Submit{Rcpts: []envelope.Address{to}, Header: h.Bytes(),
		Body: []byte(strings.ReplaceAll(text, "\n", "\r\n")), Space: exhaustedSpace})
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// maxShape is how many octets of a body are searched for links.
const maxShape = 4 << 20

// shapeOf returns what makes a message expensive for policies: octets, parts, links,
// and how deep its parts are nested. A number is 0 if the body cannot be read.
func shapeOf(m *hooks.Message) (octets int64, parts, links, depth int) {
	octets = m.Size
	if m.Body == nil {
		return octets, 0, 0, 0
	}
	if body, err := m.Body(); err == nil {
		raw, _ := io.ReadAll(io.LimitReader(body, maxShape))
		body.Close()
		links = bytes.Count(raw, []byte("http://")) + bytes.Count(raw, []byte("https://"))
	}
	if body, err := m.Body(); err == nil {
		defer body.Close()
		if index, err := mime.ReadIndex(m.Header, body); err == nil {
			parts = len(index.Parts)
			for _, part := range index.Parts {
				depth = max(depth, part.Depth)
			}
		}
	}
	return octets, parts, links, depth
}
