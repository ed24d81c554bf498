// Package queue decides which group of the spool is tried next: by priority and
// waiting time, within the limits of each destination. It reads the groups that are
// due from the store; groups that were just committed are offered to it.
//
//	queue.go         the groups that are due, and the workers that try them
//	destinations.go  limits and back-off of each destination
package queue

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/store"
)

const (
	// window is how many due groups of a class are held in memory; the rest
	// stays in the store until there is room.
	window = 10_000
	// scanEvery is how often the store is scanned for groups that became due. A lost
	// wake-up delays a group by no more than this.
	scanEvery = time.Second
	// AgeStep is how long a group waits until it goes before new groups of the next
	// more urgent class. So the most urgent class goes first, and the least urgent one
	// waits at most four steps for it.
	AgeStep = 5 * time.Minute
	// stopWithin is how long running attempts may still take when the server stops.
	stopWithin = 30 * time.Second
)

// entryKey names a group of a message.
type entryKey struct {
	id    envelope.ID
	block uint32
}

func keyOf(e store.DueEntry) entryKey { return entryKey{e.ID, e.Block} }

// Config limits what the queue tries at once.
type Config struct {
	Workers int // groups tried at once
	// Retry is how long a group waits if its attempt could not be recorded.
	Retry   time.Duration
	Shaping map[string]Shaping // by destination: domain or group key
}

// Shaping limits what goes to one destination.
type Shaping struct {
	Connections int           // at once
	Every       time.Duration // at least between two messages, 0: no limit
}

// DefaultConnections is how many attempts for one destination run at once, if its
// Shaping does not set another number.
const DefaultConnections = 20

// Store is the part of the spool that the queue reads.
type Store interface {
	Due(ctx context.Context, class envelope.Class, before time.Time) iter.Seq2[store.DueEntry, error]
}

// Attempt tries a group once and records the outcome. down says that the destination
// could not be reached; recorded is false if the store could not even record a
// failure; the stored group is unchanged then.
type Attempt func(ctx context.Context, e store.DueEntry) (down, recorded bool)

// Queue decides what is tried next. Which groups are being tried is only in its
// memory: after a restart all groups in the store are free again.
type Queue struct {
	cfg     Config
	store   Store
	log     *telemetry.Journal
	clock   *clock.Clock
	wakeup  chan struct{}
	workers sync.WaitGroup

	mu           sync.Mutex // guards what follows
	seen         map[entryKey]bool
	classes      [envelope.Classes]classQueue
	scan         [envelope.Classes]bool // the store may have due groups that are not in memory
	destinations map[destinationKey]*destination
	active       int
	running      map[entryKey]bool // being tried
	locked       map[entryKey]bool // an operator changes it
	lastWake     time.Time         // when wakeDestinations last looked
	// backingOff holds the groups whose last attempt could not be recorded, and when
	// they may be tried again. In the store they are still due, but the peer may have
	// the message already.
	backingOff map[entryKey]time.Time
}

// New makes an empty queue; Run fills it.
func New(cfg Config, s Store, log *telemetry.Journal, c *clock.Clock) *Queue {
	q := &Queue{cfg: cfg, store: s, log: log, clock: c, wakeup: make(chan struct{}, 1), seen: map[entryKey]bool{},
		destinations: map[destinationKey]*destination{}, running: map[entryKey]bool{}, locked: map[entryKey]bool{},
		backingOff: map[entryKey]time.Time{}}
	for c := range q.classes {
		q.classes[c].byKey = map[destQueueKey]*destQueue{}
		q.scan[c] = true
	}
	return q
}

// Run starts attempts until ctx ends, then waits for those that run. If the store
// fails or is closed before, it returns an error that is store.ErrFailed or
// store.ErrClosed.
func (q *Queue) Run(ctx context.Context, attempt Attempt) error {
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := q.refill(ctx); err != nil && ctx.Err() == nil {
			if errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed) {
				return err
			}
			q.log.ErrorContext(ctx, "queue scan failed", "err", err)
		}
		for q.dispatch(attempts, attempt) {
		}
		select {
		case <-ctx.Done():
		case <-q.wakeup:
		case <-tick.C:
			q.scanAll()
		case <-q.clock.Moved():
			q.scanAll()
		}
	}
	defer time.AfterFunc(stopWithin, cancel).Stop()
	q.workers.Wait()
	return nil
}

// wake wakes Run.
func (q *Queue) wake() {
	select {
	case q.wakeup <- struct{}{}:
	default:
	}
}

// scanAll marks every class for a scan of the store.
func (q *Queue) scanAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	for k, until := range q.backingOff {
		if !now.Before(until) {
			delete(q.backingOff, k)
		}
	}
	for c := range q.scan {
		q.scan[c] = true
	}
}

// Rescan makes Run scan the store again, after an operator's change.
func (q *Queue) Rescan() {
	q.scanAll()
	q.wake()
}

// InFlight returns the number of groups that are being tried.
func (q *Queue) InFlight() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.active
}

// Offer takes a group that was just committed, so that no scan is needed to find it.
func (q *Queue) Offer(e store.DueEntry) {
	q.mu.Lock()
	if q.classes[e.Class].count >= window || e.Due.After(q.clock.Now()) {
		q.scan[e.Class] = true
	} else {
		q.add(e)
	}
	q.mu.Unlock()
	q.wake()
}

// add puts an entry into its destQueue. The caller holds mu.
func (q *Queue) add(e store.DueEntry) {
	if _, backingOff := q.backingOff[keyOf(e)]; backingOff || q.seen[keyOf(e)] {
		return
	}
	q.seen[keyOf(e)] = true
	q.classes[e.Class].push(q.destQueueOf(e), e)
	q.log.Metrics.Window.WithLabelValues(e.Class.String()).Set(float64(q.classes[e.Class].count))
}

