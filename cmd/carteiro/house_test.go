package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
	"carteiro/core/ops/config"
)

// house is a server's folder in tests, with everything that a configuration
// can name, and the process that serves it, if one does.
type house struct {
	dir  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process and its output have ended

	ended bool // by end

	mu    sync.Mutex
	addrs map[string]string // of listeners, by name
}

// Secrets of all accounts. They differ, so that a test that uses the wrong
// one fails.
const (
	password   = "open sesame"
	apopSecret = "tanstaaf"
)

var residents = []envelope.Address{"alice@example.com", "bob@example.com"}

func (h *house) config() string  { return filepath.Join(h.dir, "carteiro.toml") }
func (h *house) logFile() string { return filepath.Join(h.dir, "log") }

const houseConfig = `hostname = "mx.example.com"
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

// build writes the files and makes the accounts. Of extra, lines before the
// first table go to the configuration's beginning, the rest to its end.
func (h *house) build(ctx context.Context, extra string) error {
	cert, key, err := site.SelfSigned("mx.example.com", "127.0.0.1", "localhost")
	if err != nil {
		return err
	}
	top, tables := extra, ""
	if i := strings.Index("\n"+extra, "\n["); i >= 0 {
		top, tables = extra[:i], extra[i:]
	}
	if err := os.MkdirAll(filepath.Join(h.dir, "scripts"), 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"cert.pem": string(cert), "key.pem": string(key), "store.key": site.RandomHex(32) + "\n",
		"carteiro.toml": fmt.Sprintf(houseConfig, top) + tables} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	cfg, err := config.Load(h.config())
	if err != nil {
		return err
	}
	s, err := openServer(ctx, cfg, serverOptions{offline: true, log: io.Discard})
	if err != nil {
		return err
	}
	defer s.close()
	for _, a := range residents {
		if err := s.directory.AddAccount(ctx, a, password); err != nil {
			return err
		}
		if err := s.directory.SetAPOP(ctx, a, apopSecret); err != nil {
			return err
		}
	}
	return nil
}

// start runs `carteiro serve` and waits for all listeners.
func (h *house) start(args ...string) error {
	return h.run(append([]string{"serve", "-c", h.config()}, args...)...)
}

// run starts any command that serves. Its log is appended to logFile.
func (h *house) run(args ...string) error {
	log, err := os.OpenFile(h.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	h.cmd = exec.Command(carteiro(), args...)
	h.cmd.Env = append(os.Environ(), actAsMain+"=1")
	h.cmd.Stderr = log
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.cmd.Start(); err != nil {
		return err
	}
	h.done, h.ended = make(chan struct{}), false
	h.mu.Lock()
	h.addrs = map[string]string{}
	h.mu.Unlock()
	bound := make(chan struct{})
	go func() {
		defer close(h.done)
		defer log.Close()
		defer h.cmd.Wait()
		for s := bufio.NewScanner(stdout); s.Scan(); {
			var name, protocol, addr string
			if n, _ := fmt.Sscanf(s.Text(), "listener %s %s %s", &name, &protocol, &addr); n != 3 {
				fmt.Fprintln(log, s.Text())
				continue
			}
			h.mu.Lock()
			h.addrs[name] = addr
			h.mu.Unlock()
			if name == "web" { // the last one of the configurations here
				close(bound)
			}
		}
	}()
	select {
	case <-bound:
		return nil
	case <-h.done:
		return fmt.Errorf("%s: %s\n%s", strings.Join(args, " "), h.cmd.ProcessState, h.log())
	case <-time.After(30 * time.Second):
		h.end(syscall.SIGKILL)
		return fmt.Errorf("%s: no listeners\n%s", strings.Join(args, " "), h.log())
	}
}

func (h *house) addr(listener string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addrs[listener]
}

// port is addr's port.
func (h *house) port(listener string) string {
	a := h.addr(listener)
	return a[strings.LastIndexByte(a, ':')+1:]
}

func (h *house) log() string {
	b, _ := os.ReadFile(h.logFile())
	return string(b)
}

func (h *house) running() bool {
	if h.done == nil {
		return false
	}
	select {
	case <-h.done:
		return false
	default:
		return true
	}
}

// end sends a signal, waits until the process has ended and returns its exit
// status, -1 for one that a signal ended.
func (h *house) end(sig syscall.Signal) (int, error) {
	if !h.running() {
		if h.cmd == nil || h.ended {
			return 0, errors.New("the server does not run")
		}
		return 0, fmt.Errorf("the server ended by itself: %s\n%s", h.cmd.ProcessState, h.log())
	}
	h.ended = true
	if err := h.cmd.Process.Signal(sig); err != nil {
		return 0, err
	}
	select {
	case <-h.done:
	case <-time.After(60 * time.Second):
		h.cmd.Process.Kill()
		<-h.done
		return 0, fmt.Errorf("the server did not end within a minute of %v\n%s", sig, h.log())
	}
	return h.cmd.ProcessState.ExitCode(), nil
}

// newHouse is a house whose server runs until the test ends.
func newHouse(t testing.TB, extra string) *house {
	t.Helper()
	h := &house{dir: t.TempDir()}
	if err := h.build(t.Context(), extra); err != nil {
		t.Fatal(err)
	}
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !h.running() {
			return
		}
		if status, err := h.end(syscall.SIGTERM); status != 0 || err != nil {
			t.Errorf("the server ended with status %d, %v\n%s", status, err, h.log())
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", h.log())
		}
	})
	return h
}
