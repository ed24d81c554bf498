package generations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"carteiro/core/store"
	"carteiro/hooks"
)

// A generation that a reload brought is on probation for a while. It is rolled
// back if one of its hooks fails, or refuses mail, far more often than in the
// generation before, or if a breaker opens. Small numbers are ignored.
const (
	probationLasts = 10 * time.Minute
	minFailures    = 20
	minRefusals    = 50
	minBefore      = 50  // that a baseline takes
	moreFailures   = 0.1 // of calls, above twice the share of before
	moreRefusals   = 0.2
)

// tally counts what happened at one hook.
type tally struct {
	refusing        bool // a refusal here turns a client, a message or a recipient away
	runs, refused   atomic.Int64
	calls, failures atomic.Int64
	worst           atomic.Uint64 // share of the handler that failed most, as bits
	opened          atomic.Bool   // a breaker
}

// counts are those of one generation, by hook.
type counts map[hooks.Point]*tally

// refusing are the hooks whose refusals count. Logins are not among them: who
// guesses passwords must not be able to bring old policies back.
var refusing = []hooks.Point{
	hooks.ReceiveConnect, hooks.ReceiveHelo, hooks.ReceiveMail, hooks.ReceiveRcpt, hooks.ReceiveHeaders, hooks.ReceiveData,
	hooks.QueueExpand,
}

func newCounts() counts {
	c := counts{}
	for _, spec := range hooks.Specs() {
		c[spec.Point] = &tally{refusing: slices.Contains(refusing, spec.Point)}
	}
	return c
}

// add counts a walk and reports whether anything about it was bad.
func (t *tally) add(r hooks.RunStats) (bad bool) {
	t.runs.Add(1)
	t.calls.Add(int64(r.Calls))
	if r.Failures > 0 {
		t.failures.Add(int64(r.Failures))
		if r.BreakerOpen {
			t.opened.Store(true)
		}
		for share := r.WorstHandler.Share(); r.WorstHandler.Failures >= minFailures; {
			old := t.worst.Load()
			if share <= math.Float64frombits(old) || t.worst.CompareAndSwap(old, math.Float64bits(share)) {
				break
			}
		}
		return true // what a failure refused is a failure, and no refusal
	}
	switch r.Verdict.Action {
	case hooks.Reject, hooks.Defer, hooks.Disconnect:
		if t.refusing {
			t.refused.Add(1)
		}
		return t.refusing
	}
	return false
}

// shares are those of calls that failed and of walks that refused mail.
type shares struct {
	Failed  float64 `json:"failed"`         // of all calls
	Worst   float64 `json:"worst"`          // of the calls of the handler that failed most
	Refused float64 `json:"refused"`        // -1: not known
	Opened  bool    `json:"open,omitempty"` // a breaker
}

// shares returns what was usual at each hook that was met.
func (c counts) shares() map[hooks.Point]shares {
	out := map[hooks.Point]shares{}
	for p, t := range c {
		s := shares{Worst: math.Float64frombits(t.worst.Load()), Refused: -1, Opened: t.opened.Load()}
		if n := t.calls.Load(); n >= minBefore {
			s.Failed = float64(t.failures.Load()) / float64(n)
		}
		n := t.runs.Load()
		if n >= minBefore {
			s.Refused = float64(t.refused.Load()) / float64(n)
		}
		if n > 0 {
			out[p] = s
		}
	}
	return out
}

// probation holds the measurements of a new generation. Its exported fields are in the
// store, so that it continues after a restart.
type probation struct {
	Of     string                 `json:"of"`
	Until  time.Time              `json:"until"`
	Before string                 `json:"before"`
	Was    map[hooks.Point]shares `json:"was"`

	gen    loaded                 // the previous one; nil after a restart, then it is only in the store
	counts counts                 // of the one on probation
	reason atomic.Pointer[string] // why it has to go
}

// resume continues the stored probation of the current generation.
func (k *Manager) resume(ctx context.Context) error {
	raw, err := k.o.Store.Record(ctx, kind, probationRecord)
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
		k.probation.Store(p)
	}
	return nil
}

// countRun counts one run of a hook's handlers. It does not block.
func (k *Manager) countRun(c counts, r hooks.RunStats) {
	t := c[r.Point]
	if t == nil || !t.add(r) {
		return
	}
	p := k.probation.Load()
	if p == nil || t != p.counts[r.Point] || p.reason.Load() != nil {
		return
	}
	reason := p.reasonToGiveUp(r, t)
	if reason == "" || !k.o.Clock.Now().Before(p.Until) {
		return
	}
	p.reason.CompareAndSwap(nil, &reason)
	select {
	case k.alarm <- struct{}{}:
	default: // Run has not yet looked
	}
}

