package policies_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/clock"
	"carteiro/core/journal"
	"carteiro/core/policies"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// site is a tree of policies on disk, and a keeper over a real store.
type site struct {
	t     *testing.T
	keep  *policies.Keeper
	store *badgerstore.Store
	clock *clock.Clock
	mu    sync.Mutex
	text  string // of the one script
	stamp string
	smoke error
	limit error // of Before
}

func newSite(t *testing.T) *site {
	s := &site{t: t, clock: &clock.Clock{}}
	var err error
	if s.store, err = badgerstore.Open(badgerstore.Options{InMemory: true, Clock: s.clock, Log: journal.Discard().Logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	s.restart()
	return s
}

// restart is a new process over the same store.
func (s *site) restart() {
	var keep *policies.Keeper
	engine := lua.New(lua.Options{KV: s.store, Clock: s.clock, Hostname: "mx.our.example", Observe: func(c hooks.Call) { keep.Observe(c) }})
	keep = policies.New(policies.Options{Store: s.store, Engine: engine, Clock: s.clock, Journal: journal.Discard(),
		Read: func(context.Context) ([]hooks.Source, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return []hooks.Source{hookstest.Scripts(map[string]string{"policy.lua": s.text})}, nil
		},
		Smoke:  func(context.Context, []hooks.Source) error { return s.smoke },
		Before: func(context.Context) error { return s.limit },
		Stamp: func() (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.stamp, nil
		}})
	s.keep = keep
}

func (s *site) write(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.stamp = text, text
}

// says is a policy that answers so at MAIL.
func says(word string) string {
	return fmt.Sprintf(`on("receive.mail", function(session, tx) if tx.sender == "who@a.example" then return reject(%q) end end)`, word)
}

// ask is what the policies in force say.
func (s *site) ask() string { return s.mail("who@a.example").Status.Text }

func (s *site) mail(sender string) hooks.Verdict {
	e := &hooks.Event{Point: hooks.ReceiveMail, Now: s.clock.Now(), Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx(sender)}
	v, _ := s.keep.Get().Chain.Run(s.t.Context(), e)
	return v
}

func (s *site) start() {
	s.t.Helper()
	if err := s.keep.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) reload(text string) policies.Entry {
	s.t.Helper()
	s.write(text)
	e, err := s.keep.Reload(s.t.Context(), "api")
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// states are the entries as "state by".
func (s *site) states() string {
	s.t.Helper()
	list, err := s.keep.List(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		word := e.State + " by " + e.By
		if e.Pinned {
			word += " pinned"
		}
		out = append(out, word)
	}
	return strings.Join(out, ", ")
}

func (s *site) want(answer, states string) {
	s.t.Helper()
	if got := s.ask(); got != answer {
		s.t.Errorf("in force is %q, want %q", got, answer)
	}
	if got := s.states(); got != states {
		s.t.Errorf("states %q, want %q", got, states)
	}
}

func TestReloadAndRestart(t *testing.T) {
	s := newSite(t)
	s.write(says("one"))
	s.start()
	s.want("one", "in force by start")
	s.reload(says("two"))
	s.want("two", "in force by api, retired by start")

	// Every step that fails changes nothing.
	s.write("on(\"receive.mail\", function() end")
	if _, err := s.keep.Reload(t.Context(), "api"); err == nil || !strings.Contains(err.Error(), "policy.lua:1") {
		t.Errorf("a broken tree: %v", err)
	}
	s.write(says("three"))
	s.smoke = errors.New("smoke")
	if _, err := s.keep.Reload(t.Context(), "api"); !errors.Is(err, s.smoke) {
		t.Errorf("smoke: %v", err)
	}
	s.smoke, s.limit = nil, errors.New("before")
	if _, err := s.keep.Reload(t.Context(), "api"); !errors.Is(err, s.limit) {
		t.Errorf("before: %v", err)
	}
	s.limit = nil
	s.want("two", "in force by api, retired by start")

	// A restart takes what is on disk, and the last good one if it is broken.
	s.restart()
	s.start()
	s.want("three", "in force by start, retired by api, retired by start")
	s.write("broken(")
	s.restart()
	s.start()
	if s.want("three", "in force by start, retired by api, retired by start"); !s.keep.Fallback() {
		t.Error("the fallback is not told")
	}
	s.reload(says("four"))
	if s.keep.Fallback() {
		t.Error("still a fallback")
	}
}

func TestNothingLoads(t *testing.T) {
	s := newSite(t)
	s.write("broken(")
	if err := s.keep.Start(t.Context()); !errors.Is(err, policies.ErrBroken) || !strings.Contains(err.Error(), "policy.lua:1") {
		t.Errorf("start: %v", err)
	}
}

func TestRollback(t *testing.T) {
	s := newSite(t)
	s.write(says("one"))
	s.start()
	if _, err := s.keep.Rollback(t.Context(), ""); !errors.Is(err, policies.ErrUnknown) {
		t.Errorf("nothing to roll back to: %v", err)
	}
	first := s.keep.Get().ID
	s.reload(says("two"))
	s.reload(says("three"))
	if _, err := s.keep.Rollback(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	s.want("two", "in force by rollback pinned, rolled back by api, retired by start")

	// It stays over a restart, whatever is on disk, until the next reload.
	s.write(says("newer"))
	s.restart()
	s.start()
	s.want("two", "in force by rollback pinned, rolled back by api, retired by start")
	if _, err := s.keep.Rollback(t.Context(), first[:6]); err != nil {
		t.Fatal(err)
	}
	s.want("one", "in force by rollback pinned, rolled back by rollback, rolled back by api")
	for _, id := range []string{"", first} {
		if id == "" {
			id = "zz"
		}
		if _, err := s.keep.Rollback(t.Context(), id); !errors.Is(err, policies.ErrUnknown) {
			t.Errorf("%s: %v", id, err)
		}
	}
	s.reload(says("newer"))
	s.want("newer", "in force by api, retired by rollback, rolled back by rollback, rolled back by api")
	s.restart()
	s.start()
	if s.ask() != "newer" {
		t.Error("the pin outlived the reload")
	}
}

func TestOnlySomeAreKept(t *testing.T) {
	s := newSite(t)
	s.write(says("0"))
	s.start()
	for i := 1; i < 30; i++ {
		s.reload(says(fmt.Sprint(i)))
	}
	list, err := s.keep.List(t.Context())
	if err != nil || len(list) != 10 {
		t.Errorf("%d entries, %v", len(list), err)
	}
	n := 0
	for _, err := range s.store.Records(t.Context(), "generation", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 11 { // and the list
		t.Errorf("%d records", n)
	}
}

func TestDiff(t *testing.T) {
	s := newSite(t)
	s.write("-- same\n" + says("one") + "\n")
	s.start()
	if _, err := s.keep.Diff(t.Context(), "", "", false); !errors.Is(err, policies.ErrUnknown) {
		t.Errorf("one alone: %v", err)
	}
	first := s.keep.Get().ID
	s.reload("-- same\n" + says("two") + "\n")
	got, err := s.keep.Diff(t.Context(), "", "", false)
	if err != nil || !strings.Contains(got, "--- a/scripts/policy.lua\n+++ b/scripts/policy.lua\n") || !strings.Contains(got, "\n-"+says("one")) || !strings.Contains(got, "\n+"+says("two")) || !strings.Contains(got, "\n -- same") {
		t.Errorf("diff:\n%s%v", got, err)
	}
	if got, err := s.keep.Diff(t.Context(), "", "", true); got != "" || err != nil {
		t.Errorf("with the same on disk: %s %v", got, err)
	}
	s.write("-- same\n" + says("three") + "\n")
	if got, err := s.keep.Diff(t.Context(), first, "", true); !strings.Contains(got, "three") || !strings.Contains(got, "one") || err != nil {
		t.Errorf("with disk: %s %v", got, err)
	}
}

// run works until the test ends.
func (s *site) run(watch bool) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.keep.Run(ctx, watch) })
	s.t.Cleanup(func() { cancel(); wg.Wait() })
}

func (s *site) until(answer string) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); s.ask() != answer; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("in force is %q, never %q", s.ask(), answer)
		}
	}
}

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
	time.Sleep(50 * time.Millisecond) // an alarm would have been heeded by now
	s.want("bad", "in force by api, retired by api, retired by start")
	if !s.keep.OnProbation().IsZero() {
		t.Error("still on probation")
	}
}

func TestWatch(t *testing.T) {
	s := newSite(t)
	s.write(says("one"))
	s.start()
	s.run(true)
	s.write("broken(")
	time.Sleep(3500 * time.Millisecond) // it is quiet after two seconds; a broken tree is left alone
	if s.ask() != "one" {
		t.Errorf("in force is %q", s.ask())
	}
	s.write(says("two"))
	s.until("two")
	s.want("two", "in force by watch, retired by start")
}
