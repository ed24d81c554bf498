// Package testserver is what tests of the command use: a server as a process of
// its own in a folder of its own, clients of its protocols, and mail servers of
// other domains that keep what they get.
package testserver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RunAsCommand, when it is set in the environment, makes the test binary the
// command itself: tests start carteiro as a process of its own by running
// themselves.
const RunAsCommand = "CARTEIRO_TEST_MAIN"

// binDir holds a link named carteiro to the test binary. Main sets it once.
var binDir string

// Main is TestMain for a package of tests that run the command; command is its
// main function.
func Main(m *testing.M, command func()) {
	if _, ok := os.LookupEnv(RunAsCommand); ok {
		command()
		return
	}
	os.Exit(withBinDir(m))
}

func withBinDir(m *testing.M) int {
	self, err := os.Executable()
	if err == nil {
		binDir, err = os.MkdirTemp("", "carteiro-bin-")
	}
	if err == nil {
		defer os.RemoveAll(binDir)
		err = os.Symlink(self, filepath.Join(binDir, "carteiro"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// BinDir is the folder of the command, for PATH.
func BinDir() string { return binDir }

// Binary is the path of the command. Its environment needs RunAsCommand.
func Binary() string { return filepath.Join(binDir, "carteiro") }

// Command is the command with arguments, ready to run.
func Command(args ...string) *exec.Cmd {
	cmd := exec.Command(Binary(), args...)
	cmd.Env = append(os.Environ(), RunAsCommand+"=1")
	return cmd
}

// Patience is how long tests wait for what should take moments.
const Patience = 20 * time.Second

// Poll asks ok again and again until it is true, and returns false if it is not
// within a time.
func Poll(within time.Duration, ok func() bool) bool {
	for end := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Until waits until ok is true; what says what the test waits for.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	UntilWithin(t, Patience, what, ok)
}

// UntilWithin is Until with a time of its own.
func UntilWithin(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	if !Poll(within, ok) {
		t.Fatalf("not within %v: %s", within, what)
	}
}

// Contains fails the test for each of words that is not in text.
func Contains(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%.4000s", w, text)
		}
	}
}

// FreePort is a port of loopback that nobody listens at, for programs that bind
// it themselves. It is below the ports that systems give to clients and to
// listeners without a port, so that hardly anybody takes it first.
func FreePort(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		port := strconv.Itoa(20_000 + rand.IntN(10_000))
		var ln net.Listener
		if ln, err = net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatalf("no free port: %v", err)
	return ""
}

// WriteFiles writes files with their folders, below dir.
func WriteFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
