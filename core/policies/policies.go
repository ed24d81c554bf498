// Package policies keeps the generations of policies: which one is in force,
// which ones were, how one replaces another, and what brings an old one back.
// It reads no files and knows no Lua: its owner says what is on disk, and an
// engine loads it.
//
// A generation replaces another as a whole or not at all. The last ten are
// kept with their sources in the store, so that a restart, a rollback and a
// comparison need no files.
package policies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"carteiro/core/clock"
	"carteiro/core/journal"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Errors that callers test for.
var (
	// ErrBroken: what is on disk does not load, and there is no generation
	// from before.
	ErrBroken = errors.New("policies")
	// ErrUnknown: no generation has that ID, or more than one begins with it.
	ErrUnknown = errors.New("no such generation")
)

// kept is how many generations the store remembers.
const kept = 10

// Where they are in the store.
const (
	kind     = "generation"
	history  = "history"
	lastGood = "last-good" // sources alone, as the first versions kept them
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
	By    string    `json:"by"`    // "start", "signal", "api", "watch", "rollback", "probation"
	State string    `json:"state"`
	// Reason says why it was rolled back.
	Reason string `json:"reason,omitempty"`
	// Pinned: a rollback brought it back, and a restart keeps it, whatever is
	// on disk, until the next reload.
	Pinned bool `json:"pinned,omitempty"`
}

// Options are what a Keeper needs. All but Smoke, Before and Stamp must be
// set.
type Options struct {
	Store   store.Data
	Engine  hooks.Engine
	Clock   *clock.Clock
	Journal *journal.Journal
	// Read reads what is on disk. It changes nothing.
	Read func(ctx context.Context) ([]hooks.Source, error)
	// Smoke runs the tests that each reload has to pass.
	Smoke func(ctx context.Context, sources []hooks.Source) error
	// Before is the last step before a reload takes effect: whatever else
	// changes with it, or stops it.
	Before func(ctx context.Context) error
	// Stamp changes whenever what is on disk may have changed; for Watch.
	Stamp func() (string, error)
}

// Keeper holds the generation in force. It is safe for concurrent use.
type Keeper struct {
	hooks.Current
	o        Options
	changing sync.Mutex // one change at a time
	fallback atomic.Bool
	probe    atomic.Pointer[probation] // of the generation in force; nil: none
	counts   atomic.Pointer[counts]    // of the generation in force
	alarm    chan alarm
}

// New makes a Keeper without policies.
func New(o Options) *Keeper {
	k := &Keeper{o: o, alarm: make(chan alarm, 1)}
	k.counts.Store(&counts{})
	return k
}

// Fallback reports whether the files on disk were broken at the start, so
// that the last good generation is in force instead.
func (k *Keeper) Fallback() bool { return k.fallback.Load() }

// Start puts policies in force at the start of a server: those on disk, or
// the last generation where a rollback pinned it, or where the files are
// broken, which is said loudly. ErrBroken: nothing loads.
func (k *Keeper) Start(ctx context.Context) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	list, err := k.entries(ctx)
	if err != nil {
		return err
	}
	if len(list) > 0 && list[0].Pinned {
		if err := k.revive(ctx, list[0].ID); err != nil {
			return err
		}
		k.o.Journal.WarnContext(ctx, "a rollback is in force, not the policies on disk; `carteiro reload` takes those", "generation", list[0].ID)
		return nil
	}
	gen, broken := k.build(ctx)
	if broken == nil {
		return k.enforce(ctx, gen, Entry{By: "start"}, "")
	}
	last := ""
	if len(list) > 0 {
		last = list[0].ID
	}
	if err := k.revive(ctx, last); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%w: %w", ErrBroken, broken)
		}
		return fmt.Errorf("%w: %w (and the last good ones fail too: %w)", ErrBroken, broken, err)
	}
	k.fallback.Store(true)
	k.o.Journal.ErrorContext(ctx, "POLICIES ON DISK ARE BROKEN, the last good generation is in force", "generation", k.Get().ID, "err", broken)
	return nil
}

// build loads what is on disk.
func (k *Keeper) build(ctx context.Context) (*hooks.Generation, error) {
	sources, err := k.o.Read(ctx)
	if err != nil {
		return nil, err
	}
	return k.o.Engine.Load(ctx, sources)
}

// revive loads a generation from the store and puts it in force without a
// new entry. ErrNotFound: there is none.
func (k *Keeper) revive(ctx context.Context, id string) error {
	sources, err := k.sources(ctx, id)
	if err != nil {
		return err
	}
	gen, err := k.o.Engine.Load(ctx, sources)
	if err != nil {
		return fmt.Errorf("generation %s: %w", id, err)
	}
	k.take(gen)
	return nil
}

// take exchanges the generation in force and begins to count anew.
func (k *Keeper) take(gen *hooks.Generation) {
	k.counts.Store(&counts{})
	k.probe.Store(nil)
	k.Swap(gen)
	k.fallback.Store(false)
}

// step is where a reload is; it is a label of a metric.
type step struct {
	name string
	do   func() error
}

