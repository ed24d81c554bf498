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

// pool holds states that nobody uses. The one that was used last is taken
// first: what it needs is still near the processor.
type pool struct {
	slots chan struct{} // one for each state in use; its capacity is how many there may be
	idle  time.Duration // after which a state that nobody uses is dropped; 0: never

	mu   sync.Mutex
	free []idleState // the longest unused first
}

type idleState struct {
	st    *state
	since time.Time // zero where states are never dropped
}

func newPool(size int, idle time.Duration) *pool {
	return &pool{slots: make(chan struct{}, size), idle: idle}
}

// poolFor returns where the state for a handler comes from.
func (s *generation) poolFor(blocks bool) *pool {
	if blocks {
		return s.slow
	}
	return s.fast
}

// acquire gets a state for a call, a new one where none is free; it waits for at
// most wall.
func (s *generation) acquire(ctx context.Context, p *pool, wall time.Duration) (*state, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		if err := p.wait(ctx, wall); err != nil {
			return nil, err
		}
	}
	if st := p.takeIdle(); st != nil {
		return st, nil
	}
	st, err := s.loadAnother(ctx)
	if err != nil {
		<-p.slots
	}
	return st, err
}

// wait waits until one of the states in use is free.
func (p *pool) wait(ctx context.Context, wall time.Duration) error {
	timer := time.NewTimer(wall)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: %w", hooks.ErrBudget, errBusy)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeIdle returns the state that was used last, or nil.
func (p *pool) takeIdle() *state {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free) - 1
	if n < 0 {
		return nil
	}
	st := p.free[n].st
	p.free[n].st = nil
	p.free = p.free[:n]
	return st
}

// addIdle adds a state to those that are free.
func (p *pool) addIdle(st *state) {
	var now time.Time
	if p.idle > 0 {
		now = time.Now()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.idle > 0 && len(p.free) > 0 && now.Sub(p.free[0].since) > p.idle {
		p.free[0].st = nil
		p.free = p.free[1:]
	}
	p.free = append(p.free, idleState{st, now})
}

// release puts a state back.
func (p *pool) release(st *state) {
	p.addIdle(st)
	<-p.slots
}

// drop throws a state away.
func (p *pool) drop(st *state) {
	st.L.Close()
	<-p.slots
}
