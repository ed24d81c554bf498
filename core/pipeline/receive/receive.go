// Package receive is the way of a message from its client to the answer to its
// data: sessions and transactions, relaying, logins, the content, and what a
// user's message needs to be complete. One commit, and only then the 250.
//
//	receive.go    connections, MAIL, RCPT, the end of a transaction
//	login.go      AUTH, and delegates at POP3
//	content.go    the data: header section, body, policies, commit
//	sender.go     which senders and authors a user may use
//	submission.go what is missing in a user's message
//	tracefield.go the Received field
//	aggregate.go  what is counted for DMARC aggregate reports
package receive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/events"
	"carteiro/core/pipeline/intake"
	"carteiro/core/pipeline/trail"
	"carteiro/core/protocol/sasl"
	"carteiro/core/service/auth"
	"carteiro/core/service/dmarc"
	"carteiro/core/service/verify"
	"carteiro/core/store"
	"carteiro/hooks"
)

// MaxHops is how many Received fields a message may have (RFC 5321 6.3
// asks for a large limit, normally at least 100).
const MaxHops = 100

// Store is the part of the store that a Receiver uses.
type Store interface {
	commit.Drafter
	Reserve(size int64) (release func(), err error)
	AppendTrail(ctx context.Context, id envelope.ID, entries []envelope.TrailEntry) error
	Usage(ctx context.Context, owner envelope.Address) (used, limit int64, err error)
}

// Directory verifies logins and says what users may do; *auth.Directory is one.
type Directory interface {
	Rights
	Local(domain string) bool
	Resolve(ctx context.Context, a envelope.Address) (auth.Resolution, error)
	Login(ctx context.Context, cred *envelope.Credentials) (envelope.Address, error)
	SplitDelegated(ctx context.Context, cred *envelope.Credentials) (owner envelope.Address, own *envelope.Credentials)
	Access(ctx context.Context, user, owner envelope.Address) string
	Scram(ctx context.Context, plus bool, bind func(kind string) []byte) sasl.Exchange
}

// Parts are what a Receiver is made of; all but Ledger and Delay must be set.
type Parts struct {
	Hostname  string
	Store     Store
	Directory Directory
	Resolver  verify.Resolver
	Policies  *hooks.Current
	Intake    *intake.Intake
	Events    *events.Queue
	Log       *telemetry.Journal
	Clock     *clock.Clock
	// Ledger counts mail for DMARC aggregate reports; nil: nothing is counted.
	Ledger *dmarc.Ledger
	// Delay waits as long as a policy's tarpit says, or until ctx ends; nil:
	// by the system's time.
	Delay func(ctx context.Context, d time.Duration)
}

// Receiver answers the commands of sessions.
type Receiver struct {
	hostname string
	store    Store
	dir      Directory
	resolver verify.Resolver
	current  *hooks.Current
	intake   *intake.Intake
	events   *events.Queue
	log      *telemetry.Journal
	clock    *clock.Clock
	ledger   *dmarc.Ledger
	delay    func(context.Context, time.Duration)
	senders  senders
}

// New makes a Receiver.
func New(p Parts) *Receiver {
	r := &Receiver{hostname: p.Hostname, store: p.Store, dir: p.Directory, resolver: p.Resolver, current: p.Policies, intake: p.Intake,
		events: p.Events, log: p.Log, clock: p.Clock, ledger: p.Ledger, delay: p.Delay, senders: senders{p.Directory}}
	if r.delay == nil {
		r.delay = tarpit
	}
	return r
}

