package policyrun

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"carteiro/core/internal/panics"
	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/core/store"
	"carteiro/hooks"
)

// timerSpace is the KV namespace with the last run of each timer; no policy's namespace
// has this name.
const timerSpace = "#timers"

// maxTimers is the limit of a scan of timerSpace.
const maxTimers = 100_000

// RunTimers calls timer.tick handlers when they are due, until ctx ends.
func (r *Runner) RunTimers(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		moved := r.clock.Moved()
		if err := r.Tick(ctx); err != nil {
			return nil // the store's own loop reports it
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-moved:
		}
	}
}

// Tick calls the timer.tick handlers that are due, one at a time, and returns when all
// have returned. A new handler runs after its interval; a handler that missed several
// runs is called once. Failures of handlers are logged; an error is store.ErrFailed or
// store.ErrClosed.
func (r *Runner) Tick(ctx context.Context) error {
	r.ticking.Lock()
	defer r.ticking.Unlock()
	gen := r.policies.Get()
	if err := panics.Catch(func() error { return r.moveFormat1Timers(ctx, gen) }); err != nil {
		if errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed) {
			return err
		}
		r.log.ErrorContext(ctx, "times of an earlier version not moved, timers wait", "err", err)
		return nil // without its time a timer would count as new
	}
	for n, info := range gen.Chain.Infos(hooks.TimerTick) {
		if ctx.Err() != nil {
			break
		}
		for _, domain := range r.timerDomains(info) {
			if err := panics.Catch(func() error { return r.runIfDue(ctx, gen, n, timerName(info.Key(), domain), domain) }); err != nil {
				if errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed) {
					return err
				}
				r.log.ErrorContext(ctx, "timer failed", "handler", info.Name(), "domain", domain, "err", err)
			}
		}
	}
	return nil
}

// RestartTimers makes each timer count its interval from now, as if it were new. It is
// for a clock that was set back.
//
// Crash: each timer counts from now or from its last run.
func (r *Runner) RestartTimers(ctx context.Context) error {
	var effects []envelope.Effect
	for pair, err := range r.store.Scan(ctx, timerSpace, "", maxTimers) {
		if err != nil {
			return err
		}
		effects = append(effects, envelope.Effect{Space: timerSpace, Op: envelope.Delete, Key: pair.Key})
	}
	if err := r.apply(ctx, r.policies.Get(), effects, nil); err != nil {
		return err
	}
	return r.Tick(ctx)
}

// timerName returns the key for the last run of a handler for a domain.
func timerName(handler, domain string) string {
	return strings.TrimSuffix(handler+" "+domain, " ")
}

// timerDomains returns the domains that a timer runs for, one after the other. A timer
// without `each = "domain"` runs once for the whole server, with the domain "".
func (r *Runner) timerDomains(i hooks.Info) []string {
	if !i.EachDomain {
		return []string{""}
	}
	if len(i.Domains) > 0 {
		return i.Domains
	}
	var out []string
	for _, d := range r.dir.Domains() {
		if !slices.Contains(i.Except, d.Name) {
			out = append(out, d.Name)
		}
	}
	return out
}

// runIfDue runs handler n if it is due.
//
// Crash: the time of the run is committed with the handler's effects. Before that
// commit: the handler runs again after the restart. After it: it does not.
func (r *Runner) runIfDue(ctx context.Context, gen *hooks.Generation, n int, name, domain string) error {
	now, every := r.clock.Now(), gen.Chain.Infos(hooks.TimerTick)[n].Every
	ran := envelope.Effect{Space: timerSpace, Op: envelope.Set, Key: name, Value: strconv.AppendInt(nil, now.Unix(), 10)}
	raw, err := r.store.Get(ctx, timerSpace, name)
	if errors.Is(err, store.ErrNotFound) {
		return r.apply(ctx, gen, []envelope.Effect{ran}, nil)
	}
	if err != nil {
		return err
	}
	last, err := strconv.ParseInt(string(raw), 10, 64)
	if err == nil && now.Before(time.Unix(last, 0).Add(every)) {
		return nil
	}
	stored := false
	e := &hooks.Event{Point: hooks.TimerTick, Now: now, Domain: domain}
	e.Apply = func(effects []envelope.Effect, submits []hooks.Submit) error {
		err := r.apply(ctx, gen, append(effects, ran), submits)
		stored = err == nil
		return err
	}
	_, entries := gen.Chain.RunOne(ctx, e, n)
	trail.LogFailures(ctx, r.log, "timer", entries)
	if stored {
		return nil
	}
	return r.apply(ctx, gen, []envelope.Effect{ran}, nil) // it had no effects, or it failed: it runs again after its interval
}
