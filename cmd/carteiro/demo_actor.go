package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
)

// lineWriter keeps lines of several writers whole.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// ports are free ones on loopback, kept over a restart.
type ports struct{ mx, submission, pop3, web int }

// pick looks below the ports that systems give to clients and to listeners
// without a wish: hardly anybody takes one of those before its server does.
func (p *ports) pick() error {
	for _, n := range []*int{&p.mx, &p.submission, &p.pop3, &p.web} {
		ln, err := net.Listen("tcp", "127.0.0.1:0") // what remains if all others are taken
		for try := 0; err == nil && try < 100; try++ {
			if below, e := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))); e == nil {
				ln.Close()
				ln = below
				break
			}
		}
		if err != nil {
			return err
		}
		*n = ln.Addr().(*net.TCPAddr).Port
		defer ln.Close() // no port is picked twice
	}
	return nil
}

// actor is one server of the demo, a process of its own.
type actor struct {
	*stage
	name, hostname, dir string
	ports               ports
	cmd                 *exec.Cmd
	done                chan struct{} // closed when the process and its output have ended
	client              *admin.Client
	roots               *x509.CertPool
}

// demoSecret is every account's password and APOP secret.
const demoSecret = "tanstaaf"

func (a *actor) config() string { return filepath.Join(a.dir, "carteiro.toml") }

// prepare writes the server's files and makes its accounts.
func (a *actor) prepare(ctx context.Context, peer int, policy string, accounts ...envelope.Address) error {
	cert, key, err := selfSigned(a.hostname, "127.0.0.1")
	if err != nil {
		return err
	}
	a.roots = x509.NewCertPool()
	a.roots.AppendCertsFromPEM(cert)
	toml := fmt.Sprintf(demoTemplate, a.hostname, accounts[0], a.name, a.ports.mx, a.ports.submission, a.ports.pop3, a.ports.web, peer, a.stage.dns.Addr)
	if err := os.MkdirAll(filepath.Join(a.dir, "scripts"), 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"cert.pem": string(cert), "key.pem": string(key), "store.key": randomHex(32), "scripts/policy.lua": policy, "carteiro.toml": toml} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	cfg, err := config.Load(a.config())
	if err != nil {
		return err
	}
	s, err := openServer(ctx, cfg, serverOptions{offline: true, log: io.Discard})
	if err != nil {
		return err
	}
	defer s.close()
	for _, who := range accounts {
		if err := s.directory.AddAccount(ctx, who, demoSecret); err != nil {
			return err
		}
		if err := s.directory.SetAPOP(ctx, who, demoSecret); err != nil {
			return err
		}
	}
	return nil
}

const demoTemplate = `hostname = "%s"
postmaster = "%s"
domains = ["%s"]
[storage]
dir = "data"
key_file = "store.key"
reserve = "64MiB"
[tls]
cert = "cert.pem"
key = "key.pem"
[[listener]]
name = "mx"
protocol = "smtp"
addr = "127.0.0.1:%d"
[[listener]]
name = "submission"
protocol = "submission"
addr = "127.0.0.1:%d"
[[listener]]
name = "pop3"
protocol = "pop3"
addr = "127.0.0.1:%d"
apop = true
insecure_auth = true
[[listener]]
name = "web"
protocol = "http"
addr = "127.0.0.1:%d"
[scripts]
dir = "scripts"
[[bundle]]
name = "carteiro/mailinglist"
[[bundle]]
name = "carteiro/forward"
[delivery]
port = %d
allow_private = true
[dns]
resolver = "%s"
[[bundle]]
name = "carteiro/autoreply"
[[bundle]]
name = "carteiro/delegate"
`

// start runs the server and waits until it answers.
func (a *actor) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	a.cmd = exec.Command(self, "serve", "-c", a.config(), "--test-clock")
	a.cmd.Env = append(os.Environ(), "CARTEIRO_TEST_MAIN=")
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := a.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := a.cmd.Start(); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "[%s] started as process %d\n", a.name, a.cmd.Process.Pid)
	a.done = make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() { a.echo(stdout, func(line string) string { return line }) })
	readers.Go(func() { a.echo(stderr, told) })
	go func() {
		readers.Wait()
		a.cmd.Wait()
		close(a.done)
	}()
	return a.until(ctx, "answers at its admin socket", func() bool {
		a.client, err = admin.Dial(ctx, filepath.Join(a.dir, "data", "admin.sock"))
		return err == nil
	})
}

func (a *actor) echo(r io.Reader, form func(string) string) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if text := form(s.Text()); text != "" {
			fmt.Fprintf(a.out, "[%s] %s\n", a.name, text)
		}
	}
}

// told makes a line for people of a log event.
func told(line string) string {
	var e map[string]any
	if json.Unmarshal([]byte(line), &e) != nil {
		return line
	}
	at, _ := e["time"].(string)
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = t.Format("15:04:05.000")
	}
	text := fmt.Sprintf("%s %v:", at, e["msg"])
	for _, k := range []string{"id", "session", "user", "mechanism", "from", "to", "subject", "size", "result", "host", "tls", "attempt", "dsn", "action", "generation", "handler", "hook", "text", "fields", "status", "err"} {
		if v, ok := e[k]; ok {
			text += fmt.Sprintf(" %s=%v", k, v)
		}
	}
	return text
}

func (a *actor) running() bool {
	if a.done == nil {
		return false
	}
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// stop ends the server as an operator would.
func (a *actor) stop() { a.end(syscall.SIGTERM) }

// kill ends it as a power cut would.
func (a *actor) kill() { a.end(syscall.SIGKILL) }

func (a *actor) end(sig syscall.Signal) {
	if a.running() {
		a.cmd.Process.Signal(sig)
		select {
		case <-a.done:
		case <-time.After(40 * time.Second):
			a.cmd.Process.Kill()
			<-a.done
		}
	}
}

// until waits for something to become true.
func (a *actor) until(ctx context.Context, what string, ok func() bool) error {
	for {
		if ok() {
			return nil
		}
		if !a.running() {
			return fmt.Errorf("%s ended before it %s", a.name, what)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s never %s", a.name, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ask calls the server as the command line does.
func (a *actor) ask(ctx context.Context, name string, args, answer any) error {
	raw, err := a.client.Call(ctx, name, args)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, answer)
}

// explain prints the story of a message once it has gone from the queue, and
// returns it.
func (a *actor) explain(ctx context.Context, id string) (admin.Story, error) {
	var stories []admin.Story
	err := a.until(ctx, "finished message "+id, func() bool {
		return a.ask(ctx, "explain", admin.ExplainArgs{What: id}, &stories) == nil && len(stories) == 1 && !stories[0].Queued
	})
	if err != nil {
		return admin.Story{}, err
	}
	fmt.Fprintf(a.out, "[%s] carteiro explain %s\n", a.name, id)
	tell(a.out, stories)
	return stories[0], nil
}

// mailbox waits until an account has n messages in a folder.
func (a *actor) mailbox(ctx context.Context, who, folder string, n int64) error {
	return a.until(ctx, fmt.Sprintf("had %d messages in %s of %s", n, folder, who), func() bool {
		var r admin.AccountReport
		if a.ask(ctx, "account.show", admin.AccountArgs{Address: who}, &r) != nil {
			return false
		}
		for _, f := range r.Folders {
			if strings.EqualFold(f.Name, folder) && f.Messages == n {
				return true
			}
		}
		return n == 0
	})
}

func (a *actor) tls() *tls.Config { return &tls.Config{RootCAs: a.roots, ServerName: a.hostname} }

var errUnexpected = errors.New("unexpected")