// sessionState is what the pipeline remembers of a session: what policies said
// before MAIL, and the open transaction. It is Session.Policy.
type sessionState struct {
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

// maxSessionTrail bounds what is remembered of a session that logs in, says
// EHLO and resets all day.
const maxSessionTrail = 50

func stateOf(s *envelope.Session) *sessionState {
	v, ok := s.Policy.(*sessionState)
	if !ok {
		v = &sessionState{}
		s.Policy = v
	}
	return v
}

// addTrail keeps what policies said, for the trail of the message at hand or
// of those to come.
func (v *sessionState) addTrail(entries []envelope.TrailEntry) {
	switch {
	case v.tx != nil:
		v.tx.trail = append(v.tx.trail, entries...)
	case len(v.trail) < maxSessionTrail:
		v.trail = append(v.trail, entries...)
	}
}

// fullTrail is everything that policies said about the open transaction.
func (v *sessionState) fullTrail() []envelope.TrailEntry {
	return append(v.trail[:len(v.trail):len(v.trail)], v.tx.trail...)
}

// generation is the generation that a session's hooks belong to now.
func (r *Receiver) generation(s *envelope.Session) *hooks.Generation {
	if v := stateOf(s); v.tx != nil {
		return v.tx.gen
	}
	return r.current.Get()
}

// checkGeneration refuses a transaction whose generation was replaced too long
// ago: its interpreters must not stay for as long as a client pleases.
func checkGeneration(gen *hooks.Generation, now time.Time) *envelope.Status {
	if !gen.IsExpired(now) {
		return nil
	}
	return envelope.Defer(451, "4.3.0", "transaction took too long, try again", nil)
}

// Connect asks the policies before the banner.
func (r *Receiver) Connect(ctx context.Context, s *envelope.Session) *envelope.Status {
	r.log.Metrics.Connections.WithLabelValues(s.Listener).Inc()
	return r.ask(ctx, s, &hooks.Event{Point: hooks.ReceiveConnect})
}

// Helo asks the policies about the client's name.
func (r *Receiver) Helo(ctx context.Context, s *envelope.Session, name string) *envelope.Status {
	return r.ask(ctx, s, &hooks.Event{Point: hooks.ReceiveHelo, Name: name})
}

// ask runs a hook of a session and says its verdict as a status; nil goes on.
func (r *Receiver) ask(ctx context.Context, s *envelope.Session, e *hooks.Event) *envelope.Status {
	v := r.run(ctx, s, e)
	return v.Refusal()
}

// run fills in what all events of a session have and asks the policies.
func (r *Receiver) run(ctx context.Context, s *envelope.Session, e *hooks.Event) hooks.Verdict {
	gen := r.generation(s)
	if !gen.Chain.Has(e.Point) {
		gen.Chain.CountEmpty(e.Point)
		return hooks.Verdict{}
	}
	e.Session, e.Now = s, r.clock.Now()
	e.Apply = func(effects []envelope.Effect, submits []hooks.Submit) error {
		return r.intake.Apply(ctx, gen, effects, submits)
	}
	v, entries := gen.Chain.Run(ctx, e)
	stateOf(s).addTrail(entries)
	trail.LogFailures(ctx, r.log, s.ID, entries)
	if e.Delay > 0 {
		r.delay(ctx, e.Delay)
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

// Mail opens a transaction: room is reserved, the sender must be the user's
// own, the policies agree. Its generation stays until End.
func (r *Receiver) Mail(ctx context.Context, s *envelope.Session, tx *envelope.Transaction) *envelope.Status {
	if tx.ID.IsZero() {
		tx.ID = envelope.NewID(r.clock.Now())
	}
	release, err := r.store.Reserve(tx.Params.Size)
	if err != nil {
		return r.refused(ctx, s, store.StatusOf(err))
	}
	stateOf(s).tx = &transaction{gen: r.current.Get(), release: release, sender: tx.Sender}
	if st := r.openTransaction(ctx, s, tx); st != nil && st.Code >= 400 {
		r.End(s, tx)
		return r.refused(ctx, s, st)
	} else if st != nil {
		return st
	}
	return nil
}

func (r *Receiver) openTransaction(ctx context.Context, s *envelope.Session, tx *envelope.Transaction) *envelope.Status {
	if st := r.senders.maySend(ctx, s, tx.Sender); st != nil {
		return st
	}
	if st := r.ask(ctx, s, &hooks.Event{Point: hooks.ReceiveMail, Tx: tx}); st != nil {
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
func (r *Receiver) End(s *envelope.Session, tx *envelope.Transaction) {
	v := stateOf(s)
	t := v.tx
	if t == nil {
		return
	}
	defer func() { // whatever the store does below
		t.release()
		v.tx = nil
	}()
	if !t.accepted && len(t.trail) > 0 {
		refused := envelope.TrailEntry{Time: r.clock.Now(), Step: "receive", Verdict: "not accepted",
			Text: fmt.Sprintf("from %s, client %s, listener %q", tx.Sender.Path(), s.Remote.Addr(), s.Listener)}
		if err := r.store.AppendTrail(context.Background(), tx.ID, trail.Printable(append(v.fullTrail(), refused))); err != nil {
			r.log.Warn("trail not kept", "id", tx.ID.String(), "err", err)
		}
	}
}

// Close is told of the end of a session.
func (r *Receiver) Close(s *envelope.Session) { s.Closed.Store(true) }

// Rcpt decides about one recipient: the guards first, which no policy can
// open: relaying, and return addresses of ours; then the policies; then
// whether the address exists.
func (r *Receiver) Rcpt(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, rcpt *envelope.Recipient) *envelope.Status {
	rcpt.IsLocal = r.dir.Local(rcpt.Address.Domain())
	if rcpt.Orig == "" {
		rcpt.Orig = rcpt.Address
	}
	back, st := r.intake.ReverseReturnPath(rcpt.Address, tx.Sender)
	if st != nil {
		return r.refused(ctx, s, st)
	}
	if !rcpt.IsLocal && back == "" && s.Identity == nil && !s.Trusted {
		return r.refused(ctx, s, envelope.Reject(554, "5.7.1", "relay access denied"))
	}
	if st := checkGeneration(r.generation(s), r.clock.Now()); st != nil {
		return r.refused(ctx, s, st)
	}
	if st := r.senders.maySend(ctx, s, stateOf(s).tx.sender); st != nil {
		return r.refused(ctx, s, st)
	}
	given := rcpt.Address
	v := r.run(ctx, s, &hooks.Event{Point: hooks.ReceiveRcpt, Tx: tx, Rcpt: &hooks.Rcpt{Recipient: rcpt}})
	if st := v.Refusal(); st != nil {
		return r.refused(ctx, s, st)
	}
	rcpt.IsLocal = r.dir.Local(rcpt.Address.Domain())
	switch {
	case v.Action == hooks.Discard:
		rcpt.Discard = true
		return nil
	case v.Action == hooks.Accept || !rcpt.IsLocal || back != "" && rcpt.Address == given:
		return nil
	}
	return r.refused(ctx, s, r.checkMailbox(ctx, rcpt.Address))
}

// checkMailbox checks whether a local address can get mail now.
func (r *Receiver) checkMailbox(ctx context.Context, a envelope.Address) *envelope.Status {
	res, err := r.dir.Resolve(ctx, a)
	switch {
	case errors.Is(err, auth.ErrUnknown):
		return envelope.Reject(550, "5.1.1", "no such user here")
	case err != nil:
		return store.StatusOf(err)
	case res.Mailbox == "":
		return nil
	}
	used, limit, err := r.store.Usage(ctx, res.Mailbox)
	if err != nil {
		return store.StatusOf(err)
	}
	if limit > 0 && used >= limit {
		return envelope.Defer(452, "4.2.2", "mailbox is full", nil)
	}
	return nil
}

// refused logs a refusal; the reply goes to the peer. It passes st on.
func (r *Receiver) refused(ctx context.Context, s *envelope.Session, st *envelope.Status) *envelope.Status {
	if st != nil && st.Code >= 400 {
		r.log.Step(ctx, "refused", s.ID, "ip", s.Remote.Addr().String(), "status", st.Reply(), "err", st.Err)
	}
	return st
}
