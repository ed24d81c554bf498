package generations_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carteiro/core/store"
	"carteiro/hooks"
)

const failing = `on("receive.mail", function(session, tx)
  if tx.sender == "who@a.example" then return reject("bad") end
  if tx.sender == "fails@a.example" then error("x") end
  if tx.sender == "refused@a.example" then return reject("no") end
end)`

func TestProbation(t *testing.T) {
	for name, c := range map[string]struct {
		sender string
		n      int
	}{"failures": {"fails@a.example", 40}, "refusals": {"refused@a.example", 120}} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.write(says("good"))
			s.start()
			s.run(false)
			for range 100 { // what is usual here
				s.mail("a@a.example")
			}
			s.reload(failing)
			if s.keep.OnProbation().IsZero() {
				t.Error("not on probation")
			}
			for range c.n {
				s.mail(c.sender)
			}
			s.until("good")
			if got := s.states(); got != "in force by probation pinned, rolled back by api" {
				t.Errorf("states %q", got)
			}
			list, _ := s.keep.List(t.Context())
			if list[1].Reason == "" {
				t.Error("no reason")
			}
			s.restart() // the bad tree is still on disk
			s.start()
			if s.ask() != "good" {
				t.Error("a restart brought the bad tree back")
			}

			// An admin who wants it anyway loads it by name, and then reloads.
			if _, err := s.keep.Rollback(t.Context(), list[1].ID); err != nil {
				t.Fatal(err)
			}
			for range c.n {
				s.mail(c.sender)
			}
			s.reload(failing)
			if got := s.states(); got != "in force by api, rolled back by probation" || !s.keep.OnProbation().IsZero() {
				t.Errorf("states %q, on probation until %v", got, s.keep.OnProbation())
			}
		})
	}
}

// Few failures, failures like those of before, and those after the time of
// probation change nothing.
func TestProbationPassed(t *testing.T) {
	s := newSite(t)
	s.write(failing)
	s.start()
	s.run(false)
	mails := func() {
		for i := range 200 {
			s.mail([]string{"a@a.example", "fails@a.example", "refused@a.example", "a@a.example", "a@a.example"}[i%5])
		}
	}
	mails()
	s.reload(failing + "\n-- as before")
	mails()
	s.reload(failing + "\n-- again")
	for range 15 {
		s.mail("fails@a.example")
	}
	s.clock.Advance(11 * time.Minute)
	for range 100 {
		s.mail("refused@a.example")
	}
	if why := s.keep.Suspect(); why != "" { // it would be rolled back at any moment
		t.Errorf("about to be given up: %s", why)
	}
	s.want("bad", "in force by api, retired by api, retired by start")
	if !s.keep.OnProbation().IsZero() {
		t.Error("still on probation")
	}
}

// bring starts with a policy, counts usual verdicts, and loads another policy.
func bring(t *testing.T, usual, fresh string, mails func(*site)) *site {
	t.Helper()
	s := newSite(t)
	s.write(usual)
	s.start()
	s.run(false)
	mails(s)
	s.reload(fresh)
	return s
}

func calm(s *site) {
	for range 100 {
		s.mail("a@a.example")
	}
}

// A policy that refuses everything is detected, even if many other handlers accept the
// mail, or if there was no handler before.
func TestProbationCountsMailNotHandlers(t *testing.T) {
	fresh := strings.Repeat("on(\"receive.mail\", function() end)\n", 20) + `on("receive.mail", function() return reject("no") end)`
	s := bring(t, `on("receive.data", function() end)`, fresh, calm)
	for range 50 {
		s.mail("a@a.example")
	}
	s.until("")
	if got := s.states(); got != "in force by probation pinned, rolled back by api" {
		t.Errorf("states %q", got)
	}
}

// Refusals count at each hook that can turn mail away.
func TestProbationOfRefusals(t *testing.T) {
	for _, point := range []hooks.Point{
		hooks.ReceiveConnect, hooks.ReceiveHelo, hooks.ReceiveMail, hooks.ReceiveRcpt, hooks.ReceiveHeaders, hooks.ReceiveData, hooks.QueueExpand,
	} {
		t.Run(string(point), func(t *testing.T) {
			s := newSite(t)
			s.write(says("good"))
			s.start()
			s.run(false)
			for range 100 {
				s.at(point, "a@a.example")
			}
			s.reload(`on("` + string(point) + `", function() return reject("no") end)`)
			for range 60 {
				s.at(point, "a@a.example")
			}
			s.until("good")
			if got := s.states(); got != "in force by probation pinned, rolled back by api" {
				t.Errorf("states %q", got)
			}
		})
	}
}

