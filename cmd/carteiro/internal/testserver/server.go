package testserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/core/message/envelope"
)

// Server is a server's folder, with everything that a configuration can name,
// and the process that serves it, if one does.
type Server struct {
	Dir     string
	Process *exec.Cmd     // the last one that was started
	Done    chan struct{} // closed when Process and its output have ended
	Stopped bool          // by Stop

	mu    sync.Mutex
	addrs map[string]string // of listeners, by name
}

// The password and the APOP secret of all accounts. They differ, so that a test
// that uses the wrong one fails.
const (
	Password   = "open sesame"
	APOPSecret = "tanstaaf"
)

// Accounts are those that Build makes.
var Accounts = []envelope.Address{"alice@example.com", "bob@example.com"}

const configTemplate = `hostname = "mx.example.com"
postmaster = "alice@example.com"
domains = ["example.com"]
%s[storage]
dir = "data"
key_file = "store.key"
reserve = "1MiB"
[tls]
cert = "cert.pem"
key = "key.pem"
[[listener]]
name = "mx"
protocol = "smtp"
addr = "127.0.0.1:0"
[[listener]]
name = "submission"
protocol = "submission"
addr = "127.0.0.1:0"
[[listener]]
name = "submissions"
protocol = "submission"
addr = "127.0.0.1:0"
tls = "implicit"
[[listener]]
name = "lmtp"
protocol = "lmtp"
addr = "127.0.0.1:0"
[[listener]]
name = "pop3"
protocol = "pop3"
addr = "127.0.0.1:0"
apop = true
[[listener]]
name = "pop3s"
protocol = "pop3"
addr = "127.0.0.1:0"
tls = "implicit"
[[listener]]
name = "web"
protocol = "http"
addr = "127.0.0.1:0"
[scripts]
dir = "scripts"
`

// Build writes the files and makes the accounts. Of extra, lines before the
// first table go to the configuration's beginning, the rest to its end.
func (s *Server) Build(ctx context.Context, extra string) error {
	top, tables := SplitConfig(extra)
	return s.BuildFrom(ctx, fmt.Sprintf(configTemplate, top)+tables, Accounts...)
}

// SplitConfig splits a part of a configuration before its first table.
func SplitConfig(text string) (top, tables string) {
	if i := strings.Index("\n"+text, "\n["); i >= 0 {
		return text[:i], text[i:]
	}
	return text, ""
}

// BuildFrom writes a configuration, a certificate for mx.example.com, and keys,
// and makes accounts. It replaces what is there.
func (s *Server) BuildFrom(ctx context.Context, config string, accounts ...envelope.Address) error {
	if err := os.Remove(filepath.Join(s.Dir, "store.key")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	files := site.Files{Config: config, CertNames: []string{"mx.example.com", "127.0.0.1", "localhost"}}
	if _, err := files.Write(s.Dir); err != nil {
		return err
	}
	return site.AddAccounts(ctx, s.ConfigFile(), Password, APOPSecret, accounts...)
}

// ConfigFile is the path of the configuration.
func (s *Server) ConfigFile() string { return filepath.Join(s.Dir, site.Config) }

// LogFile is the path of the log of all processes.
func (s *Server) LogFile() string { return filepath.Join(s.Dir, "log") }

// Log is the log of all processes.
func (s *Server) Log() string {
	b, _ := os.ReadFile(s.LogFile())
	return string(b)
}

// Start runs `carteiro serve` and waits for all listeners.
func (s *Server) Start(args ...string) error {
	return s.Run(append([]string{"serve", "-c", s.ConfigFile()}, args...)...)
}

// Run starts any command that serves, and waits until its listener named web,
// the last one, is there. Its log is appended to LogFile.
func (s *Server) Run(args ...string) error {
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.Process = Command(args...)
	s.Process.Stderr = log
	stdout, err := s.Process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.Process.Start(); err != nil {
		return err
	}
	s.Done, s.Stopped = make(chan struct{}), false
	s.mu.Lock()
	s.addrs = map[string]string{}
	s.mu.Unlock()
	bound := make(chan struct{})
	go func() {
		defer close(s.Done)
		defer log.Close()
		defer s.Process.Wait()
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var name, protocol, addr string
			if n, _ := fmt.Sscanf(lines.Text(), "listener %s %s %s", &name, &protocol, &addr); n != 3 {
				fmt.Fprintln(log, lines.Text())
				continue
			}
			s.mu.Lock()
			s.addrs[name] = addr
			s.mu.Unlock()
			if name == "web" {
				close(bound)
			}
		}
	}()
	select {
	case <-bound:
		return nil
	case <-s.Done:
		return fmt.Errorf("%s: %s\n%s", strings.Join(args, " "), s.Process.ProcessState, s.Log())
	case <-time.After(30 * time.Second):
		s.Stop(syscall.SIGKILL)
		return fmt.Errorf("%s: no listeners\n%s", strings.Join(args, " "), s.Log())
	}
}

// Addr returns the address of a listener. It waits for listeners that a test adds,
// which come after web; "" says that there is none.
func (s *Server) Addr(listener string) string {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		addr := s.addrs[listener]
		s.mu.Unlock()
		if addr != "" || time.Now().After(deadline) {
			return addr
		}
	}
}

// Port is the port of a listener.
func (s *Server) Port(listener string) string {
	a := s.Addr(listener)
	return a[strings.LastIndexByte(a, ':')+1:]
}

// Running reports whether the process runs.
func (s *Server) Running() bool {
	if s.Done == nil {
		return false
	}
	select {
	case <-s.Done:
		return false
	default:
		return true
	}
}

// Stop sends a signal, waits until the process has ended and returns its exit
// status, -1 for one that a signal ended.
func (s *Server) Stop(sig syscall.Signal) (int, error) {
	if !s.Running() {
		if s.Process == nil || s.Stopped {
			return 0, errors.New("the server does not run")
		}
		return 0, fmt.Errorf("the server ended by itself: %s\n%s", s.Process.ProcessState, s.Log())
	}
	s.Stopped = true
	if err := s.Process.Process.Signal(sig); err != nil {
		return 0, err
	}
	select {
	case <-s.Done:
	case <-time.After(60 * time.Second):
		s.Process.Process.Kill()
		<-s.Done
		return 0, fmt.Errorf("the server did not end within a minute of %v\n%s", sig, s.Log())
	}
	return s.Process.ProcessState.ExitCode(), nil
}

// New is a server with extra in its configuration, that runs until the test
// ends.
func New(t testing.TB, extra string) *Server {
	t.Helper()
	s := &Server{Dir: t.TempDir()}
	if err := s.Build(t.Context(), extra); err != nil {
		t.Fatal(err)
	}
	s.StartFor(t)
	return s
}

// StartFor starts a server that runs until the test ends; then it has to end
// without an error. A test may stop and start it meanwhile.
func (s *Server) StartFor(t testing.TB, args ...string) {
	t.Helper()
	if err := s.Start(args...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.Running() {
			if status, err := s.Stop(syscall.SIGTERM); status != 0 || err != nil {
				t.Errorf("the server ended with status %d, %v", status, err)
			}
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.Log())
		}
	})
}
