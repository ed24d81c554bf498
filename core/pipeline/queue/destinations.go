package queue

import (
	"container/heap"
	"math"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// destQueueKey is what the groups of a destQueue share: their destination, and
// their domain where it has limits of its own.
type destQueueKey struct {
	destinationKey
	domain string
}

// destinationKey names a destination. A policy may choose any group key, so the
// kind tells the server's own destinations apart. byDomain stands for all mail of a
// domain, whatever its group keys.
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

// destinationsOf returns the destinations whose limits hold for a destQueue: its
// own, and that of its domain or nil. Caller holds mu.
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
	at      int // in the heap, -1 when parked
}

// classQueue holds all groups of a class. The heap orders the destQueues whose
// destination is not known to be busy by how long their first entry has been due.
type classQueue struct {
	heap  destHeap
	byKey map[destQueueKey]*destQueue
	n     int // entries in all destQueues
}

type destHeap []*destQueue

func (h destHeap) Len() int           { return len(h) }
func (h destHeap) Less(i, j int) bool { return h[i].entries[0].Due.Before(h[j].entries[0].Due) }
func (h destHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }
func (h *destHeap) Push(x any)        { l := x.(*destQueue); l.at = len(*h); *h = append(*h, l) }
func (h *destHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	*h, l.at = old[:len(old)-1], -1
	return l
}

func (ls *classQueue) push(key destQueueKey, e store.DueEntry) {
	l := ls.byKey[key]
	if l == nil {
		l = &destQueue{key: key, class: e.Class, at: -1}
		ls.byKey[key] = l
		l.entries = append(l.entries, e)
		heap.Push(&ls.heap, l)
	} else {
		l.entries = append(l.entries, e)
	}
	ls.n++
}

// pop takes the first entry of the first destQueue.
func (ls *classQueue) pop() store.DueEntry {
	l := ls.heap[0]
	e := l.entries[0]
	l.entries = l.entries[1:]
	ls.n--
	if len(l.entries) == 0 {
		heap.Pop(&ls.heap)
		delete(ls.byKey, l.key)
	} else {
		heap.Fix(&ls.heap, 0)
	}
	return e
}

// park takes a destQueue out of the heap until its destination is free.
func (ls *classQueue) park(l *destQueue) { heap.Remove(&ls.heap, l.at) }

func (ls *classQueue) unpark(l *destQueue) {
	if l.at < 0 && len(l.entries) > 0 {
		heap.Push(&ls.heap, l)
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

// free reports whether one more transaction may begin. A tenth of the slots,
// at least one where there are several, is kept for urgent mail.
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

// wakeDestinations unparks the groups of destinations whose back-off is over. It
// looks at all destinations, so not more than ten times a second.
func (q *Queue) wakeDestinations(now time.Time) {
	if now.Sub(q.woken) < 100*time.Millisecond {
		return
	}
	q.woken = now
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
	for _, l := range d.waiting {
		q.classes[l.class].unpark(l)
	}
	d.waiting = d.waiting[:0]
}
