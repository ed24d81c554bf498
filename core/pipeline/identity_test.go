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

// counting returns a handler that counts its calls, and fails while fails is set.
func counting(info hooks.Info, n *atomic.Int32, fails *atomic.Bool) goHandler {
	return goHandler{info, func(*hooks.Event) (hooks.Verdict, error) {
		n.Add(1)
		if fails != nil && fails.Load() {
			return hooks.Verdict{}, errors.New("not yet")
		}
		return hooks.Verdict{}, nil
	}}
}

func domainHandlerInfo(p hooks.Point, domain, file string, every time.Duration) hooks.Info {
	return hooks.Info{Point: p, Tier: hooks.Domain, Domains: []string{domain}, File: file, Line: 1, Every: every}
}

func (srv *testServer) swapGeneration(id string, handlers ...hooks.Handler) {
	srv.policies.Swap(&hooks.Generation{ID: id, Chain: hooks.NewChain(handlers)})
}

// A domain's timer keeps its time when another domain, or the admin, gets a file of the
// same name.
func TestTimersOfOneNameKeepTheirTime(t *testing.T) {
	for name, other := range map[string]hooks.Info{
		"another domain, before it": domainHandlerInfo(hooks.TimerTick, "a.example", "digest.lua", 24*time.Hour),
		"the admin":                 {Point: hooks.TimerTick, File: "digest.lua", Line: 1, Every: 24 * time.Hour},
		"a bundle": {Point: hooks.TimerTick, Tier: hooks.Bundle, Bundle: "acme/x", File: "digest.lua", Line: 1,
			Every: 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			var first, second atomic.Int32
			digest := counting(domainHandlerInfo(hooks.TimerTick, "b.example", "digest.lua", 24*time.Hour), &first, nil)
			srv := newTestServer(t, core.Config{}, digest)
			srv.waitFor("the timer is known", func() bool { return srv.kvValue(timerSpace, timerName(digest.info.Key(), "")) != "" })
			srv.clock.Advance(23*time.Hour + 59*time.Minute)
			srv.swapGeneration("two", counting(other, &second, nil), digest)
			srv.waitFor("the other is known", func() bool { return srv.kvValue(timerSpace, timerName(other.Key(), "")) != "" })
			srv.clock.Advance(2 * time.Minute)
			srv.waitFor("the first has run", func() bool { return first.Load() == 1 })
			srv.waitIdle()
			if second.Load() != 0 {
				t.Error("the second timer ran 2 minutes after it was new")
			}
			srv.clock.Advance(24 * time.Hour)
			srv.waitFor("both have run", func() bool { return first.Load() == 2 && second.Load() == 1 })
		})
	}
}

// A message waits for the handler for which it was stored, even if a reload brings
// other files.
func TestAsyncWaitsForItsHandler(t *testing.T) {
	var ours, others atomic.Int32
	var fails atomic.Bool
	fails.Store(true)
	archive := counting(domainHandlerInfo(hooks.ReceiveAfter, "our.example", "archive.lua", 0), &ours, &fails)
	srv := newTestServer(t, core.Config{}, archive)
	srv.mustSend(newSession(), "a@a.example", plainMessage, "bob@our.example")
	srv.waitFor("the handler was called", func() bool { return ours.Load() == 1 && srv.InFlight() == 0 })
	admin := hooks.Info{Point: hooks.ReceiveAfter, File: "archive.lua", Line: 1}
	srv.swapGeneration(
		"two",
		counting(admin, &others, nil),
		counting(domainHandlerInfo(hooks.ReceiveAfter, "a.example", "archive.lua", 0), &others, nil),
		archive,
	)
	fails.Store(false)
	srv.clock.Advance(time.Hour)
	srv.waitFor("it has run", func() bool { return srv.spoolCount() == 0 })
	if ours.Load() != 2 || others.Load() != 0 {
		t.Errorf("its handler was called %d times, want 2; others %d times, want 0", ours.Load(), others.Load())
	}
}

