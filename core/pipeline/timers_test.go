package pipeline_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

func TestTimers(t *testing.T) {
	var calls, broken atomic.Int32
	hourly := goHandler{hooks.Info{Point: hooks.TimerTick, File: "a.lua", Every: time.Hour}, func(e *hooks.Event) (hooks.Verdict, error) {
		calls.Add(1)
		if err := e.AddEffect(envelope.Effect{Space: "scripts", Op: envelope.Incr, Key: "ticks", N: 1}); err != nil {
			return hooks.Verdict{}, err
		}
		return hooks.Verdict{}, e.AddSubmit(hooks.Submit{Rcpts: []envelope.Address{"bob@our.example"}, Header: []byte("Subject: digest\r\n\r\n"),
			Body: []byte("x\r\n")})
	}}
	failing := goHandler{hooks.Info{Point: hooks.TimerTick, File: "b.lua", Every: time.Hour}, func(*hooks.Event) (hooks.Verdict, error) {
		broken.Add(1)
		return hooks.Verdict{}, errors.New("boom")
	}}
	srv := newTestServer(t, core.Config{}, failing, hourly)
	srv.waitFor("the timers are known", func() bool {
		_, err1 := srv.store.Get(t.Context(), timerSpace, timerName(hourly.info.Key(), ""))
		_, err2 := srv.store.Get(t.Context(), timerSpace, timerName(failing.info.Key(), ""))
		return err1 == nil && err2 == nil
	})
	if calls.Load() != 0 {
		t.Error("a new timer ran at once")
	}
	srv.clock.Advance(59 * time.Minute)
	srv.waitIdle()
	if calls.Load() != 0 {
		t.Error("a timer ran too early")
	}
	srv.clock.Advance(2 * time.Minute)
	srv.waitFor("both have run", func() bool { return calls.Load() == 1 && broken.Load() == 1 })
	srv.waitFor("what it submitted arrives", func() bool { return len(srv.mailbox("bob@our.example", "INBOX")) == 1 })
	srv.clock.Advance(5 * time.Hour)
	srv.waitFor("they run once for all that they missed", func() bool { return calls.Load() == 2 && broken.Load() == 2 })
	srv.waitIdle()
	if v, err := srv.store.Get(t.Context(), "scripts", "ticks"); err != nil || string(v) != "2" {
		t.Errorf("effects: %q, %v", v, err)
	}
	srv.stop()
	calls.Store(0)
	again := openTestServer(t, srv.dir, core.Config{}, hourly)
	again.clock.Advance(5*time.Hour + 61*time.Minute + 30*time.Minute) // as far as the first clock, and half an hour
	again.waitIdle()
	if calls.Load() != 0 {
		t.Error("the restart forgot when the timer ran")
	}
	again.clock.Advance(31 * time.Minute)
	again.waitFor("it runs when it is due", func() bool { return calls.Load() == 1 })
}

func TestTimersOfOneFileHaveTheirOwnClocks(t *testing.T) {
	var first, second atomic.Int32
	timer := func(line int, n *atomic.Int32) goHandler {
		return goHandler{hooks.Info{Point: hooks.TimerTick, File: "a.lua", Line: line, Every: time.Hour},
			func(*hooks.Event) (hooks.Verdict, error) {
				n.Add(1)
				return hooks.Verdict{}, nil
			}}
	}
	one, two := timer(1, &first), timer(9, &second)
	srv := newTestServer(t, core.Config{}, one, two)
	srv.waitFor("both are known", func() bool {
		second := two.info
		second.Number = 1
		_, err := srv.store.Get(t.Context(), timerSpace, timerName(second.Key(), ""))
		return err == nil
	})
	srv.clock.Advance(61 * time.Minute)
	srv.waitFor("both have run", func() bool { return first.Load() == 1 && second.Load() == 1 })
}

func TestTimersOfEachDomain(t *testing.T) {
	var mu sync.Mutex
	ran := map[string]int{}
	timer := goHandler{hooks.Info{Point: hooks.TimerTick, File: "a.lua", Bundle: "acme/x", Every: time.Hour, EachDomain: true,
		Domains: []string{"our.example", "b.example"}}, func(e *hooks.Event) (hooks.Verdict, error) {
		mu.Lock()
		defer mu.Unlock()
		ran[e.Domain]++
		return hooks.Verdict{}, nil
	}}
	all := timer
	all.info.File, all.info.Domains, all.info.Except = "b.lua", nil, []string{"b.example"}
	srv := newTestServer(t, core.Config{}, timer, all)
	srv.waitFor("both are known", func() bool {
		_, err1 := srv.store.Get(t.Context(), timerSpace, timerName(timer.info.Key(), "b.example"))
		_, err2 := srv.store.Get(t.Context(), timerSpace, timerName(all.info.Key(), "our.example"))
		return err1 == nil && err2 == nil
	})
	srv.clock.Advance(61 * time.Minute)
	srv.waitFor("each ran for its domains", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return ran["b.example"] == 1 && ran["our.example"] == 2
	})
}