// refill reads the due groups of the marked classes, until the window is full.
func (q *Queue) refill(ctx context.Context) error {
	for c := range q.classes {
		q.mu.Lock()
		want := q.scan[c] && q.classes[c].count < window/2
		if want {
			q.scan[c] = false
		}
		q.mu.Unlock()
		if !want {
			continue
		}
		for e, err := range q.store.Due(ctx, envelope.Class(c), q.clock.Now()) {
			if err != nil {
				q.scanAgain(c)
				return err
			}
			if full := q.take(e); full {
				q.scanAgain(c)
				break
			}
		}
	}
	return nil
}

func (q *Queue) take(e store.DueEntry) (full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(e)
	return q.classes[e.Class].count >= window
}

func (q *Queue) scanAgain(class int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.scan[class] = true
}

// dispatch starts an attempt for the next group, and reports whether there was one.
func (q *Queue) dispatch(ctx context.Context, attempt Attempt) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.pick()
	if !ok {
		return false
	}
	q.active++
	own, domain := q.destinationsOf(q.destQueueOf(e))
	own.active++
	if domain != nil {
		domain.active++
	}
	q.log.Metrics.InFlight.Set(float64(q.active))
	q.workers.Go(func() {
		down, recorded := attempt(ctx, e)
		q.release(e, down, recorded)
	})
	return true
}

// pick removes and returns the entry that has waited longest; each class of urgency
// counts as one AgeStep of waiting. The caller holds mu.
func (q *Queue) pick() (store.DueEntry, bool) {
	now := q.clock.Now()
	q.wakeDestinations(now)
	best, score := -1, time.Time{}
	for c := range q.classes {
		if c > int(envelope.High) && q.active >= q.cfg.Workers-q.cfg.Workers/10 || q.active >= q.cfg.Workers {
			continue // the last tenth of the workers is for urgent mail
		}
		head := q.ready(c, now)
		if head == nil {
			continue
		}
		if s := head.entries[0].Due.Add(time.Duration(c) * AgeStep); best < 0 || s.Before(score) {
			best, score = c, s
		}
	}
	if best < 0 {
		return store.DueEntry{}, false
	}
	e := q.classes[best].pop()
	q.running[keyOf(e)] = true
	q.log.Metrics.Window.WithLabelValues(e.Class.String()).Set(float64(q.classes[best].count))
	if q.classes[best].count == window/2-1 {
		q.wake() // time to refill
	}
	own, domain := q.destinationsOf(q.destQueueOf(e))
	for _, d := range []*destination{own, domain} {
		if d != nil && d.every > 0 {
			d.next = now.Add(d.every)
		}
	}
	return e, true
}

// ready returns the first destQueue of a class whose destination may be used now. It
// parks destQueues whose destination is busy. The caller holds mu.
func (q *Queue) ready(class int, now time.Time) *destQueue {
	cq := &q.classes[class]
	for len(cq.heap) > 0 {
		dq := cq.heap[0]
		own, domain := q.destinationsOf(dq.key)
		busy := own
		if own.free(envelope.Class(class), now) {
			if domain == nil || domain.free(envelope.Class(class), now) {
				return dq
			}
			busy = domain
		}
		cq.park(dq)
		busy.waiting = append(busy.waiting, dq)
	}
	return nil
}

// LockGroup prevents attempts for a group while an operator changes it. It returns
// false if the group is being tried or changed now.
func (q *Queue) LockGroup(id envelope.ID, block uint32) bool {
	k := entryKey{id, block}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running[k] || q.locked[k] {
		return false
	}
	q.locked[k] = true
	return true
}

// UnlockGroup ends a LockGroup: the group may be tried again.
func (q *Queue) UnlockGroup(id envelope.ID, block uint32) {
	q.mu.Lock()
	delete(q.locked, entryKey{id, block})
	q.mu.Unlock()
	q.Rescan()
}

// IsLocked reports whether an operator changes a group. Each attempt checks it at the
// start.
func (q *Queue) IsLocked(e store.DueEntry) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.locked[keyOf(e)]
}

// release frees a group after its attempt. A destination that could not be reached
// gets a back-off, so that its other groups are not all tried in vain. A group whose
// attempt was not recorded gets one too, or it would be sent over and over.
func (q *Queue) release(e store.DueEntry, down, recorded bool) {
	q.mu.Lock()
	if !recorded {
		q.backingOff[keyOf(e)] = q.clock.Now().Add(q.cfg.Retry)
	}
	delete(q.seen, keyOf(e))
	delete(q.running, keyOf(e))
	q.active--
	q.log.Metrics.InFlight.Set(float64(q.active))
	k := q.destQueueOf(e)
	own, domain := q.destinationsOf(k)
	if own.active--; e.Kind == envelope.Remote {
		own.backOff(down, q.clock.Now())
	}
	q.freeDestination(k.destinationKey, own)
	if domain != nil {
		domain.active--
		q.freeDestination(destinationKey{kind: envelope.Remote, key: k.domain, byDomain: true}, domain)
	}
	q.mu.Unlock()
	q.wake()
}

// freeDestination unparks the groups that wait for a destination, and removes the
// destination if it has no state to remember. The caller holds mu.
func (q *Queue) freeDestination(key destinationKey, d *destination) {
	q.wakeDestination(d)
	if d.active == 0 && len(d.waiting) == 0 && d.failures == 0 && d.every == 0 {
		delete(q.destinations, key)
	}
}
