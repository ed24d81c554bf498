package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
	"carteiro/core/service/auth"
	"carteiro/hooks"
)

// visit is what the pipeline remembers of a session: what policies said
// before MAIL, and the open transaction. It is Session.Policy.
type visit struct {
	trail []envelope.TrailEntry
	tx    *transaction
}

// transaction is an open mail transaction: the generation it began with (a
// reload does not change it), the space that was reserved for it, and what
// policies said so far.
type transaction struct {
	gen      *hooks.Generation
	release  func()
	sender   envelope.Address // as MAIL gave it, whatever policies made of it
	trail    []envelope.TrailEntry
	accepted bool
}

// maxVisitTrail bounds what is remembered of a session that logs in, says
// EHLO and resets all day.
const maxVisitTrail = 50

func visitOf(s *envelope.Session) *visit {
	v, ok := s.Policy.(*visit)
	if !ok {
		v = &visit{}
		s.Policy = v
	}
	return v
}

// remember keeps what policies said, for the trail of the message at hand or
// of those to come.
func (v *visit) remember(trail []envelope.TrailEntry) {
	switch {
	case v.tx != nil:
		v.tx.trail = append(v.tx.trail, trail...)
	case len(v.trail) < maxVisitTrail:
		v.trail = append(v.trail, trail...)
	}
}

// story is everything that policies said about the open transaction.
func (v *visit) story() []envelope.TrailEntry {
	return append(v.trail[:len(v.trail):len(v.trail)], v.tx.trail...)
}

// policies is the generation that a session's hooks belong to now.
func (p *Pipeline) policies(s *envelope.Session) *hooks.Generation {
	if v := visitOf(s); v.tx != nil {
		return v.tx.gen
	}
	return p.gen.Get()
}

// outlived turns a transaction away whose generation was replaced too long
// ago: its interpreters must not stay for as long as a client pleases.
func (p *Pipeline) outlived(gen *hooks.Generation) *envelope.Status {
	if !gen.Outlived(p.clock.Now()) {
		return nil
	}
	return envelope.Defer(451, "4.3.0", "transaction took too long, try again", nil)
}

// Connect asks the policies before the banner.
func (p *Pipeline) Connect(ctx context.Context, s *envelope.Session) *envelope.Status {
	p.log.Metrics.Connections.WithLabelValues(s.Listener).Inc()
	return p.ask(ctx, s, &hooks.Event{Point: hooks.ReceiveConnect})
}

// Helo asks the policies about the client's name.
func (p *Pipeline) Helo(ctx context.Context, s *envelope.Session, name string) *envelope.Status {
	return p.ask(ctx, s, &hooks.Event{Point: hooks.ReceiveHelo, Name: name})
}

// ask runs a hook of a session and says its verdict as a status; nil goes on.
func (p *Pipeline) ask(ctx context.Context, s *envelope.Session, e *hooks.Event) *envelope.Status {
	v := p.run(ctx, s, e)
	return refusal(v)
}

// run fills in what all events of a session have and asks the policies.
func (p *Pipeline) run(ctx context.Context, s *envelope.Session, e *hooks.Event) hooks.Verdict {
	gen := p.policies(s)
	if !gen.Chain.Has(e.Point) {
		gen.Chain.Passed(e.Point)
		return hooks.Verdict{}
	}
	e.Session, e.Now = s, p.clock.Now()
	e.Apply = func(effects []envelope.Effect, submits []hooks.Submit) error {
		return p.apply(ctx, gen, effects, submits)
	}
	v, trail := gen.Chain.Run(ctx, e)
	visitOf(s).remember(trail)
	p.logFailures(ctx, s.ID, trail)
	if e.Delay > 0 {
		p.delay(ctx, e.Delay)
	}
	return v
}

