package pipeline_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// Where a copy of the test binary works, and the step at which it dies.
const (
	killDir  = "CARTEIRO_TEST_KILL_DIR"
	killStep = "CARTEIRO_TEST_KILL_STEP"
)

// countingPolicy has effects at every hook whose effects travel with a
// message: a number in the KV, and a letter to bob. What it submits itself it
// leaves alone.
const countingPolicy = `
local function count(msg, what)
  if msg:header("Auto-Submitted") then return end
  kv.incr(what)
  mail.submit { from = "policy@our.example", to = "bob@our.example", subject = what, text = what }
end
on("receive.data", function(session, tx, msg) count(msg, "data") end)
on("queue.expand", function(msg, rcpt) count(msg, "expand " .. rcpt.address) end)
on("queue.commit", function(msg, group) count(msg, "commit " .. (group.is_local and "here" or group.domain)) end)
on("deliver.attempt", function(msg, group, attempt) count(msg, "attempt " .. (group.is_local and "here" or group.domain)) end)
on("deliver.local", function(msg, rcpt, box) count(msg, "local " .. rcpt.address) end)
on("deliver.result", function(msg, rcpt, result) count(msg, "result " .. rcpt.address) end)
on("deliver.dsn", function(msg, rcpts, dsn) count(msg, "dsn " .. dsn.action) end)
on("observe.event", function(event)
  if event.data.subject == "hi" then kv.incr("event " .. event.name .. (type(event.data.to) == "string" and " " .. event.data.to or "")) end
end)
`

// counted is everything that the policy does about the one message: to alice,
// to a host that takes it, and to one that refuses, for whom there is a DSN.
var counted = []string{"attempt bad.example", "attempt here", "attempt out.example", "commit bad.example", "commit here",
	"commit out.example", "data",
	"dsn failed", "expand alice@our.example", "expand x@bad.example", "expand x@out.example", "local alice@our.example",
	"result alice@our.example",
	"result x@bad.example", "result x@out.example"}

// told are the events about it.
var told = []string{"event accepted", "event bounced x@bad.example", "event delivered alice@our.example", "event delivered x@out.example"}

// killer counts the steps of a process and ends it at one of them.
type killer struct{ at, now atomic.Int64 }

