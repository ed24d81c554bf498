// Package core puts the pipeline together: the path of a message from a client to
// its last recipient. Each stage is a separate package and calls only packages
// below it:
//
//	pipeline/receive    sessions and their messages: one commit, then the 250
//	pipeline/intake     recipients, hooks of the queue, DSNs, forks
//	pipeline/commit     what one commit writes, all or nothing
//	pipeline/queue      which group is tried next, by priority and waiting time
//	pipeline/deliver    routes, attempts, mailboxes; one commit records the outcome
//	pipeline/events     events for handlers of observe.event
//	pipeline/policyrun  policies that no message triggers: timers, commands, web pages
//	pipeline/operate    changes that operators make to the queue
//
// The pipeline contains no protocol, no Lua and no Badger code: sessions call its
// methods, it sends messages through a Transport, policies are a
// hooks.Generation, and the store is an interface.
package core

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/deliver"
	"carteiro/core/pipeline/events"
	"carteiro/core/pipeline/intake"
	"carteiro/core/pipeline/operate"
	"carteiro/core/pipeline/policyrun"
	"carteiro/core/pipeline/queue"
	"carteiro/core/pipeline/receive"
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
	Shaping  map[string]queue.Shaping
	Workers  int              // groups tried at once
	Reports  AggregateReports // DMARC
}

// AggregateReports sets the sender of DMARC aggregate reports (RFC 9990), which go
// to the owners of the domains that mail claimed to come from.
type AggregateReports struct {
	From         envelope.Address // "" for no reports
	Organization string
}

