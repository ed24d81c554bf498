package deliver

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/events"
	"carteiro/core/pipeline/intake"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// attempt is one try of one group. Outcomes are collected in its unit and
// recorded in one commit.
type attempt struct {
	*Deliverer
	env      *envelope.Envelope
	g        *envelope.Group
	policies *hooks.Generation
	now      time.Time
	msg      *hooks.Message
	section  []byte // the header section as it is stored
	outgoing []byte // the header section with the policies' edits for this attempt
	u        commit.Unit
	down     bool
	start    time.Time
	copies   copySigner
	retry    retrier // nil: a failed commit is not tried again
}

// retrier prepares an attempt again after its commit failed, and reports whether to
// commit once more.
type retrier interface {
	retryCommit(ctx context.Context, err error) bool
}

// try runs deliver.attempt, then tries the recipients that are due.
func (a *attempt) try(ctx context.Context) error {
	if a.g.Kind == envelope.Remote || a.g.Kind == envelope.Mailbox {
		if done := a.runAttemptHook(ctx); done {
			return a.settle(ctx)
		}
	}
	var due []*envelope.Recipient
	for i := range a.g.Recipients {
		if r := &a.g.Recipients[i]; r.State == envelope.Queued && !r.Next.After(a.now) {
			due = append(due, r)
		}
	}
	for _, r := range due {
		r.Attempts++
		if r.First.IsZero() {
			r.First = a.now
		}
	}
	a.g.Attempts, a.g.Tried = a.g.Attempts+1, a.now
	switch a.g.Kind {
	case envelope.Asynchronous:
		asyncRun{a}.run(ctx, due)
	case envelope.HeldForGroup:
		a.expandHeld(ctx, due)
	case envelope.Unexpanded:
		a.expandLater(ctx, due)
	case envelope.Mailbox:
		l := newLocalDelivery(a, due)
		defer l.unlockMailboxes() // after the commit: the next message for a mailbox sees its effects
		l.run(ctx)
	default:
		if err := (remoteDelivery{a}).run(ctx, due); err != nil {
			return err
		}
	}
	return a.settle(ctx)
}

// runAttemptHook runs deliver.attempt. It returns done if nothing is to be tried now.
func (a *attempt) runAttemptHook(ctx context.Context) (done bool) {
	if !a.policies.Chain.Has(hooks.DeliverAttempt) {
		return false
	}
	e := a.event(hooks.DeliverAttempt)
	e.Outgoing = a.intake.OutgoingGroup(a.env, a.g)
	e.Group, e.Attempt = a.g, &hooks.Attempt{Number: a.g.Attempts + 1, Last: a.g.Tried}
	for _, r := range a.g.Recipients {
		if !r.First.IsZero() && (e.Attempt.First.IsZero() || r.First.Before(e.Attempt.First)) {
			e.Attempt.First = r.First
		}
	}
	before := a.msg.Header
	v := a.runHook(ctx, e)
	if a.msg.Header != before {
		a.outgoing = a.msg.Header.Bytes()
	}
	switch v.Action {
	case hooks.Retry:
		a.deferAll(ctx, max(v.Delay, time.Second))
		return true
	case hooks.Hold:
		intake.Hold(a.g, v.Reason)
		return true
	case hooks.Discard:
		for i := range a.g.Recipients {
			a.g.Recipients[i].State = envelope.Discarded
		}
		return true
	case hooks.Reroute:
		for i := range a.g.Recipients {
			reroute(&a.g.Recipients[i], v.Route)
		}
	}
	return false
}

// deferAll defers all recipients, as a policy asked. Recipients that have expired
// fail.
func (a *attempt) deferAll(ctx context.Context, delay time.Duration) {
	for i := range a.g.Recipients {
		r := &a.g.Recipients[i]
		if r.State == envelope.Queued && !a.now.Before(a.g.Expires) {
			a.resolve(ctx, r, localOutcome(envelope.Queued, envelope.Status{Code: 451, Enhanced: "4.7.0", Text: "a policy made it wait"}))
			continue
		}
		r.Next = a.now.Add(delay)
	}
}

func (a *attempt) event(point hooks.Point) *hooks.Event {
	return &hooks.Event{Point: point, Now: a.now, Msg: a.msg, Pending: &a.u.Pending}
}

func (a *attempt) runHook(ctx context.Context, e *hooks.Event) hooks.Verdict {
	v, entries := a.policies.Chain.Run(ctx, e)
	a.u.Trail = append(a.u.Trail, entries...)
	trail.LogFailures(ctx, a.log, a.env.ID.String(), entries)
	return v
}

func reroute(r *envelope.Recipient, route *hooks.Route) {
	if raw, err := json.Marshal(route); err == nil {
		r.Route = string(raw)
	}
}

