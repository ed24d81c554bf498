package core

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/verify"
	"carteiro/core/store"
	"carteiro/hooks"
)

// answerWithin bounds everything between the end of data and its answer.
const answerWithin = 120 * time.Second

// content is a message whose octets are coming in.
type content struct {
	s      *envelope.Session
	tx     *envelope.Transaction
	gen    *hooks.Generation
	header *mime.Header
	draft  store.Draft
	eight  bool
	msg    *hooks.Message
	shared *hooks.Pending
	marks  []envelope.Mark // of text that policies appended
	// verified are SPF, DKIM and DMARC, once a policy asked for them or the
	// message is counted for reports.
	verified verified
	verdict  hooks.Action // of receive.data
	spent    *exhausted   // what policies ran out of their budget
}

// Data takes a message: header section, body, policies, then one commit, and
// only when that is on disk the 250. perRcpt has a status for each recipient
// when they differ, as LMTP can say. Nothing is kept of a message that is
// refused or cut off.
func (p *Pipeline) Data(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, r io.Reader) (*envelope.Status, []*envelope.Status) {
	c := &content{s: s, tx: tx, gen: p.policies(s), shared: &hooks.Pending{}, draft: p.store.Draft(context.WithoutCancel(ctx))}
	c.spent = &exhausted{p: p, ctx: ctx, pending: c.shared}
	defer func() { c.draft.Discard() }() // the draft at the end: an edited body has another
	var st *envelope.Status
	var each []*envelope.Status
	if err := safely(func() error { st, each = p.take(ctx, c, r); return nil }); err != nil {
		st, each = envelope.StatusOf(fmt.Errorf("message %s: %w", tx.ID, err)), nil
	}
	p.count(c, st)
	if st != nil && st.Code < 500 && st.Code >= 400 && c.shared != nil {
		c.shared.Back(0, 0, 0) // it will come again
	}
	result := "accepted"
	if st != nil && st.Code >= 400 {
		result = "refused"
		if p.observes("rejected") {
			p.Notice("rejected", c.rejected(st))
		}
	}
	p.log.Metrics.Received.WithLabelValues(s.Listener, result).Inc()
	p.log.Step(ctx, "message", tx.ID.String(), "session", s.ID, "from", string(tx.Sender), "to", len(tx.Recipients), "size", c.size(),
		"subject", c.subject(), "result", result, "status", replyOf(st), "err", causeOf(st))
	return st, each
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

// size is that of the message so far.
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
	return clean(v)
}

// take is Data without the log line.
func (p *Pipeline) take(ctx context.Context, c *content, r io.Reader) (*envelope.Status, []*envelope.Status) {
	buffered := readers.Get().(*bufio.Reader)
	buffered.Reset(r)
	defer func() {
		buffered.Reset(nil) // the pool must not keep the session alive
		readers.Put(buffered)
	}()
	if st := p.readHeader(ctx, c, buffered); st != nil {
		return st, nil
	}
	w := &octets{w: c.draft}
	if _, err := io.Copy(w, buffered); err != nil {
		return incoming(err), nil
	}
	c.eight = c.eight || w.eight
	if st := p.outlived(c.gen); st != nil {
		return st, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	if c.s.Identity != nil { // once more: a right may be gone since the body began
		if st := p.maySend(ctx, c.s, visitOf(c.s).tx.sender); st != nil {
			return st, nil
		}
		if st := p.mayBeFrom(ctx, c); st != nil {
			return st, nil
		}
	}
	v := p.judge(ctx, c)
	if c.spent.reason != "" && v.Action != hooks.Reject && v.Action != hooks.Defer && v.Action != hooks.Discard {
		v = hooks.Verdict{Action: hooks.Quarantine, Reason: c.spent.reason} // of receive.headers, or of one of several domains
	}
	c.verdict = v.Action
	if st := p.verifyAlways(ctx, c); st != nil {
		return st, nil
	}
	if st := refusal(v); st != nil {
		return st, nil
	}
	in, st := p.intakeOf(ctx, c, v)
	if st != nil {
		return st, nil
	}
	return p.accept(ctx, c, in)
}

// incoming tells what a failed read or write of the octets means: the session
// gives a Status of its own, the store one of its sentinels.
func incoming(err error) *envelope.Status {
	if st, ok := errors.AsType[*envelope.Status](err); ok {
		return st
	}
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrFailed) {
		return storeStatus(err)
	}
	return envelope.Defer(451, "4.3.0", "message was not received whole", err)
}

