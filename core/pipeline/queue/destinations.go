package queue

import (
	"container/heap"
	"math"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// destQueueKey is what the groups of a destQueue have in common: their destination,
// and their domain if there are limits for it.
type destQueueKey struct {
	destinationKey
	domain string
}

// destinationKey names a destination. A policy may choose any group key, so the kind
// distinguishes the server's own destinations. With byDomain it means all mail of a
// domain, with any group key.
type destinationKey struct {
	kind     envelope.GroupKind
	key      string
	byDomain bool
}

func (q *Queue) destQueueOf(e store.DueEntry) destQueueKey {
	k := destQueueKey{destinationKey: destinationKey{kind: e.Kind, key: e.Key}}
	if _, shaped := q.cfg.Shaping[e.Domain]; shaped && e.Kind == envelope.Remote {
		k.domain = e.Domain
	}
	return k
}

// destinationsOf returns the destinations whose limits apply to a destQueue: its own,
// and that of its domain, or nil. The caller holds mu.
func (q *Queue) destinationsOf(k destQueueKey) (own, domain *destination) {
	if k.domain != "" {
		domain = q.destinationOf(destinationKey{kind: envelope.Remote, key: k.domain, byDomain: true})
	}
	return q.destinationOf(k.destinationKey), domain
}

// destQueue holds the waiting groups of one class for one destination.
type destQueue struct {
	key     destQueueKey
	class   envelope.Class
	entries []store.DueEntry
	index   int // in the heap, -1 when parked
}

// classQueue holds all groups of a class. The heap has the destQueues that are not
// parked, ordered by how long their first entry has been due.
type classQueue struct {
	heap  destHeap
	byKey map[destQueueKey]*destQueue
	count int // entries in all destQueues
}

type destHeap []*destQueue

func (h destHeap) Len() int           { return len(h) }
func (h destHeap) Less(i, j int) bool { return h[i].entries[0].Due.Before(h[j].entries[0].Due) }
func (h destHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *destHeap) Push(x any)        { dq := x.(*destQueue); dq.index = len(*h); *h = append(*h, dq) }
func (h *destHeap) Pop() any {
	old := *h
	dq := old[len(old)-1]
	*h, dq.index = old[:len(old)-1], -1
	return dq
}

func (cq *classQueue) push(key destQueueKey, e store.DueEntry) {
	dq := cq.byKey[key]
	if dq == nil {
		dq = &destQueue{key: key, class: e.Class, index: -1}
		cq.byKey[key] = dq
		dq.entries = append(dq.entries, e)
		heap.Push(&cq.heap, dq)
	} else {
		dq.entries = append(dq.entries, e)
	}
	cq.count++
}

// pop removes and returns the first entry of the first destQueue.
func (cq *classQueue) pop() store.DueEntry {
	dq := cq.heap[0]
	e := dq.entries[0]
	dq.entries = dq.entries[1:]
	cq.count--
	if len(dq.entries) == 0 {
		heap.Pop(&cq.heap)
		delete(cq.byKey, dq.key)
	} else {
		heap.Fix(&cq.heap, 0)
	}
	return e
}

// park takes a destQueue out of the heap until its destination is free.
func (cq *classQueue) park(dq *destQueue) { heap.Remove(&cq.heap, dq.index) }

func (cq *classQueue) unpark(dq *destQueue) {
	if dq.index < 0 && len(dq.entries) > 0 {
		heap.Push(&cq.heap, dq)
	}
}

// destination is what the queue knows of one destination.
type destination struct {
	active   int
	limit    int
	every    time.Duration // least time between two messages
	next     time.Time
	failures int          // connections that failed in a row
	until    time.Time    // of the back-off
	waiting  []*destQueue // parked
}

const localConnections = 128

func (q *Queue) destinationOf(key destinationKey) *destination {
	d := q.destinations[key]
	if d == nil {
		d = &destination{limit: DefaultConnections}
		switch {
		case key.kind == envelope.Mailbox:
			d.limit = localConnections
		case key.byDomain:
			d.limit = math.MaxInt
		}
		if s, ok := q.cfg.Shaping[key.key]; ok && key.kind == envelope.Remote {
			d.every = s.Every
			if s.Connections > 0 {
				d.limit = s.Connections
			}
		}
		q.destinations[key] = d
	}
	return d
}

// free reports whether one more attempt may begin. A tenth of the connections is
// reserved for urgent mail, at least one if there are several.
func (d *destination) free(class envelope.Class, now time.Time) bool {
	limit := d.limit
	if class > envelope.High && limit > 1 {
		limit -= max(1, limit/10)
	}
	return d.active < limit && !now.Before(d.until) && !now.Before(d.next)
}

// Back-off of an unreachable destination: 5 s, doubled up to 5 minutes.
const (
	firstBackOff = 5 * time.Second
	maxBackOff   = 5 * time.Minute
)

func (d *destination) backOff(down bool, now time.Time) {
	if !down {
		d.failures = 0
		return
	}
	d.failures++
	d.until = now.Add(min(firstBackOff<<min(d.failures-1, 10), maxBackOff))
}

// wakeDestinations unparks the groups of destinations whose back-off is over. Because
// it checks all destinations, it works at most ten times a second.
func (q *Queue) wakeDestinations(now time.Time) {
	if now.Sub(q.lastWake) < 100*time.Millisecond {
		return
	}
	q.lastWake = now
	for key, d := range q.destinations {
		if len(d.waiting) > 0 && !now.Before(d.until) && !now.Before(d.next) && d.active < d.limit {
			q.wakeDestination(d)
		}
		if d.failures > 0 && d.active == 0 && len(d.waiting) == 0 && now.Sub(d.until) > maxBackOff {
			delete(q.destinations, key)
		}
	}
}

func (q *Queue) wakeDestination(d *destination) {
	for _, dq := range d.waiting {
		q.classes[dq.class].unpark(dq)
	}
	d.waiting = d.waiting[:0]
}