// outcome is the result of this attempt for one recipient.
type outcome struct {
	envelope.Outcome
	state envelope.State // Delivered, Failed, Queued (deferred), Discarded, Expanded
}

// localOutcome returns an outcome that does not come from a peer's reply.
func localOutcome(s envelope.State, st envelope.Status) outcome {
	return outcome{Outcome: envelope.Outcome{Status: st}, state: s}
}

func classOf(s envelope.State) string {
	switch s {
	case envelope.Failed:
		return "failed"
	case envelope.Queued:
		return "deferred"
	}
	return "delivered"
}

// retryDelay returns how long a recipient waits after its last attempt.
func (c Config) retryDelay(r *envelope.Recipient) time.Duration {
	return c.Retry[min(max(r.Attempts-1, 0), len(c.Retry)-1)]
}

// resolve applies an outcome to a recipient: it runs deliver.result, which may change
// the schedule, then sets the new state and adds the DSN.
func (a *attempt) resolve(ctx context.Context, r *envelope.Recipient, o outcome) {
	delay := a.cfg.retryDelay(r)
	v := a.runResultHook(ctx, r, o)
	if v.Action == hooks.Fail && o.state == envelope.Queued {
		o.state = envelope.Failed
		o.Status = envelope.Status{Code: 550, Enhanced: "5.0.0", Text: v.Status.Text}
	}
	if o.state == envelope.Queued {
		switch v.Action {
		case hooks.Retry:
			delay = max(v.Delay, time.Second)
		case hooks.Reroute:
			if r.Route == "" { // at once, but only the first time: routes that all fail must not cause a busy loop
				delay = 0
			}
			reroute(r, v.Route)
		}
		if !a.now.Before(a.g.Expires) {
			o.state = envelope.Failed
			o.Status = envelope.Status{Code: 550, Enhanced: "5.4.7", Text: "delivery time expired: " + o.Status.Text}
		}
	}
	status := o.Status
	r.State, r.Last, r.Host = o.state, &status, o.Host
	if o.state == envelope.Queued {
		r.Next = a.now.Add(delay)
	}
	if !v.NoDSN {
		a.addDSN(r, o)
	}
	if a.policies.Chain.HasObserver(outcomeEvents...) {
		a.u.Events = append(a.u.Events, a.outcomeEvent(r, o))
	}
	a.logOutcome(ctx, r, o)
}

func (a *attempt) runResultHook(ctx context.Context, r *envelope.Recipient, o outcome) hooks.Verdict {
	if !a.policies.Chain.Has(hooks.DeliverResult) {
		return hooks.Verdict{}
	}
	e := a.event(hooks.DeliverResult)
	e.Rcpt, e.Outgoing = &hooks.Rcpt{Recipient: r}, a.intake.Outgoing(a.env, r)
	e.Result = &hooks.Result{Class: classOf(o.state), Status: o.Status, Host: o.Host, Attempt: r.Attempts, Age: a.now.Sub(a.env.ReceivedAt)}
	return a.runHook(ctx, e)
}

var outcomeEvents = []string{"delivered", "deferred", "bounced", "expired"}

// outcomeEvent returns the event about the outcome for a recipient.
func (a *attempt) outcomeEvent(r *envelope.Recipient, o outcome) events.Event {
	name := classOf(o.state)
	if name == "failed" {
		name = "bounced"
		if o.Status.Enhanced == "5.4.7" {
			name = "expired"
		}
	}
	return events.Event{Name: name, Data: map[string]any{
		"message": a.env.ID.String(), "sender": string(a.env.Sender), "to": string(r.Address), "orig": string(r.Orig), "code": o.Status.Code,
		"enhanced": o.Status.Enhanced, "text": o.Status.Text, "host": o.Host, "attempt": r.Attempts, "subject": a.env.Subject}}
}

// logOutcome writes the outcome to the log, the metrics and the trail.
func (a *attempt) logOutcome(ctx context.Context, r *envelope.Recipient, o outcome) {
	class := classOf(o.state)
	kind := "smtp"
	if a.g.Kind != envelope.Remote {
		kind = "local"
	}
	a.log.Metrics.Attempts.WithLabelValues(kind, class).Inc()
	if class == "delivered" {
		a.log.Metrics.Latency.WithLabelValues(a.g.Priority.Class().String()).Observe(a.now.Sub(a.env.ReceivedAt).Seconds())
	}
	a.log.Step(ctx, "delivery", a.env.ID.String(), "to", string(r.Address), "result", class, "host", o.Host, "tls", o.TLS,
		"attempt", r.Attempts, "status", o.Status.Reply(), "err", o.Status.Err)
	text := class
	if o.Host != "" {
		text += " by " + o.Host
	}
	text += ": " + o.Status.Reply()
	if r.State == envelope.Discarded { // it was not delivered
		text = o.Status.Text
	}
	a.u.Trail = append(a.u.Trail, envelope.TrailEntry{Time: a.clock.Now(), Step: "deliver", Rcpt: r.Address, Verdict: string(r.State),
		Text: text, Cost: time.Since(a.start)})
}

