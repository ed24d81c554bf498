package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/store"
	"carteiro/hooks"
)

// recordWithin bounds the commit of an outcome.
const recordWithin = time.Minute

// attempt is one try of one group: outcomes are collected in memory, then
// recorded in one commit.
type attempt struct {
	p        *Pipeline
	env      *envelope.Envelope
	g        *envelope.Group
	gen      *hooks.Generation
	now      time.Time
	msg      *hooks.Message
	section  []byte // the header section as it is stored
	outgoing []byte // what policies made of it for this try
	pending  *hooks.Pending
	out      store.Settlement
	reports  []report
	down     bool
	start    time.Time
	unlocks  []func()          // of the mailboxes that are delivered to
	events   map[uint32]notice // by recipient
	covers   cover
	saved    *saved          // before its mailboxes were looked at
	full     map[uint32]bool // recipients whose mailboxes are
}

// attempt tries a leased group once and records the outcome. down says that
// the destination could not be reached; recorded is false when the store
// could not even be told of a failure, and holds the group as it was.
//
// Crash: before Settle returns, the group is as it was, and the attempt is
// made again; a peer that said 250 in between gets the message twice. A local
// delivery is in the same commit as the state that says so.
func (p *Pipeline) attempt(ctx context.Context, e store.DueEntry) (down, recorded bool) {
	var a *attempt
	err := safely(func() error { // a fault about one message must not stop the others
		var err error
		if a, err = p.begin(ctx, e); a == nil || err != nil {
			return err
		}
		return a.try(ctx)
	})
	if a != nil {
		discard(a.out.Messages)
	}
	if a != nil && err != nil {
		a.pending.Back(0, 0, 0)
	}
	if err != nil {
		p.log.ErrorContext(ctx, "attempt failed", "id", e.ID.String(), "block", e.Block, "err", err)
		if err := safely(func() error { return p.postpone(ctx, e, err) }); err != nil {
			p.log.ErrorContext(ctx, "attempt not recorded", "id", e.ID.String(), "block", e.Block, "err", err)
			return false, false
		}
	}
	return a != nil && a.down, true
}

// errPanic is a fault of ours in the middle of work on one message.
var errPanic = errors.New("panic")

// safely turns a panic into an error that is errPanic.
func safely(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, r, debug.Stack())
		}
	}()
	return f()
}

// begin loads a group; nil when there is nothing to try.
func (p *Pipeline) begin(ctx context.Context, e store.DueEntry) (*attempt, error) {
	if p.queue.isClaimed(e) {
		return nil, nil
	}
	env, g, err := p.store.Load(ctx, e.ID, e.Block)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case g.Held || g.Due.After(p.clock.Now()) || len(g.Recipients) == 0:
		return nil, nil
	}
	return p.newAttempt(ctx, env, g)
}

// newAttempt reads what a try or an operator's change needs of a message.
func (p *Pipeline) newAttempt(ctx context.Context, env *envelope.Envelope, g *envelope.Group) (*attempt, error) {
	section, err := p.store.Header(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("header of %s: %w", env.ID, err)
	}
	a := &attempt{p: p, env: env, g: g, gen: p.gen.Get(), now: p.clock.Now(), section: section, outgoing: section, pending: &hooks.Pending{}, start: time.Now(), covers: cover{}}
	a.msg = &hooks.Message{Ours: env.Ours, ID: env.ID, Sender: env.Sender, Size: env.Size, ReceivedAt: env.ReceivedAt, Header: mime.ParseHeader(section),
		Priority: g.Priority, Meta: env.Meta, Earlier: env.Score, Identity: env.Identity, Listener: env.Listener, Client: env.Client,
		Body: func() (io.ReadCloser, error) { return p.store.Body(ctx, env) }}
	a.msg.Auth = p.auth(env, a.msg.Header, a.msg.Body)
	a.out = store.Settlement{ID: env.ID, Block: g.Block}
	return a, nil
}

// postpone keeps a group that cannot even be read or recorded from being
// tried again at once; the store may not be able to record even that.
func (p *Pipeline) postpone(ctx context.Context, e store.DueEntry, cause error) error {
	env, g, err := p.store.Load(ctx, e.ID, e.Block)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if errors.Is(cause, store.ErrCorrupt) {
		hold(g, "stored data is corrupt")
	}
	told := cause.Error()
	if errors.Is(cause, errPanic) {
		told = "internal error" // the log has the traceback
	}
	g.Due = p.clock.Now().Add(p.cfg.Retry[0])
	s := &store.Settlement{ID: env.ID, Block: e.Block, Group: g,
		Trail: legible([]envelope.TrailEntry{{Time: p.clock.Now(), Step: "deliver", Err: told}})}
	return p.store.Settle(context.WithoutCancel(ctx), s)
}

