package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/hooks"
)

// marking is a policy that marks messages with its generation, and refuses a message that
// two generations handle between MAIL and the 250.
const marking = `local mine = %d
on("receive.mail", function(session, tx) tx.meta.generation = mine end)
on("receive.rcpt", function(session, tx, rcpt) if tx.meta.generation ~= mine then return reject("mixed") end end)
on("receive.data", function(session, tx, msg)
  if tx.meta.generation ~= mine then return reject("mixed") end
  msg:add_header("X-Generation", tostring(mine))
end)
`

// TestThousandReloads exchanges the policies a thousand times in a row while
// mail comes in: none is lost or refused, no message meets two generations,
// and nothing of the old ones stays.
func TestThousandReloads(t *testing.T) {
	reloads := 1000
	if testing.Short() {
		reloads = 50
	} else if raced() {
		reloads = 200 // each takes five times as long
	}
	h := &testserver.Server{Dir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := h.Build(ctx, ""); err != nil {
		t.Fatal(err)
	}
	policy := func(n int) {
		if err := os.WriteFile(filepath.Join(h.Dir, "scripts", "policy.lua"), fmt.Appendf(nil, marking, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	policy(0)
	s, mx, served := serveInProcess(ctx, t, h)

	var accepted atomic.Int64
	over := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				reply, err := testserver.SendSMTP(mx, "EHLO client.example.net", "ann@a.example", []string{"alice@example.com"},
					"Subject: hello\n\nhello\n")
				if err != nil || !strings.HasPrefix(reply, "250 ") {
					t.Errorf("%s, %v", reply, err)
					return
				}
				accepted.Add(1)
			}
		})
	}
	for accepted.Load() == 0 && !t.Failed() {
		time.Sleep(time.Millisecond)
	}
	goroutines, heap := runtime.NumGoroutine(), liveHeap()
	var old []weak.Pointer[hooks.Generation]
	for n := 1; n <= reloads && !t.Failed(); n++ {
		policy(n)
		old = append(old, weak.Make(s.policies.Get()))
		if _, err := s.reload(ctx, "api"); err != nil {
			t.Fatal(err)
		}
	}
	close(over)
	clients.Wait()
	t.Logf("%d messages during %d reloads", accepted.Load(), reloads)

	allArrived(t, s, accepted.Load())
	oldAreGone(t, old, goroutines)
	after := liveHeap()
	for end := time.Now().Add(testserver.Patience); after > heap+maxGrowth && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		after = liveHeap() // the store writes its tables out by itself
	}
	t.Logf("live heap %d KiB before, %d KiB after", heap>>10, after>>10)
	if after > heap+maxGrowth {
		t.Errorf("%d KiB are in use, before the reloads %d KiB", after>>10, heap>>10)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// maxGrowth leaves room for what the messages left in the store's memory: some
// tables of 10 MiB. A thousand generations of 64 KiB each would not fit.
const maxGrowth = 64 << 20

// raced reports whether this is a run with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// liveHeap is what is in use after a collection.
func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// allArrived waits until as many messages are in the mailbox as were accepted.
func allArrived(t *testing.T, s *server, accepted int64) {
	t.Helper()
	count := int64(0)
	for end := time.Now().Add(testserver.Patience); count < accepted && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		info, err := s.store.Mailbox(t.Context(), "alice@example.com", "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		count = info.Count
	}
	if count != accepted {
		t.Errorf("%d messages were accepted, %d arrived", accepted, count)
	}
}

// oldAreGone checks that generations are not kept in memory, nor goroutines.
func oldAreGone(t *testing.T, old []weak.Pointer[hooks.Generation], goroutines int) {
	t.Helper()
	alive := len(old)
	for end := time.Now().Add(testserver.Patience); alive > 1 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		runtime.GC()
		alive = 0
		for _, g := range old {
			if g.Value() != nil {
				alive++
			}
		}
	}
	if alive > 1 { // the one before, for as long as the last is on probation
		t.Errorf("%d generations of %d are still in memory", alive, len(old))
	}
	for end := time.Now().Add(testserver.Patience); runtime.NumGoroutine() > goroutines &&
		time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, before the reloads %d", n, goroutines)
	}
}

// serveInProcess serves in this process, and returns the server, where
// it takes mail and what it ends with.
func serveInProcess(ctx context.Context, t *testing.T, h *testserver.Server) (s *server, mx string, served chan error) {
	t.Helper()
	cfg, err := config.Load(h.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	s, err = openServer(ctx, cfg, serverOptions{log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	served = make(chan error, 1)
	go func() { served <- s.serve(ctx) }()
	for end := time.Now().Add(testserver.Patience); mx == "" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		client, err := admin.Dial(ctx, socketPath(cfg))
		if err != nil {
			continue // the listeners are bound before the socket is
		}
		raw, err := client.Call(ctx, "status", struct{}{})
		if err != nil {
			continue
		}
		var status admin.StatusReport
		if err := json.Unmarshal(raw, &status); err != nil {
			t.Fatal(err)
		}
		for _, l := range status.Listeners {
			if l.Name == "mx" {
				mx = l.Addr
			}
		}
	}
	return s, mx, served
}

// TestReloadInTransaction reloads between the commands of one transaction, and
// within its content: it is judged by one generation, the next one of the same
// session by another.
func TestReloadInTransaction(t *testing.T) {
	h := testserver.New(t, "")
	n := 0
	reload := func() {
		n++
		h.SetPolicy(t, "policy.lua", fmt.Sprintf(marking, n))
	}
	reload()
	w, err := testserver.Dial(h.Addr("mx"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	say := func(command string, want int) {
		t.Helper()
		if code, text, err := w.SMTP(command); err != nil || code != want {
			t.Fatalf("%q: %d %s, %v", command, code, text, err)
		}
	}
	say("", 220)
	say("EHLO client.example.net", 250)
	for range 2 {
		say("MAIL FROM:<ann@a.example>", 250)
		reload()
		say("RCPT TO:<alice@example.com>", 250)
		reload()
		say("DATA", 354)
		if _, err := w.Write([]byte("Subject: hello\r\n\r\nfirst half\r\n")); err != nil {
			t.Fatal(err)
		}
		reload()
		say("second half\r\n.", 250)
	}
	got, err := testserver.WaitPOP3(h.Addr("pop3"), "alice", 2)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	for _, want := range []string{"\nX-Generation: 1\n", "\nX-Generation: 4\n"} {
		if !slices.ContainsFunc(got, func(text string) bool { return strings.Contains(text, want) }) {
			t.Errorf("no message with %q in %q", want, got)
		}
	}
}
