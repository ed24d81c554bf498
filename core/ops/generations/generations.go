// Package generations keeps the generations of policies: the one in force and
// the ones before, how one replaces another, and when an old one comes back. It
// reads no files and knows no Lua: its owner reads the files, and an engine
// loads them.
//
// A generation replaces another as a whole or not at all. The last ten are
// kept with their sources in the store, so that a restart, a rollback and a
// comparison need no files.
package generations

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Errors that callers test for.
var (
	// ErrBroken: the files on disk do not load, and there is no generation
	// from before.
	ErrBroken = errors.New("policies")
	// ErrUnknown: no generation has that ID, or more than one begins with it.
	ErrUnknown = errors.New("no such generation")
)

// States of an Entry.
const (
	InForce    = "in force"
	Retired    = "retired"
	RolledBack = "rolled back"
)

// Entry is one generation that was in force.
type Entry struct {
	ID    string    `json:"id"`
	Since time.Time `json:"since"` // it last came into force
	By    string    `json:"by"`    // "start", "signal", "api", "cli", "watch", "rollback", "probation"
	State string    `json:"state"`
	// Reason says why it was rolled back.
	Reason string `json:"reason,omitempty"`
	// Pinned: a rollback loaded it, and it stays until the next reload: a restart does
	// not load the files on disk.
	Pinned bool `json:"pinned,omitempty"`
}

// Options are what a Manager needs. All but Smoke, Prepare, Changed and Stamp
// must be set.
type Options struct {
	Store   store.Data
	Engine  hooks.Engine
	Clock   *clock.Clock
	Journal *telemetry.Journal
	// Read reads the files on disk. It changes nothing.
	Read func(ctx context.Context) ([]hooks.Source, error)
	// Smoke runs the tests that each reload has to pass.
	Smoke func(ctx context.Context, sources []hooks.Source) error
	// Prepare prepares the other changes of a reload, or stops the reload with an
	// error. It changes nothing itself; commit, which cannot fail, is called when the
	// new generation is on disk, or never.
	Prepare func(ctx context.Context) (commit func(), err error)
	// Changed is called for each exchange except that at the start. It must not block.
	Changed func(e Entry)
	// Stamp returns another value when the files on disk may have changed; for Watch.
	Stamp func() string
}

// Manager holds the generation in force. It is safe for concurrent use.
type Manager struct {
	hooks.Current
	o         Options
	changing  sync.Mutex // one change at a time
	fallback  atomic.Bool
	probation atomic.Pointer[probation] // of the generation in force; nil: none
	counts    counts                    // of the generation in force; changing guards it
	alarm     chan struct{}             // the probe has a reason
	read      atomic.Pointer[string]    // stamp of what was last read
	pinned    atomic.Pointer[string]    // why a rollback is in force; nil: none is
}

// loaded is a generation and what counts its walks.
type loaded struct {
	*hooks.Generation
	counts counts
}

// New makes a Manager without policies.
func New(o Options) *Manager {
	return &Manager{o: o, alarm: make(chan struct{}, 1), counts: newCounts()}
}

// Fallback reports whether the files on disk were broken at the start, so
// that the last good generation is in force instead.
func (k *Manager) Fallback() bool { return k.fallback.Load() }

// Pinned returns why a rollback is in force and not what is on disk, "" where none
// is.
func (k *Manager) Pinned() string {
	if why := k.pinned.Load(); why != nil {
		return *why
	}
	return ""
}

// Start puts policies in force at the start of a server: those on disk; or the
// last generation if a rollback pinned it, or if the files are broken or fail
// the tests of a reload, which is logged as an error. A probation continues.
// ErrBroken: nothing loads.
func (k *Manager) Start(ctx context.Context) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	list, err := k.entries(ctx)
	if err != nil {
		return err
	}
	if len(list) > 0 && list[0].Pinned {
		k.noteStamp() // only what changes from now on is news to Watch
		err := k.restore(ctx, list[0].ID)
		if err == nil {
			why := "rolled back"
			if len(list) > 1 && list[1].Reason != "" {
				why = list[1].Reason
			}
			k.pinned.Store(&why)
			k.o.Journal.WarnContext(ctx, "a rollback is in force, not the policies on disk; `carteiro reload` takes those", "generation", list[0].ID)
			return nil
		}
		k.o.Journal.ErrorContext(ctx, "THE GENERATION THAT A ROLLBACK PINNED DOES NOT LOAD, the policies on disk are taken", "generation",
			list[0].ID, "err", err)
	}
	sources, broken := k.readDisk(ctx)
	var gen loaded
	if broken == nil {
		gen, broken = k.load(hooks.Lenient(ctx), sources)
	}
	if broken == nil && len(list) > 0 && list[0].ID != gen.ID { // a reload may have refused it
		broken = k.runSmokeTests(ctx, sources)
	}
	switch {
	case broken != nil:
		return k.startFallback(ctx, list, broken)
	case len(list) > 0 && list[0].ID == gen.ID && !list[0].Pinned:
		k.swapIn(gen) // as before the restart
		return k.resume(ctx)
	}
	return k.putInForce(ctx, gen, Entry{By: "start"}, "", nil)
}

