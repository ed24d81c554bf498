package core

import (
	"context"
	"errors"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

const (
	// window is how many due groups of a class are held in memory; the rest
	// stays in the store until there is room.
	window = 10_000
	// scanEvery is how often the store is asked for what fell due. A lost
	// nudge costs no more than this.
	scanEvery = time.Second
	// AgeStep is the ageing of the queue: a group that has waited this long
	// goes before newcomers of the next more urgent class. So the most urgent
	// class always wins at first, and the least urgent one leaves after four
	// steps at the latest.
	AgeStep = 5 * time.Minute
	// stopWithin bounds how long running attempts may take after the end.
	stopWithin = 30 * time.Second
)

type entryKey struct {
	id    envelope.ID
	block uint32
}

func keyOf(e store.DueEntry) entryKey { return entryKey{e.ID, e.Block} }

// queue decides what is tried next. Leases are its memory alone: a restart
// frees them, and the store still has everything.
type queue struct {
	p       *Pipeline
	wakeup  chan struct{}
	workers sync.WaitGroup

	mu      sync.Mutex // guards what follows
	known   map[entryKey]bool
	classes [envelope.Classes]lanes
	scan    [envelope.Classes]bool // the store may have due groups that are not known
	dests   map[destKey]*dest
	active  int
	running map[entryKey]bool // being tried
	claimed map[entryKey]bool // an operator works on it
	woken   time.Time         // when wakeDests last looked
	// resting are groups whose last attempt could not be recorded, and until
	// when: the store has them as due, and the peer may have them already.
	resting map[entryKey]time.Time
}

func newQueue(p *Pipeline) *queue {
	q := &queue{p: p, wakeup: make(chan struct{}, 1), known: map[entryKey]bool{}, dests: map[destKey]*dest{},
		running: map[entryKey]bool{}, claimed: map[entryKey]bool{}, resting: map[entryKey]time.Time{}}
	for c := range q.classes {
		q.classes[c].byKey = map[laneKey]*lane{}
		q.scan[c] = true
	}
	return q
}

// run dispatches until ctx ends, then waits for what is running.
func (q *queue) run(ctx context.Context) error {
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := q.refill(ctx); err != nil && ctx.Err() == nil {
			if errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed) {
				return err
			}
			q.p.log.ErrorContext(ctx, "queue scan failed", "err", err)
		}
		for q.dispatch(attempts) {
		}
		select {
		case <-ctx.Done():
		case <-q.wakeup:
		case <-tick.C:
			q.due()
		case <-q.p.clock.Moved():
			q.due()
		}
	}
	time.AfterFunc(stopWithin, cancel)
	q.workers.Wait()
	return nil
}

// nudge wakes run; a nudge that finds one waiting is not needed.
func (q *queue) nudge() {
	select {
	case q.wakeup <- struct{}{}:
	default:
	}
}

// due marks every class for a look into the store.
func (q *queue) due() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.p.clock.Now()
	for k, until := range q.resting {
		if !now.Before(until) {
			delete(q.resting, k)
		}
	}
	for c := range q.scan {
		q.scan[c] = true
	}
}

func (q *queue) rescan() {
	q.due()
	q.nudge()
}

func (q *queue) inFlight() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.active
}

// offer takes a group that was just committed, so that it need not be found
// by a scan.
func (q *queue) offer(e store.DueEntry) {
	q.mu.Lock()
	if q.classes[e.Class].n >= window || e.Due.After(q.p.clock.Now()) {
		q.scan[e.Class] = true
	} else {
		q.add(e)
	}
	q.mu.Unlock()
	q.nudge()
}

// add puts an entry in its lane. Caller holds mu.
func (q *queue) add(e store.DueEntry) {
	if _, resting := q.resting[keyOf(e)]; resting || q.known[keyOf(e)] {
		return
	}
	q.known[keyOf(e)] = true
	q.classes[e.Class].push(q.laneOf(e), e)
	q.p.log.Metrics.Window.WithLabelValues(e.Class.String()).Set(float64(q.classes[e.Class].n))
}

// refill reads due groups of the classes that want it, up to the window.
func (q *queue) refill(ctx context.Context) error {
	for c := range q.classes {
		q.mu.Lock()
		want := q.scan[c] && q.classes[c].n < window/2
		if want {
			q.scan[c] = false
		}
		q.mu.Unlock()
		if !want {
			continue
		}
		for e, err := range q.p.store.Due(ctx, envelope.Class(c), q.p.clock.Now()) {
			if err != nil {
				q.rescanLater(c)
				return err
			}
			if full := q.take(e); full {
				q.rescanLater(c)
				break
			}
		}
	}
	return nil
}

