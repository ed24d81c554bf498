package pipeline_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/queue"
	"carteiro/hooks"
)

// counting is a handler that counts its calls, and fails while fails is set.
func counting(info hooks.Info, n *atomic.Int32, fails *atomic.Bool) handler {
	return handler{info, func(*hooks.Event) (hooks.Verdict, error) {
		n.Add(1)
		if fails != nil && fails.Load() {
			return hooks.Verdict{}, errors.New("not yet")
		}
		return hooks.Verdict{}, nil
	}}
}

func ofDomain(p hooks.Point, domain, file string, every time.Duration) hooks.Info {
	return hooks.Info{Point: p, Tier: hooks.Domain, Domains: []string{domain}, File: file, Line: 1, Every: every}
}

func (h *house) swap(id string, handlers ...hooks.Handler) {
	h.gen.Swap(&hooks.Generation{ID: id, Chain: hooks.NewChain(handlers)})
}

// A domain's timer keeps its own time when another domain, or the admin, gets a
// file of the same name.
func TestTimersOfOneNameKeepTheirTime(t *testing.T) {
	for name, other := range map[string]hooks.Info{
		"another domain, before it": ofDomain(hooks.TimerTick, "a.example", "digest.lua", 24*time.Hour),
		"the admin":                 {Point: hooks.TimerTick, File: "digest.lua", Line: 1, Every: 24 * time.Hour},
		"a bundle": {Point: hooks.TimerTick, Tier: hooks.Bundle, Bundle: "acme/x", File: "digest.lua", Line: 1,
			Every: 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			var first, second atomic.Int32
			digest := counting(ofDomain(hooks.TimerTick, "b.example", "digest.lua", 24*time.Hour), &first, nil)
			h := newHouse(t, core.Config{}, digest)
			h.until("the timer is known", func() bool { return h.value(timerSpace, timerName(digest.info.Key(), "")) != "" })
			h.clock.Advance(23*time.Hour + 59*time.Minute)
			h.swap("two", counting(other, &second, nil), digest)
			h.until("the other is known", func() bool { return h.value(timerSpace, timerName(other.Key(), "")) != "" })
			h.clock.Advance(2 * time.Minute)
			h.until("the first has run", func() bool { return first.Load() == 1 })
			h.idle()
			if second.Load() != 0 {
				t.Error("the other ran 2 minutes after it was first seen")
			}
			h.clock.Advance(24 * time.Hour)
			h.until("both have run", func() bool { return first.Load() == 2 && second.Load() == 1 })
		})
	}
}

// A message waits for the handler for which it was stored, whatever other files
// a reload brings.
func TestAsyncWaitsForItsHandler(t *testing.T) {
	var ours, others atomic.Int32
	var fails atomic.Bool
	fails.Store(true)
	archive := counting(ofDomain(hooks.ReceiveAfter, "our.example", "archive.lua", 0), &ours, &fails)
	h := newHouse(t, core.Config{}, archive)
	h.accept(session(), "a@a.example", plain, "bob@our.example")
	h.until("it was asked", func() bool { return ours.Load() == 1 && h.InFlight() == 0 })
	admin := hooks.Info{Point: hooks.ReceiveAfter, File: "archive.lua", Line: 1}
	h.swap("two", counting(admin, &others, nil), counting(ofDomain(hooks.ReceiveAfter, "a.example", "archive.lua", 0), &others, nil), archive)
	fails.Store(false)
	h.clock.Advance(time.Hour)
	h.until("it has run", func() bool { return h.spooled() == 0 })
	if ours.Load() != 2 || others.Load() != 0 {
		t.Errorf("its handler was asked %d times, want 2; others %d times, want 0", ours.Load(), others.Load())
	}
}