// maxReason bounds the error that is kept with a generation.
const maxReason = 300

// worstHandler names the handler that failed most, and its last error.
func worstHandler(w hooks.CallStats) string {
	if w.Handler == "" {
		return ""
	}
	err := w.Err
	if len(err) > maxReason {
		err = strings.ToValidUTF8(err[:maxReason], "")
	}
	return "; most of all " + w.Handler + ": " + err
}

// reasonToGiveUp says why a generation has to go, or "".
func (p *probation) reasonToGiveUp(r hooks.RunStats, t *tally) string {
	was, known := p.Was[r.Point]
	if !known {
		was.Refused = -1
	}
	if r.BreakerOpen && !was.Opened {
		return fmt.Sprintf("%s failed so often at %s that it is not asked any more%s", r.WorstHandler.Handler, r.Point,
			worstHandler(r.WorstHandler))
	}
	calls, failures := t.calls.Load(), t.failures.Load()
	if share := float64(failures) / float64(max(calls, 1)); failures >= minFailures && share > 2*was.Failed+moreFailures {
		return fmt.Sprintf("%d of %d calls of handlers failed at %s, %.0f %%; before it was %.0f %%%s", failures, calls, r.Point, 100*share,
			100*was.Failed, worstHandler(r.WorstHandler))
	}
	if w := r.WorstHandler; w.Failures >= minFailures && w.Share() > 2*was.Worst+moreFailures {
		return fmt.Sprintf("%d of %d calls of %s failed at %s, %.0f %%; before no handler had more than %.0f %%%s", w.Failures, w.Calls,
			w.Handler, r.Point, 100*w.Share(), 100*was.Worst, worstHandler(w))
	}
	runs, refused := t.runs.Load(), t.refused.Load()
	if share := float64(refused) / float64(runs); was.Refused >= 0 && refused >= minRefusals && share > 2*was.Refused+moreRefusals {
		return fmt.Sprintf("%d of %d were refused at %s, %.0f %%; before it was %.0f %%", refused, runs, r.Point, 100*share, 100*was.Refused)
	}
	return ""
}

// OnProbation returns when the probation of the generation in force ends; zero
// when it is on none.
func (k *Manager) OnProbation() time.Time {
	if p := k.probation.Load(); p != nil && k.o.Clock.Now().Before(p.Until) {
		return p.Until
	}
	return time.Time{}
}

// Run rolls back generations that do not pass their probation, until ctx
// ends. With watch it also reloads when what is on disk has changed and then
// stayed as it is for two seconds; a tree that does not load is logged once.
func (k *Manager) Run(ctx context.Context, watch bool) error {
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
			k.endProbation()
			if watch {
				w.check(ctx)
			}
		}
	}
}

// endProbation ends a probation that was passed, so that the generation before is
// kept in memory no longer.
func (k *Manager) endProbation() {
	k.changing.Lock()
	defer k.changing.Unlock()
	if k.probation.Load() != nil && k.OnProbation().IsZero() {
		k.probation.Store(nil)
	}
}

// giveUp rolls back to the generation before. It is pinned: a restart must
// not load the files that were just found bad.
func (k *Manager) giveUp(ctx context.Context) {
	k.changing.Lock()
	defer k.changing.Unlock()
	p := k.probation.Load()
	if p == nil || p.reason.Load() == nil {
		return // another one came meanwhile
	}
	from, reason := k.Get().ID, *p.reason.Load()
	err := k.restoreBefore(ctx, p, reason)
	if err != nil {
		k.probation.Store(nil) // it would be said with each call
		k.o.Journal.ErrorContext(ctx, "POLICIES DID NOT PASS THEIR PROBATION, and cannot be rolled back", "generation", from, "reason", reason,
			"err", err)
		return
	}
	k.o.Journal.Metrics.Reloads.WithLabelValues("probation", "").Inc()
	k.o.Journal.ErrorContext(ctx, "POLICIES DID NOT PASS THEIR PROBATION and were rolled back; the files on disk are not in force",
		"generation", p.Before, "from", from, "reason", reason)
}

func (k *Manager) restoreBefore(ctx context.Context, p *probation, reason string) error {
	gen := p.gen
	if gen.Generation == nil {
		sources, err := k.sources(ctx, p.Before)
		if err != nil {
			return err
		}
		if gen, err = k.load(hooks.Lenient(ctx), sources); err != nil {
			return err
		}
	}
	return k.putInForce(ctx, gen, Entry{By: "probation", Pinned: true}, reason, nil)
}
