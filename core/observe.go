package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/service/spam"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Events wait in the KV, in a queue for each observe.event handler: a record
// that is gone has been handled. No policy's namespace has these names.
const (
	eventSpace  = "#events"
	parkedSpace = "#events-parked"
)

// Limits of events.
const (
	eventLife   = 7 * 24 * time.Hour  // of one that nobody handles, for its handler is gone
	parkedLife  = 30 * 24 * time.Hour // of one that its handler failed on to the end
	eventBatch  = 50                  // handled, or written, at once
	maxNotices  = 1024                // waiting to be written; more are dropped and counted
	maxObserved = 16 << 10            // octets of one event
)

// eventRetries are the waits after each failure of a handler; after the last
// one the event is parked, and the next one has its turn.
var eventRetries = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}

// notice is an event that happened.
type notice struct {
	name string
	data map[string]any
}

// observers is what the pipeline needs for observe.event.
type observers struct {
	notices   chan notice // of events without a commit of their own
	unwritten atomic.Int64
	wake      chan struct{} // something was written
	mu        sync.Mutex
	last      int64             // key of the newest event
	failed    map[string]failed // by key
	waiting   map[string]int    // about how many are in each queue
	most      int               // may be in one, maxWaiting
	trimmed   time.Time         // when queues were last looked at
}

type failed struct {
	times int
	next  time.Time
}

func newObservers() *observers {
	return &observers{notices: make(chan notice, maxNotices), wake: make(chan struct{}, 1), failed: map[string]failed{}, waiting: map[string]int{}, most: maxWaiting}
}

// queueNames are those of the handlers' queues.
func queueNames(gen *hooks.Generation) []string {
	var names []string
	for _, info := range gen.Chain.Infos(hooks.ObserveEvent) {
		names = append(names, info.Key())
	}
	return names
}

// events are the effects that put notices into the queue of each handler that
// wants them.
// They are written with what they tell of, or not at all.
func (p *Pipeline) events(gen *hooks.Generation, list ...notice) (effects []envelope.Effect) {
	if len(list) == 0 || !gen.Chain.Has(hooks.ObserveEvent) {
		return nil
	}
	now, queues, handlers := p.clock.Now(), queueNames(gen), gen.Chain.Infos(hooks.ObserveEvent)
	for _, n := range list {
		if !gen.Chain.Observes(n.name) {
			continue
		}
		raw, err := json.Marshal(hooks.Observed{Name: n.name, ID: envelope.NewID(now).String(), Time: now, Data: n.data})
		if err != nil || len(raw) > maxObserved {
			p.log.Metrics.Events.WithLabelValues("dropped").Inc()
			continue
		}
		for i, queue := range queues {
			if !handlers[i].Wants(n.name) {
				continue
			}
			p.observers.count(queue, 1)
			effects = append(effects, envelope.Effect{Space: eventSpace, Op: envelope.Set, Key: fmt.Sprintf("%s %016x", queue, p.observers.key(now)), Value: raw, TTL: eventLife})
		}
	}
	return effects
}

// learned are the notices of effects that teach the text model.
func learned(effects []envelope.Effect) (list []notice) {
	for _, e := range effects {
		if account, class, ok := spam.Taught(e); ok {
			list = append(list, notice{"learned", map[string]any{"class": class.String(), "account": string(account)}})
		}
	}
	return list
}

// key sorts events in the order in which they were made.
func (o *observers) key(now time.Time) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = max(o.last+1, now.UnixNano())
	return o.last
}

// observed wakes the handlers.
func (p *Pipeline) observed() {
	select {
	case p.observers.wake <- struct{}{}:
	default:
	}
}

// observes reports whether anybody wants to be told of such events.
func (p *Pipeline) observes(events ...string) bool { return p.gen.Get().Chain.Observes(events...) }