// settle records the outcome of the group. The peer may have the message already, so
// this continues even while the server stops.
func (a *attempt) settle(ctx context.Context) error {
	a.reschedule()
	return a.record(ctx, a.g)
}

// settleSome records the outcome for some of the recipients, before the others
// are tried. The group stays due.
func (a *attempt) settleSome(ctx context.Context, rcpts []*envelope.Recipient) error {
	some := *a.g
	some.Recipients = nil
	for _, r := range rcpts {
		some.Recipients = append(some.Recipients, *r)
	}
	return a.record(ctx, &some)
}

// record commits the outcomes so far, with the DSNs and the mail that result from
// them.
func (a *attempt) record(ctx context.Context, g *envelope.Group) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
	defer cancel()
	err := a.commit(ctx, g)
	for err != nil && a.retry != nil && a.retry.retryCommit(ctx, err) {
		err = a.commit(ctx, g)
	}
	if err != nil {
		return fmt.Errorf("settle %s: %w", a.env.ID, err)
	}
	return nil
}

// commit makes the DSNs and the mail that result from the outcomes, and tries to
// commit all of it.
func (a *attempt) commit(ctx context.Context, g *envelope.Group) error {
	if err := a.makeDSNs(ctx); err != nil {
		return err
	}
	first := len(a.u.Pending.Submits)
	for i := 0; i < len(a.u.Pending.Submits); i++ { // policies of the queue may submit more
		if s := a.u.Pending.Submits[i]; i < first || !s.Forward { // forwards of what was forwarded are dropped
			if st := a.submit(ctx, s); st != nil {
				return st
			}
		}
	}
	a.u.Trail = trail.Printable(a.u.Trail)
	return a.writer.Settle(ctx, a.policies, &a.u, a.env.ID, g)
}

// reschedule makes the group due when the first of its recipients is due.
func (a *attempt) reschedule() {
	var next time.Time
	for _, r := range a.g.Recipients {
		if r.State == envelope.Queued && (next.IsZero() || r.Next.Before(next)) {
			next = r.Next
		}
	}
	if !next.IsZero() {
		a.g.Due = next
	}
}

// submit adds a policy's submission to the unit: a new message, or this message for
// further recipients. A status says that the store failed.
func (a *attempt) submit(ctx context.Context, s hooks.Submit) *envelope.Status {
	if !s.Forward {
		return a.intake.Submit(ctx, &a.u, a.env, a.policies, s)
	}
	for _, to := range s.Rcpts {
		sender := s.Sender
		if s.Hold {
			a.u.Groups = append(a.u.Groups, a.intake.HeldGroup(a.env, to, sender))
			continue
		}
		a.addForward(ctx, envelope.Recipient{Address: to, Orig: to, Sender: &sender, Edit: s.Edit, From: s.From})
	}
	for _, r := range a.intake.FiledCopies(s) {
		a.addForward(ctx, *r)
	}
	return nil
}

// addForward sends this message to one more recipient. If a hook of the queue fails
// temporarily, the recipient waits in a separate group: the outcome of this attempt
// does not depend on it.
func (a *attempt) addForward(ctx context.Context, r envelope.Recipient) {
	before := a.u.Savepoint()
	if st := a.addCopy(ctx, r); st != nil && st.Code < 500 {
		a.u.Rollback(before)
		a.u.Groups = append(a.u.Groups, a.intake.UnexpandedGroup(a.env, r, a.now.Add(a.cfg.Retry[0])))
	}
}

// addCopy sends this message to one more recipient, in the same commit. A copy
// that cannot be made is logged, with the status that is returned.
func (a *attempt) addCopy(ctx context.Context, r envelope.Recipient) *envelope.Status {
	st := envelope.Reject(554, "5.4.6", "mail forwarding loop")
	if !wouldLoop(r.From, r.Address) {
		st = a.addRecipient(ctx, r)
	}
	if st != nil {
		a.log.WarnContext(ctx, "copy not made", "id", a.env.ID.String(), "to", string(r.Address), "status", st.Reply())
	}
	return st
}

// addRecipient runs the hooks of the queue for a further recipient and adds its
// groups to the unit; a status says why it gets nothing.
func (a *attempt) addRecipient(ctx context.Context, r envelope.Recipient) *envelope.Status {
	return a.intake.AddRecipient(ctx, &a.u, a.policies, a.env, a.msg.Header, r)
}

// returnPath returns the envelope sender of a recipient's copy.
func (a *attempt) returnPath(r *envelope.Recipient) envelope.Address {
	if r.Sender != nil {
		return *r.Sender
	}
	return a.env.Sender
}
