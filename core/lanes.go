package core

import (
	"container/heap"
	"math"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// laneKey is what the groups of a lane share: the key of their destination and
// the domain, where it has limits of its own.
type laneKey struct {
	destKey
	domain string
}

// destKey names a destination. A policy may choose any key, so the kind tells
// the server's own destinations apart; byDomain is all mail for a domain,
// whatever its keys.
type destKey struct {
	kind     envelope.GroupKind
	key      string
	byDomain bool
}

func (q *queue) laneOf(e store.DueEntry) laneKey {
	k := laneKey{destKey: destKey{kind: e.Kind, key: e.Key}}
	if _, shaped := q.p.cfg.Shaping[e.Domain]; shaped && e.Kind == envelope.Remote {
		k.domain = e.Domain
	}
	return k
}

// destsOf are the destinations whose limits hold for a lane: that of its key,
// and that of its domain or nil. Caller holds mu.
func (q *queue) destsOf(k laneKey) (own, domain *dest) {
	if k.domain != "" {
		domain = q.destOf(destKey{kind: envelope.Remote, key: k.domain, byDomain: true})
	}
	return q.destOf(k.destKey), domain
}

// lane is the waiting line of one class for one destination.
type lane struct {
	key     laneKey
	class   envelope.Class
	entries []store.DueEntry
	at      int // in the heap, -1 when set aside
}

// lanes are all lanes of a class; the heap orders those whose destination is
// not known to be busy by how long their first entry has been due.
type lanes struct {
	heap  laneHeap
	byKey map[laneKey]*lane
	n     int // entries in all lanes
}

type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].entries[0].Due.Before(h[j].entries[0].Due) }
func (h laneHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }
func (h *laneHeap) Push(x any)        { l := x.(*lane); l.at = len(*h); *h = append(*h, l) }
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	*h, l.at = old[:len(old)-1], -1
	return l
}

func (ls *lanes) push(key laneKey, e store.DueEntry) {
	l := ls.byKey[key]
	if l == nil {
		l = &lane{key: key, class: e.Class, at: -1}
		ls.byKey[key] = l
		l.entries = append(l.entries, e)
		heap.Push(&ls.heap, l)
	} else {
		l.entries = append(l.entries, e)
	}
	ls.n++
}

// pop takes the first entry of the first lane.
func (ls *lanes) pop() store.DueEntry {
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

// setAside takes a lane out of the heap until its destination is free.
func (ls *lanes) setAside(l *lane) { heap.Remove(&ls.heap, l.at) }

func (ls *lanes) bringBack(l *lane) {
	if l.at < 0 && len(l.entries) > 0 {
		heap.Push(&ls.heap, l)
	}
}

// dest is what the queue knows of one destination.
type dest struct {
	active   int
	limit    int
	every    time.Duration // least time between two messages
	next     time.Time
	failures int       // connections that failed in a row
	until    time.Time // resting
	waiting  []*lane   // set aside
}

const localConnections = 128

func (q *queue) destOf(key destKey) *dest {
	d := q.dests[key]
	if d == nil {
		d = &dest{limit: DefaultConnections}
		switch {
		case key.kind == envelope.Mailbox:
			d.limit = localConnections
		case key.byDomain:
			d.limit = math.MaxInt
		}
		if s, ok := q.p.cfg.Shaping[key.key]; ok && key.kind == envelope.Remote {
			d.every = s.Every
			if s.Connections > 0 {
				d.limit = s.Connections
			}
		}
		q.dests[key] = d
	}
	return d
}

// free reports whether one more transaction may begin. A tenth of the slots,
// at least one where there are several, is kept for urgent mail.
func (d *dest) free(class envelope.Class, now time.Time) bool {
	limit := d.limit
	if class > envelope.High && limit > 1 {
		limit -= max(1, limit/10)
	}
	return d.active < limit && !now.Before(d.until) && !now.Before(d.next)
}

// Rests of an unreachable destination: 5 s, doubled up to 5 minutes.
const (
	firstRest = 5 * time.Second
	maxRest   = 5 * time.Minute
)

func (d *dest) rest(down bool, now time.Time) {
	if !down {
		d.failures = 0
		return
	}
	d.failures++
	d.until = now.Add(min(firstRest<<min(d.failures-1, 10), maxRest))
}

// wakeDests brings lanes back whose destination has rested enough. It looks
// at all destinations, so not more than ten times a second.
func (q *queue) wakeDests(now time.Time) {
	if now.Sub(q.woken) < 100*time.Millisecond {
		return
	}
	q.woken = now
	for key, d := range q.dests {
		if len(d.waiting) > 0 && !now.Before(d.until) && !now.Before(d.next) && d.active < d.limit {
			q.wakeDest(d)
		}
		if d.failures > 0 && d.active == 0 && len(d.waiting) == 0 && now.Sub(d.until) > maxRest {
			delete(q.dests, key)
		}
	}
}

func (q *queue) wakeDest(d *dest) {
	for _, l := range d.waiting {
		q.classes[l.class].bringBack(l)
	}
	d.waiting = d.waiting[:0]
}
