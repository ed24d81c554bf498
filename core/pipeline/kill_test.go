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

// Environment of the copy of the test binary: its directory, and the step at which it
// is killed.
const (
	killDir  = "CARTEIRO_TEST_KILL_DIR"
	killStep = "CARTEIRO_TEST_KILL_STEP"
)

// countingPolicy has effects at every hook whose effects are committed with a message:
// it counts in the KV, and sends a message to bob. It ignores its own messages.
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

// wantCounts is everything that the policy does for one message to alice, to a host
// that accepts it, and to one that refuses it, which gives a DSN.
var wantCounts = []string{"attempt bad.example", "attempt here", "attempt out.example", "commit bad.example", "commit here",
	"commit out.example", "data",
	"dsn failed", "expand alice@our.example", "expand x@bad.example", "expand x@out.example", "local alice@our.example",
	"result alice@our.example",
	"result x@bad.example", "result x@out.example"}

// wantEvents are the events about it.
var wantEvents = []string{
	"event accepted",
	"event bounced x@bad.example",
	"event delivered alice@our.example",
	"event delivered x@out.example",
}

// killer counts the steps of a process and kills it at one of them.
type killer struct{ killAt, now atomic.Int64 }

func (k *killer) step() {
	if k.now.Add(1) == k.killAt.Load() {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// around calls f between two steps.
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

// newCountingServer returns a server with the counting policy whose process is killed
// at a step; 0: never.
func newCountingServer(t *testing.T, dir string, at int64) (*testServer, *killer) {
	t.Helper()
	k := &killer{}
	k.killAt.Store(at)
	srv := &testServer{t: t, transport: &fakeTransport{}, clock: &clock.Clock{}, dir: dir}
	srv.transport.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		k.step()
		if r.Address == "x@bad.example" {
			return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no"}}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	hop := envelope.NextHop{Hosts: []envelope.Host{{Name: "mx.example", Port: 25}}}
	cfg := core.Config{NextHops: map[string]envelope.NextHop{"out.example": hop, "bad.example": hop}}
	srv.start(badgerstore.Options{Dir: dir}, func(s store.Store) store.Store { return killerStore{s, k} }, cfg,
		func(st *badgerstore.Store) []hooks.Handler {
			gen, err := lua.New(lua.Options{KV: st, Clock: srv.clock, Hostname: "mx.our.example"}).Load(t.Context(),
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
	return srv, k
}

// TestKillVictim is the test that the copy runs.
func TestKillVictim(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("is run by TestKillBetweenSteps")
	}
	at, err := strconv.ParseInt(os.Getenv(killStep), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	srv, k := newCountingServer(t, dir, at)
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example",
		strings.Replace(plainMessage, "a@a.example", "alice@our.example", 1), "alice@our.example", "x@out.example", "x@bad.example")
	os.Stdout.WriteString("250\n")
	k.step()
	srv.waitAllIdle()
	fmt.Printf("steps %d\n", k.now.Load())
}

// runKilled runs a copy that is killed at a step (0: never), and returns its output.
func runKilled(t *testing.T, dir string, at int) (said string, killed bool) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillVictim$", "-test.count=1")
	cmd.Env = append(os.Environ(), killDir+"="+dir, killStep+"="+strconv.Itoa(at))
	out, err := cmd.CombinedOutput()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = status.Signaled() && status.Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Errorf("step %d: got %v, want success or SIGKILL\n%s", at, err, out)
	}
	return string(out), killed
}

// TestKillBetweenSteps kills a process before and after each write to the store, each
// handler and each reply of a peer, and starts another one. If the message was
// accepted, every effect of every hook must be there exactly once, else none.
func TestKillBetweenSteps(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills some hundred processes")
	}
	said, _ := runKilled(t, t.TempDir(), 0)
	_, after, _ := strings.Cut(said, "steps ")
	var steps int
	if _, err := fmt.Sscan(after, &steps); err != nil || steps < 100 {
		t.Fatalf("%d steps, %v, want at least 100\n%s", steps, err, said)
	}
	// Most of the time the test waits for the disk.
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
				said, killed := runKilled(t, dir, at)
				switch { // a run may have fewer steps than the first had
				case !killed:
				case checkAfterKill(t, dir, strings.Contains(said, "250\n"), at):
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
		t.Error("want at least 50 runs with the message accepted and 5 without")
	}
}

// checkAfterKill finishes the work of a killed process and checks the result. It
// returns whether the message was accepted.
func checkAfterKill(t *testing.T, dir string, answered bool, at int) bool {
	t.Helper()
	srv, _ := newCountingServer(t, dir, 0)
	defer srv.stop()
	srv.waitAllIdle()
	got := map[string]string{}
	for p, err := range srv.store.Scan(t.Context(), "scripts", "", 1000) {
		if err != nil {
			t.Fatal(err)
		}
		got[p.Key] = string(p.Value)
	}
	letters, want := wantCounts, slices.Concat(wantCounts, wantEvents)
	if len(got) == 0 && !answered {
		letters, want = nil, nil
	}
	for _, what := range want {
		if got[what] != "1" {
			t.Errorf("step %d: %s happened %q times, want once", at, what, got[what])
		}
	}
	if len(got) != len(want) {
		t.Errorf("step %d: counted %v, want %v", at, got, want)
	}
	var subjects []string
	for _, text := range srv.mailbox("bob@our.example", "INBOX") {
		_, rest, _ := strings.Cut(text, "\r\nSubject: ")
		subject, _, _ := strings.Cut(rest, "\r\n")
		subjects = append(subjects, subject)
	}
	slices.Sort(subjects)
	if !slices.Equal(subjects, letters) {
		t.Errorf("step %d: bob got subjects %q, want %q", at, subjects, letters)
	}
	if n := len(srv.mailbox("alice@our.example", "INBOX")); n != 2 && want != nil || n != 0 && want == nil { // the message and its DSN
		t.Errorf("step %d: alice has %d messages, want the message and its DSN if it was accepted, else none", at, n)
	}
	if n := srv.spoolCount(); n != 0 {
		t.Errorf("step %d: %d messages are left in the spool, want 0", at, n)
	}
	return want != nil
}
