package intake

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/dsn"
	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// maxReturned is the largest message that a DSN returns as a whole; of larger ones
// it returns only the header section.
const maxReturned = 256 << 10

// DSNSubject is the message that a DSN is about.
type DSNSubject struct {
	Envelope *envelope.Envelope
	Header   []byte
	Body     []byte // nil: the DSN returns only the header section
	Gen      *hooks.Generation
	Message  *hooks.Message         // as policies see it
	Expires  time.Time              // zero: no further attempts are made
	Trail    *[]envelope.TrailEntry // to which the DSN is added
}

// dsnSubject returns the subject for a message that is not committed yet; the DSN
// returns only its header section.
func (b *builder) dsnSubject(in *Incoming) DSNSubject {
	return DSNSubject{Envelope: &in.Envelope, Header: in.Header.Bytes(), Gen: in.Gen, Message: b.view(in), Trail: &in.Trail}
}

// rejectedDSNs returns the DSNs about recipients that were rejected during expansion
// while others were accepted.
func (in *Incoming) rejectedDSNs() []commit.DSN {
	var rcpts []*envelope.Recipient
	for _, r := range slices.SortedFunc(maps.Keys(in.rejected), compareAddress) {
		if in.returnPath(r) != "" && r.Notify.Wants(envelope.NotifyFailure) {
			r.Last, r.State = in.rejected[r], envelope.Failed
			rcpts = append(rcpts, r)
		}
	}
	return commit.GroupDSNs("failed", rcpts, in.returnPath)
}

// returnPath returns the address for DSNs about a recipient.
func (in *Incoming) returnPath(r *envelope.Recipient) envelope.Address {
	if r.Sender != nil {
		return *r.Sender
	}
	return in.Envelope.Sender
}

func compareAddress(a, b *envelope.Recipient) int {
	return strings.Compare(string(a.Address), string(b.Address))
}