// Defaults for fields that a Config leaves empty.
const (
	DefaultExpire  = 5 * 24 * time.Hour
	DefaultWorkers = 200
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

// Parts are what a pipeline is made of; all but Policies, Clock, Signer, ReturnPaths
// and Delay must be set.
type Parts struct {
	Store       store.Store
	Directory   *auth.Directory
	Transport   deliver.Transport
	Resolver    verify.Resolver
	Policies    *hooks.Current
	Journal     *telemetry.Journal
	Clock       *clock.Clock
	Signer      intake.Signer // nil: nothing is signed
	ReturnPaths *srs.Ring     // nil: there are no return paths of ours
	// Delay waits for d, the time that a policy's tarpit asks for, or until ctx
	// ends; nil: it waits by the system clock.
	Delay func(ctx context.Context, d time.Duration)
}

// Pipeline is one server's pipeline. Its methods are those of its stages.
type Pipeline struct {
	*receive.Receiver
	*policyrun.Runner
	*operate.Operator

	store     store.Store
	events    *events.Queue
	queue     *queue.Queue
	deliverer *deliver.Deliverer
	intake    *intake.Intake
	reporter  *dmarc.Reporter // nil: no aggregate reports are sent
}

// New puts a pipeline together; Run starts it.
func New(cfg Config, parts Parts) *Pipeline {
	cfg = cfg.withDefaults()
	if parts.Policies == nil {
		parts.Policies = &hooks.Current{}
	}
	st, log, clk := parts.Store, parts.Journal, parts.Clock
	p := &Pipeline{store: st}
	p.queue = queue.New(queue.Config{Workers: cfg.Workers, Retry: cfg.Retry[0], Shaping: cfg.Shaping}, st, log, clk)
	p.events = events.New(st, parts.Policies, log, clk)
	writer := commit.NewWriter(st, p.queue, p.events)
	p.intake = intake.New(intake.Parts{Hostname: cfg.Hostname, Expire: cfg.Expire, Store: st, Directory: parts.Directory,
		Resolver: parts.Resolver, Writer: writer, Events: p.events, Log: log, Clock: clk, Signer: parts.Signer,
		ReturnPaths: parts.ReturnPaths})

	var ledger *dmarc.Ledger
	if cfg.Reports.From != "" {
		ledger = dmarc.NewLedger(st)
		report := dmarc.Config{Hostname: cfg.Hostname, From: cfg.Reports.From, Organization: cfg.Reports.Organization}
		p.reporter = dmarc.NewReporter(report, ledger, parts.Resolver, p.submitReport(parts.Policies), log, clk)
	}
	p.Receiver = receive.New(receive.Parts{Hostname: cfg.Hostname, Store: st, Directory: parts.Directory, Resolver: parts.Resolver,
		Policies: parts.Policies, Intake: p.intake, Events: p.events, Log: log, Clock: clk, Ledger: ledger, Delay: parts.Delay})

	router := deliver.NewRouter(deliver.RouterConfig{Hostname: cfg.Hostname, Port: cfg.Port, Relay: cfg.Relay, NextHops: cfg.NextHops},
		deliver.RouterParts{Resolver: parts.Resolver, Policies: parts.Policies, Apply: p.intake.Apply, Log: log, Clock: clk})
	p.deliverer = deliver.New(deliver.Config{Retry: cfg.Retry, Warn: cfg.Warn}, deliver.Parts{Store: st, Directory: parts.Directory,
		Transport: parts.Transport, Router: router, Policies: parts.Policies, Intake: p.intake, Writer: writer, Locks: p.queue, Log: log,
		Clock: clk, Signer: parts.Signer})

	p.Runner = policyrun.New(policyrun.Parts{KV: st, Directory: parts.Directory, Policies: parts.Policies, Apply: p.intake.Apply, Log: log,
		Clock: clk})
	p.Operator = operate.New(operate.Parts{Store: st, Queue: p.queue, Deliverer: p.deliverer, Intake: p.intake, Writer: writer, Log: log,
		Clock: clk})
	return p
}

// Run runs the pipeline until ctx ends, then waits for running attempts and returns
// nil. If the store fails it returns early, with an error that is store.ErrFailed.
func (p *Pipeline) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.store.Run(ctx) })
	g.Go(func() error { return p.queue.Run(ctx, p.deliverer.Attempt) })
	g.Go(func() error { return p.RunTimers(ctx) })
	g.Go(func() error { return p.events.Run(ctx, p.intake.Apply) })
	g.Go(func() error { return p.RunDecisions(ctx) })
	if p.reporter != nil {
		g.Go(func() error { return p.reporter.Run(ctx) })
	}
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Notice queues an event that does not belong to a commit, such as a reload, for
// handlers of observe.event. It does not block: the event is written a moment
// later, and is lost if the process ends before that.
func (p *Pipeline) Notice(name string, data map[string]any) { p.events.Notice(name, data) }

// Events counts the events that wait for their handlers.
func (p *Pipeline) Events(ctx context.Context) (events.Backlog, error) { return p.events.Events(ctx) }

// EventsDue reports whether there are events that a handler should get now.
func (p *Pipeline) EventsDue(ctx context.Context) bool { return p.events.EventsDue(ctx) }

// Nudge makes the queue read the store again, after a change from outside.
func (p *Pipeline) Nudge() { p.queue.Rescan() }

// LockedMailboxes returns the number of mailboxes that deliver.local locks now.
func (p *Pipeline) LockedMailboxes() int { return p.deliverer.LockedMailboxes() }

// InFlight returns the number of groups that are being tried, for `status`.
func (p *Pipeline) InFlight() int { return p.queue.InFlight() }

// submitReport returns the function that sends aggregate reports through the intake.
func (p *Pipeline) submitReport(policies *hooks.Current) dmarc.Submit {
	return func(ctx context.Context, effects []envelope.Effect, m *dmarc.Mail) error {
		var submits []hooks.Submit
		if m != nil {
			submits = append(submits, hooks.Submit{Sender: m.Sender, Rcpts: m.Rcpts, Header: m.Header, Body: m.Body, Space: "#dmarc"})
		}
		return p.intake.Apply(ctx, policies.Get(), effects, submits)
	}
}
