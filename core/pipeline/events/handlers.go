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

// asker asks the handlers about what is in their queues.
type asker struct {
	*Queue
	apply Apply
}

// Run writes posted events and asks the handlers of observe.event, until ctx
// ends. It returns nil.
func (q *Queue) Run(ctx context.Context, apply Apply) error {
	a := asker{q, apply}
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

// runOnce writes posted events, then asks each handler, all at once, about the
// events in its queue.
func (a asker) runOnce(ctx context.Context, list []Event) error {
	gen := a.policies.Get()
	defer a.unwritten.Add(-int64(len(list)))
	if effects := a.Effects(gen, list...); len(effects) > 0 {
		if err := a.apply(ctx, gen, effects, nil); err != nil {
			a.log.ErrorContext(ctx, "events not kept", "events", len(list), "err", err)
			return err
		}
	}
	if err := a.adopt(ctx, gen); err != nil {
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

// drain asks handler n about the events in its queue, the oldest first, until
// one fails.
func (a asker) drain(ctx context.Context, gen *hooks.Generation, n int, name string) error {
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

// deliver asks handler n about one event. It reports whether the event is done:
// handled or parked.
//
// Crash: the commit that stores the handler's effects removes the event. Before
// it: the handler is asked again after the restart. After it: it is not.
func (a asker) deliver(ctx context.Context, gen *hooks.Generation, n int, key string, raw []byte) (done bool, err error) {
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
		park := envelope.Effect{Space: parkedSpace, Op: envelope.Set, Key: key, Value: raw, TTL: parkedLife}
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
