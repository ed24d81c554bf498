package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
)

// reloadGrowth is how much memory a reload may add to that of the idle server.
const reloadGrowth = 40 << 20

// shippedBundles enables all bundles that we ship.
const shippedBundles = `
[[bundle]]
name = "carteiro/mailinglist"
[[bundle]]
name = "carteiro/forward"
[[bundle]]
name = "carteiro/autoreply"
[[bundle]]
name = "carteiro/delegate"
[[bundle]]
name = "carteiro/spamscore"
[[bundle]]
name = "carteiro/priority"
`

// memoryOf is a line of /proc/PID/status in octets: VmRSS, or VmHWM, the most
// since it was reset.
func memoryOf(t *testing.T, pid int, line string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + line + `:\s+(\d+) kB$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s in %s", line, b)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

func settledMemory(t *testing.T, pid int) int64 {
	t.Helper()
	least := memoryOf(t, pid, "VmRSS")
	for range 20 {
		time.Sleep(50 * time.Millisecond)
		least = min(least, memoryOf(t, pid, "VmRSS"))
	}
	return least
}

func mostSince(t *testing.T, pid int, do func()) int64 {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Skipf("the high water mark of memory cannot be reset here: %v", err)
	}
	do()
	return memoryOf(t, pid, "VmHWM")
}

// TestReloadMemory: a reload with all bundles, whose smoke tests run inside the server,
// adds little memory, and several in a row add no more.
func TestReloadMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skipf("memory is measured by /proc: %v", err)
	}
	if raced() {
		t.Skip("the race detector takes memory of its own")
	}
	h := &testserver.Server{Dir: t.TempDir()}
	if err := h.Build(t.Context(), shippedBundles); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.Dir, "scripts", "policy.lua"), []byte(`on("receive.mail", function() end)`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		t.Fatalf("%v\n%s", err, h.Log())
	}
	defer h.Stop(syscall.SIGKILL)
	pid := h.Process.Process.Pid
	idle := settledMemory(t, pid)
	reload := func(times int) int64 {
		return mostSince(t, pid, func() {
			for range times {
				cmd := exec.Command(testserver.Binary(), "reload", "-c", h.ConfigFile())
				cmd.Env = append(os.Environ(), testserver.RunAsCommand+"=1")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
		})
	}
	one, four := reload(1), reload(4)
	t.Logf("idle %d MiB, at most %d in a reload, %d in four", idle>>20, one>>20, four>>20)
	if most := max(one, four); most > idle+reloadGrowth {
		t.Errorf("a reload takes the server from %d to %d MiB", idle>>20, most>>20)
	}
	if strings.Contains(h.Log(), "panic") {
		t.Error(h.Log())
	}
}

// TestReloadInLittleMemory: a machine with 128 MiB for the server reloads.
func TestReloadInLittleMemory(t *testing.T) {
	if raced() {
		t.Skip("the race detector takes memory of its own")
	}
	group, killed := limitedGroup(t, 128<<20)
	h := &testserver.Server{Dir: t.TempDir()}
	if err := h.Build(t.Context(), shippedBundles); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		t.Fatalf("%v\n%s", err, h.Log())
	}
	defer h.Stop(syscall.SIGKILL)
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(h.Process.Process.Pid)), 0o644); err != nil {
		t.Skipf("the server cannot be put into a cgroup: %v", err)
	}
	for range 3 {
		cmd := exec.Command(testserver.Binary(), "reload", "-c", h.ConfigFile())
		cmd.Env = append(os.Environ(), testserver.RunAsCommand+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	if !h.Running() {
		t.Errorf("the server ended\n%s", h.Log())
	}
	if n := killed(); n != "0" {
		t.Errorf("processes killed for want of memory: %s", n)
	}
}

// limitedGroup makes a control group, of either version, whose processes together may use
// so much memory; killed returns how many of them were killed. The test is skipped if no
// control group can be made.
func limitedGroup(t *testing.T, limit int64) (dir string, killed func() string) {
	t.Helper()
	root, file, events := "/sys/fs/cgroup", "memory.max", "memory.events"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		root, file, events = "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"
	}
	dir = filepath.Join(root, fmt.Sprintf("carteiro-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no control group can be made: %v", err)
	}
	t.Cleanup(func() { // when its processes have ended
		for end := time.Now().Add(testserver.Patience); os.Remove(dir) != nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		}
	})
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0) // made by the kernel, or not there
	if err == nil {
		_, err = f.WriteString(strconv.FormatInt(limit, 10))
		f.Close()
	}
	if err != nil {
		t.Skipf("memory cannot be limited: %v", err)
	}
	return dir, func() string {
		b, err := os.ReadFile(filepath.Join(dir, events))
		m := regexp.MustCompile(`(?m)^oom_kill (\d+)$`).FindSubmatch(b)
		if err != nil || m == nil {
			t.Skipf("kills are not counted here: %v, %s", err, b)
		}
		return string(m[1])
	}
}
