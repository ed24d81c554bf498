package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/hooks/hookstest"
)

// hostileDelay is how long a session may at most wait for a reply while a
// hostile script runs for another. The script has a core for itself for the
// two seconds that its hook allows, and makes garbage for the others; what is
// promised leaves room for slow machines.
const hostileDelay = 2 * time.Second

// TestHostileScripts runs every attack of the corpus in a server that others use at the
// same time: the attacker's message gets the reply in the table, other mail gets its reply
// in time, and the process goes on.
func TestHostileScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs each attack to the end of its budget")
	}
	h := testserver.New(t, "[limits]\n")
	var policy strings.Builder
	for i, a := range hookstest.Attacks {
		fmt.Fprintf(&policy, "on(\"receive.mail\", function(session, tx)\n if tx.sender ~= \"attack%d@a.example\" then return end\n%s\nend)\n",
			i, a.Body)
	}
	// A reload would put them on probation, and they would not pass it.
	if status, err := h.Stop(syscall.SIGTERM); status != 0 || err != nil {
		t.Fatal(status, err)
	}
	if err := os.WriteFile(filepath.Join(h.Dir, "scripts", "hostile.lua"), []byte(policy.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	pid := h.Process.Process.Pid

	over := make(chan struct{})
	var others sync.WaitGroup
	waits := make([][]time.Duration, 3)
	for i := range waits {
		others.Go(func() {
			for open := true; open; {
				start := time.Now()
				reply, err := testserver.SendSMTP(h.Addr("mx"), "EHLO client.example.net", "ann@a.example", []string{"bob@example.com"},
					"Subject: hello\n\nhello\n")
				if err != nil || !strings.HasPrefix(reply, "250 ") {
					t.Errorf("somebody else's mail: %s, %v", reply, err)
					return
				}
				waits[i] = append(waits[i], time.Since(start))
				select {
				case <-over:
					open = false
				default:
				}
			}
		})
	}
	for i, a := range hookstest.Attacks {
		reply, err := testserver.SendSMTP(h.Addr("mx"), "EHLO client.example.net", fmt.Sprintf("attack%d@a.example", i),
			[]string{"bob@example.com"}, "Subject: x\n\nx\n")
		if err != nil || !strings.HasPrefix(reply, "451 4.3.0 ") {
			t.Errorf("%s: %s, %v", a.Name, reply, err)
		}
	}
	close(over)
	others.Wait()
	if !h.Running() || h.Process.Process.Pid != pid {
		t.Fatal("the server did not survive")
	}
	all := slices.Sorted(slices.Values(slices.Concat(waits...)))
	t.Logf("%d attacks; others sent %d messages meanwhile: median %v, longest %v; the process holds %s", len(hookstest.Attacks), len(all),
		all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond), peakMemory(t, h))
	if longest := all[len(all)-1]; longest > 5*hostileDelay { // five replies
		t.Errorf("a message of somebody else took %v", longest)
	}
}

// Reload refuses hostile source texts with file and line, and the server keeps its
// policies.
func TestHostileSources(t *testing.T) {
	h := testserver.New(t, "")
	h.SetPolicy(t, "good.lua", `on("receive.mail", function(session, tx)
  if tx.sender == "no@a.example" then return reject("good is here") end
end)`)
	for name, text := range map[string]string{
		"nested":  "return " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000),
		"long":    "return 1" + strings.Repeat("+a", 100_000),
		"endless": "while true do end",
		"memory":  `local s = "x" while true do s = s .. s end`,
	} {
		if err := os.WriteFile(filepath.Join(h.Dir, "scripts", "bad.lua"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := h.Command("reload").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "bad.lua") {
			t.Errorf("%s: reload said %v\n%s", name, err, out)
		}
		if reply, err := testserver.SendSMTP(h.Addr("mx"), "EHLO client.example.net", "no@a.example", []string{"bob@example.com"},
			"x"); !strings.HasSuffix(reply, "good is here") {
			t.Errorf("%s: %s, %v", name, reply, err)
		}
	}
}

// peakMemory returns the most memory that the server's process had, from Linux.
func peakMemory(t testing.TB, h *testserver.Server) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Process.Process.Pid))
	if err != nil {
		return "unknown: " + err.Error()
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line) + " at most"
}
