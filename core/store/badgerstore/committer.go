package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"carteiro/core/store"
)

const (
	maxWrites = 512     // in one batch
	maxOctets = 8 << 20 // of bodies in one batch
	linger    = 500 * time.Microsecond
	// crowd is how many writes the last batch must have had for the next to
	// wait for more: a lone writer would only lose by it.
	crowd = 8
)

// write is one request to the committer.
type write struct {
	size int64 // octets of bodies, for the size of batches
	// apply checks and stages the write. An error means that nothing of it
	// is written.
	apply func(*stage) error
	// alone has the write share no transaction with others.
	alone bool
	taken atomic.Bool // by the committer, or by a caller that gave up
	done  chan error
}

// commit has apply's changes written and returns when they are on disk. When
// ctx ends before the committer began with them nothing is written; when it
// ends later the outcome is unknown to the caller, but still all or nothing.
func (s *Store) commit(ctx context.Context, u urgency, size int64, apply func(*stage) error) error {
	return s.submit(ctx, u, &write{size: size, apply: apply})
}

func (s *Store) submit(ctx context.Context, u urgency, w *write) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.latch.err(); err != nil {
		return err
	}
	if err := s.space.take(u, w.size); err != nil {
		return err
	}
	w.done = make(chan error, 1)
	select {
	case s.queue <- w:
	case <-ctx.Done():
		return fmt.Errorf("nothing written: %w", ctx.Err())
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.taken.CompareAndSwap(false, true) {
			return fmt.Errorf("nothing written: %w", ctx.Err())
		}
		return fmt.Errorf("outcome of the write unknown: %w", ctx.Err())
	}
}

// committer is the state of the goroutine that writes.
type committer struct {
	store     *Store
	last      int                // writes in the last batch
	persisted [][]byte           // watermarks on disk, by class
	cache     map[string]counter // as on disk
}

func (s *Store) commitLoop(c *committer) {
	defer close(s.done)
	for w := range s.queue {
		c.run(w)
	}
}

// run forms a batch that begins with w, and commits it.
func (c *committer) run(w *write) {
	b := newBatch(c)
	var octets int64
	waited := false
	for n := 0; ; {
		b.take(w)
		n++
		octets += w.size
		if n >= maxWrites || octets >= maxOctets {
			break
		}
		if w = c.next(n, &waited); w == nil {
			break
		}
	}
	b.flush()
	c.last = b.total
}

// next is a write that waits, or nil when the batch should go. It lingers
// once, and only where there is a crowd that is not yet complete: natural
// batching alone settles at half of the writers, the others queue meanwhile.
func (c *committer) next(n int, waited *bool) *write {
	select {
	case w := <-c.store.queue:
		return w
	default:
	}
	if *waited || c.last <= crowd || n >= c.last {
		return nil
	}
	*waited = true
	timer := time.NewTimer(linger)
	defer timer.Stop()
	select {
	case w := <-c.store.queue:
		*waited = n+1 >= c.last
		return w
	case <-timer.C:
		return nil
	}
}

// faultMode is how a test has the next commit fail.
type faultMode uint8

const (
	faultNone     faultMode = iota
	faultLost               // nothing is persisted, failure is reported
	faultReported           // everything is persisted, failure is reported
)

// faultFunc is asked before each transaction of a batch.
type faultFunc func() faultMode

var errInjected = errors.New("injected fault")

// errTooBig is for a single write that no transaction can hold.
var errTooBig = errors.New("write too large for one transaction")

// notFound says which message is not there.
func notFound(what fmt.Stringer, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("message %s: %w", what, err)
	}
	return err
}
