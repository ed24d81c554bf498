package receive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"carteiro/core/internal/panics"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/events"
	"carteiro/core/pipeline/intake"
	"carteiro/core/pipeline/trail"
	"carteiro/core/service/verify"
	"carteiro/core/store"
	"carteiro/hooks"
)

// answerWithin is the time limit between the end of the data and the reply to it.
const answerWithin = 120 * time.Second

// content is a message that a client is sending.
type content struct {
	s            *envelope.Session
	tx           *envelope.Transaction
	gen          *hooks.Generation
	header       *mime.Header
	draft        store.Draft
	has8Bit      bool
	msg          *hooks.Message
	unit         commit.Unit
	placeholders []envelope.Placeholder // of text that policies appended
	// verified holds the results of SPF, DKIM and DMARC after a policy asked for
	// them or the message was counted for aggregate reports.
	verified intake.Verified
	verdict  hooks.Action   // of receive.data
	budget   *intake.Budget // counts handlers that ran out of their budget
}

// Data receives a message: it reads the header section and the body, runs the
// policies, commits, and returns the 250 when the commit is on disk. perRcpt has a
// status for each recipient if they differ; LMTP can transmit that. Of a message
// that is refused or cut off nothing is kept.
func (r *Receiver) Data(
	ctx context.Context, s *envelope.Session, tx *envelope.Transaction, src io.Reader,
) (st *envelope.Status, perRcpt []*envelope.Status) {
	c := &content{s: s, tx: tx, gen: r.generation(s)}
	defer c.unit.Close()
	c.draft = c.unit.Draft(ctx, r.store)
	c.budget = r.intake.NewBudget(ctx, &c.unit.Pending)
	if err := panics.Catch(func() error { st, perRcpt = r.receive(ctx, c, src); return nil }); err != nil {
		st, perRcpt = envelope.StatusOf(fmt.Errorf("message %s: %w", tx.ID, err)), nil
	}
	r.countForReports(c, st)
	size := c.size()
	if st != nil && st.Code < 500 && st.Code >= 400 {
		c.unit.Rollback(commit.Savepoint{}) // the client will send it again
	}
	result := "accepted"
	if st != nil && st.Code >= 400 {
		result = "refused"
		if r.events.Wanted("rejected") {
			r.events.Notice("rejected", c.rejectedEvent(st))
		}
	}
	r.log.Metrics.Received.WithLabelValues(s.Listener, result).Inc()
	r.log.Step(ctx, "message", tx.ID.String(), "session", s.ID, "from", string(tx.Sender), "to", len(tx.Recipients), "size", size,
		"subject", c.subject(), "result", result, "status", replyOf(st), "err", causeOf(st))
	return st, perRcpt
}

func replyOf(st *envelope.Status) string {
	if st == nil {
		return "250 2.0.0"
	}
	return st.Reply()
}

func causeOf(st *envelope.Status) error {
	if st == nil {
		return nil
	}
	return st.Err
}

// size returns the octets of the message so far.
func (c *content) size() int64 {
	if c.header == nil {
		return 0
	}
	return int64(len(c.header.Bytes())) + c.draft.Size()
}

func (c *content) subject() string {
	if c.header == nil {
		return ""
	}
	v, _ := c.header.Get("Subject")
	return trail.Clean(v)
}