// tarpit has a client wait for its reply. It holds nothing but the session.
func tarpit(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// logFailures logs what policies did wrong; their verdicts are in trails.
func (p *Pipeline) logFailures(ctx context.Context, id string, trail []envelope.TrailEntry) {
	for _, t := range trail {
		if t.Err != "" {
			p.log.ErrorContext(ctx, "policy failed", "id", id, "hook", t.Hook, "handler", t.Handler, "bundle", t.Bundle,
				"generation", t.Generation, "verdict", t.Verdict, "err", t.Err)
		}
	}
}

// refusal is the status of a verdict that ends a verb, nil for one that does
// not.
func refusal(v hooks.Verdict) *envelope.Status {
	switch v.Action {
	case hooks.Reject, hooks.Defer:
		status := v.Status
		return &status
	case hooks.Disconnect:
		status := v.Status
		status.Close = true
		return &status
	}
	return nil
}

// Auth verifies a login of SMTP or POP3; the policies may let in who has no
// account here, and turn away who has.
func (p *Pipeline) Auth(ctx context.Context, s *envelope.Session, cred *envelope.Credentials) (*envelope.Identity, *envelope.Status) {
	known, err := p.login(ctx, s, cred)
	if err != nil && !errors.Is(err, auth.ErrCredentials) {
		p.log.ErrorContext(ctx, "login impossible", "id", s.ID, "err", err)
		return nil, envelope.Defer(454, "4.7.0", "temporary authentication failure", nil)
	}
	e := &hooks.Event{Point: hooks.ReceiveAuth, Cred: &hooks.Cred{Credentials: cred, Verified: err == nil, Account: known.User, Delegate: known.Delegate}}
	v := p.run(ctx, s, e)
	id, status := identity(known, err == nil, cred, v)
	result, event := "ok", "login"
	if id == nil {
		result, event = "refused", "login_failed"
	}
	if p.observes(event) {
		p.Notice(event, map[string]any{"user": clean(cred.User), "mechanism": cred.Mechanism, "client": s.Remote.Addr().String(), "listener": s.Listener, "protocol": s.Protocol})
	}
	p.log.Metrics.Logins.WithLabelValues(s.Protocol, result).Inc()
	p.log.Step(ctx, "login", s.ID, "user", clean(cred.User), "mechanism", cred.Mechanism, "ip", s.Remote.Addr().String(), "result", result)
	return id, status
}

func identity(known envelope.Identity, verified bool, cred *envelope.Credentials, v hooks.Verdict) (*envelope.Identity, *envelope.Status) {
	if st := refusal(v); st != nil {
		return nil, st
	}
	if v.Action == hooks.Accept && !verified {
		a, err := envelope.ParseAddress(cred.User)
		if name, ok := v.Identity["user"].(string); ok {
			a, err = envelope.ParseAddress(name)
		}
		if err == nil {
			return &envelope.Identity{User: a.Base(), Extra: v.Identity}, nil
		}
	}
	if !verified {
		return nil, envelope.Reject(535, "5.7.8", "authentication credentials invalid")
	}
	extra := maps.Clone(v.Identity)
	if extra == nil {
		extra = known.Extra
	} else {
		maps.Copy(extra, known.Extra) // what a delegate may not do no policy allows
	}
	return &envelope.Identity{User: known.User, Delegate: known.Delegate, Extra: extra}, nil
}

// Mail opens a transaction: room is reserved, the sender must be the user's
// own, the policies agree. Its generation stays until End.
func (p *Pipeline) Mail(ctx context.Context, s *envelope.Session, tx *envelope.Transaction) *envelope.Status {
	if tx.ID.IsZero() {
		tx.ID = envelope.NewID(p.clock.Now())
	}
	release, err := p.store.Reserve(tx.Params.Size)
	if err != nil {
		return p.refused(ctx, s, storeStatus(err))
	}
	visitOf(s).tx = &transaction{gen: p.gen.Get(), release: release, sender: tx.Sender}
	if st := p.openTransaction(ctx, s, tx); st != nil && st.Code >= 400 {
		p.End(s, tx)
		return p.refused(ctx, s, st)
	} else if st != nil {
		return st
	}
	return nil
}

func (p *Pipeline) openTransaction(ctx context.Context, s *envelope.Session, tx *envelope.Transaction) *envelope.Status {
	if st := p.maySend(ctx, s, tx.Sender); st != nil {
		return st
	}
	if st := p.ask(ctx, s, &hooks.Event{Point: hooks.ReceiveMail, Tx: tx}); st != nil {
		return st
	}
	// RFC 6710 4.1: only those we know may raise a priority, and they are told.
	if pr := tx.Params.Priority; pr != nil && *pr > 0 && s.Identity == nil && !s.Trusted {
		*pr = 0
		return &envelope.Status{Code: 250, Enhanced: "2.3.6", Text: "Ok, priority lowered to 0"}
	}
	return nil
}

// End closes a transaction, accepted or not. What policies said about one
// that was not is kept, so that a refusal can be explained too; refusals of
// our own, such as unknown users, are in the log alone.
func (p *Pipeline) End(s *envelope.Session, tx *envelope.Transaction) {
	v := visitOf(s)
	t := v.tx
	if t == nil {
		return
	}
	defer func() { // whatever the store does below
		t.release()
		v.tx = nil
	}()
	if !t.accepted && len(t.trail) > 0 {
		refused := envelope.TrailEntry{Time: p.clock.Now(), Step: "receive", Verdict: "not accepted",
			Text: fmt.Sprintf("from %s, client %s, listener %q", tx.Sender.Path(), s.Remote.Addr(), s.Listener)}
		if err := p.store.AppendTrail(context.Background(), tx.ID, legible(append(v.story(), refused))); err != nil {
			p.log.Warn("trail not kept", "id", tx.ID.String(), "err", err)
		}
	}
}

// Close is told of the end of a session.
func (p *Pipeline) Close(s *envelope.Session) { s.Closed.Store(true) }

// Rcpt decides about one recipient: the guards first, which no policy can
// open: relaying, and return addresses of ours; then the policies; then
// whether the address exists.
func (p *Pipeline) Rcpt(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, rcpt *envelope.Recipient) *envelope.Status {
	rcpt.IsLocal = p.dir.Local(rcpt.Address.Domain())
	if rcpt.Orig == "" {
		rcpt.Orig = rcpt.Address
	}
	back, st := p.home(rcpt.Address, tx.Sender)
	if st != nil {
		return p.refused(ctx, s, st)
	}
	if !rcpt.IsLocal && back == "" && s.Identity == nil && !s.Trusted {
		return p.refused(ctx, s, envelope.Reject(554, "5.7.1", "relay access denied"))
	}
	if st := p.outlived(p.policies(s)); st != nil {
		return p.refused(ctx, s, st)
	}
	if st := p.maySend(ctx, s, visitOf(s).tx.sender); st != nil {
		return p.refused(ctx, s, st)
	}
	given := rcpt.Address
	v := p.run(ctx, s, &hooks.Event{Point: hooks.ReceiveRcpt, Tx: tx, Rcpt: &hooks.Rcpt{Recipient: rcpt}})
	if st := refusal(v); st != nil {
		return p.refused(ctx, s, st)
	}
	rcpt.IsLocal = p.dir.Local(rcpt.Address.Domain())
	switch {
	case v.Action == hooks.Discard:
		rcpt.Discard = true
		return nil
	case v.Action == hooks.Accept || !rcpt.IsLocal || back != "" && rcpt.Address == given:
		return nil
	}
	return p.refused(ctx, s, p.known(ctx, rcpt.Address))
}

// known tells whether a local address can get mail now.
func (p *Pipeline) known(ctx context.Context, a envelope.Address) *envelope.Status {
	r, err := p.dir.Resolve(ctx, a)
	switch {
	case errors.Is(err, auth.ErrUnknown):
		return envelope.Reject(550, "5.1.1", "no such user here")
	case err != nil:
		return storeStatus(err)
	case r.Mailbox == "":
		return nil
	}
	used, limit, err := p.store.Usage(ctx, r.Mailbox)
	if err != nil {
		return storeStatus(err)
	}
	if limit > 0 && used >= limit {
		return envelope.Defer(452, "4.2.2", "mailbox is full", nil)
	}
	return nil
}

// refused logs a refusal; the reply goes to the peer. It passes st on.
func (p *Pipeline) refused(ctx context.Context, s *envelope.Session, st *envelope.Status) *envelope.Status {
	if st != nil && st.Code >= 400 {
		p.log.Step(ctx, "refused", s.ID, "ip", s.Remote.Addr().String(), "status", st.Reply(), "err", st.Err)
	}
	return st
}

// clean makes what a peer sent fit for a log line.
func clean(s string) string {
	s = s[:min(len(s), 200)]
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// maxTrailText is what a trail keeps of one text; engines cut errors before.
const maxTrailText = 2000

// legible makes the texts of a trail fit for the terminal that `explain`
// writes to: policies and other servers put there what strangers sent.
func legible(trail []envelope.TrailEntry) []envelope.TrailEntry {
	for i := range trail {
		t := &trail[i]
		t.Text, t.Verdict, t.Err = printable.Line(t.Text, maxTrailText), printable.Line(t.Verdict, maxTrailText), legibleLines(t.Err)
		if len(t.Changes) > 0 {
			changes := make([]string, len(t.Changes))
			for k, c := range t.Changes {
				changes[k] = printable.Line(c, maxTrailText)
			}
			t.Changes = changes
		}
	}
	return trail
}

// legibleLines keeps the lines of a traceback.
func legibleLines(s string) string {
	if s == "" {
		return ""
	}
	lines := strings.Split(s[:min(len(s), 2*maxTrailText)], "\n")
	for i := range lines {
		lines[i] = printable.Line(strings.ReplaceAll(lines[i], "\t", "    "), maxTrailText)
	}
	return strings.Join(lines, "\n")
}
