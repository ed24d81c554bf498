package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// accounts are the recipients.
var accounts = []string{"a@crash.example", "b@crash.example", "c@crash.example"}

const password = "one for all"

// testServer is a server's folder; it stays when the processes are killed.
type testServer struct {
	binary string
	dir    string
	log    io.Writer // what the server prints that is not a listener
}

func (h *testServer) configPath() string { return filepath.Join(h.dir, "carteiro.toml") }

const serverConfig = `hostname = "mx.crash.example"
domains = ["crash.example"]
postmaster = "a@crash.example"
[storage]
dir = "data"
reserve = "64MiB"
[[listener]]
name = "mx"
protocol = "smtp"
addr = "127.0.0.1:0"
[[listener]]
name = "pop3"
protocol = "pop3"
addr = "127.0.0.1:0"
insecure_auth = true
[limits]
connections = 0
messages = "0"
recipients = "0"
[log]
level = "error"
format = "text"
`

// prepare writes the configuration and makes the accounts.
func (h *testServer) prepare(ctx context.Context) error {
	if err := os.WriteFile(h.configPath(), []byte(serverConfig), 0o600); err != nil {
		return err
	}
	for _, who := range accounts {
		add := exec.CommandContext(ctx, h.binary, "account", "add", who, "--password-stdin", "-c", h.configPath())
		add.Stdin = strings.NewReader(password)
		if out, err := add.CombinedOutput(); err != nil {
			return fmt.Errorf("account add %s: %w\n%s", who, err, out)
		}
	}
	return nil
}

// process is one process of the server.
type process struct {
	cmd        *exec.Cmd
	done       chan struct{} // closed when the process has ended
	smtp, pop3 string        // addresses
	took       time.Duration // from the start to the listeners
}

// startWithin is how long a start may take, recovery included.
const startWithin = time.Minute

// start runs the server and returns when its listeners are bound.
func (h *testServer) start(ctx context.Context) (*process, error) {
	began := time.Now()
	l := &process{cmd: exec.Command(h.binary, "serve", "-c", h.configPath()), done: make(chan struct{})}
	l.cmd.Stderr = h.log
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		defer close(l.done)
		defer l.cmd.Wait()
		bound := sync.OnceFunc(func() { close(ready) })
		for s := bufio.NewScanner(stdout); s.Scan(); {
			f := strings.Fields(s.Text())
			if len(f) != 4 || f[0] != "listener" {
				continue
			}
			switch f[2] {
			case "smtp":
				l.smtp = f[3]
			case "pop3":
				l.pop3 = f[3]
			}
			if l.smtp != "" && l.pop3 != "" {
				bound()
			}
		}
	}()
	select {
	case <-ready:
		l.took = time.Since(began)
		return l, nil
	case <-l.done:
		return nil, fmt.Errorf("the server ended: %v", l.cmd.ProcessState)
	case <-time.After(startWithin):
		l.kill()
		return nil, fmt.Errorf("no listeners within %v", startWithin)
	case <-ctx.Done():
		l.kill()
		return nil, ctx.Err()
	}
}

// kill ends the process with SIGKILL and reports whether that ended it.
func (l *process) kill() bool {
	select {
	case <-l.done:
		return false
	default:
	}
	l.cmd.Process.Kill()
	<-l.done
	st, ok := l.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && st.Signaled() && st.Signal() == syscall.SIGKILL
}

// untilDelivered waits until the queue is empty.
func (h *testServer) untilDelivered(ctx context.Context, l *process) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, h.binary, "queue", "summary", "--json", "-c", h.configPath()).Output()
		var sums []struct {
			Messages int    `json:"messages"`
			Status   string `json:"status"`
		}
		if err == nil {
			err = json.Unmarshal(out, &sums)
		}
		if err == nil && len(sums) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the queue is not empty in the end: %v, %v", sums, err)
		case <-l.done:
			return fmt.Errorf("the server ended by itself: %v", l.cmd.ProcessState)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
