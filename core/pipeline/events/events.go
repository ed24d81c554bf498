// Package events runs the handlers of observe.event. Each handler has a queue of events
// in the key-value store. An event is written in the commit that it is about, and
// removed when its handler has run: a record that is gone has been handled.
//
//	events.go   the events of commits, and those that belong to no commit
//	handlers.go runs the handlers, each for its queue in order
//	backlog.go  limits of the queues, and what `status` shows of them
//	format1.go  queues that an earlier version named differently
package events

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/service/spam"
	"carteiro/core/store"
	"carteiro/hooks"
)

// KV namespaces of events; no policy's namespace has these names.
const (
	space       = "#events"
	parkedSpace = "#events-parked"
)

// Limits of events.
const (
	eventTTL    = 7 * 24 * time.Hour  // of an event that nobody handles, because its handler is gone
	parkedTTL   = 30 * 24 * time.Hour // of an event whose handler failed each time
	batch       = 50                  // events that are handled, or written, at once
	maxPosted   = 1024                // posted events that wait to be written; more are dropped and counted
	maxEventLen = 16 << 10            // octets of one event
)

// retries are the waits after each failure of a handler. After the last one
// the event is parked and the next one is handled.
var retries = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}

// Event is something that happened; hooks.EventNames lists the names.
type Event struct {
	Name string
	Data map[string]any
}

// KV is the part of the store in which events wait.
type KV interface {
	Scan(ctx context.Context, space, prefix string, limit int) iter.Seq2[store.Pair, error]
}

// Apply commits effects and submissions of a handler. It blocks until they are
// on disk.
type Apply func(ctx context.Context, gen *hooks.Generation, effects []envelope.Effect, submits []hooks.Submit) error

// Queue holds the events for the handlers of observe.event.
type Queue struct {
	kv       KV
	policies *hooks.Current
	log      *telemetry.Journal
	clock    *clock.Clock

	posted    chan Event // events that belong to no commit
	unwritten atomic.Int64
	wake      chan struct{} // something was written

	mu        sync.Mutex // guards what follows
	last      int64      // key of the newest event
	failures  map[string]failure
	waiting   map[string]int // about how many events are in each queue
	maxQueued int            // events that may wait in one queue
	trimmed   time.Time      // when the queues were last trimmed

	adopted string // generation for which Run looked for queues of format 1; only Run uses it
}

// failure is how often a handler failed for an event, and when it runs again.
type failure struct {
	times int
	next  time.Time
}

// New makes the queues; Run runs the handlers.
func New(kv KV, policies *hooks.Current, log *telemetry.Journal, c *clock.Clock) *Queue {
	return &Queue{kv: kv, policies: policies, log: log, clock: c, posted: make(chan Event, maxPosted), wake: make(chan struct{}, 1),
		failures: map[string]failure{}, waiting: map[string]int{}, maxQueued: maxQueued}
}

// Wanted reports whether a handler of the current generation wants events with one of
// these names.
func (q *Queue) Wanted(names ...string) bool { return q.policies.Get().Chain.HasObserver(names...) }

// Effects returns the effects that put events into the queue of each handler that
// wants them. The caller commits them together with what the events are about, and
// calls Wake after that.
func (q *Queue) Effects(gen *hooks.Generation, list ...Event) (effects []envelope.Effect) {
	if len(list) == 0 || !gen.Chain.Has(hooks.ObserveEvent) {
		return nil
	}
	now, queues, handlers := q.clock.Now(), queueNames(gen), gen.Chain.Infos(hooks.ObserveEvent)
	for _, e := range list {
		if !gen.Chain.HasObserver(e.Name) {
			continue
		}
		raw, err := json.Marshal(hooks.Observed{Name: e.Name, ID: envelope.NewID(now).String(), Time: now, Data: e.Data})
		if err != nil || len(raw) > maxEventLen {
			q.log.Metrics.Events.WithLabelValues("dropped").Inc()
			continue
		}
		for i, queue := range queues {
			if !handlers[i].WantsEvent(e.Name) {
				continue
			}
			q.count(queue, 1)
			key := fmt.Sprintf("%s %016x", queue, q.nextKey(now))
			effects = append(effects, envelope.Effect{Space: space, Op: envelope.Set, Key: key, Value: raw, TTL: eventTTL})
		}
	}
	return effects
}

// Wake makes Run look for new events.
func (q *Queue) Wake() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Notice queues an event that belongs to no commit, such as a reload. It does not
// block: the event is written a moment later, and is lost if the process ends before
// that.
func (q *Queue) Notice(name string, data map[string]any) {
	if !q.Wanted(name) {
		return
	}
	q.unwritten.Add(1)
	select {
	case q.posted <- Event{name, data}:
	default:
		q.unwritten.Add(-1)
		q.log.Metrics.Events.WithLabelValues("dropped").Inc()
	}
}

// Learned returns the events of effects that teach the text model.
func Learned(effects []envelope.Effect) (list []Event) {
	for _, e := range effects {
		if account, class, ok := spam.TaughtBy(e); ok {
			list = append(list, Event{"learned", map[string]any{"class": class.String(), "account": string(account)}})
		}
	}
	return list
}

// maxNamed is how many recipients an event names.
const maxNamed = 100

// Addresses returns the recipients of an event as the client named them, at
// most 100.
func Addresses(rcpts []*envelope.Recipient) []any {
	var to []any
	for _, r := range rcpts[:min(len(rcpts), maxNamed)] {
		to = append(to, string(r.Orig))
	}
	return to
}

// queueNames returns the names of the handlers' queues, in the order of the handlers.
func queueNames(gen *hooks.Generation) []string {
	var names []string
	for _, info := range gen.Chain.Infos(hooks.ObserveEvent) {
		names = append(names, info.Key())
	}
	return names
}

// nextKey returns a key that sorts events in the order in which they were made.
func (q *Queue) nextKey(now time.Time) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = max(q.last+1, now.UnixNano())
	return q.last
}

func (q *Queue) count(queue string, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting[queue] = max(q.waiting[queue]+n, 0)
}

func (q *Queue) failure(key string) failure {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failures[key]
}

// fail counts a failure and reports whether the handler should run again.
func (q *Queue) fail(key string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.failures[key]
	if f.times >= len(retries) {
		return false
	}
	q.failures[key] = failure{times: f.times + 1, next: now.Add(retries[f.times])}
	return true
}

func (q *Queue) forget(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.failures, key)
}
