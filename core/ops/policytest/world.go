package policytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"strings"
	"sync"
	"time"

	"carteiro/core"
	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/policytest/keys"
	"carteiro/core/ops/telemetry"
	"carteiro/core/service/auth"
	"carteiro/core/service/spam"
	"carteiro/core/service/srs"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
	"carteiro/hooks/lua"
)

const (
	hostname = "mx." + LocalDomain
	// Password is the password of every account, unless the test sets another.
	Password = "secret"
)

// begin is the time at which the clock of each test starts, so that its result
// does not depend on the day on which it runs.
var begin = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// settleWithin is the time limit for work that is due.
const settleWithin = 30 * time.Second

// World is one server without sockets. Its operations come one at a time.
type World struct {
	*world
	sessions
	entries
	argumentChecks
}

// The parts of a World: what a test's clients say, what an admin enters, and what the
// arguments of operations must be.
type (
	sessions       struct{ *world }
	entries        struct{ *world }
	argumentChecks struct{ *world }
)

// world is the pipeline and what surrounds it.
type world struct {
	o       Options
	ctx     context.Context
	clock   *clock.Clock
	store   *recorder
	badger  *badgerstore.Store // what store wraps
	dir     *auth.Directory
	keys    *crypt.Keys
	secrets []*keys.Key
	names   *fakeDNS
	web     *fakeWeb
	hosts   *fakeHosts
	filters fakeMilters
	engine  *lua.Engine
	current hooks.Current
	pipe    *core.Pipeline
	stop    func() error

	opened []*session
	used   bool // something was done
	named  bool // accounts are those that the test named
	limits hooks.Limits
	config map[string]any
	loaded bool // the policies in force are those of the settings

	mu    sync.Mutex
	calls []hookCall
	log   lines
	said  loggedLines
}

// lines collects log lines.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSuffix(l.buf.String(), "\n"), "\n")
}

// NewWorld opens a world. Policies load at its first operation that needs
// them, so that a test can set things up before.
func NewWorld(ctx context.Context, o Options, cover *lua.Coverage) (*World, error) {
	state := &world{o: o, ctx: ctx, clock: clock.Still(begin), filters: fakeMilters{}}
	w := &World{state, sessions{state}, entries{state}, argumentChecks{state}}
	w.names, w.web, w.hosts = newFakeDNS(), &fakeWeb{answers: map[string]any{}}, &fakeHosts{answers: map[string]any{}}
	logger := telemetry.With(slog.New(logHandler{slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelInfo}), &w.said}))
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true, Small: o.Small, Clock: w.clock, Log: telemetry.Discard().Logger})
	if err != nil {
		return nil, err
	}
	w.badger = st
	filter := spam.New(st, w.clock)
	w.store = &recorder{Store: spam.Watch(st, filter)}
	w.dir, err = auth.New(ctx, auth.Options{
		Data:       st,
		Domains:    append([]string{LocalDomain}, o.Domains...),
		Postmaster: "postmaster@" + LocalDomain,
		Key:        make([]byte, 32),
		Clock:      w.clock,
		WeakHash:   true,
	})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	w.keys = &crypt.Keys{Data: st, Clock: w.clock}
	ring := srs.NewRing(make([]byte, 32))
	w.engine = lua.New(lua.Options{
		Like:     o.like,
		KV:       faultyKV{st, &w.store.faults},
		Resolver: w.names,
		Accounts: w.dir,
		Clock:    w.clock,
		Log:      logger.Logger,
		Hostname: hostname,
		WebURL:   "https://" + hostname,
		Secret:   make([]byte, 32),
		Ring:     ring,
		Local:    w.dir.Local,
		HTTP:     w.web,
		Metrics:  logger.Counted,
		Milters:  w.filters,
		Spam:     filter,
		Keys:     w.keys,
		Cover:    cover,
		Observe:  w.observe,
	})
	w.pipe = core.New(core.Config{Hostname: hostname}, core.Parts{
		Store:       w.store,
		Directory:   w.dir,
		Transport:   w.hosts,
		Resolver:    fakeMX{w.names},
		Policies:    &w.current,
		Journal:     logger,
		Clock:       w.clock,
		ReturnPaths: ring,
		Delay:       func(_ context.Context, d time.Duration) { w.clock.Advance(d) },
	})
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- w.pipe.Run(run) }()
	w.stop = sync.OnceValue(func() error { cancel(); return errors.Join(<-done, st.Close()) })
	return w, nil
}