// startFallback puts the newest generation in force that still loads and was
// not rolled back, because the files on disk are broken.
func (k *Manager) startFallback(ctx context.Context, list []Entry, broken error) error {
	none := len(list) == 0
	if none {
		list = []Entry{{}} // what an old version kept
	}
	var errs []error
	for i, e := range list {
		if e.State == RolledBack {
			continue
		}
		err := k.restore(ctx, e.ID)
		if none && errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%w: %w", ErrBroken, broken)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		k.fallback.Store(true)
		k.o.Journal.ErrorContext(ctx, "POLICIES ON DISK ARE BROKEN, the last good generation is in force", "generation", k.Get().ID, "err",
			broken)
		if i > 0 {
			return k.saveFallback(ctx, list, e.ID)
		}
		return k.resume(ctx)
	}
	return fmt.Errorf("%w: %w (and the last good ones fail too: %w)", ErrBroken, broken, errors.Join(errs...))
}

// runSmokeTests runs the tests that the files on disk have to pass.
func (k *Manager) runSmokeTests(ctx context.Context, sources []hooks.Source) error {
	if k.o.Smoke == nil {
		return nil
	}
	return k.o.Smoke(ctx, sources)
}

// readDisk reads the files on disk and remembers their stamp, for Watch.
func (k *Manager) readDisk(ctx context.Context) ([]hooks.Source, error) {
	k.noteStamp() // before the files: what changes meanwhile is read again
	return k.o.Read(ctx)
}

func (k *Manager) noteStamp() {
	if k.o.Stamp != nil {
		s := k.o.Stamp()
		k.read.Store(&s)
	}
}

// load makes a generation of sources. If they are the sources of the one in
// force, both are counted together.
func (k *Manager) load(ctx context.Context, sources []hooks.Source) (loaded, error) {
	gen, err := k.o.Engine.Load(ctx, sources)
	if err != nil {
		return loaded{}, err
	}
	c := newCounts()
	if gen.ID == k.Get().ID {
		c = k.counts
	}
	gen.Chain.OnRun = func(r hooks.RunStats) { k.countRun(c, r) }
	return loaded{gen, c}, nil
}

// restore loads a generation from the store and puts it in force without a
// new entry. ErrNotFound: there is none.
func (k *Manager) restore(ctx context.Context, id string) error {
	sources, err := k.sources(ctx, id)
	if err != nil {
		return err
	}
	gen, err := k.load(hooks.Lenient(ctx), sources)
	if err != nil {
		return fmt.Errorf("generation %s: %w", id, err)
	}
	k.swapIn(gen)
	return nil
}

// swapIn exchanges the generation in force. A probation ends, unless the same
// sources came again.
func (k *Manager) swapIn(gen loaded) {
	if gen.ID != k.Get().ID {
		k.probation.Store(nil)
	}
	k.pinned.Store(nil)
	k.counts = gen.counts
	gen.Chain.Inherit(k.Get().Chain)
	if old := k.Swap(gen.Generation); old != nil && old != gen.Generation {
		old.Retire(k.o.Clock.Now())
	}
	k.fallback.Store(false)
}

// step is the current step of a reload; it is a label of a metric.
type step struct {
	name string
	do   func() error
}

