package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/dsn"
	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/hooks"
)

// maxReturned is the largest message that comes back whole in a DSN; of
// larger ones only the header section does.
const maxReturned = 256 << 10

// report is one DSN that fell due: recipients that share an action and a
// return path.
type report struct {
	action string
	to     envelope.Address
	rcpts  []*envelope.Recipient
}

// due notes the DSN that an outcome calls for, if the sender wants one
// (RFC 3461 4.1). Nobody is told about messages with the null sender.
func (a *attempt) due(r *envelope.Recipient, o outcome) {
	action := ""
	switch o.state {
	case envelope.Failed:
		action = wants(r, envelope.NotifyFailure, "failed")
	case envelope.Delivered:
		if a.g.Kind != envelope.Remote {
			action = wants(r, envelope.NotifySuccess, "delivered")
		}
	case envelope.Relayed:
		action = wants(r, envelope.NotifySuccess, "relayed")
	case envelope.Queued:
		if !r.Warned && a.late() {
			r.Warned = true
			action = wants(r, envelope.NotifyDelay, "delayed")
		}
	}
	if to := a.sender(r); action != "" && to != "" {
		a.reports = addReport(a.reports, action, to, r)
	}
}

// late reports whether the sender has to be told that the message waits:
// after Config.Warn, or when a DELIVERBY time with notification has passed.
func (a *attempt) late() bool {
	if a.env.ByNotify && !a.env.By.IsZero() && !a.now.Before(a.env.By) {
		return true
	}
	warn := a.p.cfg.Warn
	return warn > 0 && a.now.Sub(a.env.ReceivedAt) >= warn
}

func wants(r *envelope.Recipient, event envelope.Notify, action string) string {
	if r.Notify.Wants(event) {
		return action
	}
	return ""
}

func addReport(reports []report, action string, to envelope.Address, r *envelope.Recipient) []report {
	for i := range reports {
		if reports[i].action == action && reports[i].to == to {
			reports[i].rcpts = append(reports[i].rcpts, r)
			return reports
		}
	}
	return append(reports, report{action: action, to: to, rcpts: []*envelope.Recipient{r}})
}

// compose makes the DSNs of an attempt, for its commit: never a failure
// without its DSN, never two.
func (a *attempt) compose(ctx context.Context) error {
	for _, rep := range a.reports {
		body, err := a.p.returned(ctx, a.env)
		if err != nil {
			return err
		}
		m := bounced{env: *a.env, header: a.section, body: body, gen: a.gen, msg: a.msg, pending: a.pending, expires: a.g}
		messages, trail := a.p.bounce(ctx, m, rep)
		a.out.Messages = append(a.out.Messages, messages...)
		a.out.Trail = append(a.out.Trail, trail...)
	}
	a.reports = nil
	return nil
}

// bounced is the message that a DSN is about.
type bounced struct {
	env     envelope.Envelope
	header  []byte
	body    []byte // nil: only the header section goes back
	gen     *hooks.Generation
	msg     *hooks.Message
	pending *hooks.Pending
	expires *envelope.Group
}

