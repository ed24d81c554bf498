package events

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
)

// recorder is a handler of observe.event that fails as long as fails is true.
type recorder struct {
	info hooks.Info

	mu    sync.Mutex
	fails bool
	names []string
}

func (r *recorder) Info() hooks.Info { return r.info }

func (r *recorder) Call(_ context.Context, _ hooks.Spec, e *hooks.Event) (hooks.Verdict, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails {
		return hooks.Verdict{}, 1, fmt.Errorf("not now")
	}
	r.names = append(r.names, e.Observed.Name)
	return hooks.Verdict{}, 1, nil
}

func (r *recorder) set(fails bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails = fails
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.names)
}

// A handler that does not keep up loses its oldest events; other handlers lose none.
func TestEventsAreTrimmed(t *testing.T) {
	clk := &clock.Clock{}
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true, Clock: clk, Log: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	slow := &recorder{info: hooks.Info{Point: hooks.ObserveEvent, File: "a.lua", Line: 1}, fails: true}
	good := &recorder{info: hooks.Info{Point: hooks.ObserveEvent, File: "b.lua", Line: 1}}
	policies := &hooks.Current{}
	policies.Swap(&hooks.Generation{ID: "test", Chain: hooks.NewChain([]hooks.Handler{slow, good})})
	q := New(st, policies, telemetry.Discard(), clk)
	q.maxQueued = 3
	a := dispatcher{q, func(ctx context.Context, _ *hooks.Generation, effects []envelope.Effect, _ []hooks.Submit) error {
		_, err := st.Apply(ctx, effects)
		return err
	}}
	var names []string
	for n := range 5 {
		name := hooks.EventNames[n]
		names = append(names, name)
		if err := a.runOnce(t.Context(), []Event{{name, nil}}); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := q.Events(t.Context()); err != nil || b.Waiting != 5 {
		t.Fatalf("backlog %+v, %v, want 5 events", b, err)
	}
	slow.set(false)
	clk.Advance(2 * time.Minute)
	if err := a.runOnce(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := slow.all(); !slices.Equal(got, names[2:]) {
		t.Errorf("the slow handler got events %q, want %q", got, names[2:])
	}
	if got := good.all(); !slices.Equal(got, names) {
		t.Errorf("the other handler got events %q, want %q", got, names)
	}
}

// Scripts of the same name in two domains have separate queues, whose names do not
// depend on the other domain.
func TestEventQueuesOfDomains(t *testing.T) {
	of := func(domain string) hooks.Handler {
		return &recorder{info: hooks.Info{Point: hooks.ObserveEvent, File: "a.lua", Line: 1, Tier: hooks.Domain, Domains: []string{domain}}}
	}
	both := queueNames(&hooks.Generation{Chain: hooks.NewChain([]hooks.Handler{of("a.example"), of("b.example")})})
	one := queueNames(&hooks.Generation{Chain: hooks.NewChain([]hooks.Handler{of("b.example")})})
	if both[0] == both[1] || one[0] != both[1] {
		t.Errorf("queues %q, and %q without the first domain; want two different names, and the second one unchanged", both, one)
	}
}