// receive does the work of Data; Data logs it.
func (r *Receiver) receive(ctx context.Context, c *content, src io.Reader) (*envelope.Status, []*envelope.Status) {
	buffered := readerPool.Get().(*bufio.Reader)
	buffered.Reset(src)
	defer func() {
		buffered.Reset(nil) // the pool must not keep the session alive
		readerPool.Put(buffered)
	}()
	if st := r.readHeader(ctx, c, buffered); st != nil {
		return st, nil
	}
	w := &bodyWriter{w: c.draft}
	if _, err := io.Copy(w, buffered); err != nil {
		return intake.ReadStatus(err), nil
	}
	c.has8Bit = c.has8Bit || w.has8Bit
	if st := checkGeneration(c.gen, r.clock.Now()); st != nil {
		return st, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	if c.s.Identity != nil { // checked again: a right may have been revoked while the body came in
		if st := r.senders.maySend(ctx, c.s, stateOf(c.s).tx.sender); st != nil {
			return st, nil
		}
		if st := r.senders.mayBeFrom(ctx, c); st != nil {
			return st, nil
		}
	}
	v := r.runDataHook(ctx, c)
	if c.budget.Reason != "" && v.Action != hooks.Reject && v.Action != hooks.Defer && v.Action != hooks.Discard {
		// The budget was exceeded at receive.headers, or by the policies of one of several domains.
		v = hooks.Verdict{Action: hooks.Quarantine, Reason: c.budget.Reason}
	}
	c.verdict = v.Action
	if st := r.verifyForReports(ctx, c); st != nil {
		return st, nil
	}
	if st := v.Refusal(); st != nil {
		return st, nil
	}
	in, st := r.buildIncoming(ctx, c, v)
	if st != nil {
		return st, nil
	}
	return r.accept(ctx, c, in)
}

// readHeader reads the header section, refuses loops and runs receive.headers
// while the body is still coming in.
func (r *Receiver) readHeader(ctx context.Context, c *content, src *bufio.Reader) *envelope.Status {
	raw, err := mime.ReadHeader(src, mime.MaxHeader)
	if errors.Is(err, mime.ErrHeaderTooLarge) {
		return envelope.Reject(552, "5.3.4", "header section too large")
	}
	if err != nil {
		return intake.ReadStatus(err)
	}
	raw, rest := splitHeader(mime.SkipFromLine(raw))
	if len(rest) > 0 {
		if _, err := c.draft.Write(rest); err != nil {
			return intake.ReadStatus(err)
		}
	}
	c.header = mime.ParseHeader(raw)
	c.has8Bit = mime.Has8Bit(raw)
	if len(c.header.Fields()) > mime.MaxFields {
		return envelope.Reject(552, "5.3.4", "too many header fields")
	}
	if n := c.header.Count("Received"); n > MaxHops {
		return envelope.Reject(554, "5.4.6", "too many hops, this message loops")
	}
	if c.s.Protocol == "submission" || c.s.Identity != nil {
		if hasHiddenField(rest, c.s.Identity != nil) {
			return envelope.Reject(550, "5.6.0", "the header section has an invalid line, and a Bcc or author field after it")
		}
		if st := r.completeSubmission(ctx, c); st != nil {
			return st
		}
	}
	if c.s.Identity == nil {
		verify.Strip(c.header, r.hostname)
	}
	c.msg = &hooks.Message{ID: c.tx.ID, Sender: c.tx.Sender, ReceivedAt: r.clock.Now(), Header: c.header, Size: c.tx.Params.Size,
		Ours: c.s.Identity != nil || c.s.Trusted || c.s.Protocol == "submission"}
	if c.s.Identity != nil {
		c.msg.Identity = c.s.Identity.User
	}
	c.budget.Message = c.msg
	v := r.runContentHook(ctx, c, hooks.ReceiveHeaders)
	if st := v.Refusal(); st != nil {
		return st
	}
	if v.Action == hooks.Discard {
		discardAll(c.tx)
	}
	return nil
}

// splitHeader separates the header fields from what follows them and belongs to
// the body. RFC 5322 requires two fields, but some real mail has none; all of it
// is body then.
func splitHeader(raw []byte) (header, rest []byte) {
	fields := mime.ParseHeader(raw).Fields()
	n := 0
	for _, f := range fields {
		if f.Name() == "" {
			return raw[:n], raw[n:]
		}
		n += len(f.Raw)
	}
	return raw[:n], nil
}

// hasHiddenField reports whether the lines after an invalid header line contain a
// Bcc field, or, in mail of a user who logged in, an author field that a mail
// program might accept as one. These lines are part of the body.
func hasHiddenField(rest []byte, login bool) bool {
	h := mime.ParseHeader(rest)
	authors := []string{"From", "Sender", "Resent-From", "Resent-Sender"}
	return h.Has("Bcc") || h.Has("Resent-Bcc") || login && slices.ContainsFunc(authors, h.Has)
}

// runContentHook runs a hook that sees the session, the transaction and the message.
func (r *Receiver) runContentHook(ctx context.Context, c *content, point hooks.Point) hooks.Verdict {
	if !c.gen.Chain.Has(point) {
		c.gen.Chain.CountEmpty(point)
		return hooks.Verdict{}
	}
	e := &hooks.Event{Point: point, Now: r.clock.Now(), Session: c.s, Tx: c.tx, Msg: c.msg, Pending: &c.unit.Pending}
	e.OnExhausted = c.budget.Exhausted
	if spec, _ := hooks.SpecOf(point); !spec.InCommit {
		e.Pending = nil
		e.Apply = func(f []envelope.Effect, s []hooks.Submit) error { return r.intake.Apply(ctx, c.gen, f, s) }
	}
	v, entries := c.gen.Chain.Run(ctx, e)
	stateOf(c.s).addTrail(entries)
	trail.LogFailures(ctx, r.log, c.tx.ID.String(), entries)
	if e.Delay > 0 {
		r.delay(ctx, e.Delay)
	}
	return v
}

// runDataHook runs receive.data, when the message is complete.
func (r *Receiver) runDataHook(ctx context.Context, c *content) hooks.Verdict {
	c.msg.Header, c.msg.Body, c.msg.Sender = c.header, c.draft.Open, c.tx.Sender
	c.msg.Auth = c.verified.Once(r.resolver, verify.Message{IP: c.s.Remote.Addr(), Helo: c.s.Helo, Sender: c.tx.Sender,
		Header: c.header, Body: c.draft.Open, Now: r.clock.Now()})
	c.msg.Size = c.size()
	if pr := c.tx.Params.Priority; pr != nil {
		c.msg.Priority = *pr
	}
	v := r.runContentHook(ctx, c, hooks.ReceiveData)
	c.header = c.msg.Header
	if v.Action == hooks.Discard {
		discardAll(c.tx)
	}
	return v
}

func discardAll(tx *envelope.Transaction) {
	for _, r := range tx.Recipients {
		r.Discard = true
	}
}

// buildIncoming makes the message as it will be stored: with the policies' edits of
// the body, and with the trace field on top.
func (r *Receiver) buildIncoming(ctx context.Context, c *content, v hooks.Verdict) (*intake.Incoming, *envelope.Status) {
	if c.msg.HasBodyEdits() {
		if err := r.editBody(ctx, c); err != nil {
			return nil, intake.ReadStatus(fmt.Errorf("edit %s: %w", c.tx.ID, err))
		}
	}
	now, tx := r.clock.Now(), c.tx
	env := envelope.Envelope{ID: tx.ID, Sender: tx.Sender, ReceivedAt: now, EnvID: tx.Params.EnvID, Ret: tx.Params.Ret,
		Priority: c.msg.Priority, SMTPUTF8: tx.Params.SMTPUTF8, EightBit: c.has8Bit, RequireTLS: tx.Params.RequireTLS,
		Listener: c.s.Listener, Protocol: c.s.With(tx.Params.SMTPUTF8), Client: c.s.Remote.Addr().String(), Helo: trail.Clean(c.s.Helo),
		Subject: c.subject(), Hops: c.header.Count("Received") + 1, Meta: c.msg.Meta, Score: c.msg.Total(), Placeholders: c.placeholders}
	if c.s.Identity != nil {
		env.Identity = c.s.Identity.User
	}
	env.Ours = c.msg.Ours
	if tx.Params.By > 0 {
		env.By, env.ByNotify = now.Add(time.Duration(tx.Params.By)*time.Second), strings.HasPrefix(tx.Params.ByMode, "N")
	}
	came := fmt.Sprintf("from %s by %s at listener %q, client %s, %d octets, %d recipients", tx.Sender.Path(), env.Protocol, env.Listener,
		env.Client, c.msg.Size, len(tx.Recipients))
	arrived := envelope.TrailEntry{Time: now, Step: "receive", Text: came}
	for _, rcpt := range tx.Recipients { // policies may have changed the address
		rcpt.IsLocal = r.dir.Local(rcpt.Address.Domain())
	}
	header := c.header.Clone()
	header.Remove("Return-Path") // we add it at final delivery (RFC 5321 4.4)
	if a := c.verified.Results; a != nil {
		env.Auth = a
		header.Prepend("Authentication-Results", verify.Field(r.hostname, a))
	}
	header.PrependRaw(traceField(c, r.hostname, now))
	in := &intake.Incoming{Envelope: env, Header: header, Body: intake.NewBody(c.draft), Rcpts: tx.Recipients, Gen: c.gen,
		Due:   tx.Params.HoldUntil,
		Trail: append([]envelope.TrailEntry{arrived}, stateOf(c.s).fullTrail()...), Sign: c.msg.Sign, Scores: c.msg.Scores, Ours: env.Ours,
		PerRcpt: c.s.Protocol == "lmtp" || tx.Params.PRDR, Arrival: arrivalOf(c.s, tx), Budget: c.budget}
	if v.Action == hooks.Quarantine {
		in.Quarantine = v.Reason
	}
	return in, nil
}

// editBody writes a new body with the policies' edits.
func (r *Receiver) editBody(ctx context.Context, c *content) error {
	header, edited, placeholders, err := r.intake.Rewrite(ctx, &c.unit, c.msg)
	if err != nil {
		return err
	}
	c.draft.Discard()
	c.draft, c.header, c.placeholders = edited, header, placeholders
	if c.msg.Encrypt != nil {
		c.has8Bit = mime.Has8Bit(header.Bytes())
	}
	return nil
}

// accept commits the message. A crash before the commit leaves nothing, and the
// client sends the message again. After the commit we are responsible for it, even
// if the 250 does not reach the client (RFC 5321 4.1.1.4).
func (r *Receiver) accept(ctx context.Context, c *content, in *intake.Incoming) (*envelope.Status, []*envelope.Status) {
	before := len(in.Trail)
	rejected, st := r.intake.Enqueue(ctx, &c.unit, in)
	if st != nil {
		stateOf(c.s).addTrail(in.Trail[before:])
		return st, nil
	}
	stateOf(c.s).tx.accepted = true
	r.log.Metrics.ReceivedBytes.Add(float64(c.draft.Size()))
	if len(rejected) == 0 || !in.PerRcpt {
		return nil, nil
	}
	each := make([]*envelope.Status, len(c.tx.Recipients))
	for i, rcpt := range c.tx.Recipients {
		each[i] = rejected[rcpt]
	}
	return nil, each
}

// readerPool holds the buffered readers for content; a message uses one at a time.
var readerPool = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 32<<10) }}