// An async handler that asks for a login or a listener is not shown other mail.
func TestAsyncApplies(t *testing.T) {
	var login, listener, all atomic.Int32
	one := hooks.Info{Point: hooks.ReceiveAfter, File: "login.lua", Login: true}
	two := hooks.Info{Point: hooks.ReceiveAfter, File: "listener.lua", Listener: "submission"}
	h := newHouse(t, core.Config{}, counting(one, &login, nil), counting(two, &listener, nil),
		counting(hooks.Info{Point: hooks.ReceiveAfter, File: "all.lua"}, &all, nil))
	h.accept(session(), "a@a.example", plain, "bob@our.example")
	h.until("the stranger's message is done", func() bool { return h.spooled() == 0 && all.Load() == 1 })
	if login.Load() != 0 || listener.Load() != 0 {
		t.Errorf("a stranger's message was shown to the handlers with login %d and listener %d times", login.Load(), listener.Load())
	}
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "bob@our.example")
	h.until("the user's message is done", func() bool { return h.spooled() == 0 && all.Load() == 2 })
	if login.Load() != 1 || listener.Load() != 1 {
		t.Errorf("a user's message was shown %d and %d times, want 1", login.Load(), listener.Load())
	}
}

// What waits under the names of an earlier version is found by the handlers.
func TestNamesOfFormat1AreAdopted(t *testing.T) {
	var ticks, told atomic.Int32
	timer := hooks.Info{Point: hooks.TimerTick, File: "a.lua", Line: 3, Every: time.Hour}
	each := hooks.Info{Point: hooks.TimerTick, Tier: hooks.Bundle, Bundle: "acme/x", File: "init.lua", Every: 24 * time.Hour, EachDomain: true,
		Domains: []string{"our.example"}}
	events := ofDomain(hooks.ObserveEvent, "our.example", "hook.lua", 0)
	dir := t.TempDir()
	h := openHouse(t, dir, core.Config{})
	for _, f := range []envelope.Effect{
		{Space: timerSpace, Op: envelope.Set, Key: " a.lua 1h0m0s 0", Value: []byte("1")},
		{Space: timerSpace, Op: envelope.Set, Key: "acme/x init.lua 24h0m0s 0 our.example", Value: []byte("1")},
		{Space: timerSpace, Op: envelope.Set, Key: "gone/x init.lua 24h0m0s 0", Value: []byte("1")},
		{Space: eventSpace, Op: envelope.Set, Key: "our.example hook.lua 0 000000000000000a",
			Value: []byte(`{"name":"accepted","data":{"to":["x@our.example"]}}`)},
		{Space: parkedSpace, Op: envelope.Set, Key: "our.example hook.lua 0 000000000000000b", Value: []byte(`{"name":"accepted","id":"b"}`)},
	} {
		if _, err := h.store.Apply(t.Context(), []envelope.Effect{f}); err != nil {
			t.Fatal(err)
		}
	}
	h.stop()
	h = openHouse(t, dir, core.Config{}, counting(timer, &ticks, nil), counting(each, &ticks, nil), counting(events, &told, nil))
	h.until("timers and events go on", func() bool { return ticks.Load() == 2 && told.Load() == 1 })
	b, err := h.Events(t.Context())
	if err != nil || len(b.Latest) != 1 || b.Latest[0].Handler != "our.example hook.lua 0" {
		t.Errorf("parked: %+v, %v", b, err)
	}
	for _, key := range []string{" a.lua 1h0m0s 0", "acme/x init.lua 24h0m0s 0 our.example"} {
		if h.value(timerSpace, key) != "" {
			t.Errorf("%q is still there", key)
		}
	}
	if h.value(timerSpace, "gone/x init.lua 24h0m0s 0") == "" {
		t.Error("the time of a timer that is not in force is gone")
	}
}

