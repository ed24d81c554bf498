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

// diary is an observe.event handler that writes down what it is told.
type diary struct {
	mu    sync.Mutex
	told  []string
	fails int // of the next calls
}

func (d *diary) handler(file string) hooks.Handler {
	return handler{hooks.Info{Point: hooks.ObserveEvent, File: file, Line: 1}, func(e *hooks.Event) (hooks.Verdict, error) {
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

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.told)
}

func (h *house) quiet() {
	h.t.Helper()
	h.idle()
	h.until("the events are told", func() bool { return !h.EventsDue(h.t.Context()) })
}

func (h *house) value(space, key string) string {
	v, err := h.store.Get(h.t.Context(), space, key)
	if err != nil {
		return ""
	}
	return string(v)
}

func TestEvents(t *testing.T) {
	one, two := &diary{}, &diary{}
	h := newHouse(t, core.Config{}, one.handler("a.lua"), two.handler("b.lua"))
	h.sink.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		code := map[envelope.Address]int{"later@out.example": 451, "never@out.example": 550}[r.Address]
		if code == 0 {
			code = 250
		}
		return envelope.Outcome{Status: envelope.Status{Code: code, Text: "said so"}, Host: "mx1.out.example"}
	}
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: hi\r\n\r\nx\r\n", "bob@our.example",
		"later@out.example", "never@out.example")
	h.quiet()
	for _, d := range []*diary{one, two} {
		got := d.all()
		want := []string{"accepted", "bounced never@out.example", "deferred later@out.example", "delivered alice@our.example",
			"delivered bob@our.example"}
		if len(got) == 0 || got[0] != "accepted" || !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	// What has no commit of its own.
	_, _ = h.Auth(t.Context(), session(), &envelope.Credentials{Mechanism: "PLAIN", User: "alice@our.example", Password: "wrong"})
	_, _ = h.Auth(t.Context(), session(), &envelope.Credentials{Mechanism: "PLAIN", User: "alice@our.example", Password: "secret"})
	h.offer(user("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"}, "From: x@out.example\r\n\r\n", "bob@our.example")
	h.Notice("reload", nil)
	h.quiet()
	if got := one.all()[5:]; !slices.Equal(got, []string{"login_failed", "login", "rejected", "reload"}) {
		t.Errorf("told %q", got)
	}
	h.clock.Advance(6 * 24 * time.Hour)
	h.quiet()
	if got := one.all(); !slices.Contains(got, "expired later@out.example") {
		t.Errorf("told %q", got)
	}
}

// A handler that fails is asked again after a while and holds up its own
// events alone; one that fails to the end loses its turn, not the event.
func TestEventRetries(t *testing.T) {
	bad, good := &diary{fails: 3}, &diary{}
	h := newHouse(t, core.Config{}, bad.handler("a.lua"), good.handler("b.lua"))
	h.Notice("first", nil)
	h.quiet()
	h.Notice("second", nil)
	h.quiet()
	if len(bad.all()) != 0 || len(good.all()) != 2 {
		t.Fatalf("told %q and %q", bad.all(), good.all())
	}
	for range 3 {
		h.clock.Advance(40 * time.Second)
		h.quiet()
	}
	if got := bad.all(); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("told %q", got)
	}
	bad.mu.Lock()
	bad.fails = 6
	bad.mu.Unlock()
	h.Notice("hopeless", nil)
	h.Notice("third", nil)
	for range 6 {
		h.quiet()
		h.clock.Advance(11 * time.Minute)
	}
	h.quiet()
	if got := bad.all(); !slices.Equal(got, []string{"first", "second", "third"}) {
		t.Errorf("told %q", got)
	}
	parked := 0
	for range h.store.Scan(t.Context(), parkedSpace, "", 10) {
		parked++
	}
	if parked != 1 {
		t.Errorf("%d events are parked", parked)
	}
	b, err := h.Events(t.Context())
	if err != nil || b.Waiting != 0 || b.Parked != 1 || len(b.Latest) != 1 || b.Latest[0].Name != "hopeless" ||
		b.Latest[0].Handler != "a.lua 0" {
		t.Errorf("backlog %+v, %v", b, err)
	}
}

// What was not told before the end of a process is told after its restart,
// and the effects of handlers are there once.
func TestEventsOutliveTheProcess(t *testing.T) {
	d := &diary{fails: 1}
	h := newHouse(t, core.Config{}, d.handler("a.lua"))
	h.accept(session(), "a@a.example", plain, "alice@our.example")
	h.quiet()
	if len(d.all()) != 0 {
		t.Fatalf("told %q", d.all())
	}
	h.stop()
	again := openHouse(t, h.dir, core.Config{}, d.handler("a.lua"))
	again.quiet()
	if got := d.all(); !slices.Equal(got, []string{"accepted", "delivered alice@our.example"}) || again.value("diary", "a.lua") != "2" {
		t.Errorf("told %q, counted %q", got, again.value("diary", "a.lua"))
	}
	again.stop()
	third := openHouse(t, h.dir, core.Config{}, d.handler("a.lua"))
	third.quiet()
	if third.value("diary", "a.lua") != "2" {
		t.Error("told twice")
	}
}

// A handler that names events is told of those alone, and others are not even
// written.
func TestNamedEvents(t *testing.T) {
	d := &diary{}
	one := d.handler("a.lua").(handler)
	one.info.Events = []string{"bounced", "setting"}
	h := newHouse(t, core.Config{}, one)
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "bob@our.example", "x@null.example")
	h.Notice("login", nil)
	h.Notice("setting", nil)
	h.until("both are told", func() bool { return len(d.all()) >= 2 && !h.EventsDue(t.Context()) })
	h.quiet()
	if got := slices.Sorted(slices.Values(d.all())); !slices.Equal(got, []string{"bounced x@null.example", "setting"}) {
		t.Errorf("told %q", got)
	}
	if n := h.value("diary", "a.lua"); n != "2" {
		t.Errorf("asked %s times", n)
	}
}

// Without a handler nothing is written.
func TestNoEvents(t *testing.T) {
	h := newHouse(t, core.Config{})
	h.accept(session(), "a@a.example", plain, "alice@our.example")
	h.idle()
	for range h.store.Scan(t.Context(), eventSpace, "", 1) {
		t.Error("an event for nobody")
	}
}