// returned is the body that goes back with a DSN, nil when RET=HDRS or the
// message is too large (RFC 3461 4.3).
func (p *Pipeline) returned(ctx context.Context, env *envelope.Envelope) ([]byte, error) {
	if strings.EqualFold(env.Ret, "HDRS") || env.Size > maxReturned {
		return nil, nil
	}
	r, err := p.store.Body(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("body of %s: %w", env.ID, err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

// bounce makes the message of one report, with the null sender, back into
// the queue; deliver.dsn may drop, redirect or reword it.
func (p *Pipeline) bounce(ctx context.Context, m bounced, rep report) ([]*store.Message, []envelope.TrailEntry) {
	now := p.clock.Now()
	if back, _ := p.home(rep.to, ""); back != "" { // we forwarded it: the sender is to read their own address
		rep.to = back
	}
	r := &dsn.Report{ID: envelope.NewID(now), Hostname: p.cfg.Hostname, To: rep.to, Action: rep.action, Now: now,
		Arrival: m.env.ReceivedAt, EnvID: m.env.EnvID, Header: m.header, Body: m.body}
	if m.expires != nil {
		r.RetryTill = m.expires.Expires
	}
	for _, rc := range rep.rcpts {
		r.Rcpts = append(r.Rcpts, reportRcpt(rc, now))
	}
	to := rep.to
	v, trail := p.askDSN(ctx, m, rep, r)
	switch v.Action {
	case hooks.Discard:
		return nil, trail
	case hooks.Redirect:
		to = v.Address
	}
	messages, err := p.reported(ctx, m, r, to)
	if st, ok := errors.AsType[*envelope.Status](err); ok && st.Code < 500 {
		m.gen = &hooks.Generation{Chain: hooks.NewChain(nil)} // policies that fail for a while do not keep a report back
		messages, err = p.reported(ctx, m, r, to)
	}
	if err != nil {
		// The sender's own address is bad here: there is nobody to tell.
		p.log.WarnContext(ctx, "dsn dropped", "id", m.env.ID.String(), "to", string(to), "err", err)
		return nil, append(trail, envelope.TrailEntry{Time: now, Step: "bounce", Rcpt: to, Verdict: "dropped", Err: err.Error()})
	}
	p.log.Metrics.Bounces.WithLabelValues(rep.action).Inc()
	p.log.Step(ctx, "dsn", m.env.ID.String(), "dsn", r.ID.String(), "to", string(to), "action", rep.action, "recipients", len(rep.rcpts))
	return messages, append(trail, envelope.TrailEntry{Time: now, Step: "bounce", Rcpt: to, Verdict: rep.action, Text: "dsn " + r.ID.String()})
}

// reported makes the messages that a report becomes. An error that is a Status is
// what the policies of the queue, or where it goes, have against it.
func (p *Pipeline) reported(ctx context.Context, m bounced, r *dsn.Report, to envelope.Address) ([]*store.Message, error) {
	in := &intake{gen: m.gen, pending: follow(m.pending)}
	var body []byte
	in.header, body = r.Compose()
	in.env = envelope.Envelope{ID: r.ID, ReceivedAt: r.Now, Priority: m.env.Priority, SMTPUTF8: !to.ASCII(), Auto: "dsn", Protocol: "dsn", Depth: m.env.Depth + 1}
	if err := p.fill(ctx, in, body, []envelope.Address{to}); err != nil {
		return nil, err
	}
	messages, _, st := p.prepare(ctx, in, false)
	in.made(messages)
	if st != nil {
		in.pending.Back(0, 0, 0)
		return nil, st
	}
	joined(m.pending, in.pending)
	return messages, nil
}

// reportRcpt is a recipient as its report names it: by the address that the
// sender knows, and without a peer's words when that is not the address that
// the peer spoke of (RFC 3461 10).
func reportRcpt(rc *envelope.Recipient, now time.Time) dsn.ReportRcpt {
	out := dsn.ReportRcpt{Original: rc.ORcpt, Final: rc.Orig, Diagnostic: rc.Orig.Base() == rc.Address.Base(), Last: now}
	if rc.Last != nil {
		out.Status = *rc.Last
	}
	if out.Diagnostic {
		out.RemoteMTA = rc.Host
	}
	return out
}

func (p *Pipeline) askDSN(ctx context.Context, m bounced, rep report, r *dsn.Report) (hooks.Verdict, []envelope.TrailEntry) {
	if !m.gen.Chain.Has(hooks.DeliverDSN) {
		return hooks.Verdict{}, nil
	}
	d := &hooks.DSN{Action: rep.action, Status: r.Rcpts[0].Status.Enhanced, Text: dsn.ReportText(r)}
	e := &hooks.Event{Point: hooks.DeliverDSN, Now: r.Now, Msg: m.msg, DSN: d, Pending: m.pending}
	for _, rc := range rep.rcpts {
		e.Rcpts = append(e.Rcpts, &hooks.Rcpt{Recipient: rc})
	}
	e.Outgoing = p.outgoing(&m.env, rep.rcpts...)
	v, trail := m.gen.Chain.Run(ctx, e)
	p.logFailures(ctx, m.env.ID.String(), trail)
	r.Text = d.Text
	return v, trail
}

// rejectedReport makes DSNs for recipients that queue.expand refused while
// others were accepted, where the client cannot be told per recipient.
func (p *Pipeline) rejectedReport(ctx context.Context, in *intake, rejected rejection) []*store.Message {
	var reports []report
	for _, r := range slices.SortedFunc(maps.Keys(rejected), byAddress) {
		to := in.env.Sender
		if r.Sender != nil {
			to = *r.Sender
		}
		if to != "" && r.Notify.Wants(envelope.NotifyFailure) {
			r.Last, r.State = rejected[r], envelope.Failed
			reports = addReport(reports, "failed", to, r)
		}
	}
	var out []*store.Message
	for _, rep := range reports {
		out = append(out, p.reportOf(ctx, in, rep)...)
	}
	return out
}

// reportOf makes a report about a message that is not committed yet; of such
// only the header section goes back.
func (p *Pipeline) reportOf(ctx context.Context, in *intake, rep report) []*store.Message {
	m := bounced{env: in.env, header: in.header.Bytes(), gen: in.gen, msg: p.view(in), pending: in.pending}
	messages, trail := p.bounce(ctx, m, rep)
	in.trail = append(in.trail, trail...)
	return messages
}

// byAddress orders recipients.
func byAddress(a, b *envelope.Recipient) int {
	return strings.Compare(string(a.Address), string(b.Address))
}
