// Package receive takes messages from clients: sessions, transactions, the check
// against relaying, logins, the content, and header fields that are missing in a
// user's message. A message is committed before the client gets its 250.
//
//	receive.go    connections, MAIL, RCPT, the end of a transaction
//	login.go      AUTH, and delegates at POP3
//	content.go    the data: header section, body, policies, commit
//	sender.go     which senders and authors a user may use
//	submission.go header fields that a user's message must have
//	tracefield.go the Received field
//	aggregate.go  counts for DMARC aggregate reports
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
	// Delay waits for d, the time that a policy's tarpit asks for, or until ctx
	// ends; nil: it waits by the system clock.
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

// sessionState is what the pipeline remembers of a session: the trail of the hooks
// before MAIL, and the open transaction. It is stored in Session.Policy.
type sessionState struct {
	trail []envelope.TrailEntry
	tx    *transaction
}

// transaction is an open mail transaction: the generation at its beginning (a
// reload does not change it), the disk space reserved for it, and its trail so far.
type transaction struct {
	gen      *hooks.Generation
	release  func()
	sender   envelope.Address // as MAIL gave it; policies may have changed the sender since
	trail    []envelope.TrailEntry
	accepted bool
}

// maxSessionTrail is the most trail entries that a session keeps outside of
// transactions: a client may repeat EHLO and AUTH without end.
const maxSessionTrail = 50

func stateOf(s *envelope.Session) *sessionState {
	v, ok := s.Policy.(*sessionState)
	if !ok {
		v = &sessionState{}
		s.Policy = v
	}
	return v
}

// addTrail adds entries to the open transaction, or to all later transactions of
// the session if none is open.
func (v *sessionState) addTrail(entries []envelope.TrailEntry) {
	switch {
	case v.tx != nil:
		v.tx.trail = append(v.tx.trail, entries...)
	case len(v.trail) < maxSessionTrail:
		v.trail = append(v.trail, entries...)
	}
}

// fullTrail returns the trail of the session and of its open transaction.
func (v *sessionState) fullTrail() []envelope.TrailEntry {
	return append(v.trail[:len(v.trail):len(v.trail)], v.tx.trail...)
}

// generation returns the generation whose hooks run for a session now.
func (r *Receiver) generation(s *envelope.Session) *hooks.Generation {
	if v := stateOf(s); v.tx != nil {
		return v.tx.gen
	}
	return r.current.Get()
}

// checkGeneration refuses a transaction whose generation was replaced too long ago:
// otherwise a client could keep old interpreters in memory without end.
func checkGeneration(gen *hooks.Generation, now time.Time) *envelope.Status {
	if !gen.IsExpired(now) {
		return nil
	}
	return envelope.Defer(451, "4.3.0", "transaction took too long, try again", nil)
}

// Connect runs receive.connect, before the banner.
func (r *Receiver) Connect(ctx context.Context, s *envelope.Session) *envelope.Status {
	r.log.Metrics.Connections.WithLabelValues(s.Listener).Inc()
	return r.check(ctx, s, &hooks.Event{Point: hooks.ReceiveConnect})
}

// Helo runs receive.helo with the name that the client gave.
func (r *Receiver) Helo(ctx context.Context, s *envelope.Session, name string) *envelope.Status {
	return r.check(ctx, s, &hooks.Event{Point: hooks.ReceiveHelo, Name: name})
}

// check runs a hook of a session and returns its refusal, or nil if there is none.
func (r *Receiver) check(ctx context.Context, s *envelope.Session, e *hooks.Event) *envelope.Status {
	v := r.runSessionHook(ctx, s, e)
	return v.Refusal()
}

