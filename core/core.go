// Package core is the pipeline: the way of a message from the answer to its
// DATA to its last recipient. Its files are the stages in the order in which
// a message meets them:
//
//	receive.go   a session's transaction; one commit, only then 250
//	expand.go    recipients: aliases, policies, groups with one next hop
//	queue.go     what is due, by priority with ageing
//	route.go     a group's next hop
//	deliver.go   an attempt, and one commit that records its outcome
//	bounce.go    delivery status notifications, back into the queue
//	timers.go    what policies do by the clock, beside all that
//	observe.go   what they are told afterwards
//	feedback.go  what the owners of domains are told once a day
//
// core.go starts and stops them. The pipeline knows no protocol, no Lua and
// no Badger: sessions call its methods, it hands messages on through
// a Transport, policies are a hooks.Generation, and the store is an interface.
package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/service/auth"
	"carteiro/core/service/dmarc"
	"carteiro/core/service/srs"
	"carteiro/core/service/verify"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Config is what an admin sets about the pipeline.
type Config struct {
	Hostname string
	Retry    []time.Duration   // after the 1st, 2nd, ... failure; the last one repeats
	Expire   time.Duration     // age at which a recipient is given up
	Warn     time.Duration     // age at which a "delayed" DSN is sent; 0: never
	Port     int               // where MX hosts listen
	Relay    *envelope.NextHop // smarthost
	NextHops map[string]envelope.NextHop
	Shaping  map[string]Shaping
	Workers  int // groups tried at once
	Feedback Feedback
}

// Shaping limits what goes to one destination.
type Shaping struct {
	Connections int           // at once
	Every       time.Duration // at least between two messages, 0: no limit
}

// Defaults for what a Config leaves empty.
const (
	DefaultExpire      = 5 * 24 * time.Hour
	DefaultWorkers     = 200
	DefaultConnections = 20
	// MaxHops is how many Received fields a message may have (RFC 5321 6.3
	// asks for a large limit, normally at least 100).
	MaxHops = 100
	// MaxDepth is how many policies may in turn submit mail about mail.
	MaxDepth = 5
)

// DefaultRetry is the schedule of a Config without one.
var DefaultRetry = []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour}

func (c Config) withDefaults() Config {
	if len(c.Retry) == 0 {
		c.Retry = DefaultRetry
	}
	if c.Expire == 0 {
		c.Expire = DefaultExpire
	}
	if c.Workers == 0 {
		c.Workers = DefaultWorkers
	}
	if c.Port == 0 {
		c.Port = 25
	}
	return c
}

// Transport hands messages to next hops.
type Transport interface {
	// Send makes one or more mail transactions with the first host of hop
	// that answers, and returns one Outcome for each recipient, in their
	// order. It blocks until all are known or ctx ends; what a peer has
	// accepted before is in the outcomes even then.
	Send(ctx context.Context, hop envelope.NextHop, t envelope.Transfer) []envelope.Outcome
}

// Resolver finds the hosts of a domain, and what verifies a sender.
type Resolver = verify.Resolver

// Parts are what a pipeline is made of; all but Policies, Clock, Signer
// and Returns must be set.
type Parts struct {
	Store     store.Store
	Directory *auth.Directory
	Transport Transport
	Resolver  Resolver
	Policies  *hooks.Current
	Journal   *telemetry.Journal
	Clock     *clock.Clock
	Signer    Signer // nil: nothing is signed
	// Returns knows our return addresses, see Pipeline.home; nil: there are
	// none.
	Returns *srs.Ring
	// Delay waits as long as a policy's tarpit says, or until ctx ends; nil:
	// by the system's time.
	Delay func(ctx context.Context, d time.Duration)
}

// Pipeline is one server's pipeline.
type Pipeline struct {
	cfg     Config
	store   store.Store
	dir     *auth.Directory
	send    Transport
	dns     Resolver
	gen     *hooks.Current
	log     *telemetry.Journal
	clock   *clock.Clock
	signer  Signer
	delay   func(context.Context, time.Duration)
	returns *srs.Ring
	counts  *dmarc.Ledger // nil: no aggregate reports are sent

	queue  *queue
	routes *routeCache
	boxes  keyedMutex // one deliver.local at a time per mailbox

	ticking   sync.Mutex // one walk over the timers at a time
	adopted   adoption   // ticking guards its timers; its events belong to observe
	observers *observers
	decisions chan struct{} // about held messages: there may be some
}

// New puts a pipeline together; Run starts it.
func New(cfg Config, parts Parts) *Pipeline {
	p := &Pipeline{cfg: cfg.withDefaults(), store: parts.Store, dir: parts.Directory, send: parts.Transport,
		dns: parts.Resolver, gen: parts.Policies, log: parts.Journal, clock: parts.Clock, signer: parts.Signer, delay: parts.Delay, returns: parts.Returns}
	if p.gen == nil {
		p.gen = &hooks.Current{}
	}
	if p.delay == nil {
		p.delay = tarpit
	}
	if p.cfg.Feedback.From != "" {
		p.counts = dmarc.NewLedger(p.store)
	}
	p.queue = newQueue(p)
	p.routes = newRouteCache()
	p.observers = newObservers()
	p.decisions = make(chan struct{}, 1)
	return p
}

// Run works the queue until ctx ends, then lets running attempts finish and
// returns nil. It returns early, with an error that is store.ErrFailed, when
// the store fails.
func (p *Pipeline) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.store.Run(ctx) })
	g.Go(func() error { return p.queue.run(ctx) })
	g.Go(func() error { return p.runTimers(ctx) })
	g.Go(func() error { return p.observe(ctx) })
	g.Go(func() error { return p.runDecisions(ctx) })
	g.Go(func() error { return p.runFeedback(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Nudge makes the queue look at the store again, after an operator's change.
func (p *Pipeline) Nudge() { p.queue.rescan() }

// InFlight is the number of groups being tried, for `status`.
func (p *Pipeline) InFlight() int { return p.queue.inFlight() }

// storeStatus is what a peer hears of a store's error.
func storeStatus(err error) *envelope.Status {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrFull):
		return envelope.Defer(452, "4.3.1", "insufficient system storage", err)
	case errors.Is(err, store.ErrFailed):
		return envelope.Defer(451, "4.3.0", "storage failed, try again later", err)
	}
	return envelope.StatusOf(fmt.Errorf("store: %w", err))
}
