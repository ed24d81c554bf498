package policies

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"carteiro/hooks"
)

// A generation that a reload brought is on probation for a while. It is given
// up when its handlers fail, or refuse mail, far more often than those of the
// generation before, or when a breaker opens. Small numbers say nothing.
const (
	probationLasts = 10 * time.Minute
	minFailures    = 20
	minRefusals    = 50
	minBefore      = 50  // calls that a baseline takes
	moreFailures   = 0.1 // of all calls, above twice the share of before
	moreRefusals   = 0.2
)

// counts are the calls of one generation's handlers.
type counts struct {
	calls, failures   atomic.Int64
	receive, refusals atomic.Int64 // while a client waits
}

// rates are shares of calls; refused is -1 where too few calls were made.
type rates struct{ failed, refused float64 }

func (c *counts) rates() rates {
	r := rates{refused: -1}
	if n := c.calls.Load(); n >= minBefore {
		r.failed = float64(c.failures.Load()) / float64(n)
	}
	if n := c.receive.Load(); n >= minBefore {
		r.refused = float64(c.refusals.Load()) / float64(n)
	}
	return r
}

// probation is what a new generation is measured by.
type probation struct {
	until  time.Time
	before *hooks.Generation
	was    rates
	over   atomic.Bool // an alarm was given
}

// alarm asks for the end of a generation.
type alarm struct {
	generation string
	before     *hooks.Generation
	reason     string
}

// Observe is told of each call of a handler. It does not block.
func (k *Keeper) Observe(c hooks.Call) {
	if c.Info.Generation != k.Get().ID {
		return // of a transaction that began before
	}
	n := k.counts.Load()
	n.calls.Add(1)
	if c.Err != nil {
		n.failures.Add(1)
	}
	receive := strings.HasPrefix(string(c.Info.Point), "receive.")
	if receive {
		n.receive.Add(1)
		switch c.Verdict.Action {
		case hooks.Reject, hooks.Defer, hooks.Disconnect:
			n.refusals.Add(1)
		}
	}
	p := k.probe.Load()
	if p == nil {
		return
	}
	if reason := p.judge(n, c.Err); reason != "" && k.o.Clock.Now().Before(p.until) && p.over.CompareAndSwap(false, true) {
		select {
		case k.alarm <- alarm{c.Info.Generation, p.before, reason}:
		default:
		}
	}
}

// judge says why a generation has to go, or "".
func (p *probation) judge(n *counts, err error) string {
	if errors.Is(err, hooks.ErrOpen) {
		return "a handler failed so often that it is not asked any more"
	}
	calls, failures := n.calls.Load(), n.failures.Load()
	if share := float64(failures) / float64(calls); failures >= minFailures && share > 2*p.was.failed+moreFailures {
		return fmt.Sprintf("%d of %d calls of handlers failed, %.0f %%; before it was %.0f %%", failures, calls, 100*share, 100*p.was.failed)
	}
	receive, refusals := n.receive.Load(), n.refusals.Load()
	if share := float64(refusals) / float64(receive); p.was.refused >= 0 && refusals >= minRefusals && share > 2*p.was.refused+moreRefusals {
		return fmt.Sprintf("%d of %d calls refused mail, %.0f %%; before it was %.0f %%", refusals, receive, 100*share, 100*p.was.refused)
	}
	return ""
}

// OnProbation is when the probation of the generation in force ends; zero
// when it is on none.
func (k *Keeper) OnProbation() time.Time {
	if p := k.probe.Load(); p != nil && k.o.Clock.Now().Before(p.until) {
		return p.until
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
	if watch {
		w.begin()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-k.alarm:
			k.giveUp(ctx, a)
		case <-look.C:
			if k.probe.Load() != nil && k.OnProbation().IsZero() {
				k.probe.Store(nil) // passed; it need not keep the one before
			}
			if watch {
				w.look(ctx)
			}
		}
	}
}

// giveUp rolls back to the generation before. It is pinned: a restart must
// not load the files that were just found bad.
func (k *Keeper) giveUp(ctx context.Context, a alarm) {
	k.changing.Lock()
	defer k.changing.Unlock()
	if k.Get().ID != a.generation {
		return // another one came meanwhile
	}
	if err := k.enforce(ctx, a.before, Entry{By: "probation", Pinned: true}, a.reason); err != nil {
		k.o.Journal.ErrorContext(ctx, "POLICIES DID NOT PASS THEIR PROBATION, and cannot be rolled back", "generation", a.generation, "reason", a.reason, "err", err)
		return
	}
	k.o.Journal.Metrics.Reloads.WithLabelValues("probation", "").Inc()
	k.o.Journal.ErrorContext(ctx, "POLICIES DID NOT PASS THEIR PROBATION and were rolled back; the files on disk are not in force", "generation", a.before.ID, "from", a.generation, "reason", a.reason)
}

// watcher notices changes on disk.
type watcher struct {
	keeper *Keeper
	taken  string // stamp of what was last loaded, or tried
	seen   string // at the look before
	quiet  int    // looks since it changed
}

func (w *watcher) begin() {
	if s, err := w.keeper.o.Stamp(); err == nil {
		w.taken, w.seen = s, s
	}
}

func (w *watcher) look(ctx context.Context) {
	s, err := w.keeper.o.Stamp()
	if err != nil {
		return // a file that is being replaced; the next look tells
	}
	if s != w.seen {
		w.seen, w.quiet = s, 0
		return
	}
	if w.quiet++; s == w.taken || w.quiet < 2 {
		return
	}
	w.taken = s
	w.keeper.Reload(ctx, "watch") // logs what is wrong
}
