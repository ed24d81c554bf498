package hooks

import (
	"errors"
	"fmt"
	"maps"
	"slices"
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

// A message that a handler runs out of its budget on is the fault of whoever
// sent it. Such failures count once for each client network and minute, and
// after exhaustedCalls of them the handler is not asked about mail of that
// network until the minute is over, so that they cost no more time.
const (
	exhaustedCalls = 3
	maxExhausted   = 10_000 // networks that are remembered
)

// Errors of a handler that is not asked.
var (
	// ErrOpen: it failed too often.
	ErrOpen = errors.New("not called because it failed too often")
	// ErrNetwork: mail of that client network ran it out of its budget too often.
	ErrNetwork = errors.New("not called for mail of this client")
)

// breaker spares the pipeline the cost of a handler that only fails. What an
// unasked handler means is what a failing one means.
type breaker struct {
	mu              sync.Mutex
	failures        [breakerFailures]failureMark // a ring, next is the oldest
	next            int
	succeeded       int64          // calls that did not fail
	succeededBefore int64          // as well was when the policies were loaded
	bad             int64          // calls that did, since then
	open            time.Time      // since when; zero: closed
	trying          bool           // one call is under way to see if it is well again
	minute          time.Time      // that exhausted is about
	exhausted       map[string]int // calls that ran out of budget, by client network
}

// failureMark is one failure and how many calls had gone well before it.
type failureMark struct {
	at   time.Time
	well int64
}

// allow reports whether the handler may be asked about an event now. ErrOpen,
// ErrNetwork.
func (b *breaker) allow(e *Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := e.Now
	if len(b.exhausted) > 0 && b.minute.Equal(now.Truncate(time.Minute)) {
		if n := b.exhausted[clientNetwork(e)]; n >= exhaustedCalls {
			return fmt.Errorf("%w: %w: mail of %s exhausted its budget %d times within a minute", ErrHook, ErrNetwork, clientNetwork(e), n)
		}
	}
	if b.open.IsZero() {
		return nil
	}
	if b.trying || now.Sub(b.open) < breakerRest {
		return fmt.Errorf("%w: %w", ErrHook, ErrOpen)
	}
	b.trying = true
	return nil
}

// countsAgainstHandler notes a call that the current mail ran out of budget, and reports
// whether it counts as a failure of the handler. Mail without a client, such as
// that of policies, always counts.
func (b *breaker) countsAgainstHandler(e *Event) (counts bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, network := e.Now, clientNetwork(e)
	if network == "" {
		return true
	}
	if minute := now.Truncate(time.Minute); !b.minute.Equal(minute) || len(b.exhausted) >= maxExhausted {
		b.minute, b.exhausted = minute, map[string]int{}
	}
	b.exhausted[network]++
	return b.exhausted[network] == 1
}

// record records the outcome of a call that allow let through. One that failed
// and does not count leaves everything as it was.
func (b *breaker) record(now time.Time, bad, counts bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bad && counts {
		b.bad++
	}
	if b.trying {
		b.trying = false
		if bad {
			if counts { // else the mail was to blame, and the next call tries it again
				b.open = now
			}
			return
		}
		b.open, b.failures = time.Time{}, [breakerFailures]failureMark{}
		return
	}
	if !bad {
		b.succeeded++
		return
	}
	if !counts {
		return
	}
	b.failures[b.next] = failureMark{now, b.succeeded}
	b.next = (b.next + 1) % breakerFailures
	first := b.failures[b.next] // of the last twenty
	if !first.at.IsZero() && now.Sub(first.at) <= breakerWindow && b.succeeded-first.well < breakerFailures && b.open.IsZero() {
		b.open = now
	}
}

// stats returns how many calls there were, and how many failed.
func (b *breaker) stats() (calls, failures int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.succeeded - b.succeededBefore + b.bad, b.bad
}

// copy returns a breaker in the same state whose counts begin anew. A call that is
// under way to see if the handler is well again counts for the one that it was
// made of.
func (b *breaker) copy() *breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &breaker{
		failures:        b.failures,
		next:            b.next,
		succeeded:       b.succeeded,
		succeededBefore: b.succeeded,
		open:            b.open,
		minute:          b.minute,
		exhausted:       maps.Clone(b.exhausted),
	}
}

// Inherit has each handler whose file did not change begin as it was in the
// chain before: one that failed too often rests on, whatever is reloaded beside
// it. It is called before anybody asks c.
func (c *Chain) Inherit(before *Chain) {
	if c == nil || before == nil {
		return
	}
	for p, links := range c.points {
		for i := range links {
			l := &links[i]
			n := slices.IndexFunc(before.points[p], func(b link) bool {
				return b.key == l.key && b.info.Code == l.info.Code && b.info.Version == l.info.Version
			})
			if n >= 0 {
				l.breaker = before.points[p][n].breaker.copy()
			}
		}
	}
}