// An async handler with the option login or listener does not run for other mail.
func TestAsyncApplies(t *testing.T) {
	var login, listener, all atomic.Int32
	one := hooks.Info{Point: hooks.ReceiveAfter, File: "login.lua", Login: true}
	two := hooks.Info{Point: hooks.ReceiveAfter, File: "listener.lua", Listener: "submission"}
	srv := newTestServer(t, core.Config{}, counting(one, &login, nil), counting(two, &listener, nil),
		counting(hooks.Info{Point: hooks.ReceiveAfter, File: "all.lua"}, &all, nil))
	srv.mustSend(newSession(), "a@a.example", plainMessage, "bob@our.example")
	srv.waitFor("the stranger's message is done", func() bool { return srv.spoolCount() == 0 && all.Load() == 1 })
	if login.Load() != 0 || listener.Load() != 0 {
		t.Errorf("the handlers with login and with listener got a stranger's message %d and %d times, want 0", login.Load(), listener.Load())
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "bob@our.example")
	srv.waitFor("the user's message is done", func() bool { return srv.spoolCount() == 0 && all.Load() == 2 })
	if login.Load() != 1 || listener.Load() != 1 {
		t.Errorf("the handlers with login and with listener got a user's message %d and %d times, want 1", login.Load(), listener.Load())
	}
}

// Handlers get events and times that an earlier version stored under other names.
func TestNamesOfFormat1AreAdopted(t *testing.T) {
	var ticks, told atomic.Int32
	timer := hooks.Info{Point: hooks.TimerTick, File: "a.lua", Line: 3, Every: time.Hour}
	each := hooks.Info{Point: hooks.TimerTick, Tier: hooks.Bundle, Bundle: "acme/x", File: "init.lua", Every: 24 * time.Hour, EachDomain: true,
		Domains: []string{"our.example"}}
	events := domainHandlerInfo(hooks.ObserveEvent, "our.example", "hook.lua", 0)
	dir := t.TempDir()
	srv := openTestServer(t, dir, core.Config{})
	for _, f := range []envelope.Effect{
		{Space: timerSpace, Op: envelope.Set, Key: " a.lua 1h0m0s 0", Value: []byte("1")},
		{Space: timerSpace, Op: envelope.Set, Key: "acme/x init.lua 24h0m0s 0 our.example", Value: []byte("1")},
		{Space: timerSpace, Op: envelope.Set, Key: "gone/x init.lua 24h0m0s 0", Value: []byte("1")},
		{Space: eventSpace, Op: envelope.Set, Key: "our.example hook.lua 0 000000000000000a",
			Value: []byte(`{"name":"accepted","data":{"to":["x@our.example"]}}`)},
		{Space: parkedSpace, Op: envelope.Set, Key: "our.example hook.lua 0 000000000000000b", Value: []byte(`{"name":"accepted","id":"b"}`)},
	} {
		if _, err := srv.store.Apply(t.Context(), []envelope.Effect{f}); err != nil {
			t.Fatal(err)
		}
	}
	srv.stop()
	srv = openTestServer(t, dir, core.Config{}, counting(timer, &ticks, nil), counting(each, &ticks, nil), counting(events, &told, nil))
	srv.waitFor("timers and events go on", func() bool { return ticks.Load() == 2 && told.Load() == 1 })
	b, err := srv.Events(t.Context())
	if err != nil || len(b.Latest) != 1 || b.Latest[0].Handler != "our.example hook.lua 0" {
		t.Errorf("backlog: got %+v, %v, want one parked event of our.example hook.lua 0", b, err)
	}
	for _, key := range []string{" a.lua 1h0m0s 0", "acme/x init.lua 24h0m0s 0 our.example"} {
		if srv.kvValue(timerSpace, key) != "" {
			t.Errorf("old key %q is still in the store", key)
		}
	}
	if srv.kvValue(timerSpace, "gone/x init.lua 24h0m0s 0") == "" {
		t.Error("the time of a timer without a handler is gone")
	}
}

