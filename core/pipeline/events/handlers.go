package events

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"carteiro/core/internal/panics"
	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/core/store"
	"carteiro/hooks"
)

// dispatcher runs the handlers for the events in their queues.
type dispatcher struct {
	*Queue
	apply Apply
}

// Run writes posted events and runs the handlers of observe.event, until ctx ends. It
// returns nil.
func (q *Queue) Run(ctx context.Context, apply Apply) error {
	a := dispatcher{q, apply}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var list []Event
		moved := q.clock.Moved()
		select {
		case <-ctx.Done():
			return nil
		case e := <-q.posted:
			list = append(list, e)
		case <-q.wake:
		case <-moved:
		case <-tick.C:
		}
		for len(list) < batch && len(q.posted) > 0 {
			list = append(list, <-q.posted)
		}
		if err := a.runOnce(ctx, list); errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed) {
			return nil // the store's own loop reports it
		}
	}
}

// runOnce writes posted events, then runs all handlers in parallel, each for the
// events in its queue.
func (a dispatcher) runOnce(ctx context.Context, list []Event) error {
	gen := a.policies.Get()
	defer a.unwritten.Add(-int64(len(list)))
	if effects := a.Effects(gen, list...); len(effects) > 0 {
		if err := a.apply(ctx, gen, effects, nil); err != nil {
			a.log.ErrorContext(ctx, "events not kept", "events", len(list), "err", err)
			return err
		}
	}
	if err := a.moveFormat1(ctx, gen); err != nil {
		a.log.ErrorContext(ctx, "events of an earlier version not moved", "err", err)
		return err
	}
	names := queueNames(gen)
	if err := a.trim(ctx, gen, names); err != nil {
		a.log.ErrorContext(ctx, "events not trimmed", "err", err)
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(names))
	for n, name := range names {
		wg.Go(func() { errs[n] = panics.Catch(func() error { return a.drain(ctx, gen, n, name) }) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// drain runs handler n for the events in its queue, the oldest first, until it fails.
func (a dispatcher) drain(ctx context.Context, gen *hooks.Generation, n int, name string) error {
	for more := true; more && ctx.Err() == nil; {
		count := 0
		for pair, err := range a.kv.Scan(ctx, space, name+" ", batch) {
			if err != nil {
				return err
			}
			if ctx.Err() != nil || a.policies.Get() != gen {
				return nil
			}
			done, err := a.deliver(ctx, gen, n, pair.Key, pair.Value)
			if err != nil || !done {
				return err
			}
			a.count(name, -1)
			count++
		}
		more = count == batch
	}
	return nil
}

// deliver runs handler n for one event. It reports whether the event is done: handled
// or parked.
//
// Crash: one commit stores the handler's effects and removes the event. Before it: the
// handler runs again after the restart. After it: it does not.
func (a dispatcher) deliver(ctx context.Context, gen *hooks.Generation, n int, key string, raw []byte) (done bool, err error) {
	now := a.clock.Now()
	if now.Before(a.failure(key).next) {
		return false, nil
	}
	remove := envelope.Effect{Space: space, Op: envelope.Delete, Key: key}
	var o hooks.Observed
	if err := json.Unmarshal(raw, &o); err != nil {
		return true, a.apply(ctx, gen, []envelope.Effect{remove}, nil)
	}
	info := gen.Chain.Infos(hooks.ObserveEvent)[n]
	if !info.WantsEvent(o.Name) { // it did before a reload
		return true, a.apply(ctx, gen, []envelope.Effect{remove}, nil)
	}
	stored := false
	e := &hooks.Event{Point: hooks.ObserveEvent, Now: now, Observed: &o}
	e.Apply = func(effects []envelope.Effect, submits []hooks.Submit) error {
		err := a.apply(ctx, gen, append(effects, remove), submits)
		stored = err == nil
		return err
	}
	_, entries := gen.Chain.RunOne(ctx, e, n)
	trail.LogFailures(ctx, a.log, o.ID, entries)
	failed := trail.Failed(entries) != nil
	switch {
	case stored:
	case !failed:
		err = a.apply(ctx, gen, []envelope.Effect{remove}, nil)
	case a.fail(key, now):
		a.log.Metrics.Events.WithLabelValues("failed").Inc()
		return false, nil
	default:
		a.log.Metrics.Events.WithLabelValues("parked").Inc()
		a.log.ErrorContext(ctx, "event parked, its handler failed each time", "event", o.Name, "id", o.ID, "handler", info.Name())
		park := envelope.Effect{Space: parkedSpace, Op: envelope.Set, Key: key, Value: raw, TTL: parkedTTL}
		err = a.apply(ctx, gen, []envelope.Effect{remove, park}, nil)
	}
	if err != nil {
		return false, err
	}
	a.forget(key)
	if !failed {
		a.log.Metrics.Events.WithLabelValues("handled").Inc()
	}
	return true, nil
}
