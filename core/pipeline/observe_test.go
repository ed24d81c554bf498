package pipeline_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// eventRecorder is an observe.event handler that records the events it gets.
type eventRecorder struct {
	mu    sync.Mutex
	told  []string
	fails int // of the next calls
}

func (d *eventRecorder) handler(file string) hooks.Handler {
	return goHandler{hooks.Info{Point: hooks.ObserveEvent, File: file, Line: 1}, func(e *hooks.Event) (hooks.Verdict, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.fails > 0 {
			d.fails--
			return hooks.Verdict{}, errors.New("not now")
		}
		what := e.Observed.Name
		if to, ok := e.Observed.Data["to"].(string); ok {
			what += " " + to
		}
		d.told = append(d.told, what)
		return hooks.Verdict{}, e.AddEffect(envelope.Effect{Space: "diary", Op: envelope.Incr, Key: file, N: 1})
	}}
}

func (d *eventRecorder) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.told)
}

func (srv *testServer) waitAllIdle() {
	srv.t.Helper()
	srv.waitIdle()
	srv.waitFor("the events are told", func() bool { return !srv.EventsDue(srv.t.Context()) })
}

func (srv *testServer) kvValue(space, key string) string {
	v, err := srv.store.Get(srv.t.Context(), space, key)
	if err != nil {
		return ""
	}
	return string(v)
}

func TestEvents(t *testing.T) {
	one, two := &eventRecorder{}, &eventRecorder{}
	srv := newTestServer(t, core.Config{}, one.handler("a.lua"), two.handler("b.lua"))
	srv.transport.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		code := map[envelope.Address]int{"later@out.example": 451, "never@out.example": 550}[r.Address]
		if code == 0 {
			code = 250
		}
		return envelope.Outcome{Status: envelope.Status{Code: code, Text: "said so"}, Host: "mx1.out.example"}
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: hi\r\n\r\nx\r\n",
		"bob@our.example", "later@out.example", "never@out.example")
	srv.waitAllIdle()
	for _, d := range []*eventRecorder{one, two} {
		got := d.all()
		want := []string{"accepted", "bounced never@out.example", "deferred later@out.example", "delivered alice@our.example",
			"delivered bob@our.example"}
		if len(got) == 0 || got[0] != "accepted" || !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("got events %q, want %q", got, want)
		}
	}
	// Events that belong to no commit.
	_, _ = srv.Auth(t.Context(), newSession(), &envelope.Credentials{Mechanism: "PLAIN", User: "alice@our.example", Password: "wrong"})
	_, _ = srv.Auth(t.Context(), newSession(), &envelope.Credentials{Mechanism: "PLAIN", User: "alice@our.example", Password: "secret"})
	srv.send(newUserSession("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"}, "From: x@out.example\r\n\r\n",
		"bob@our.example")
	srv.Notice("reload", nil)
	srv.waitAllIdle()
	if got := one.all()[5:]; !slices.Equal(got, []string{"login_failed", "login", "rejected", "reload"}) {
		t.Errorf("got events %q, want login_failed, login, rejected, reload", got)
	}
	srv.clock.Advance(6 * 24 * time.Hour)
	srv.waitAllIdle()
	if got := one.all(); !slices.Contains(got, "expired later@out.example") {
		t.Errorf("got events %q, want \"expired later@out.example\" among them", got)
	}
}

// A handler that fails runs again later, and delays only its own events. If it always
// fails for one event, that event is parked and the next one is handled.
func TestEventRetries(t *testing.T) {
	bad, good := &eventRecorder{fails: 3}, &eventRecorder{}
	srv := newTestServer(t, core.Config{}, bad.handler("a.lua"), good.handler("b.lua"))
	srv.Notice("first", nil)
	srv.waitAllIdle()
	srv.Notice("second", nil)
	srv.waitAllIdle()
	if len(bad.all()) != 0 || len(good.all()) != 2 {
		t.Fatalf("the failing handler got %q, the other %q, want none and two", bad.all(), good.all())
	}
	for range 3 {
		srv.clock.Advance(40 * time.Second)
		srv.waitAllIdle()
	}
	if got := bad.all(); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("got events %q, want first, second", got)
	}
	bad.mu.Lock()
	bad.fails = 6
	bad.mu.Unlock()
	srv.Notice("hopeless", nil)
	srv.Notice("third", nil)
	for range 6 {
		srv.waitAllIdle()
		srv.clock.Advance(11 * time.Minute)
	}
	srv.waitAllIdle()
	if got := bad.all(); !slices.Equal(got, []string{"first", "second", "third"}) {
		t.Errorf("got events %q, want first, second, third", got)
	}
	parked := 0
	for range srv.store.Scan(t.Context(), parkedSpace, "", 10) {
		parked++
	}
	if parked != 1 {
		t.Errorf("%d events are parked, want 1", parked)
	}
	b, err := srv.Events(t.Context())
	if err != nil || b.Waiting != 0 || b.Parked != 1 || len(b.Latest) != 1 || b.Latest[0].Name != "hopeless" ||
		b.Latest[0].Handler != "a.lua 0" {
		t.Errorf("backlog: got %+v, %v, want one parked event \"hopeless\" of a.lua 0", b, err)
	}
}

// Events that were not handled before the process ended are handled after the restart,
// and the effects of handlers are there once.
func TestEventsOutliveTheProcess(t *testing.T) {
	d := &eventRecorder{fails: 1}
	srv := newTestServer(t, core.Config{}, d.handler("a.lua"))
	srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitAllIdle()
	if len(d.all()) != 0 {
		t.Fatalf("got events %q, want none before the restart", d.all())
	}
	srv.stop()
	again := openTestServer(t, srv.dir, core.Config{}, d.handler("a.lua"))
	again.waitAllIdle()
	if got := d.all(); !slices.Equal(got, []string{"accepted", "delivered alice@our.example"}) || again.kvValue("diary", "a.lua") != "2" {
		t.Errorf("got events %q, counted %q, want two, and \"2\"", got, again.kvValue("diary", "a.lua"))
	}
	again.stop()
	third := openTestServer(t, srv.dir, core.Config{}, d.handler("a.lua"))
	third.waitAllIdle()
	if third.kvValue("diary", "a.lua") != "2" {
		t.Error("an event was handled twice")
	}
}

// A handler that names events gets only those, and others are not written.
func TestNamedEvents(t *testing.T) {
	d := &eventRecorder{}
	one := d.handler("a.lua").(goHandler)
	one.info.Events = []string{"bounced", "setting"}
	srv := newTestServer(t, core.Config{}, one)
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "bob@our.example",
		"x@null.example")
	srv.Notice("login", nil)
	srv.Notice("setting", nil)
	srv.waitFor("both are told", func() bool { return len(d.all()) >= 2 && !srv.EventsDue(t.Context()) })
	srv.waitAllIdle()
	if got := slices.Sorted(slices.Values(d.all())); !slices.Equal(got, []string{"bounced x@null.example", "setting"}) {
		t.Errorf("got events %q, want \"bounced x@null.example\", \"setting\"", got)
	}
	if n := srv.kvValue("diary", "a.lua"); n != "2" {
		t.Errorf("called %s times, want 2", n)
	}
}

// Without a handler nothing is written.
func TestNoEvents(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	for range srv.store.Scan(t.Context(), eventSpace, "", 1) {
		t.Error("an event was written without a handler")
	}
}