// A group key that a policy chose, and a domain whose name is a key of the server, are
// destinations like others: when they are down there is a back-off.
func TestGroupKeysAreNoMagicWords(t *testing.T) {
	for _, key := range []string{"local", "held", "async"} {
		var tries atomic.Int32
		rename := goHandler{hooks.Info{Point: hooks.QueueCommit}, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Group.Kind != envelope.Remote {
				return hooks.Verdict{}, nil
			}
			return hooks.Verdict{}, e.SetGroup("key", func(g *envelope.Group) { g.Key = key })
		}}
		srv := newTestServer(t, core.Config{Workers: 1}, rename)
		srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
			tries.Add(1)
			return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "down"}, Down: true}
		}
		srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "x@out.example")
		srv.waitFor("it was tried", func() bool { return tries.Load() == 1 && srv.InFlight() == 0 })
		srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "y@out.example",
			"bob@our.example")
		srv.waitFor("local mail arrives", func() bool { return len(srv.mailbox("bob@our.example", "INBOX")) == 1 && srv.InFlight() == 0 })
		if n := tries.Load(); n != 1 {
			t.Errorf("key %q: %d attempts during the back-off, want 1", key, n)
		}
		srv.clock.Advance(6 * time.Second)
		srv.waitFor("it is tried again", func() bool { return tries.Load() == 2 })
		srv.stop()
	}
}

// The limits of a domain apply to all its group keys together.
func TestShapingHoldsForAllKeysOfADomain(t *testing.T) {
	pools := goHandler{hooks.Info{Point: hooks.QueueCommit}, func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.SetGroup("key", func(g *envelope.Group) {
			if to := string(g.Recipients[0].Address); to[0] != 'k' {
				g.Key = "pool " + to[:1]
			}
		})
	}}
	srv := newTestServer(t, core.Config{Shaping: map[string]queue.Shaping{"out.example": {Connections: 1}}}, pools)
	srv.transport.block = make(chan struct{})
	for _, to := range []envelope.Address{"a@out.example", "b@out.example", "k@out.example", "c@out.example"} {
		srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", to)
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "a@slow.example")
	srv.waitFor("one of each domain is on its way", func() bool { return srv.InFlight() == 2 })
	for n := 1; n <= 5; n++ {
		srv.transport.block <- struct{}{}
		srv.waitFor("it is sent", func() bool { return len(srv.transport.messages()) == n })
		out := 0
		for _, s := range srv.transport.messages() {
			if s.to[0].Domain() == "out.example" {
				out++
			}
		}
		want := min(1, 4-out)
		if n > out { // the one of the other domain has left
			srv.waitFor("the next one is on its way", func() bool { return srv.InFlight() == want })
		}
	}
	if srv.InFlight() > 1 {
		t.Errorf("%d attempts at once, want at most 1", srv.InFlight())
	}
}

// The rate of a domain applies to all its group keys together.
func TestRateHoldsForAllKeysOfADomain(t *testing.T) {
	pools := goHandler{hooks.Info{Point: hooks.QueueCommit}, func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.SetGroup("key", func(g *envelope.Group) { g.Key = "pool of " + string(g.Recipients[0].Address) })
	}}
	srv := newTestServer(t, core.Config{Shaping: map[string]queue.Shaping{"out.example": {Every: time.Hour}}}, pools)
	for _, to := range []envelope.Address{"a@out.example", "b@out.example", "c@out.example"} {
		srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", to)
	}
	for n := 1; n <= 3; n++ {
		srv.waitFor("one more is sent", func() bool { return len(srv.transport.messages()) >= n && srv.InFlight() == 0 })
		if got := len(srv.transport.messages()); got != n {
			t.Fatalf("%d messages were sent within %d hours, want one per hour", got, n-1)
		}
		srv.clock.Advance(61 * time.Minute)
	}
}

// If the store refuses one write while a timer's time is moved, the time is not lost
// and the timers run on.
func TestTimersOutliveAFaultOfTheMove(t *testing.T) {
	var ticks atomic.Int32
	srv, s := newFaultyServer(t)
	if _, err := srv.store.Apply(t.Context(), []envelope.Effect{{Space: timerSpace, Op: envelope.Set, Key: " a.lua 1h0m0s 0",
		Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	s.fail("apply", 1, func() error { return errFault })
	srv.swapGeneration("two", counting(hooks.Info{Point: hooks.TimerTick, File: "a.lua", Every: time.Hour}, &ticks, nil))
	srv.waitFor("the write failed", func() bool { return s.pendingFaults() == 0 })
	srv.waitFor("the timer runs at its old time", func() bool { return ticks.Load() == 1 })
}