// runSessionHook runs a hook, with the fields that all events of a session have.
func (r *Receiver) runSessionHook(ctx context.Context, s *envelope.Session, e *hooks.Event) hooks.Verdict {
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

// tarpit makes a client wait for its reply. Only its session waits.
func tarpit(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Mail opens a transaction: it reserves disk space, checks that the user may use the
// sender, and runs receive.mail. The transaction keeps its generation until End.
func (r *Receiver) Mail(ctx context.Context, s *envelope.Session, tx *envelope.Transaction) *envelope.Status {
	if tx.ID.IsZero() {
		tx.ID = envelope.NewID(r.clock.Now())
	}
	release, err := r.store.Reserve(tx.Params.Size)
	if err != nil {
		return r.logRefusal(ctx, s, store.StatusOf(err))
	}
	stateOf(s).tx = &transaction{gen: r.current.Get(), release: release, sender: tx.Sender}
	if st := r.openTransaction(ctx, s, tx); st != nil && st.Code >= 400 {
		r.End(s, tx)
		return r.logRefusal(ctx, s, st)
	} else if st != nil {
		return st
	}
	return nil
}

func (r *Receiver) openTransaction(ctx context.Context, s *envelope.Session, tx *envelope.Transaction) *envelope.Status {
	if st := r.senders.maySend(ctx, s, tx.Sender); st != nil {
		return st
	}
	if st := r.check(ctx, s, &hooks.Event{Point: hooks.ReceiveMail, Tx: tx}); st != nil {
		return st
	}
	// RFC 6710 4.1: only clients that we trust may raise a priority; others get a note in the reply.
	if pr := tx.Params.Priority; pr != nil && *pr > 0 && s.Identity == nil && !s.Trusted {
		*pr = 0
		return &envelope.Status{Code: 250, Enhanced: "2.3.6", Text: "Ok, priority lowered to 0"}
	}
	return nil
}

// End closes a transaction, accepted or not. If it was not accepted and policies
// ran, its trail is stored, so that `explain` can show the refusal. Refusals without
// policies, such as unknown users, are only in the log.
func (r *Receiver) End(s *envelope.Session, tx *envelope.Transaction) {
	v := stateOf(s)
	t := v.tx
	if t == nil {
		return
	}
	defer func() { // also if the store panics below
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

// Close marks a session as closed.
func (r *Receiver) Close(s *envelope.Session) { s.Closed.Store(true) }

// Rcpt decides about one recipient. First come the checks that no policy can
// override: relaying, and return paths of ours. Then the policies run, and last
// comes the check whether the address exists.
func (r *Receiver) Rcpt(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, rcpt *envelope.Recipient) *envelope.Status {
	rcpt.IsLocal = r.dir.Local(rcpt.Address.Domain())
	if rcpt.Orig == "" {
		rcpt.Orig = rcpt.Address
	}
	back, st := r.intake.ReverseReturnPath(rcpt.Address, tx.Sender)
	if st != nil {
		return r.logRefusal(ctx, s, st)
	}
	if !rcpt.IsLocal && back == "" && s.Identity == nil && !s.Trusted {
		return r.logRefusal(ctx, s, envelope.Reject(554, "5.7.1", "relay access denied"))
	}
	if st := checkGeneration(r.generation(s), r.clock.Now()); st != nil {
		return r.logRefusal(ctx, s, st)
	}
	if st := r.senders.maySend(ctx, s, stateOf(s).tx.sender); st != nil {
		return r.logRefusal(ctx, s, st)
	}
	given := rcpt.Address
	v := r.runSessionHook(ctx, s, &hooks.Event{Point: hooks.ReceiveRcpt, Tx: tx, Rcpt: &hooks.Rcpt{Recipient: rcpt}})
	if st := v.Refusal(); st != nil {
		return r.logRefusal(ctx, s, st)
	}
	rcpt.IsLocal = r.dir.Local(rcpt.Address.Domain())
	switch {
	case v.Action == hooks.Discard:
		rcpt.Discard = true
		return nil
	case v.Action == hooks.Accept || !rcpt.IsLocal || back != "" && rcpt.Address == given:
		return nil
	}
	return r.logRefusal(ctx, s, r.checkMailbox(ctx, rcpt.Address))
}

// checkMailbox checks whether a local address exists and its mailbox has room.
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

// logRefusal logs st if it is a refusal, and returns it.
func (r *Receiver) logRefusal(ctx context.Context, s *envelope.Session, st *envelope.Status) *envelope.Status {
	if st != nil && st.Code >= 400 {
		r.log.Step(ctx, "refused", s.ID, "ip", s.Remote.Addr().String(), "status", st.Reply(), "err", st.Err)
	}
	return st
}
