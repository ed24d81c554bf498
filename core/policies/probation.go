package policies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"carteiro/core/store"
	"carteiro/hooks"
)

// A generation that a reload brought is on probation for a while. It is given
// up when one of its hooks fails, or refuses mail, far more often than that of
// the generation before, or when a breaker opens. Small numbers say nothing.
const (
	probationLasts = 10 * time.Minute
	minFailures    = 20
	minRefusals    = 50
	minBefore      = 50  // walks that a baseline takes
	moreFailures   = 0.1 // of the walks at a hook, above twice the share of before
	moreRefusals   = 0.2
)

// tally counts the walks through one hook's handlers.
type tally struct{ runs, failed, refused atomic.Int64 }

// counts are those of one generation, by hook.
type counts map[hooks.Point]*tally

func newCounts() counts {
	c := counts{}
	for _, spec := range hooks.Specs() {
		c[spec.Point] = &tally{}
	}
	return c
}

// shares are those of the walks that failed and that refused mail.
type shares struct {
	Failed  float64 `json:"failed"`
	Refused float64 `json:"refused"`
}

// rates are the shares at those hooks that were met often enough.
func (c counts) rates() map[hooks.Point]shares {
	out := map[hooks.Point]shares{}
	for p, t := range c {
		if n := float64(t.runs.Load()); n >= minBefore {
			out[p] = shares{float64(t.failed.Load()) / n, float64(t.refused.Load()) / n}
		}
	}
	return out
}

// probation is what a new generation is measured by. Its exported fields are
// in the store, so that it goes on after a restart.
type probation struct {
	Of     string                 `json:"of"`
	Until  time.Time              `json:"until"`
	Before string                 `json:"before"`
	Was    map[hooks.Point]shares `json:"was"`

	gen    loaded                 // the one before; nil after a restart, when it is in the store alone
	counts counts                 // of the one on probation
	reason atomic.Pointer[string] // why it has to go
}

// resume takes up the probation that the store has of the generation in force.
func (k *Keeper) resume(ctx context.Context) error {
	raw, err := k.o.Store.Record(ctx, kind, probing)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	p := &probation{counts: k.counts}
	if err == nil {
		err = json.Unmarshal(raw, p)
	}
	if err != nil {
		return fmt.Errorf("generations: %w", err)
	}
	if p.Of == k.Get().ID && k.o.Clock.Now().Before(p.Until) {
		k.probe.Store(p)
	}
	return nil
}

// refusing are the hooks at which a refusal turns a client, a message or a
// recipient away. Logins are not among them: who guesses passwords must not be
// able to bring old policies back.
var refusing = []hooks.Point{hooks.ReceiveConnect, hooks.ReceiveHelo, hooks.ReceiveMail, hooks.ReceiveRcpt, hooks.ReceiveData}

// ran counts a walk through the handlers of a generation. It does not block.
func (k *Keeper) ran(c counts, r hooks.Ran) {
	t := c[r.Point]
	if t == nil {
		return
	}
	t.runs.Add(1)
	if r.Failed {
		t.failed.Add(1)
	}
	refused := slices.Contains(refusing, r.Point) && (r.Verdict.Action == hooks.Reject || r.Verdict.Action == hooks.Defer || r.Verdict.Action == hooks.Disconnect)
	if refused {
		t.refused.Add(1)
	}
	p := k.probe.Load()
	if p == nil || !r.Failed && !refused || t != p.counts[r.Point] || p.reason.Load() != nil {
		return
	}
	reason := p.judge(r, t)
	if reason == "" || !k.o.Clock.Now().Before(p.Until) {
		return
	}
	p.reason.CompareAndSwap(nil, &reason)
	select {
	case k.alarm <- struct{}{}:
	default: // Run has not yet looked
	}
}

// judge says why a generation has to go, or "".
func (p *probation) judge(r hooks.Ran, t *tally) string {
	if r.Open {
		return fmt.Sprintf("a handler of %s failed so often that it is not asked any more", r.Point)
	}
	was, known := p.Was[r.Point]
	runs := t.runs.Load()
	failed, refused := t.failed.Load(), t.refused.Load()
	if share := float64(failed) / float64(runs); failed >= minFailures && share > 2*was.Failed+moreFailures {
		return fmt.Sprintf("%d of %d calls of handlers failed at %s, %.0f %%; before it was %.0f %%", failed, runs, r.Point, 100*share, 100*was.Failed)
	}
	if share := float64(refused) / float64(runs); known && refused >= minRefusals && share > 2*was.Refused+moreRefusals {
		return fmt.Sprintf("%d of %d were refused at %s, %.0f %%; before it was %.0f %%", refused, runs, r.Point, 100*share, 100*was.Refused)
	}
	return ""
}

// OnProbation is when the probation of the generation in force ends; zero
// when it is on none.
func (k *Keeper) OnProbation() time.Time {
	if p := k.probe.Load(); p != nil && k.o.Clock.Now().Before(p.Until) {
		return p.Until
	}
	return time.Time{}
}

// Run rolls back generations that do not pass their probation, until ctx
// ends. With watch it also reloads when what is on disk has changed and then
// stayed as it is for two seconds; a tree that does not load is logged once.
func (k *Keeper) Run(ctx context.Context, watch bool) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	w := watcher{keeper: k}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.alarm:
			k.giveUp(ctx)
		case <-look.C:
			k.release()
			if watch {
				w.look(ctx)
			}
		}
	}
}

// release ends a probation that was passed, so that the generation before is
// kept in memory no longer.
func (k *Keeper) release() {
	k.changing.Lock()
	defer k.changing.Unlock()
	if k.probe.Load() != nil && k.OnProbation().IsZero() {
		k.probe.Store(nil)
	}
}

// giveUp rolls back to the generation before. It is pinned: a restart must
// not load the files that were just found bad.
func (k *Keeper) giveUp(ctx context.Context) {
	k.changing.Lock()
	defer k.changing.Unlock()
	p := k.probe.Load()
	if p == nil || p.reason.Load() == nil {
		return // another one came meanwhile
	}
	from, reason := k.Get().ID, *p.reason.Load()
	err := k.goBack(ctx, p, reason)
	if err != nil {
		k.probe.Store(nil) // it would be said with each call
		k.o.Journal.ErrorContext(ctx, "POLICIES DID NOT PASS THEIR PROBATION, and cannot be rolled back", "generation", from, "reason", reason, "err", err)
		return
	}
	k.o.Journal.Metrics.Reloads.WithLabelValues("probation", "").Inc()
	k.o.Journal.ErrorContext(ctx, "POLICIES DID NOT PASS THEIR PROBATION and were rolled back; the files on disk are not in force", "generation", p.Before, "from", from, "reason", reason)
}

func (k *Keeper) goBack(ctx context.Context, p *probation, reason string) error {
	gen := p.gen
	if gen.Generation == nil {
		sources, err := k.sources(ctx, p.Before)
		if err != nil {
			return err
		}
		if gen, err = k.load(ctx, sources); err != nil {
			return err
		}
	}
	return k.enforce(ctx, gen, Entry{By: "probation", Pinned: true}, reason, nil)
}
