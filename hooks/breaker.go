package hooks

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// A handler that fails this often within breakerWindow, and more often than
// not, is not asked any more; after breakerRest one call tries it again. The
// second condition keeps a stranger from closing the door to everybody with
// twenty messages that a script trips over.
const (
	breakerFailures = 20
	breakerWindow   = 60 * time.Second
	breakerRest     = 30 * time.Second
)

// ErrOpen: the handler failed so often that it was not asked.
var ErrOpen = errors.New("not asked, it failed too often")

// breaker spares the pipeline the cost of a handler that only fails. What an
// unasked handler means is what a failing one means.
type breaker struct {
	mu       sync.Mutex
	failures [breakerFailures]failed // a ring, next is the oldest
	next     int
	well     int64     // calls that did not fail
	bad      int64     // calls that did
	open     time.Time // since when; zero: closed
	trying   bool      // one call is under way to see if it is well again
}

// failed is one failure and how many calls had gone well before it.
type failed struct {
	at   time.Time
	well int64
}

// allow reports whether the handler may be asked now.
func (b *breaker) allow(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.IsZero() {
		return nil
	}
	if b.trying || now.Sub(b.open) < breakerRest {
		return fmt.Errorf("%w: %w", ErrHook, ErrOpen)
	}
	b.trying = true
	return nil
}

// done records the outcome of a call that allow let through.
func (b *breaker) done(now time.Time, bad bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bad {
		b.bad++
	}
	if b.trying {
		b.trying = false
		if bad {
			b.open = now
			return
		}
		b.open, b.failures = time.Time{}, [breakerFailures]failed{}
		return
	}
	if !bad {
		b.well++
		return
	}
	b.failures[b.next] = failed{now, b.well}
	b.next = (b.next + 1) % breakerFailures
	first := b.failures[b.next] // of the last twenty
	if !first.at.IsZero() && now.Sub(first.at) <= breakerWindow && b.well-first.well < breakerFailures && b.open.IsZero() {
		b.open = now
	}
}

// often is how many calls there were, and how many failed.
func (b *breaker) often() (calls, failures int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.well + b.bad, b.bad
}
