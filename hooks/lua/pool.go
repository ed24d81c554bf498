package lua

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"carteiro/hooks"
)

// Sizes of the pool for handlers that may wait for the network.
const (
	maxSlow  = 512
	slowIdle = 60 * time.Second
)

// errBusy: all states of a pool were in use for the whole wall time.
var errBusy = errors.New("no free interpreter in time")

// slowPool grows with the calls that wait and shrinks when they are over.
type slowPool struct {
	mu    sync.Mutex
	free  []idleState // the longest unused first
	slots chan struct{}
	once  sync.Once
}

type idleState struct {
	st    *state
	since time.Time
}

// take gets a state for a call; it waits for at most wall.
func (s *set) take(ctx context.Context, blocks bool, wall time.Duration) (*state, error) {
	if !blocks {
		select {
		case st := <-s.fast:
			return s.filled(ctx, st)
		default:
		}
	}
	timer := time.NewTimer(wall)
	defer timer.Stop()
	if blocks {
		return s.takeSlow(ctx, timer.C)
	}
	select {
	case st := <-s.fast:
		return s.filled(ctx, st)
	case <-timer.C:
		return nil, fmt.Errorf("%w: %w", hooks.ErrBudget, errBusy)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// filled replaces the empty place that a thrown away state left.
func (s *set) filled(ctx context.Context, st *state) (*state, error) {
	if st != nil {
		return st, nil
	}
	st, err := s.fresh(ctx)
	if err != nil {
		s.fast <- nil
		return nil, err
	}
	return st, nil
}

func (s *set) takeSlow(ctx context.Context, timeout <-chan time.Time) (*state, error) {
	s.slow.once.Do(func() { s.slow.slots = make(chan struct{}, maxSlow) })
	select {
	case s.slow.slots <- struct{}{}:
	case <-timeout:
		return nil, fmt.Errorf("%w: %w", hooks.ErrBudget, errBusy)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.slow.mu.Lock()
	if n := len(s.slow.free); n > 0 {
		st := s.slow.free[n-1].st
		s.slow.free = s.slow.free[:n-1]
		s.slow.mu.Unlock()
		return st, nil
	}
	s.slow.mu.Unlock()
	st, err := s.fresh(ctx)
	if err != nil {
		<-s.slow.slots
	}
	return st, err
}

// give puts a state back.
func (s *set) give(st *state, blocks bool) {
	if !blocks {
		s.fast <- st
		return
	}
	now := time.Now()
	s.slow.mu.Lock()
	for len(s.slow.free) > 0 && now.Sub(s.slow.free[0].since) > slowIdle {
		s.slow.free = s.slow.free[1:]
	}
	s.slow.free = append(s.slow.free, idleState{st, now})
	s.slow.mu.Unlock()
	<-s.slow.slots
}

// drop throws a state away and leaves its place.
func (s *set) drop(st *state, blocks bool) {
	st.L.Close()
	if blocks {
		<-s.slow.slots
	} else {
		s.fast <- nil
	}
}