// Without an earlier generation to compare with, refusals prove nothing.
func TestProbationNeedsABaseline(t *testing.T) {
	s := bring(t, says("good"), failing, func(*site) {})
	for range 200 {
		s.mail("refused@a.example")
	}
	if s.keep.OnProbation().IsZero() || s.keep.Suspect() != "" {
		t.Errorf("suspect: %q", s.keep.Suspect())
	}
	s.want("bad", "in force by api, retired by start")
}

// An open breaker is enough where failures were usual.
func TestProbationBreaker(t *testing.T) {
	s := bring(t, failing, "-- new\n"+failing, func(s *site) {
		for i := range 220 { // nearly half of them, which opens no breaker
			if i*5%11 < 5 {
				s.mail("fails@a.example")
			} else {
				s.mail("a@a.example")
			}
		}
	})
	for range 30 {
		s.mail("fails@a.example")
	}
	for end := time.Now().Add(20 * time.Second); !strings.Contains(s.states(), "by probation"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("states %q", s.states())
		}
	}
	list, err := s.keep.List(t.Context())
	if err != nil || !strings.Contains(list[1].Reason, "not asked any more") {
		t.Errorf("%+v, %v", list[1], err)
	}
}

// One handler that fails is found out among many that do not.
func TestProbationOfOneHandler(t *testing.T) {
	fresh := strings.Repeat("on(\"receive.mail\", function() end)\n", 20) + failing
	s := bring(t, says("good"), fresh, calm)
	for range 20 {
		for _, sender := range []string{"a@a.example", "a@a.example", "a@a.example", "fails@a.example"} {
			s.mail(sender)
		}
	}
	s.until("good")
	list, err := s.keep.List(t.Context())
	if err != nil || !strings.Contains(list[1].Reason, "20 of 80 calls of policy.lua:21 failed at receive.mail") {
		t.Errorf("%+v, %v", list[1], err)
	}
}

// Many handlers that trip once each are no jump.
func TestProbationOfSingleFaults(t *testing.T) {
	var fresh strings.Builder
	for i := range 40 {
		fmt.Fprintf(&fresh, "on(\"receive.mail\", function(session, tx) if tx.sender == \"f%d@a.example\" then error(\"x\") end end)\n", i)
	}
	s := bring(t, says("good"), fresh.String(), calm)
	for i := range 40 {
		s.mail(fmt.Sprintf("f%d@a.example", i))
	}
	if list, err := s.keep.List(t.Context()); err != nil || list[0].By != "api" || s.keep.Suspect() != "" {
		t.Errorf("%+v, %v, %s", list[0], err, s.keep.Suspect())
	}
}

// Failures that the earlier generation had too do not count against the new one.
func TestProbationKnownFaults(t *testing.T) {
	s := bring(t, failing, "-- new\n"+failing, func(s *site) {
		for range 60 {
			s.mail("fails@a.example")
		}
	})
	for range 60 {
		s.mail("fails@a.example")
	}
	if list, err := s.keep.List(t.Context()); err != nil || list[0].By != "api" || s.keep.Suspect() != "" {
		t.Errorf("%+v, %v, %s", list[0], err, s.keep.Suspect())
	}
}

// Neither the same reload again nor a restart ends a probation.
func TestProbationGoesOn(t *testing.T) {
	for name, again := range map[string]func(*site){
		"reload": func(s *site) {
			if _, err := s.keep.Reload(s.t.Context(), "signal"); err != nil {
				s.t.Fatal(err)
			}
		},
		"restart": func(s *site) { s.restart(); s.start() },
		"restart with a broken tree": func(s *site) {
			s.write("broken(")
			s.restart()
			s.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.write(says("good"))
			s.start()
			calm(s)
			s.reload(failing)
			s.clock.Advance(time.Minute)
			until := s.keep.OnProbation()
			for range 60 {
				s.mail("refused@a.example")
			}
			again(s)
			if got := s.keep.OnProbation(); !got.Equal(until) {
				t.Errorf("on probation until %v, before %v", got, until)
			}
			s.run(false)
			for range 60 {
				s.mail("refused@a.example")
			}
			s.until("good")
			if got := s.states(); !strings.HasPrefix(got, "in force by probation pinned, rolled back by ") {
				t.Errorf("states %q", got)
			}
		})
	}
}

