package hooks

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// A handler that fails this often within breakerWindow is not asked any more;
// after breakerRest one call tries it again.
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
	failures [breakerFailures]time.Time // a ring, next is the oldest
	next     int
	open     time.Time // since when; zero: closed
	trying   bool      // one call is under way to see if it is well again
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
func (b *breaker) done(now time.Time, failed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trying {
		b.trying = false
		if failed {
			b.open = now
			return
		}
		b.open, b.failures = time.Time{}, [breakerFailures]time.Time{}
		return
	}
	if !failed {
		return
	}
	b.failures[b.next] = now
	b.next = (b.next + 1) % breakerFailures
	first := b.failures[b.next] // of the last twenty
	if !first.IsZero() && now.Sub(first) <= breakerWindow && b.open.IsZero() {
		b.open = now
	}
}