// readHeader reads the header section, guards against loops and asks the
// policies while the body is still coming.
func (p *Pipeline) readHeader(ctx context.Context, c *content, r *bufio.Reader) *envelope.Status {
	raw, err := mime.ReadHeader(r, mime.MaxHeader)
	if errors.Is(err, mime.ErrHeaderTooLarge) {
		return envelope.Reject(552, "5.3.4", "header section too large")
	}
	if err != nil {
		return incoming(err)
	}
	raw, rest := splitHeader(mime.SkipFromLine(raw))
	if len(rest) > 0 {
		if _, err := c.draft.Write(rest); err != nil {
			return incoming(err)
		}
	}
	c.header = mime.ParseHeader(raw)
	c.eight = has8Bit(raw)
	if len(c.header.Fields()) > mime.MaxFields {
		return envelope.Reject(552, "5.3.4", "too many header fields")
	}
	if n := c.header.Count("Received"); n > MaxHops {
		return envelope.Reject(554, "5.4.6", "too many hops, this message loops")
	}
	if c.s.Protocol == "submission" || c.s.Identity != nil {
		if hides(rest, c.s.Identity != nil) {
			return envelope.Reject(550, "5.6.0", "a line of the header section is no field, and a field that is not for everybody follows it")
		}
		if st := p.completeSubmission(ctx, c); st != nil {
			return st
		}
	}
	if c.s.Identity == nil {
		verify.Strip(c.header, p.cfg.Hostname)
	}
	c.msg = &hooks.Message{ID: c.tx.ID, Sender: c.tx.Sender, ReceivedAt: p.clock.Now(), Header: c.header, Size: c.tx.Params.Size,
		Ours: c.s.Identity != nil || c.s.Trusted || c.s.Protocol == "submission"}
	if c.s.Identity != nil {
		c.msg.Identity = c.s.Identity.User
	}
	c.spent.msg = c.msg
	v := p.chain(ctx, c, hooks.ReceiveHeaders)
	if st := refusal(v); st != nil {
		return st
	}
	if v.Action == hooks.Discard {
		discardAll(c.tx)
	}
	return nil
}

// splitHeader takes octets that are no header fields back into the body: a
// message may begin without any (RFC 5322 asks for two, mail in the wild has
// none), and then everything is text.
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

// hides reports whether what became text, because of a line that is no header
// field, has a field that nobody else may see, or, of a user who logged in, an
// author that some reader may take for one.
func hides(rest []byte, login bool) bool {
	h := mime.ParseHeader(rest)
	return h.Has("Bcc") || h.Has("Resent-Bcc") || login && slices.ContainsFunc([]string{"From", "Sender", "Resent-From", "Resent-Sender"}, h.Has)
}

// chain runs a hook with session, transaction and message.
func (p *Pipeline) chain(ctx context.Context, c *content, point hooks.Point) hooks.Verdict {
	if !c.gen.Chain.Has(point) {
		c.gen.Chain.Passed(point)
		return hooks.Verdict{}
	}
	e := &hooks.Event{Point: point, Now: p.clock.Now(), Session: c.s, Tx: c.tx, Msg: c.msg, Pending: c.shared}
	e.Exhausted = c.spent.judge
	if spec, _ := hooks.Lookup(point); !spec.Intents {
		e.Pending = nil
		e.Apply = func(f []envelope.Effect, s []hooks.Submit) error { return p.apply(ctx, c.gen, f, s) }
	}
	v, trail := c.gen.Chain.Run(ctx, e)
	visitOf(c.s).remember(trail)
	p.logFailures(ctx, c.tx.ID.String(), trail)
	if e.Delay > 0 {
		p.delay(ctx, e.Delay)
	}
	return v
}