// A group key that a policy chose, or a domain that is called like a word of the
// server's, is a destination like others: it rests when it is down.
func TestGroupKeysAreNoMagicWords(t *testing.T) {
	for _, key := range []string{"local", "held", "async"} {
		var tries atomic.Int32
		rename := handler{hooks.Info{Point: hooks.QueueCommit}, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Group.Kind != envelope.Remote {
				return hooks.Verdict{}, nil
			}
			return hooks.Verdict{}, e.SetGroup("key", func(g *envelope.Group) { g.Key = key })
		}}
		h := newHouse(t, core.Config{Workers: 1}, rename)
		h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
			tries.Add(1)
			return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "down"}, Down: true}
		}
		h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "x@out.example")
		h.until("it was tried", func() bool { return tries.Load() == 1 && h.InFlight() == 0 })
		h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "y@out.example", "bob@our.example")
		h.until("local mail arrives", func() bool { return len(h.box("bob@our.example", "INBOX")) == 1 && h.InFlight() == 0 })
		if n := tries.Load(); n != 1 {
			t.Errorf("key %q: %d tries while the destination rests, want 1", key, n)
		}
		h.clock.Advance(6 * time.Second)
		h.until("it is tried again", func() bool { return tries.Load() == 2 })
		h.stop()
	}
}

// The limits of a domain hold for all its group keys together.
func TestShapingHoldsForAllKeysOfADomain(t *testing.T) {
	pools := handler{hooks.Info{Point: hooks.QueueCommit}, func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.SetGroup("key", func(g *envelope.Group) {
			if to := string(g.Recipients[0].Address); to[0] != 'k' {
				g.Key = "pool " + to[:1]
			}
		})
	}}
	h := newHouse(t, core.Config{Shaping: map[string]queue.Shaping{"out.example": {Connections: 1}}}, pools)
	h.sink.hold = make(chan struct{})
	for _, to := range []envelope.Address{"a@out.example", "b@out.example", "k@out.example", "c@out.example"} {
		h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", to)
	}
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "a@slow.example")
	h.until("one of each domain is on its way", func() bool { return h.InFlight() == 2 })
	for n := 1; n <= 5; n++ {
		h.sink.hold <- struct{}{}
		h.until("it is sent", func() bool { return len(h.sink.all()) == n })
		out := 0
		for _, s := range h.sink.all() {
			if s.to[0].Domain() == "out.example" {
				out++
			}
		}
		want := min(1, 4-out)
		if n > out { // the one of the other domain has left
			h.until("the next one is on its way", func() bool { return h.InFlight() == want })
		}
	}
	if h.InFlight() > 1 {
		t.Errorf("%d at once", h.InFlight())
	}
}

// A rate of a domain holds for all its keys.
func TestRateHoldsForAllKeysOfADomain(t *testing.T) {
	pools := handler{hooks.Info{Point: hooks.QueueCommit}, func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.SetGroup("key", func(g *envelope.Group) { g.Key = "pool of " + string(g.Recipients[0].Address) })
	}}
	h := newHouse(t, core.Config{Shaping: map[string]queue.Shaping{"out.example": {Every: time.Hour}}}, pools)
	for _, to := range []envelope.Address{"a@out.example", "b@out.example", "c@out.example"} {
		h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", to)
	}
	for n := 1; n <= 3; n++ {
		h.until("one more is sent", func() bool { return len(h.sink.all()) >= n && h.InFlight() == 0 })
		if got := len(h.sink.all()); got != n {
			t.Fatalf("%d left within %d hours", got, n-1)
		}
		h.clock.Advance(61 * time.Minute)
	}
}

// A store that refuses one write while a timer's time is moved costs neither
// that time nor the timers.
func TestTimersOutliveAFaultOfTheMove(t *testing.T) {
	var ticks atomic.Int32
	h, s := faultyHouse(t)
	if _, err := h.store.Apply(t.Context(), []envelope.Effect{{Space: timerSpace, Op: envelope.Set, Key: " a.lua 1h0m0s 0",
		Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	s.fail("apply", 1, func() error { return errFault })
	h.swap("two", counting(hooks.Info{Point: hooks.TimerTick, File: "a.lua", Every: time.Hour}, &ticks, nil))
	h.until("the write failed", func() bool { return s.broken() == 0 })
	h.until("the timer runs at its old time", func() bool { return ticks.Load() == 1 })
}