// What a rollback pinned may not load any more; the server starts all the same.
func TestPinnedDoesNotLoad(t *testing.T) {
	s := newSite(t)
	s.write(says("one"))
	s.start()
	s.reload(says("two"))
	e, err := s.keep.Rollback(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	s.damage(e.ID)
	s.restart()
	s.start()
	s.want("two", "in force by start, retired by rollback")
}

// Where neither the files nor the newest generation load, an older one does.
func TestOlderOneLoads(t *testing.T) {
	s := newSite(t)
	s.write(says("one"))
	s.start()
	s.damage(s.reload(says("two")).ID)
	s.write("broken(")
	s.restart()
	s.start()
	if s.want("one", "in force by start, rolled back by api"); !s.keep.Fallback() {
		t.Error("the fallback is not told")
	}
	s.damage(s.keep.Get().ID)
	s.restart()
	if err := s.keep.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "policy.lua:1") ||
		!strings.Contains(err.Error(), "fail too") {
		t.Errorf("nothing loads: %v", err)
	}
}

// A replaced generation may finish the transactions that began with it, for some time.
func TestRetired(t *testing.T) {
	s := newSite(t)
	s.write(says("one"))
	s.start()
	old := s.keep.Get()
	s.reload(says("two"))
	s.clock.Advance(9 * time.Minute)
	if old.IsExpired(s.clock.Now()) {
		t.Error("outlived after nine minutes")
	}
	s.clock.Advance(2 * time.Minute)
	if !old.IsExpired(s.clock.Now()) || s.keep.Get().IsExpired(s.clock.Now()) {
		t.Error("not outlived after eleven minutes, or the one in force is")
	}
}

// damage makes what the store has of a generation one that does not load.
func (s *site) damage(id string) {
	s.t.Helper()
	broken := fmt.Appendf(nil, `[{"Name":"scripts","Files":{"policy.lua":"YnJva2VuKA=="},"Main":["policy.lua"]}]`)
	if err := s.store.PutRecords(s.t.Context(), store.Record{Kind: "generation", Name: "g/" + id, Value: broken}); err != nil {
		s.t.Fatal(err)
	}
}

// TestWatch: what changed is loaded when it has been quiet for a while, and a
// broken tree is tried once.
func TestWatch(t *testing.T) { synctest.Test(t, testWatch) }

func testWatch(t *testing.T) {
	s := newSite(t)
	s.write(says("one"))
	s.start()
	s.run(true)
	s.looked(1)
	s.write("broken(")
	s.looked(7) // it is quiet after two looks
	s.mu.Lock()
	if s.reads != 2 {
		t.Errorf("read %d times, want one for the start and one for the broken tree", s.reads)
	}
	s.mu.Unlock()
	s.want("one", "in force by start")
	s.write(says("two"))
	s.until("two")
	s.want("two", "in force by watch, retired by start")
}

// Watching does not load files that a rollback replaced, but loads newer ones.
func TestWatchLeavesARollbackAlone(t *testing.T) { synctest.Test(t, testWatchLeavesARollbackAlone) }

func testWatchLeavesARollbackAlone(t *testing.T) {
	s := newSite(t)
	s.write(says("one"))
	s.start()
	s.reload(says("two"))
	if _, err := s.keep.Rollback(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	s.restart()
	s.start()
	s.run(true)
	s.looked(5)
	s.want("one", "in force by rollback pinned, rolled back by api")
	s.write(says("three"))
	s.until("three")
}

// looked waits until the files were checked so many times more.
func (s *site) looked(more int) {
	s.t.Helper()
	looks := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.looks
	}
	before := looks()
	for end := time.Now().Add(30 * time.Second); looks() < before+more; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("nobody looks")
		}
	}
}