// Close ends the world.
func (w *World) Close() error { return w.stop() }

func (w *world) observe(c hooks.Call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, hookCall{c, eventSummary(c.Event)})
}

// since returns the calls after the first n.
func (w *world) since(n int) []hookCall {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]hookCall(nil), w.calls[n:]...)
}

// ready loads the policies, with the settings that the test has changed since.
func (w *world) ready() error {
	if w.loaded {
		return nil
	}
	var sources []hooks.Source
	for _, s := range w.o.Sources {
		if s.Bundle == "" {
			s.HTTP = append(s.HTTP[:len(s.HTTP):len(s.HTTP)], w.web.hosts()...)
		}
		s.Limits = overrideLimits(s.Limits, w.limits)
		if len(w.config) > 0 {
			s.Config = maps.Clone(s.Config)
			if s.Config == nil {
				s.Config = map[string]any{}
			}
			maps.Copy(s.Config, w.config)
		}
		sources = append(sources, s)
	}
	gen, err := w.engine.Load(w.ctx, sources)
	if err != nil {
		return err
	}
	w.current.Swap(gen)
	w.loaded = true
	if err := w.makeAccounts(); err != nil {
		return err
	}
	return w.pipe.Tick(w.ctx) // timers count from here
}

// overrideLimits returns l with the limits that t.limit set.
func overrideLimits(l, by hooks.Limits) hooks.Limits {
	if by.Wall > 0 {
		l.Wall = by.Wall
	}
	if by.Instructions > 0 {
		l.Instructions = by.Instructions
	}
	if by.Alloc > 0 {
		l.Alloc = by.Alloc
	}
	if by.Recipients > 0 {
		l.Recipients = by.Recipients
	}
	if by.Submits > 0 {
		l.Submits = by.Submits
	}
	return l
}

var anAddress = regexp.MustCompile(`[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+`)

// makeAccounts makes an account of every address of ours that policies or tests
// name, unless the test says who there is.
func (w *world) makeAccounts() error {
	if w.named {
		return nil
	}
	var all [][]byte
	for _, s := range w.o.Sources {
		for _, b := range s.Files {
			all = append(all, b)
		}
	}
	for _, b := range w.o.Tests {
		all = append(all, b)
	}
	for _, b := range all {
		for _, m := range anAddress.FindAll(b, -1) {
			if err := w.makeAccount(strings.TrimRight(string(m), ".")); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeAccount makes sure that an address of ours has an account.
func (w *world) makeAccount(s string) error {
	a, err := envelope.ParseAddress(s)
	if err != nil || w.named || !w.dir.Local(a.Domain()) {
		return nil
	}
	user, _, _ := strings.Cut(a.Local(), "+")
	a = envelope.Address(strings.ToLower(user) + "@" + a.Domain()) // as accounts are named
	user = a.Local()
	if user == "postmaster" || w.dir.Exists(w.ctx, a) {
		return nil
	}
	if _, err := w.dir.Resolve(w.ctx, a); err == nil {
		return nil // an alias
	}
	return w.dir.AddAccount(w.ctx, a, Password)
}

// waitIdle lets everything happen that is due.
func (w *world) waitIdle() error {
	if err := w.ready(); err != nil {
		return err
	}
	for end := time.Now().Add(settleWithin); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if w.isIdle() {
			return nil
		}
		if w.ctx.Err() != nil {
			return w.ctx.Err()
		}
	}
	return fmt.Errorf("the queue is not idle after %v", settleWithin)
}

func (w *world) isIdle() bool {
	if w.pipe.InFlight() > 0 {
		return false
	}
	for c := range envelope.Classes {
		for range w.store.Due(w.ctx, envelope.Class(c), w.clock.Now()) {
			return false
		}
	}
	return w.pipe.InFlight() == 0 && !w.pipe.EventsDue(w.ctx) && !w.pipe.Undecided(w.ctx)
}

// advance moves the clock, and lets happen what falls due.
func (w *world) advance(d time.Duration) error {
	if err := w.ready(); err != nil {
		return err
	}
	w.clock.Advance(d)
	if err := w.pipe.Tick(w.ctx); err != nil {
		return err
	}
	return w.waitIdle()
}