// try asks deliver.attempt, then hands the due recipients on.
func (a *attempt) try(ctx context.Context) error {
	if a.g.Kind == envelope.Remote || a.g.Kind == envelope.Mailbox {
		if done := a.ask(ctx); done {
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
		a.async(ctx, due)
	case envelope.HeldForGroup:
		a.expandHeld(ctx, due)
	case envelope.Mailbox:
		defer a.unlockBoxes() // after the commit: the next message for a mailbox sees its effects
		a.save(due)
		a.deliverLocal(ctx, due)
	default:
		if err := a.deliverRemote(ctx, due); err != nil {
			return err
		}
	}
	return a.settle(ctx)
}

// ask runs deliver.attempt; done says that nothing is tried now.
func (a *attempt) ask(ctx context.Context) (done bool) {
	if !a.gen.Chain.Has(hooks.DeliverAttempt) {
		return false
	}
	e := a.event(hooks.DeliverAttempt)
	e.Outgoing = a.p.outgoingGroup(a.env, a.g)
	e.Group, e.Attempt = a.g, &hooks.Attempt{Number: a.g.Attempts + 1, Last: a.g.Tried}
	for _, r := range a.g.Recipients {
		if !r.First.IsZero() && (e.Attempt.First.IsZero() || r.First.Before(e.Attempt.First)) {
			e.Attempt.First = r.First
		}
	}
	before := a.msg.Header
	v := a.run(ctx, e)
	if a.msg.Header != before {
		a.outgoing = a.msg.Header.Bytes()
	}
	switch v.Action {
	case hooks.Retry:
		for i := range a.g.Recipients {
			r := &a.g.Recipients[i]
			if r.State == envelope.Queued && !a.now.Before(a.g.Expires) {
				a.resolve(ctx, r, outcome{Outcome: envelope.Outcome{Status: envelope.Status{Code: 451, Enhanced: "4.7.0", Text: "a policy made it wait"}}, state: envelope.Queued})
				continue
			}
			r.Next = a.now.Add(max(v.Delay, time.Second))
		}
		return true
	case hooks.Hold:
		hold(a.g, v.Reason)
		return true
	case hooks.Discard:
		for i := range a.g.Recipients {
			a.g.Recipients[i].State = envelope.Discarded
		}
		return true
	case hooks.Reroute:
		for i := range a.g.Recipients {
			a.reroute(&a.g.Recipients[i], v.Route)
		}
	}
	return false
}

func (a *attempt) event(point hooks.Point) *hooks.Event {
	return &hooks.Event{Point: point, Now: a.now, Msg: a.msg, Pending: a.pending}
}

func (a *attempt) run(ctx context.Context, e *hooks.Event) hooks.Verdict {
	v, trail := a.gen.Chain.Run(ctx, e)
	a.out.Trail = append(a.out.Trail, trail...)
	a.p.logFailures(ctx, a.env.ID.String(), trail)
	return v
}

func (a *attempt) reroute(r *envelope.Recipient, route *hooks.Route) {
	if raw, err := json.Marshal(route); err == nil {
		r.Route = string(raw)
	}
}

// outcome is what became of one recipient in this attempt.
type outcome struct {
	envelope.Outcome
	state envelope.State // Delivered, Failed, Queued (deferred), Discarded, Expanded
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

// resolve applies an outcome to a recipient: deliver.result may change the
// schedule, then the state moves and reports fall due.
func (a *attempt) resolve(ctx context.Context, r *envelope.Recipient, o outcome) {
	delay := a.p.cfg.Retry[min(max(r.Attempts-1, 0), len(a.p.cfg.Retry)-1)]
	v := a.askResult(ctx, r, o)
	if v.Action == hooks.Fail && o.state == envelope.Queued {
		o.state = envelope.Failed
		o.Status = envelope.Status{Code: 550, Enhanced: "5.0.0", Text: v.Status.Text}
	}
	if o.state == envelope.Queued {
		switch v.Action {
		case hooks.Retry:
			delay = max(v.Delay, time.Second)
		case hooks.Reroute:
			if r.Route == "" { // at once, but only the first time: ways that all fail must not chase each other
				delay = 0
			}
			a.reroute(r, v.Route)
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
		a.due(r, o)
	}
	if a.gen.Chain.Observes(outcomeEvents...) {
		if a.events == nil {
			a.events = map[uint32]notice{}
		}
		a.events[r.N] = a.outcomeEvent(r, o)
	}
	a.note(ctx, r, o)
}

func (a *attempt) askResult(ctx context.Context, r *envelope.Recipient, o outcome) hooks.Verdict {
	if !a.gen.Chain.Has(hooks.DeliverResult) {
		return hooks.Verdict{}
	}
	e := a.event(hooks.DeliverResult)
	e.Rcpt, e.Outgoing = &hooks.Rcpt{Recipient: r}, a.p.outgoing(a.env, r)
	e.Result = &hooks.Result{Class: classOf(o.state), Status: o.Status, Host: o.Host, Attempt: r.Attempts, Age: a.now.Sub(a.env.ReceivedAt)}
	return a.run(ctx, e)
}

// note puts the outcome in the log, the metrics and the trail.
func (a *attempt) note(ctx context.Context, r *envelope.Recipient, o outcome) {
	class := classOf(o.state)
	kind := "smtp"
	if a.g.Kind != envelope.Remote {
		kind = "local"
	}
	a.p.log.Metrics.Attempts.WithLabelValues(kind, class).Inc()
	if class == "delivered" {
		a.p.log.Metrics.Latency.WithLabelValues(a.g.Priority.Class().String()).Observe(a.now.Sub(a.env.ReceivedAt).Seconds())
	}
	a.p.log.Step(ctx, "delivery", a.env.ID.String(), "to", string(r.Address), "result", class, "host", o.Host, "tls", o.TLS,
		"attempt", r.Attempts, "status", o.Status.Reply(), "err", o.Status.Err)
	text := class
	if o.Host != "" {
		text += " by " + o.Host
	}
	text += ": " + o.Status.Reply()
	if r.State == envelope.Discarded { // nobody got it
		text = o.Status.Text
	}
	a.out.Trail = append(a.out.Trail, envelope.TrailEntry{Time: a.p.clock.Now(), Step: "deliver", Rcpt: r.Address, Verdict: string(r.State),
		Text: text, Cost: time.Since(a.start)})
}

// settle writes the outcome. The peer may have the message already, so this
// goes on even while the server stops.
func (a *attempt) settle(ctx context.Context) error {
	a.reschedule()
	a.out.Group = a.g
	return a.write(ctx)
}

// settleSome writes the outcome for some of the recipients, before the others
// are tried. The group stays due.
func (a *attempt) settleSome(ctx context.Context, rcpts []*envelope.Recipient) error {
	some := *a.g
	some.Recipients = nil
	for _, r := range rcpts {
		some.Recipients = append(some.Recipients, *r)
	}
	a.out.Group = &some
	if err := a.write(ctx); err != nil {
		return err
	}
	a.out = store.Settlement{ID: a.env.ID, Block: a.g.Block}
	*a.pending, a.events = hooks.Pending{}, nil
	return nil
}

// write records what came about, with the reports and the mail that follow.
func (a *attempt) write(ctx context.Context) error {
	rec, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
	defer cancel()
	err := a.ready(rec)
	for err != nil && a.overQuota(rec, err) {
		err = a.ready(rec)
	}
	if err != nil {
		return fmt.Errorf("settle %s: %w", a.env.ID, err)
	}
	a.p.wake(a.out.Messages)
	if len(a.events) > 0 {
		a.p.observed()
	}
	a.p.decided(a.out.Effects)
	for _, g := range a.out.Add {
		a.p.queue.offer(dueEntry(a.env.ID, g))
	}
	return nil
}

// ready is one try to make what follows from the outcome, and to write it.
func (a *attempt) ready(ctx context.Context) error {
	if err := a.compose(ctx); err != nil {
		return err
	}
	first := len(a.pending.Submits)
	for i := 0; i < len(a.pending.Submits); i++ { // policies of the queue may submit more
		if s := a.pending.Submits[i]; i < first || !s.Forward { // those that forward what was forwarded are not asked again
			a.submit(ctx, s)
		}
	}
	a.out.Trail = legible(a.out.Trail)
	return a.record(ctx)
}

// record is one try to write it, with the effects and events as they are now.
func (a *attempt) record(ctx context.Context) error {
	list := learned(a.pending.Effects)
	for _, n := range slices.Sorted(maps.Keys(a.events)) {
		list = append(list, a.events[n])
	}
	a.out.Effects = append(slices.Clone(a.pending.Effects), a.p.events(a.gen, list...)...)
	return a.p.store.Settle(ctx, &a.out)
}

// reschedule makes the group due when the first of its recipients is.
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

// submit adds what a policy submitted to the commit: a message of its own, or
// this message for further recipients.
func (a *attempt) submit(ctx context.Context, s hooks.Submit) {
	if !s.Forward {
		a.out.Messages = append(a.out.Messages, a.p.submitted(ctx, *a.env, a.gen, a.pending, s)...)
		return
	}
	for _, to := range s.Rcpts {
		sender := s.Sender
		if s.Hold {
			in := &intake{env: *a.env}
			a.out.Add = append(a.out.Add, a.p.heldGroup(in, to, sender))
			continue
		}
		a.add(ctx, envelope.Recipient{Address: to, Orig: to, Sender: &sender, Edit: s.Edit, From: s.From})
	}
	for _, r := range a.p.copies(s) {
		a.add(ctx, *r)
	}
}
