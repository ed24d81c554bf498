package generations_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/ops/clock"
	"carteiro/core/ops/generations"
	"carteiro/core/ops/telemetry"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// site is a tree of policies on disk, and a keeper over a real store.
type site struct {
	t     *testing.T
	keep  *generations.Manager
	store *badgerstore.Store
	clock *clock.Clock
	log   *telemetry.Journal
	mu    sync.Mutex
	text  string // of the one script
	stamp string
	smoke error
	limit error // of Prepare
	full  bool  // the store takes nothing
	said  int   // commits of what Prepare readied
	reads int
	looks int // at the stamp
}

func newSite(t *testing.T) *site {
	s := &site{t: t, clock: &clock.Clock{}, log: telemetry.Discard()}
	var err error
	if s.store, err = badgerstore.Open(badgerstore.Options{InMemory: true, Clock: s.clock, Log: telemetry.Discard().Logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	s.restart()
	return s
}

// restart returns a new process over the same store.
func (s *site) restart() {
	engine := lua.New(lua.Options{KV: s.store, Clock: s.clock, Hostname: "mx.our.example"})
	s.keep = generations.New(generations.Options{Store: faulty{s.store, s}, Engine: engine, Clock: s.clock, Journal: s.log,
		Read: func(context.Context) ([]hooks.Source, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reads++
			return []hooks.Source{hookstest.Scripts(map[string]string{"policy.lua": s.text})}, nil
		},
		Smoke:   func(context.Context, []hooks.Source) error { return s.smoke },
		Prepare: func(context.Context) (func(), error) { return func() { s.said++ }, s.limit },
		Stamp: func() string {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.looks++
			return s.stamp
		}})
}

// failed returns how many reloads failed at which step, by the metric.
func (s *site) failed() string {
	s.t.Helper()
	families, err := s.log.Registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		if f.GetName() != "carteiro_script_reloads_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["result"] == "failed" {
				out = append(out, fmt.Sprintf("%s %.0f", labels["step"], m.GetCounter().GetValue()))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// faulty is a store that can be full.
type faulty struct {
	store.Data
	s *site
}

func (f faulty) PutRecords(ctx context.Context, records ...store.Record) error {
	if f.s.full {
		return store.ErrFull
	}
	return f.Data.PutRecords(ctx, records...)
}

func (s *site) write(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.stamp = text, text
}

// says returns a policy that answers so at MAIL.
func says(word string) string {
	return fmt.Sprintf(`on("receive.mail", function(session, tx) if tx.sender == "who@a.example" then return reject(%q) end end)`, word)
}

// ask returns the reply of the current policies.
func (s *site) ask() string { return s.mail("who@a.example").Status.Text }

func (s *site) mail(sender string) hooks.Verdict { return s.at(hooks.ReceiveMail, sender) }

// at runs one of the hooks that a message passes.
func (s *site) at(point hooks.Point, sender string) hooks.Verdict {
	e := &hooks.Event{Point: point, Now: s.clock.Now(), Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx(sender, "bob@our.example"),
		Rcpt: hookstest.Rcpt("bob@our.example"), Msg: hookstest.Message(sender, "Subject: x\r\n\r\nx\r\n")}
	chain := s.keep.Get().Chain
	if !chain.Has(e.Point) {
		chain.CountEmpty(e.Point) // as the pipeline does
		return hooks.Verdict{}
	}
	v, _ := chain.Run(s.t.Context(), e)
	return v
}

func (s *site) start() {
	s.t.Helper()
	if err := s.keep.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) reload(text string) generations.Entry {
	s.t.Helper()
	s.write(text)
	e, err := s.keep.Reload(s.t.Context(), "api")
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// states returns the entries as "state by".
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
	s.smoke, s.limit = nil, errors.New("prepare")
	if _, err := s.keep.Reload(t.Context(), "api"); !errors.Is(err, s.limit) {
		t.Errorf("prepare: %v", err)
	}
	s.limit, s.full = nil, true
	if _, err := s.keep.Reload(t.Context(), "api"); !errors.Is(err, store.ErrFull) {
		t.Errorf("store: %v", err)
	}
	s.full = false
	if got := s.failed(); got != "compile 1, prepare 1, smoke 1, store 1" {
		t.Errorf("failed steps: %s", got)
	}
	if s.said != 1 { // by the reload that worked
		t.Errorf("%d changes beside the policies", s.said)
	}
	s.want("two", "in force by api, retired by start")

	// A restart loads the files on disk, or the last good generation if they are broken.
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
	if err := s.keep.Start(t.Context()); !errors.Is(err, generations.ErrBroken) || !strings.Contains(err.Error(), "policy.lua:1") {
		t.Errorf("start: %v", err)
	}
}

func TestRollback(t *testing.T) {
	s := newSite(t)
	s.write(says("one"))
	s.start()
	if _, err := s.keep.Rollback(t.Context(), ""); !errors.Is(err, generations.ErrUnknown) {
		t.Errorf("nothing to roll back to: %v", err)
	}
	first := s.keep.Get().ID
	s.reload(says("two"))
	s.reload(says("three"))
	if _, err := s.keep.Rollback(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	s.want("two", "in force by rollback pinned, rolled back by api, retired by start")

	// It stays until the next reload, also after a restart with other files on disk.
	s.write(says("newer"))
	s.restart()
	s.start()
	s.want("two", "in force by rollback pinned, rolled back by api, retired by start")
	if s.keep.Pinned() != "by an operator" {
		t.Errorf("pinned: %q", s.keep.Pinned())
	}
	if _, err := s.keep.Rollback(t.Context(), first[:6]); err != nil {
		t.Fatal(err)
	}
	s.want("one", "in force by rollback pinned, rolled back by rollback, rolled back by api")
	for _, id := range []string{"", first} {
		if id == "" {
			id = "zz"
		}
		if _, err := s.keep.Rollback(t.Context(), id); !errors.Is(err, generations.ErrUnknown) {
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
	if s.keep.Pinned() != "" {
		t.Errorf("pinned: %q", s.keep.Pinned())
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
	if n != 12 { // and the list, and the probation of the newest
		t.Errorf("%d records", n)
	}
}

func TestAmbiguousIDs(t *testing.T) {
	s := newSite(t)
	s.write(says("0"))
	s.start()
	for i := 1; i < 100; i++ {
		s.reload(says(fmt.Sprint(i)))
		list, err := s.keep.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, e := range list {
			short := e.ID[:1]
			if !seen[short] {
				seen[short] = true
				continue
			}
			_, err := s.keep.Rollback(t.Context(), short)
			if !errors.Is(err, generations.ErrUnknown) || !strings.Contains(err.Error(), fmt.Sprintf("of them begin with %q", short)) {
				t.Errorf("%s: %v", short, err)
			}
			return
		}
	}
	t.Error("all digests differ in their first digit")
}

func TestDiff(t *testing.T) {
	s := newSite(t)
	s.write("-- same\n" + says("one") + "\n")
	s.start()
	if _, err := s.keep.Diff(t.Context(), "", "", false); !errors.Is(err, generations.ErrUnknown) {
		t.Errorf("one alone: %v", err)
	}
	first := s.keep.Get().ID
	s.reload("-- same\n" + says("two") + "\n")
	got, err := s.keep.Diff(t.Context(), "", "", false)
	if err != nil || !strings.Contains(got, "--- a/scripts/policy.lua\n+++ b/scripts/policy.lua\n") ||
		!strings.Contains(got, "\n-"+says("one")) ||
		!strings.Contains(got, "\n+"+says("two")) ||
		!strings.Contains(got, "\n -- same") {
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