func (q *queue) take(e store.DueEntry) (full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(e)
	return q.classes[e.Class].n >= window
}

func (q *queue) rescanLater(class int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.scan[class] = true
}

// dispatch starts the best group that may start now and reports whether there
// was one.
func (q *queue) dispatch(ctx context.Context) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.pick()
	if !ok {
		return false
	}
	q.active++
	own, domain := q.destsOf(q.laneOf(e))
	own.active++
	if domain != nil {
		domain.active++
	}
	q.p.log.Metrics.InFlight.Set(float64(q.active))
	q.workers.Go(func() {
		down, recorded := q.p.attempt(ctx, e)
		q.release(e, down, recorded)
	})
	return true
}

// pick takes the entry out of its lane that has waited longest, a step more
// for each class of urgency. Caller holds mu.
func (q *queue) pick() (store.DueEntry, bool) {
	now := q.p.clock.Now()
	q.wakeDests(now)
	best, score := -1, time.Time{}
	for c := range q.classes {
		if c > int(envelope.High) && q.active >= q.p.cfg.Workers-q.p.cfg.Workers/10 || q.active >= q.p.cfg.Workers {
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
	q.p.log.Metrics.Window.WithLabelValues(e.Class.String()).Set(float64(q.classes[best].n))
	if q.classes[best].n == window/2-1 {
		q.nudge() // time to refill
	}
	own, domain := q.destsOf(q.laneOf(e))
	for _, d := range []*dest{own, domain} {
		if d != nil && d.every > 0 {
			d.next = now.Add(d.every)
		}
	}
	return e, true
}

// ready is the first lane of a class whose destination may be used now; lanes
// of busy ones are set aside until it is free. Caller holds mu.
func (q *queue) ready(class int, now time.Time) *lane {
	ls := &q.classes[class]
	for len(ls.heap) > 0 {
		l := ls.heap[0]
		own, domain := q.destsOf(l.key)
		busy := own
		if own.free(envelope.Class(class), now) {
			if domain == nil || domain.free(envelope.Class(class), now) {
				return l
			}
			busy = domain
		}
		ls.setAside(l)
		busy.waiting = append(busy.waiting, l)
	}
	return nil
}

// claim keeps a group from being tried while an operator changes it; false
// says that it is being tried right now.
func (q *queue) claim(k entryKey) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running[k] || q.claimed[k] {
		return false
	}
	q.claimed[k] = true
	return true
}

func (q *queue) unclaim(k entryKey) {
	q.mu.Lock()
	delete(q.claimed, k)
	q.mu.Unlock()
	q.rescan()
}

// isClaimed is asked at the start of an attempt.
func (q *queue) isClaimed(e store.DueEntry) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.claimed[keyOf(e)]
}

// release ends a lease. A destination that could not be reached rests for a
// while, so that the rest of its mail does not try in vain one by one; so does
// a group whose attempt was not recorded, or it would be sent over and over.
func (q *queue) release(e store.DueEntry, down, recorded bool) {
	q.mu.Lock()
	if !recorded {
		q.resting[keyOf(e)] = q.p.clock.Now().Add(q.p.cfg.Retry[0])
	}
	delete(q.known, keyOf(e))
	delete(q.running, keyOf(e))
	q.active--
	q.p.log.Metrics.InFlight.Set(float64(q.active))
	k := q.laneOf(e)
	own, domain := q.destsOf(k)
	if own.active--; e.Kind == envelope.Remote {
		own.rest(down, q.p.clock.Now())
	}
	q.freeDest(k.destKey, own)
	if domain != nil {
		domain.active--
		q.freeDest(destKey{kind: envelope.Remote, key: k.domain, byDomain: true}, domain)
	}
	q.mu.Unlock()
	q.nudge()
}

// freeDest brings back the lanes that wait for a destination, and forgets one
// of which there is nothing to remember. Caller holds mu.
func (q *queue) freeDest(key destKey, d *dest) {
	q.wakeDest(d)
	if d.active == 0 && len(d.waiting) == 0 && d.failures == 0 && d.every == 0 {
		delete(q.dests, key)
	}
}