// ReturnedBody reads the body that a DSN returns. It is nil if the sender asked for
// RET=HDRS or the message is too large (RFC 3461 4.3).
func ReturnedBody(ctx context.Context, s BodyReader, env *envelope.Envelope) ([]byte, error) {
	if strings.EqualFold(env.Ret, "HDRS") || env.Size > maxReturned {
		return nil, nil
	}
	r, err := s.Body(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("body of %s: %w", env.ID, err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

// AddDSN makes the message of a DSN and adds it to the unit, so that the DSN is
// committed together with the outcome. deliver.dsn may drop, redirect or reword it. A
// DSN that cannot be sent is logged and dropped. A status says that the store failed;
// the unit must not be committed then.
func (k *Intake) AddDSN(ctx context.Context, u *commit.Unit, about DSNSubject, d commit.DSN) *envelope.Status {
	return k.build(ctx, u, dsnStep{about, d})
}

// dsnStep runs deliver.dsn for a DSN.
type dsnStep struct {
	about DSNSubject
	dsn   commit.DSN
}

func (s dsnStep) run(ctx context.Context, b *builder) *envelope.Status {
	now := b.clock.Now()
	if back, _ := b.ReverseReturnPath(s.dsn.To, ""); back != "" { // we forwarded it: the DSN goes to the original sender
		s.dsn.To = back
	}
	env := s.about.Envelope
	r := &dsn.Notification{ID: envelope.NewID(now), Hostname: b.hostname, To: s.dsn.To, Action: s.dsn.Action, Now: now,
		Arrival: env.ReceivedAt, EnvID: env.EnvID, Header: s.about.Header, Body: s.about.Body, RetryTill: s.about.Expires}
	for _, rc := range s.dsn.Rcpts {
		r.Rcpts = append(r.Rcpts, dsnRcpt(rc, now))
	}
	to := s.dsn.To
	switch v := b.runDSNHook(ctx, s, r); v.Action {
	case hooks.Discard:
		return nil
	case hooks.Redirect:
		to = v.Address
	}
	b.add(dsnMessageStep{dsnStep: s, report: r, to: to, gen: s.about.Gen})
	return nil
}

func (b *builder) runDSNHook(ctx context.Context, s dsnStep, r *dsn.Notification) hooks.Verdict {
	gen := s.about.Gen
	if !gen.Chain.Has(hooks.DeliverDSN) {
		return hooks.Verdict{}
	}
	d := &hooks.DSN{Action: s.dsn.Action, Status: r.Rcpts[0].Status.Enhanced, Text: dsn.DefaultText(r)}
	e := &hooks.Event{Point: hooks.DeliverDSN, Now: r.Now, Msg: s.about.Message, DSN: d, Pending: &b.u.Pending}
	for _, rc := range s.dsn.Rcpts {
		e.Rcpts = append(e.Rcpts, &hooks.Rcpt{Recipient: rc})
	}
	e.Outgoing = b.Outgoing(s.about.Envelope, s.dsn.Rcpts...)
	v, entries := gen.Chain.Run(ctx, e)
	trail.LogFailures(ctx, b.log, s.about.Envelope.ID.String(), entries)
	*s.about.Trail = append(*s.about.Trail, entries...)
	r.Text = d.Text
	return v
}

// dsnMessageStep makes the message of a DSN, with the null sender.
type dsnMessageStep struct {
	dsnStep
	report    *dsn.Notification
	to        envelope.Address
	gen       *hooks.Generation // whose policies run for it
	isLastTry bool              // if it fails, it is dropped
}

func (s dsnMessageStep) run(ctx context.Context, b *builder) *envelope.Status {
	b.begin(func(st *envelope.Status) step { return s.withoutPolicies(ctx, b, st) })
	about, r := s.about.Envelope, s.report
	in := &Incoming{Gen: s.gen, submits: len(b.u.Pending.Submits)}
	var body []byte
	in.Header, body = r.Compose()
	in.Envelope = envelope.Envelope{ID: r.ID, ReceivedAt: r.Now, Priority: about.Priority, SMTPUTF8: !s.to.ASCII(),
		Auto: "dsn", Protocol: "dsn", Depth: about.Depth + 1}
	if err := b.fill(ctx, in, body, []envelope.Address{s.to}); err != nil {
		return b.failAll(fmt.Errorf("body of a dsn: %w", err))
	}
	b.add(expandStep{in}, submissionsStep{in}, dsnMadeStep{s})
	return nil
}

// withoutPolicies returns the step that makes a DSN once more without policies, if
// they failed temporarily: that must not delay a DSN. A DSN that fails permanently is
// dropped: the sender's address is invalid here, and there is nobody to notify.
func (s dsnMessageStep) withoutPolicies(ctx context.Context, b *builder, st *envelope.Status) step {
	if st.Code < 500 && !s.isLastTry {
		s.gen, s.isLastTry = &hooks.Generation{Chain: hooks.NewChain(nil)}, true
		return s
	}
	b.log.WarnContext(ctx, "dsn dropped", "id", s.about.Envelope.ID.String(), "to", string(s.to), "err", st)
	s.addTrail(envelope.TrailEntry{Verdict: "dropped", Err: st.Error()})
	return nil
}

// addTrail adds the result of the DSN to the trail of the message that it is about.
func (s dsnMessageStep) addTrail(e envelope.TrailEntry) {
	e.Time, e.Step, e.Rcpt = s.report.Now, "bounce", s.to
	*s.about.Trail = append(*s.about.Trail, e)
}

// dsnMadeStep logs a DSN after all steps for it are done.
type dsnMadeStep struct{ dsnMessageStep }

func (s dsnMadeStep) run(ctx context.Context, b *builder) *envelope.Status {
	id := s.report.ID.String()
	b.log.Metrics.Bounces.WithLabelValues(s.dsn.Action).Inc()
	b.log.Step(ctx, "dsn", s.about.Envelope.ID.String(), "dsn", id, "to", string(s.to), "action", s.dsn.Action, "recipients", len(s.dsn.Rcpts))
	s.addTrail(envelope.TrailEntry{Verdict: s.dsn.Action, Text: "dsn " + id})
	return nil
}

// dsnRcpt returns a recipient as the DSN names it: by the address that the sender
// knows. The peer's reply is left out if it is about another address (RFC 3461 10).
func dsnRcpt(rc *envelope.Recipient, now time.Time) dsn.Recipient {
	out := dsn.Recipient{Original: rc.ORcpt, Final: rc.Orig, Diagnostic: rc.Orig.Base() == rc.Address.Base(), Last: now}
	if rc.Last != nil {
		out.Status = *rc.Last
	}
	if out.Diagnostic {
		out.RemoteMTA = rc.Host
	}
	return out
}
