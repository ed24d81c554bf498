// Package deliver tries to deliver groups of the queue, into mailboxes here or to
// next hops. It records each outcome in one commit, together with the DSNs and other
// messages that result from it.
//
//	deliver.go    the beginning and the end of an attempt
//	attempt.go    deliver.attempt, outcomes, deliver.result, the commit
//	dsn.go        DSNs about outcomes
//	local.go      deliver.local, deliveries into mailboxes, redirects
//	quota.go      mailboxes that are full
//	remote.go     transactions with next hops
//	route.go      the next hop of a group
//	copy.go       bodies of copies with filled-in placeholders
//	filled.go     such copies for mailboxes here
//	savepoint.go  states of an attempt to return to
//	loop.go       forwarding loops
//	keyed.go      locks of mailboxes
//	sign.go       signatures and ARC sets of copies
//	async.go      handlers that run after the 250
//	held.go       messages that policies held, and forwards that wait for a policy
//	operation.go  what operators do to a group
package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"carteiro/core/internal/panics"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/intake"
	"carteiro/core/pipeline/trail"
	"carteiro/core/service/auth"
	"carteiro/core/store"
	"carteiro/hooks"
)

// recordWithin is the time limit for the commit of an outcome.
const recordWithin = time.Minute

// Config is what an admin sets about deliveries.
type Config struct {
	Retry []time.Duration // after the 1st, 2nd, ... failure; the last one repeats
	Warn  time.Duration   // age at which a "delayed" DSN is sent; 0: never
}

// Transport hands messages to next hops.
type Transport interface {
	// Send makes one or more mail transactions with the first host of hop that
	// answers, and returns one Outcome for each recipient, in their order. It
	// blocks until all are known or ctx ends; recipients that a peer accepted before
	// that are in the outcomes.
	Send(ctx context.Context, hop envelope.NextHop, t envelope.Transfer) []envelope.Outcome
}

// Locks reports which groups an operator changes; *queue.Queue implements it.
type Locks interface {
	IsLocked(e store.DueEntry) bool
}

// Store is the part of the store that a Deliverer uses beside its Writer.
type Store interface {
	commit.Drafter
	intake.BodyReader
	Load(ctx context.Context, id envelope.ID, block uint32) (*envelope.Envelope, *envelope.Group, error)
	Header(ctx context.Context, e *envelope.Envelope) ([]byte, error)
	Settle(ctx context.Context, s *store.Settlement) error
	Usage(ctx context.Context, owner envelope.Address) (used, limit int64, err error)
	Folders(ctx context.Context, owner envelope.Address) iter.Seq2[store.MailboxInfo, error]
}

// Directory says where addresses of ours lead, and what their owners set;
// *auth.Directory is one.
type Directory interface {
	Local(domain string) bool
	Resolve(ctx context.Context, a envelope.Address) (auth.Resolution, error)
	Setting(ctx context.Context, a envelope.Address, key string) (any, error)
}

// Parts are what a Deliverer is made of; all but Signer must be set.
type Parts struct {
	Store     Store
	Directory Directory
	Transport Transport
	Router    *Router
	Policies  *hooks.Current
	Intake    *intake.Intake
	Writer    *commit.Writer
	Locks     Locks
	Log       *telemetry.Journal
	Clock     *clock.Clock
	Signer    intake.Signer // nil: nothing is signed
}

// Deliverer makes attempts.
type Deliverer struct {
	cfg       Config
	store     Store
	dir       Directory
	transport Transport
	router    *Router
	gen       *hooks.Current
	intake    *intake.Intake
	writer    *commit.Writer
	locks     Locks
	log       *telemetry.Journal
	clock     *clock.Clock
	signer    intake.Signer

	mailboxes keyedMutex // one deliver.local at a time for a mailbox
}

// New makes a Deliverer.
func New(cfg Config, p Parts) *Deliverer {
	return &Deliverer{cfg: cfg, store: p.Store, dir: p.Directory, transport: p.Transport, router: p.Router, gen: p.Policies, intake: p.Intake,
		writer: p.Writer, locks: p.Locks, log: p.Log, clock: p.Clock, signer: p.Signer}
}

