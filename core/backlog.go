package core

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// Limits of what waits for observe.event handlers.
const (
	maxWaiting  = 100_000 // events for one handler; the oldest are dropped
	trimEvery   = time.Minute
	trimBatch   = 500
	maxReported = 10_000 // events that `status` counts
	maxListed   = 20     // parked events that it names
)

func (o *observers) count(queue string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting[queue] = max(o.waiting[queue]+n, 0)
}

// due reports whether queues are to be looked at, and which may be too long.
// Events are counted before their commit, which may fail, and those of an
// earlier process not at all, so that the first look is at all queues.
func (o *observers) due(now time.Time, names []string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.trimmed.IsZero()
	if !first && now.Sub(o.trimmed) < trimEvery {
		return nil
	}
	o.trimmed = now
	var long []string
	for _, name := range names {
		if first || o.waiting[name] > o.most {
			long = append(long, name)
		}
	}
	return long
}

// trim drops the oldest events of handlers that do not keep up, so that one
// that only fails cannot fill the disk.
//
// Crash: some of them are gone, and the rest goes at the next look.
func (p *Pipeline) trim(ctx context.Context, gen *hooks.Generation, names []string) error {
	for _, name := range p.observers.due(p.clock.Now(), names) {
		var keys []string
		for pair, err := range p.store.Scan(ctx, eventSpace, name+" ", 2*p.observers.most) {
			if err != nil {
				return err
			}
			keys = append(keys, pair.Key)
		}
		over := max(len(keys)-p.observers.most, 0)
		for old := keys[:over]; len(old) > 0; {
			n := min(len(old), trimBatch)
			effects := make([]envelope.Effect, n)
			for i, key := range old[:n] {
				effects[i] = envelope.Effect{Space: eventSpace, Op: envelope.Delete, Key: key}
			}
			if err := p.apply(ctx, gen, effects, nil); err != nil {
				return err
			}
			for _, key := range old[:n] {
				p.observers.forget(key)
			}
			old = old[n:]
		}
		p.observers.recount(name, len(keys)-over)
		if over > 0 {
			p.log.Metrics.Events.WithLabelValues("dropped").Add(float64(over))
			p.log.ErrorContext(ctx, "events dropped, their handler does not keep up", "queue", name, "events", over)
		}
	}
	return nil
}

func (o *observers) recount(queue string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting[queue] = n
}

// Backlog is what handlers of observe.event were not told of. Counts end at
// 10,000.
type Backlog struct {
	Waiting int `json:"waiting"`
	Parked  int `json:"parked"` // their handlers failed to the end
	// Latest are up to 20 of the parked ones, by handler and age.
	Latest []ParkedEvent `json:"latest,omitempty"`
}

// ParkedEvent is an event whose handler failed to the end.
type ParkedEvent struct {
	Handler string    `json:"handler"` // bundle or domain, file, and the number of the handler in it
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
}

// queueHandler is the handler of a queue as people read it: its bundle or
// domain, its file, and its number in it.
func queueHandler(queue string) string {
	if owner, file, number, ok := hooks.ParseKey(queue); ok {
		queue = owner + " " + file + " " + number
	}
	return strings.TrimSpace(queue)
}

// Events tells of events that wait or are parked.
func (p *Pipeline) Events(ctx context.Context) (Backlog, error) {
	var b Backlog
	for _, err := range p.store.Scan(ctx, eventSpace, "", maxReported) {
		if err != nil {
			return b, err
		}
		b.Waiting++
	}
	for pair, err := range p.store.Scan(ctx, parkedSpace, "", maxReported) {
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