// Reload takes over what is on disk, or changes nothing. by says who asked.
// The steps are read, load (which compiles, checks and runs the files once),
// smoke, before, store, and one exchange; the error names files and lines.
//
// Crash: before the store's commit the generation of before is in force after
// the restart, unless the files changed; behind it the new one.
func (k *Keeper) Reload(ctx context.Context, by string) (Entry, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	var sources []hooks.Source
	var gen *hooks.Generation
	steps := []step{
		{"read", func() (err error) { sources, err = k.o.Read(ctx); return err }},
		{"load", func() (err error) { gen, err = k.o.Engine.Load(ctx, sources); return err }},
		{"smoke", func() error { return call(k.o.Smoke, ctx, sources) }},
		{"before", func() error {
			if k.o.Before == nil {
				return nil
			}
			return k.o.Before(ctx)
		}},
		{"store", func() error { return k.enforce(ctx, gen, Entry{By: by}, "") }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			k.o.Journal.Metrics.Reloads.WithLabelValues("failed", s.name).Inc()
			k.o.Journal.ErrorContext(ctx, "reload failed, nothing changed", "generation", k.Get().ID, "step", s.name, "by", by, "err", err)
			return Entry{}, err
		}
	}
	k.o.Journal.Metrics.Reloads.WithLabelValues("ok", "").Inc()
	k.o.Journal.InfoContext(ctx, "reloaded", "generation", gen.ID, "by", by)
	list, err := k.entries(ctx)
	if err != nil {
		return Entry{}, err
	}
	return list[0], nil
}

func call(f func(context.Context, []hooks.Source) error, ctx context.Context, sources []hooks.Source) error {
	if f == nil {
		return nil
	}
	return f(ctx, sources)
}

// enforce puts a generation in force, on disk first. The one before gets the
// reason, if there is one, why it was given up. A generation that comes by
// anything but a start is on probation.
func (k *Keeper) enforce(ctx context.Context, gen *hooks.Generation, e Entry, reason string) error {
	list, err := k.entries(ctx)
	if err != nil {
		return err
	}
	before, beforeCounts := k.Get(), k.counts.Load()
	e.ID, e.Since, e.State = gen.ID, k.o.Clock.Now(), InForce
	fresh := []Entry{e}
	for _, old := range list {
		if old.State == InForce {
			old.State, old.Pinned = Retired, false
			if reason != "" {
				old.State, old.Reason = RolledBack, reason
			}
		}
		if old.ID != e.ID && len(fresh) < kept {
			fresh = append(fresh, old)
		}
	}
	if err := k.save(ctx, list, fresh, gen); err != nil {
		return err
	}
	k.take(gen)
	if e.By != "start" && reason == "" && before.ID != gen.ID && before.ID != "none" {
		k.probe.Store(&probation{until: k.o.Clock.Now().Add(probationLasts), before: before, was: beforeCounts.rates()})
	}
	return nil
}

// save writes the list, the sources of the newest, and forgets those that are
// in the list no more, all in one commit.
func (k *Keeper) save(ctx context.Context, old, fresh []Entry, gen *hooks.Generation) error {
	listed, err := json.Marshal(fresh)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(gen.Sources)
	if err != nil {
		return err
	}
	records := []store.Record{{Kind: kind, Name: history, Value: listed}, {Kind: kind, Name: "g/" + gen.ID, Value: raw}, {Kind: kind, Name: lastGood}}
	for _, e := range old {
		if !slices.ContainsFunc(fresh, func(f Entry) bool { return f.ID == e.ID }) {
			records = append(records, store.Record{Kind: kind, Name: "g/" + e.ID})
		}
	}
	if err := k.o.Store.PutRecords(ctx, records...); err != nil {
		return fmt.Errorf("generations: %w", err)
	}
	return nil
}

// List are the generations that were in force, the newest first.
func (k *Keeper) List(ctx context.Context) ([]Entry, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	return k.entries(ctx)
}

func (k *Keeper) entries(ctx context.Context) ([]Entry, error) {
	raw, err := k.o.Store.Record(ctx, kind, history)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	var list []Entry
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	return list, nil
}

// sources are those of a generation; "" is the one that an old version kept.
func (k *Keeper) sources(ctx context.Context, id string) ([]hooks.Source, error) {
	name := "g/" + id
	if id == "" {
		name = lastGood
	}
	raw, err := k.o.Store.Record(ctx, kind, name)
	var out []hooks.Source
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("generation %s: %w", id, err)
	}
	return out, nil
}

// find looks a generation up by the beginning of its ID.
func find(list []Entry, id string) (Entry, error) {
	var found []Entry
	for _, e := range list {
		if strings.HasPrefix(e.ID, id) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return Entry{}, fmt.Errorf("%w: %q", ErrUnknown, id)
	case 1:
		return found[0], nil
	}
	return Entry{}, fmt.Errorf("%w: %d of them begin with %q", ErrUnknown, len(found), id)
}

// Rollback puts an earlier generation in force again and pins it; "" is the
// one before. ErrUnknown. It does not look at the files.
func (k *Keeper) Rollback(ctx context.Context, id string) (Entry, error) {
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
	gen, err := k.o.Engine.Load(ctx, sources)
	if err != nil {
		return Entry{}, err
	}
	if err := k.enforce(ctx, gen, Entry{By: "rollback", Pinned: true}, "by an operator"); err != nil {
		return Entry{}, err
	}
	k.o.Journal.Metrics.Reloads.WithLabelValues("rollback", "").Inc()
	k.o.Journal.WarnContext(ctx, "rolled back by an operator", "generation", gen.ID, "from", list[0].ID)
	list, err = k.entries(ctx)
	if err != nil {
		return Entry{}, err
	}
	return list[0], nil
}