// Notice tells policies of an event that has no commit of its own, such as a
// reload. It does not block: the event is written within a moment, and lost
// if the process ends before.
func (p *Pipeline) Notice(name string, data map[string]any) {
	if !p.observes(name) {
		return
	}
	p.observers.unwritten.Add(1)
	select {
	case p.observers.notices <- notice{name, data}:
	default:
		p.observers.unwritten.Add(-1)
		p.log.Metrics.Events.WithLabelValues("dropped").Inc()
	}
}

// observe writes notices and asks the observe.event handlers, until ctx ends.
func (p *Pipeline) observe(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var list []notice
		moved := p.clock.Moved()
		select {
		case <-ctx.Done():
			return nil
		case n := <-p.observers.notices:
			list = append(list, n)
		case <-p.observers.wake:
		case <-moved:
		case <-tick.C:
		}
		for len(list) < eventBatch && len(p.observers.notices) > 0 {
			list = append(list, <-p.observers.notices)
		}
		if err := p.turn(ctx, list); errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed) {
			return nil // the store's own loop says so
		}
	}
}

// turn writes what waits to be written, then asks each handler, all at once,
// about the events in its queue.
func (p *Pipeline) turn(ctx context.Context, list []notice) error {
	gen := p.gen.Get()
	defer p.observers.unwritten.Add(-int64(len(list)))
	if effects := p.events(gen, list...); len(effects) > 0 {
		if err := p.apply(ctx, gen, effects, nil); err != nil {
			p.log.ErrorContext(ctx, "events not kept", "events", len(list), "err", err)
			return err
		}
	}
	if err := p.adoptEvents(ctx, gen); err != nil {
		p.log.ErrorContext(ctx, "events of an earlier version not moved", "err", err)
		return err
	}
	names := queueNames(gen)
	if err := p.trim(ctx, gen, names); err != nil {
		p.log.ErrorContext(ctx, "events not trimmed", "err", err)
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(names))
	for n, name := range names {
		wg.Go(func() { errs[n] = safely(func() error { return p.drain(ctx, gen, n, name) }) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// EventsDue reports whether there are events that a handler is to be told of
// now, for tests that wait until there are none.
func (p *Pipeline) EventsDue(ctx context.Context) bool {
	if p.observers.unwritten.Load() > 0 {
		return true
	}
	for _, name := range queueNames(p.gen.Get()) {
		for pair, err := range p.store.Scan(ctx, eventSpace, name+" ", 1) {
			if err == nil && !p.clock.Now().Before(p.observers.failure(pair.Key).next) {
				return true
			}
		}
	}
	return false
}

// drain asks handler n about the events in its queue, the oldest first, until
// one fails.
func (p *Pipeline) drain(ctx context.Context, gen *hooks.Generation, n int, name string) error {
	for more := true; more && ctx.Err() == nil; {
		count := 0
		for pair, err := range p.store.Scan(ctx, eventSpace, name+" ", eventBatch) {
			if err != nil {
				return err
			}
			if ctx.Err() != nil || p.gen.Get() != gen {
				return nil
			}
			done, err := p.tell(ctx, gen, n, pair.Key, pair.Value)
			if err != nil || !done {
				return err
			}
			p.observers.count(name, -1)
			count++
		}
		more = count == eventBatch
	}
	return nil
}

// tell asks handler n about one event. It reports whether the event is done
// with: handled or parked.
//
// Crash: the event goes in the same commit in which the handler's effects
// come. Before it the handler is asked again after the restart, behind it not.
func (p *Pipeline) tell(ctx context.Context, gen *hooks.Generation, n int, key string, raw []byte) (done bool, err error) {
	now := p.clock.Now()
	if now.Before(p.observers.failure(key).next) {
		return false, nil
	}
	gone := envelope.Effect{Space: eventSpace, Op: envelope.Delete, Key: key}
	var o hooks.Observed
	if err := json.Unmarshal(raw, &o); err != nil {
		return true, p.apply(ctx, gen, []envelope.Effect{gone}, nil)
	}
	if !gen.Chain.Infos(hooks.ObserveEvent)[n].Wants(o.Name) { // it did before a reload
		return true, p.apply(ctx, gen, []envelope.Effect{gone}, nil)
	}
	stored := false
	e := &hooks.Event{Point: hooks.ObserveEvent, Now: now, Observed: &o}
	e.Apply = func(effects []envelope.Effect, submits []hooks.Submit) error {
		err := p.apply(ctx, gen, append(effects, gone), submits)
		stored = err == nil
		return err
	}
	_, trail := gen.Chain.RunOne(ctx, e, n)
	p.logFailures(ctx, o.ID, trail)
	bad := false
	for _, t := range trail {
		bad = bad || t.Err != ""
	}
	switch {
	case stored:
	case !bad:
		err = p.apply(ctx, gen, []envelope.Effect{gone}, nil)
	case p.observers.fail(key, now):
		p.log.Metrics.Events.WithLabelValues("failed").Inc()
		return false, nil
	default:
		p.log.Metrics.Events.WithLabelValues("parked").Inc()
		p.log.ErrorContext(ctx, "event parked, its handler failed to the end", "event", o.Name, "id", o.ID, "handler", gen.Chain.Infos(hooks.ObserveEvent)[n].Name())
		err = p.apply(ctx, gen, []envelope.Effect{gone, {Space: parkedSpace, Op: envelope.Set, Key: key, Value: raw, TTL: parkedLife}}, nil)
	}
	if err != nil {
		return false, err
	}
	p.observers.forget(key)
	if !bad {
		p.log.Metrics.Events.WithLabelValues("handled").Inc()
	}
	return true, nil
}

func (o *observers) failure(key string) failed {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed[key]
}

// fail notes a failure and reports whether the handler is to be asked again.
func (o *observers) fail(key string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.failed[key]
	if f.times >= len(eventRetries) {
		return false
	}
	o.failed[key] = failed{times: f.times + 1, next: now.Add(eventRetries[f.times])}
	return true
}

func (o *observers) forget(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.failed, key)
}

// given are recipients as the client named them, at most 100.
func given(rcpts []*envelope.Recipient) []any {
	var to []any
	for _, r := range rcpts[:min(len(rcpts), 100)] {
		to = append(to, string(r.Orig))
	}
	return to
}

// accepted is the event of a message that was taken.
func (in *intake) accepted() notice {
	return notice{"accepted", map[string]any{"message": in.env.ID.String(), "sender": string(in.env.Sender), "to": given(in.rcpts), "recipients": len(in.rcpts), "size": in.size(),
		"subject": in.env.Subject, "client": in.env.Client, "listener": in.env.Listener, "user": string(in.env.Identity)}}
}

// outcomeEvents are the names that an outcomeEvent can have.
var outcomeEvents = []string{"delivered", "deferred", "bounced", "expired"}

// outcomeEvent is the event of what became of a recipient.
func (a *attempt) outcomeEvent(r *envelope.Recipient, o outcome) notice {
	name := classOf(o.state)
	if name == "failed" {
		name = "bounced"
		if o.Status.Enhanced == "5.4.7" {
			name = "expired"
		}
	}
	return notice{name, map[string]any{"message": a.env.ID.String(), "sender": string(a.env.Sender), "to": string(r.Address), "orig": string(r.Orig), "code": o.Status.Code,
		"enhanced": o.Status.Enhanced, "text": o.Status.Text, "host": o.Host, "attempt": r.Attempts, "subject": a.env.Subject}}
}

// rejected is the event of a message that was refused.
func (c *content) rejected(st *envelope.Status) map[string]any {
	m := map[string]any{"message": c.tx.ID.String(), "sender": string(c.tx.Sender), "to": given(c.tx.Recipients), "recipients": len(c.tx.Recipients), "code": st.Code, "enhanced": st.Enhanced, "text": st.Text,
		"client": c.s.Remote.Addr().String(), "listener": c.s.Listener, "subject": c.subject()}
	if c.s.Identity != nil {
		m["user"] = string(c.s.Identity.User)
	}
	return m
}
