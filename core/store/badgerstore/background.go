package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/store"
)

const (
	collectEvery = 2 * time.Second
	collectSlice = 250 * time.Millisecond
	// sweepEvery is how often all keys are walked. Between two walks the
	// sweeper follows notes, so a walk only finds what a crash left.
	sweepEvery   = 6 * time.Hour
	flattenEvery = 24 * time.Hour
	measureEvery = 10 * time.Second
	// minTombs is how many deletions make a Flatten worth while at all.
	minTombs = 50_000
)

// Run implements store.Store. The space guard has a separate loop, because garbage
// collection can take longer than the guard may wait.
func (s *Store) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { s.guard(ctx) })
	wg.Go(func() { s.maintain(ctx) })
	select {
	case <-ctx.Done():
	case <-s.failure.failed:
	}
	cancel()
	wg.Wait()
	if err := s.failure.err(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// guard probes the file system and keeps the ballast.
func (s *Store) guard(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var measured time.Time
	for {
		if err := s.space.keepBallast(); err != nil {
			s.log.Warn("ballast", "err", err)
		}
		if !s.opt.InMemory && time.Since(measured) >= measureEvery {
			s.space.measure()
			measured = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// maintain sweeps and collects garbage. It begins with a full sweep: what a
// crash left has no other trace.
func (s *Store) maintain(ctx context.Context) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	swept, flattened := time.Time{}, time.Now()
	for {
		full := time.Since(swept) >= sweepEvery
		s.report(ctx, "sweep", s.Sweep(ctx, full))
		if full {
			swept = time.Now()
		}
		s.report(ctx, "watermarks", s.saveMarks(ctx))
		if !s.opt.InMemory {
			s.report(ctx, "collect", s.collect(ctx))
			if s.shouldFlatten(time.Since(flattened)) {
				s.report(ctx, "flatten", s.flatten())
				flattened = time.Now()
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// report logs what went wrong, unless it is the end of the store, which Run
// reports.
func (s *Store) report(ctx context.Context, what string, err error) {
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, store.ErrFailed), errors.Is(err, store.ErrClosed):
	default:
		s.log.Error("store maintenance", "step", what, "err", err)
	}
}

// collect lets Badger rewrite value log files that are half garbage, for at
// most a slice of time. With hardly any space left it does not, as a rewrite
// needs some.
func (s *Store) collect(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	for begun := time.Now(); time.Since(begun) < collectSlice && ctx.Err() == nil; {
		if s.space.check(work, vlogFile) != nil {
			return nil
		}
		err := s.db.RunValueLogGC(0.5)
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shouldFlatten reports whether there are more tombstones than live keys, or a
// day has passed.
func (s *Store) shouldFlatten(since time.Duration) bool {
	tombs := s.tombs.Load()
	if since >= flattenEvery {
		return tombs > 0
	}
	if tombs < minTombs || s.enter() != nil {
		return false
	}
	defer s.leave()
	var keys int64
	for _, t := range s.db.Tables() {
		keys += int64(t.KeyCount)
	}
	return tombs > keys-2*tombs // each hides one key
}

func (s *Store) flatten() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if s.space.check(work, vlogFile) != nil {
		return nil
	}
	s.tombs.Store(0)
	return s.db.Flatten(1)
}
