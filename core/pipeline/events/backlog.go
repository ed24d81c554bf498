package events

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// Limits of the queues of observe.event handlers.
const (
	maxQueued   = 100_000 // events for one handler; the oldest are dropped
	trimEvery   = time.Minute
	trimBatch   = 500
	maxReported = 10_000 // events that `status` counts
	maxListed   = 20     // parked events that it names
)

// longQueues returns the queues that may be too long, at most once in trimEvery. The
// counts are not exact: events are counted before their commit, which may fail. Events
// of an earlier process are not counted, so the first call returns all queues.
func (q *Queue) longQueues(now time.Time, names []string) []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.trimmed.IsZero()
	if !first && now.Sub(q.trimmed) < trimEvery {
		return nil
	}
	q.trimmed = now
	var long []string
	for _, name := range names {
		if first || q.waiting[name] > q.maxQueued {
			long = append(long, name)
		}
	}
	return long
}

// trim drops the oldest events of handlers that do not keep up, so that a handler that
// always fails cannot fill the disk.
//
// Crash: some of them are dropped, and the next call drops the rest.
func (a dispatcher) trim(ctx context.Context, gen *hooks.Generation, names []string) error {
	for _, name := range a.longQueues(a.clock.Now(), names) {
		var keys []string
		for pair, err := range a.kv.Scan(ctx, space, name+" ", 2*a.maxQueued) {
			if err != nil {
				return err
			}
			keys = append(keys, pair.Key)
		}
		over := max(len(keys)-a.maxQueued, 0)
		for old := keys[:over]; len(old) > 0; {
			n := min(len(old), trimBatch)
			effects := make([]envelope.Effect, n)
			for i, key := range old[:n] {
				effects[i] = envelope.Effect{Space: space, Op: envelope.Delete, Key: key}
			}
			if err := a.apply(ctx, gen, effects, nil); err != nil {
				return err
			}
			for _, key := range old[:n] {
				a.forget(key)
			}
			old = old[n:]
		}
		a.recount(name, len(keys)-over)
		if over > 0 {
			a.log.Metrics.Events.WithLabelValues("dropped").Add(float64(over))
			a.log.ErrorContext(ctx, "events dropped, their handler does not keep up", "queue", name, "events", over)
		}
	}
	return nil
}

func (q *Queue) recount(queue string, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting[queue] = n
}

// Backlog counts the events that wait for their handlers, or are parked. Counts end
// at 10,000.
type Backlog struct {
	Waiting int `json:"waiting"`
	Parked  int `json:"parked"` // their handlers failed each time
	// Latest are up to 20 of the parked ones, by handler and age.
	Latest []ParkedEvent `json:"latest,omitempty"`
}

// ParkedEvent is an event whose handler failed each time.
type ParkedEvent struct {
	Handler string    `json:"handler"` // bundle or domain, file, and the number of the handler in it
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
}

// queueHandler returns the handler of a queue for display: its bundle or domain, its
// file, and its number in the file.
func queueHandler(queue string) string {
	if owner, file, number, ok := hooks.ParseKey(queue); ok {
		queue = owner + " " + file + " " + number
	}
	return strings.TrimSpace(queue)
}

// EventsDue reports whether there are events that a handler should get now. Tests wait
// until there are none.
func (q *Queue) EventsDue(ctx context.Context) bool {
	if q.unwritten.Load() > 0 {
		return true
	}
	for _, name := range queueNames(q.policies.Get()) {
		for pair, err := range q.kv.Scan(ctx, space, name+" ", 1) {
			if err == nil && !q.clock.Now().Before(q.failure(pair.Key).next) {
				return true
			}
		}
	}
	return false
}

// Events counts the events that wait or are parked.
func (q *Queue) Events(ctx context.Context) (Backlog, error) {
	var b Backlog
	for _, err := range q.kv.Scan(ctx, space, "", maxReported) {
		if err != nil {
			return b, err
		}
		b.Waiting++
	}
	for pair, err := range q.kv.Scan(ctx, parkedSpace, "", maxReported) {
		if err != nil {
			return b, err
		}
		b.Parked++
		var o hooks.Observed
		if err := json.Unmarshal(pair.Value, &o); err != nil {
			continue // counted all the same
		}
		queue := pair.Key[:max(strings.LastIndexByte(pair.Key, ' '), 0)]
		b.Latest = append(b.Latest, ParkedEvent{Handler: queueHandler(queue), Name: o.Name, ID: o.ID, Time: o.Time})
		if len(b.Latest) > maxListed {
			b.Latest = b.Latest[1:]
		}
	}
	return b, nil
}
