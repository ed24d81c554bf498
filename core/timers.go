package core

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/hooks"
)

// timerSpace is the KV namespace in which the last run of each timer is kept;
// no policy's namespace has this name.
const timerSpace = "#timers"

// maxTimers bounds a scan of timerSpace.
const maxTimers = 100_000

// runTimers calls timer.tick handlers when they are due, until ctx ends.
func (p *Pipeline) runTimers(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		moved := p.clock.Moved()
		if err := p.Tick(ctx); err != nil {
			return nil // the store's own loop says so
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-moved:
		}
	}
}

// Tick calls the timer.tick handlers that are due, one at a time, and returns
// when all have returned. A handler that is seen for the first time runs after
// its interval; one that missed several runs once. What goes wrong in one is
// logged; an error is the store's end: ErrFailed or ErrClosed.
func (p *Pipeline) Tick(ctx context.Context) error {
	p.ticking.Lock()
	defer p.ticking.Unlock()
	gen := p.gen.Get()
	if err := safely(func() error { return p.adoptTimers(ctx, gen) }); err != nil {
		if errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed) {
			return err
		}
		p.log.ErrorContext(ctx, "times of an earlier version not moved, timers wait", "err", err)
		return nil // a timer that ran now would be taken for new
	}
	for n, info := range gen.Chain.Infos(hooks.TimerTick) {
		if ctx.Err() != nil {
			break
		}
		for _, domain := range p.timerDomains(info) {
			if err := safely(func() error { return p.tick(ctx, gen, n, timerName(info.Key(), domain), domain, info.Every) }); err != nil {
				if errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed) {
					return err
				}
				p.log.ErrorContext(ctx, "timer failed", "handler", info.Name(), "domain", domain, "err", err)
			}
		}
	}
	return nil
}

// RestartTimers has each timer count its interval from now on, as if all were
// seen for the first time: for a clock that was set back before anything ran.
//
// Crash: each timer counts from now or from its last run.
func (p *Pipeline) RestartTimers(ctx context.Context) error {
	var effects []envelope.Effect
	for pair, err := range p.store.Scan(ctx, timerSpace, "", maxTimers) {
		if err != nil {
			return err
		}
		effects = append(effects, envelope.Effect{Space: timerSpace, Op: envelope.Delete, Key: pair.Key})
	}
	if err := p.apply(ctx, p.gen.Get(), effects, nil); err != nil {
		return err
	}
	return p.Tick(ctx)
}

// timerName is under what it is stored when a handler last ran for a domain.
func timerName(handler, domain string) string {
	return strings.TrimSuffix(handler+" "+domain, " ")
}

// timerDomains are those that a timer runs for in turn; one that does not ask
// for it runs once, for the server as a whole.
func (p *Pipeline) timerDomains(i hooks.Info) []string {
	if !i.EachDomain {
		return []string{""}
	}
	if len(i.Domains) > 0 {
		return i.Domains
	}
	var out []string
	for _, d := range p.dir.Domains() {
		if !slices.Contains(i.Except, d.Name) {
			out = append(out, d.Name)
		}
	}
	return out
}

// tick runs a handler if it is due.
//
// Crash: the time of the run is stored together with the handler's effects.
// Before that the handler runs again after the restart, after it not.
func (p *Pipeline) tick(ctx context.Context, gen *hooks.Generation, n int, name, domain string, every time.Duration) error {
	now := p.clock.Now()
	ran := envelope.Effect{Space: timerSpace, Op: envelope.Set, Key: name, Value: strconv.AppendInt(nil, now.Unix(), 10)}
	raw, err := p.store.Get(ctx, timerSpace, name)
	if errors.Is(err, store.ErrNotFound) {
		return p.apply(ctx, gen, []envelope.Effect{ran}, nil)
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
		err := p.apply(ctx, gen, append(effects, ran), submits)
		stored = err == nil
		return err
	}
	_, trail := gen.Chain.RunOne(ctx, e, n)
	p.logFailures(ctx, "timer", trail)
	if stored {
		return nil
	}
	return p.apply(ctx, gen, []envelope.Effect{ran}, nil) // nothing to store but the time, or it failed: the next tick comes in due time
}