// bodyWriter writes a body to w and notes whether it has octets above 127 (RFC 6152).
type bodyWriter struct {
	w       io.Writer
	has8Bit bool
}

func (o *bodyWriter) Write(b []byte) (int, error) {
	o.has8Bit = o.has8Bit || mime.Has8Bit(b)
	return o.w.Write(b)
}

// rejectedEvent returns the data of the event for a refused message.
func (c *content) rejectedEvent(st *envelope.Status) map[string]any {
	m := map[string]any{"message": c.tx.ID.String(), "sender": string(c.tx.Sender), "to": events.Addresses(c.tx.Recipients),
		"recipients": len(c.tx.Recipients), "code": st.Code, "enhanced": st.Enhanced, "text": st.Text,
		"client": c.s.Remote.Addr().String(), "listener": c.s.Listener, "subject": c.subject()}
	if c.s.Identity != nil {
		m["user"] = string(c.s.Identity.User)
	}
	return m
}

// arrivalOf returns what handlers that run after the 250 see of the session and its
// transaction.
func arrivalOf(s *envelope.Session, tx *envelope.Transaction) *envelope.Arrival {
	a := &envelope.Arrival{Session: s.ID, Protocol: s.Protocol, RDNS: s.RDNS, TLS: s.TLS, Trusted: s.Trusted, Meta: maps.Clone(tx.Meta)}
	if s.Identity != nil {
		a.Extra = s.Identity.Extra
	}
	for _, r := range tx.Recipients {
		if !r.Discard {
			a.Recipients = append(a.Recipients, r.Address)
		}
	}
	return a
}