// judge asks receive.data, when the message is complete.
func (p *Pipeline) judge(ctx context.Context, c *content) hooks.Verdict {
	c.msg.Header, c.msg.Body, c.msg.Sender = c.header, c.draft.Open, c.tx.Sender
	c.msg.Auth = c.verified.once(p.dns, verify.Message{IP: c.s.Remote.Addr(), Helo: c.s.Helo, Sender: c.tx.Sender, Header: c.header, Body: c.draft.Open,
		Now: p.clock.Now()})
	c.msg.Size = c.size()
	if pr := c.tx.Params.Priority; pr != nil {
		c.msg.Priority = *pr
	}
	v := p.chain(ctx, c, hooks.ReceiveData)
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

// intakeOf makes the message as it will be stored: policies' edits of the
// body applied, trace field on top.
func (p *Pipeline) intakeOf(ctx context.Context, c *content, v hooks.Verdict) (*intake, *envelope.Status) {
	if c.msg.Rewritten() {
		if err := p.editBody(ctx, c); err != nil {
			return nil, incoming(fmt.Errorf("edit %s: %w", c.tx.ID, err))
		}
	}
	now, tx := p.clock.Now(), c.tx
	env := envelope.Envelope{ID: tx.ID, Sender: tx.Sender, ReceivedAt: now, EnvID: tx.Params.EnvID, Ret: tx.Params.Ret,
		Priority: c.msg.Priority, SMTPUTF8: tx.Params.SMTPUTF8, EightBit: c.eight, RequireTLS: tx.Params.RequireTLS,
		Listener: c.s.Listener, Protocol: c.s.With(tx.Params.SMTPUTF8), Client: c.s.Remote.Addr().String(), Helo: clean(c.s.Helo),
		Subject: c.subject(), Hops: c.header.Count("Received") + 1, Meta: c.msg.Meta, Score: c.msg.Total(), Marks: c.marks}
	if c.s.Identity != nil {
		env.Identity = c.s.Identity.User
	}
	env.Ours = c.msg.Ours
	if tx.Params.By > 0 {
		env.By, env.ByNotify = now.Add(time.Duration(tx.Params.By)*time.Second), strings.HasPrefix(tx.Params.ByMode, "N")
	}
	arrived := envelope.TrailEntry{Time: now, Step: "receive", Text: fmt.Sprintf("from %s by %s at listener %q, client %s, %d octets, %d recipients",
		tx.Sender.Path(), env.Protocol, env.Listener, env.Client, c.msg.Size, len(tx.Recipients))}
	for _, r := range tx.Recipients { // policies may have changed where it goes
		r.IsLocal = p.dir.Local(r.Address.Domain())
	}
	header := c.header.Clone()
	header.Remove("Return-Path") // ours to add at final delivery (RFC 5321 4.4)
	if a := c.verified.results; a != nil {
		env.Auth = a
		header.Prepend("Authentication-Results", verify.Field(p.cfg.Hostname, a))
	}
	header.PrependRaw(p.received(c, now))
	in := &intake{env: env, header: header, draft: c.draft, rcpts: tx.Recipients, pending: c.shared, trail: append([]envelope.TrailEntry{arrived}, visitOf(c.s).story()...), gen: c.gen,
		due: tx.Params.HoldUntil, sign: c.msg.Sign, scores: c.msg.Scores, ours: env.Ours, lmtp: c.s.Protocol == "lmtp" || tx.Params.PRDR, body: c.draft.Open}
	if v.Action == hooks.Quarantine {
		in.quarantine = v.Reason
	}
	in.arrival, in.spent = arrival(c.s, tx), c.spent
	return in, nil
}

// editBody writes the body anew with the policies' edits.
func (p *Pipeline) editBody(ctx context.Context, c *content) error {
	header, edited, marks, err := p.rewritten(ctx, c.msg)
	if err != nil {
		return err
	}
	c.draft.Discard()
	c.draft, c.header, c.marks = edited, header, marks
	if c.msg.Encrypt != nil {
		c.eight = has8Bit(header.Bytes())
	}
	return nil
}

// accept commits the message. A crash before the commit leaves nothing and
// the sender tries again; after it the message is ours, even if the 250 is
// lost on its way (RFC 5321 4.1.1.4).
func (p *Pipeline) accept(ctx context.Context, c *content, in *intake) (*envelope.Status, []*envelope.Status) {
	before := len(in.trail)
	rejected, st := p.enqueue(ctx, in)
	if st != nil {
		visitOf(c.s).remember(in.trail[before:])
		return st, nil
	}
	visitOf(c.s).tx.accepted = true
	p.log.Metrics.ReceivedBytes.Add(float64(c.draft.Size()))
	if len(rejected) == 0 || !in.lmtp {
		return nil, nil
	}
	each := make([]*envelope.Status, len(c.tx.Recipients))
	for i, r := range c.tx.Recipients {
		each[i] = rejected[r]
	}
	return nil, each
}

// readers are what content is read through; one for each message at a time.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 32<<10) }}

// octets passes a body on and notices octets above 127 (RFC 6152).
type octets struct {
	w     io.Writer
	eight bool
}

func (o *octets) Write(b []byte) (int, error) {
	o.eight = o.eight || has8Bit(b)
	return o.w.Write(b)
}

func has8Bit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