// Attempt tries a group once and records the outcome. down says that the destination
// could not be reached; recorded is false if the store could not even record a
// failure; the stored group is unchanged then.
//
// Crash: before the commit returns, the group is unchanged, and the attempt is made
// again. A peer that replied 250 before the crash gets the message twice. A local
// delivery is in the same commit as the new state of its recipient, so it happens
// once.
func (d *Deliverer) Attempt(ctx context.Context, e store.DueEntry) (down, recorded bool) {
	var a *attempt
	err := panics.Catch(func() error { // a panic about one message must not stop the others
		var err error
		if a, err = d.begin(ctx, e); a == nil || err != nil {
			return err
		}
		return a.try(ctx)
	})
	if a != nil {
		if err != nil {
			a.u.Rollback(commit.Savepoint{})
		}
		a.u.Close()
	}
	if err != nil {
		d.log.ErrorContext(ctx, "attempt failed", "id", e.ID.String(), "block", e.Block, "err", err)
		if err := panics.Catch(func() error { return d.postpone(ctx, e, err) }); err != nil {
			d.log.ErrorContext(ctx, "attempt not recorded", "id", e.ID.String(), "block", e.Block, "err", err)
			return false, false
		}
	}
	return a != nil && a.down, true
}

// begin loads a group; it returns nil if there is nothing to try.
func (d *Deliverer) begin(ctx context.Context, e store.DueEntry) (*attempt, error) {
	if d.locks.IsLocked(e) {
		return nil, nil
	}
	env, g, err := d.store.Load(ctx, e.ID, e.Block)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case g.Held || g.Due.After(d.clock.Now()) || len(g.Recipients) == 0:
		return nil, nil
	}
	return d.newAttempt(ctx, env, g)
}

// newAttempt reads what an attempt or an operator's change needs to know of a message.
func (d *Deliverer) newAttempt(ctx context.Context, env *envelope.Envelope, g *envelope.Group) (*attempt, error) {
	section, err := d.store.Header(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("header of %s: %w", env.ID, err)
	}
	a := &attempt{Deliverer: d, env: env, g: g, policies: d.gen.Get(), now: d.clock.Now(), section: section, outgoing: section,
		start: time.Now()}
	a.copies = copySigner{a, map[string]intake.SignFunc{}}
	a.msg = &hooks.Message{Ours: env.Ours, ID: env.ID, Sender: env.Sender, Size: env.Size, ReceivedAt: env.ReceivedAt,
		Header: mime.ParseHeader(section), Priority: g.Priority, Meta: env.Meta, Earlier: env.Score, Identity: env.Identity,
		Listener: env.Listener, Client: env.Client,
		Body: func() (io.ReadCloser, error) { return d.store.Body(ctx, env) }}
	a.msg.Auth = d.intake.Verification(env, a.msg.Header, a.msg.Body)
	return a, nil
}

// postpone defers a group whose attempt could not be made or recorded, so that it is
// not tried again at once. The store may fail to record that too.
func (d *Deliverer) postpone(ctx context.Context, e store.DueEntry, cause error) error {
	env, g, err := d.store.Load(ctx, e.ID, e.Block)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if errors.Is(cause, store.ErrCorrupt) {
		intake.Hold(g, "stored data is corrupt")
	}
	text := cause.Error()
	if errors.Is(cause, panics.ErrPanic) {
		text = "internal error" // the log has the traceback
	}
	g.Due = d.clock.Now().Add(d.cfg.Retry[0])
	s := &store.Settlement{ID: env.ID, Block: e.Block, Group: g,
		Trail: trail.Printable([]envelope.TrailEntry{{Time: d.clock.Now(), Step: "deliver", Err: text}})}
	return d.store.Settle(context.WithoutCancel(ctx), s)
}

// LockedMailboxes returns the number of mailboxes that deliver.local locks now.
func (d *Deliverer) LockedMailboxes() int { return d.mailboxes.count() }