func (k *killer) step() {
	if k.now.Add(1) == k.at.Load() {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// around is a step before and one behind.
func (k *killer) around(f func() error) error {
	k.step()
	defer k.step()
	return f()
}

type killerStore struct {
	store.Store
	k *killer
}

func (s killerStore) Commit(ctx context.Context, effects []envelope.Effect, messages ...*store.Message) error {
	return s.k.around(func() error { return s.Store.Commit(ctx, effects, messages...) })
}

func (s killerStore) Settle(ctx context.Context, x *store.Settlement) error {
	return s.k.around(func() error { return s.Store.Settle(ctx, x) })
}

func (s killerStore) Apply(ctx context.Context, effects []envelope.Effect) (n []int64, err error) {
	return n, s.k.around(func() error { n, err = s.Store.Apply(ctx, effects); return err })
}

func (s killerStore) AppendTrail(ctx context.Context, id envelope.ID, entries []envelope.TrailEntry) error {
	return s.k.around(func() error { return s.Store.AppendTrail(ctx, id, entries) })
}

type killerHandler struct {
	hooks.Handler
	k *killer
}

func (h killerHandler) Call(ctx context.Context, spec hooks.Spec, e *hooks.Event) (v hooks.Verdict, n int64, err error) {
	return v, n, h.k.around(func() error { v, n, err = h.Handler.Call(ctx, spec, e); return err })
}

// countingHouse is a house with the counting policy whose process dies at a
// step, 0 being none.
func countingHouse(t *testing.T, dir string, at int64) (*house, *killer) {
	t.Helper()
	k := &killer{}
	k.at.Store(at)
	h := &house{t: t, sink: &sink{}, clock: &clock.Clock{}, dir: dir}
	h.sink.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		k.step()
		if r.Address == "x@bad.example" {
			return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no"}}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	hop := envelope.NextHop{Hosts: []envelope.Host{{Name: "mx.example", Port: 25}}}
	cfg := core.Config{NextHops: map[string]envelope.NextHop{"out.example": hop, "bad.example": hop}}
	h.furnish(badgerstore.Options{Dir: dir}, func(s store.Store) store.Store { return killerStore{s, k} }, cfg,
		func(st *badgerstore.Store) []hooks.Handler {
			gen, err := lua.New(lua.Options{KV: st, Clock: h.clock, Hostname: "mx.our.example"}).Load(t.Context(),
				[]hooks.Source{hookstest.Scripts(map[string]string{"count.lua": countingPolicy})})
			if err != nil {
				t.Fatal(err)
			}
			var list []hooks.Handler
			for _, spec := range hooks.Specs() {
				for _, one := range gen.Chain.Handlers(spec.Point) {
					list = append(list, killerHandler{one, k})
				}
			}
			return list
		})
	return h, k
}

// TestKillVictim is what the copy runs.
func TestKillVictim(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("is run by TestKillBetweenSteps")
	}
	at, err := strconv.ParseInt(os.Getenv(killStep), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	h, k := countingHouse(t, dir, at)
	h.accept(user("alice@our.example"), "alice@our.example", strings.Replace(plain, "a@a.example", "alice@our.example", 1),
		"alice@our.example", "x@out.example", "x@bad.example")
	os.Stdout.WriteString("250\n")
	k.step()
	h.quiet()
	fmt.Printf("steps %d\n", k.now.Load())
}

// victim runs a copy that dies at a step, 0 being none, and returns what it
// said.
func victim(t *testing.T, dir string, at int) (said string, killed bool) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillVictim$", "-test.count=1")
	cmd.Env = append(os.Environ(), killDir+"="+dir, killStep+"="+strconv.Itoa(at))
	out, err := cmd.CombinedOutput()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = status.Signaled() && status.Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Errorf("step %d: %v\n%s", at, err, out)
	}
	return string(out), killed
}

// TestKillBetweenSteps kills a process before and behind each write to the
// store, each handler and each answer of a peer, starts another one, and
// counts: every effect of every hook has to be there exactly once where the
// message was taken, and not at all where it was not.
func TestKillBetweenSteps(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills some hundred processes")
	}
	said, _ := victim(t, t.TempDir(), 0)
	_, after, _ := strings.Cut(said, "steps ")
	var steps int
	if _, err := fmt.Sscan(after, &steps); err != nil || steps < 100 {
		t.Fatalf("%d steps, %v\n%s", steps, err, said)
	}
	// Most of the time is spent waiting for the disk.
	var next, taken, lost atomic.Int64
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for at := int(next.Add(1)); at <= steps && !t.Failed(); at = int(next.Add(1)) {
				dir, err := os.MkdirTemp("", "carteiro-kill-")
				if err != nil {
					t.Error(err)
					return
				}
				said, killed := victim(t, dir, at)
				switch { // a run may have fewer steps than the first had
				case !killed:
				case auditKilled(t, dir, strings.Contains(said, "250\n"), at):
					taken.Add(1)
				default:
					lost.Add(1)
				}
				os.RemoveAll(dir)
			}
		})
	}
	workers.Wait()
	t.Logf("killed at each of %d steps: the message was taken %d times, and %d times not", steps, taken.Load(), lost.Load())
	if taken.Load() < 50 || lost.Load() < 5 {
		t.Error("too few of one kind")
	}
}

// auditKilled finishes what a killed process left, and looks at it. It tells
// whether the message was taken.
func auditKilled(t *testing.T, dir string, answered bool, at int) bool {
	t.Helper()
	h, _ := countingHouse(t, dir, 0)
	defer h.stop()
	h.quiet()
	got := map[string]string{}
	for p, err := range h.store.Scan(t.Context(), "scripts", "", 1000) {
		if err != nil {
			t.Fatal(err)
		}
		got[p.Key] = string(p.Value)
	}
	letters, want := counted, slices.Concat(counted, told)
	if len(got) == 0 && !answered {
		letters, want = nil, nil
	}
	for _, what := range want {
		if got[what] != "1" {
			t.Errorf("step %d: %s happened %q times", at, what, got[what])
		}
	}
	if len(got) != len(want) {
		t.Errorf("step %d: counted %v", at, got)
	}
	var subjects []string
	for _, text := range h.box("bob@our.example", "INBOX") {
		_, rest, _ := strings.Cut(text, "\r\nSubject: ")
		subject, _, _ := strings.Cut(rest, "\r\n")
		subjects = append(subjects, subject)
	}
	slices.Sort(subjects)
	if !slices.Equal(subjects, letters) {
		t.Errorf("step %d: bob got %q", at, subjects)
	}
	if n := len(h.box("alice@our.example", "INBOX")); n != 2 && want != nil || n != 0 && want == nil { // the message and its DSN
		t.Errorf("step %d: alice has %d messages", at, n)
	}
	if n := h.spooled(); n != 0 {
		t.Errorf("step %d: %d messages are left", at, n)
	}
	return want != nil
}
