// Package clock is the clock of the pipeline: the system's, or for tests one
// that can be moved forward (`carteiro clock advance`) or that stands still
// until it is moved. It imports only the standard library.
package clock

import (
	"sync"
	"time"
)

// Clock is a clock. The zero value and a nil *Clock are the system's clock. It
// is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	still  time.Time // where it stands but for offset; zero: it runs
	offset time.Duration
	moved  chan struct{} // closed by Advance, then replaced
}

// Still returns a clock that shows at until Advance moves it.
func Still(at time.Time) *Clock { return &Clock{still: at} }

// Now returns the system's time, or that of Still, plus what Advance added.
func (c *Clock) Now() time.Time {
	if c == nil {
		return time.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.still.IsZero() {
		return c.still.Add(c.offset)
	}
	return time.Now().Add(c.offset)
}

// Advance moves the clock forward by d, which must not be negative, and wakes
// those that wait for Moved.
func (c *Clock) Advance(d time.Duration) {
	if d < 0 {
		panic("clock: a clock does not go back")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// Restart sets a clock of Still to at, which may be earlier than before, and
// wakes those that wait for Moved. Use it before anything has started: a time
// that somebody read before is not changed.
func (c *Clock) Restart(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.still.IsZero() {
		panic("clock: a clock that runs cannot be set")
	}
	c.still, c.offset = at, 0
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// Moved returns a channel that is closed when the clock is next advanced. A
// loop that sleeps until a time selects on it and looks again. It is nil,
// which never is ready, for a nil Clock.
func (c *Clock) Moved() <-chan struct{} {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved == nil {
		c.moved = make(chan struct{})
	}
	return c.moved
}