// Reload puts the files on disk in force, or changes nothing. by says who wanted it.
// The steps are read, verify, compile, scratch, warm, smoke, prepare, store, and
// one exchange; the error names files and lines.
//
// Crash before the store's commit: the old generation is in force after the
// restart, unless the files changed. After it: the new one.
func (k *Manager) Reload(ctx context.Context, by string) (Entry, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	var sources []hooks.Source
	var gen loaded
	commit := func() {}
	steps := []step{
		{"read", func() (err error) { sources, err = k.readDisk(ctx); return err }},
		{"load", func() (err error) { gen, err = k.load(ctx, sources); return err }},
		{"smoke", func() error { return k.runSmokeTests(ctx, sources) }},
		{"prepare", func() (err error) {
			if k.o.Prepare != nil {
				commit, err = k.o.Prepare(ctx)
			}
			return err
		}},
		{"store", func() error { return k.putInForce(ctx, gen, Entry{By: by}, "", commit) }},
	}
	for _, s := range steps {
		err := s.do()
		if err == nil {
			continue
		}
		if at, ok := errors.AsType[*hooks.StepError](err); ok {
			s.name = at.Step
		}
		k.o.Journal.Metrics.Reloads.WithLabelValues("failed", s.name).Inc()
		k.o.Journal.ErrorContext(ctx, "reload failed, nothing changed", "generation", k.Get().ID, "step", s.name, "by", by, "err", err)
		return Entry{}, err
	}
	k.o.Journal.Metrics.Reloads.WithLabelValues("ok", "").Inc()
	k.o.Journal.InfoContext(ctx, "reloaded", "generation", gen.ID, "by", by)
	return k.newestEntry(ctx)
}

// putInForce puts a generation in force, first on disk, and commits what else
// changes with it. If the generation before was given up, reason says why. A
// generation that a reload brought is on probation.
func (k *Manager) putInForce(ctx context.Context, gen loaded, e Entry, reason string, commit func()) error {
	ctx = context.WithoutCancel(ctx) // the caller may be gone; the store and memory must agree
	list, err := k.entries(ctx)
	if err != nil {
		return err
	}
	probe := k.probation.Load()
	if before := k.Get(); before.ID != gen.ID {
		probe = nil
		if e.By != "start" && reason == "" && before.ID != "none" {
			probe = &probation{
				Of:     gen.ID,
				Until:  k.o.Clock.Now().Add(probationLasts),
				Before: before.ID,
				Was:    k.counts.shares(),
				gen:    loaded{before, k.counts},
				counts: gen.counts,
			}
		}
	}
	e.ID, e.Since, e.State = gen.ID, k.o.Clock.Now(), InForce
	if err := k.save(ctx, list, prependEntry(list, e, reason), gen.Sources, probe); err != nil {
		return err
	}
	if commit != nil {
		commit()
	}
	k.swapIn(gen)
	k.probation.Store(probe)
	if e.Pinned {
		k.pinned.Store(&reason)
	}
	if k.o.Changed != nil && e.By != "start" {
		k.o.Changed(e)
	}
	for _, old := range list {
		if old.ID == e.ID && old.State == RolledBack && e.By != "rollback" {
			k.o.Journal.WarnContext(ctx, "policies that were rolled back are in force again", "generation", e.ID, "reason", old.Reason)
		}
	}
	return nil
}

// Rollback puts an earlier generation in force again and pins it; "" is the
// one before. ErrUnknown. It does not look at the files.
func (k *Manager) Rollback(ctx context.Context, id string) (Entry, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	list, err := k.entries(ctx)
	if err != nil {
		return Entry{}, err
	}
	if id == "" {
		if len(list) < 2 {
			return Entry{}, fmt.Errorf("%w: there is none before", ErrUnknown)
		}
		id = list[1].ID
	}
	e, err := find(list, id)
	if err != nil {
		return Entry{}, err
	}
	if e.State == InForce {
		return Entry{}, fmt.Errorf("%w: %s is in force already", ErrUnknown, e.ID)
	}
	sources, err := k.sources(ctx, e.ID)
	if err != nil {
		return Entry{}, err
	}
	gen, err := k.load(hooks.Lenient(ctx), sources)
	if err != nil {
		return Entry{}, fmt.Errorf("generation %s: %w", e.ID, err)
	}
	if err := k.putInForce(ctx, gen, Entry{By: "rollback", Pinned: true}, "by an operator", nil); err != nil {
		return Entry{}, err
	}
	k.o.Journal.Metrics.Reloads.WithLabelValues("rollback", "").Inc()
	k.o.Journal.WarnContext(ctx, "rolled back by an operator", "generation", gen.ID, "from", list[0].ID)
	return k.newestEntry(ctx)
}

// newestEntry returns the entry of the generation in force.
func (k *Manager) newestEntry(ctx context.Context) (Entry, error) {
	list, err := k.entries(ctx)
	if err != nil {
		return Entry{}, err
	}
	return list[0], nil
}
