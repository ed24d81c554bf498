package lua_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// meeting is a resolver whose questions wait for each other.
type meeting struct {
	hookstest.Resolver
	wait *sync.WaitGroup
}

func (m *meeting) A(ctx context.Context, name string) ([]netip.Addr, error) {
	m.wait.Done()
	met := make(chan struct{})
	go func() { m.wait.Wait(); close(met) }()
	select {
	case <-met:
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSlowPool: handlers that wait for the network do so side by side, many
// more of them than there are states for quick ones, and do not keep those
// waiting.
func TestSlowPool(t *testing.T) {
	const callers = 60
	var wait sync.WaitGroup
	wait.Add(callers + 1)
	e := lua.New(lua.Options{Resolver: &meeting{wait: &wait}})
	g, err := e.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"a.lua": `
on("receive.mail", function() if dns.a("x.example") then return reject("met") end end)
on("receive.helo", function() return reject("quick") end)`})})
	if err != nil {
		t.Fatal(err)
	}
	var callersDone sync.WaitGroup
	for range callers {
		callersDone.Go(func() {
			if v, trail := g.Chain.Run(context.Background(), mailEvent("a@a.example")); v.Status.Text != "met" {
				t.Errorf("%v %v", v, trail)
			}
		})
	}
	for range 100 {
		v, _ := g.Chain.Run(context.Background(), &hooks.Event{Point: hooks.ReceiveHelo, Session: hookstest.Session("192.0.2.7"), Name: "x"})
		if v.Status.Text != "quick" {
			t.Fatalf("%v", v)
		}
	}
	wait.Done()
	callersDone.Wait()
}

// TestSlowAnswer: a query that takes longer than the call may take ends it.
func TestSlowAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wait sync.WaitGroup
		wait.Add(2) // nobody else comes
		src := hookstest.Scripts(map[string]string{"a.lua": `on("receive.mail", function() dns.a("x.example") end)`})
		src.Limits.Wall = 50 * time.Millisecond
		g, err := lua.New(lua.Options{Resolver: &meeting{wait: &wait}}).Load(t.Context(), []hooks.Source{src})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		v, trail := g.Chain.Run(context.Background(), mailEvent("a@a.example"))
		if took := time.Since(start); v.Action != hooks.Defer || took != src.Limits.Wall {
			t.Errorf("%v after %v, want %v: %v", v, took, src.Limits.Wall, trail)
		}
		wait.Done()
	})
}

// TestCancelled: a caller that gives up ends the call.
func TestCancelled(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.mail", function() while true do end end)`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, trail := w.Generation.Chain.Run(ctx, mailEvent("a@a.example")); v.Action != hooks.Defer {
		t.Errorf("%v %v", v, trail)
	}
}

// TestBrokenStage: an event without what its hook needs is a failure, and the
// pool stays whole.
func TestBrokenStage(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.mail", function(session, tx) return reject(tx.sender) end)`)
	for range 19 {
		if a := w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7")}); a.Action != hooks.Defer {
			t.Fatalf("%v", a.Verdict)
		}
	}
	if a := w.Ask(mailEvent("a@a.example")); a.Status.Text != "a@a.example" {
		t.Errorf("%v %s", a.Verdict, a.Err())
	}
}
