package demo

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

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/admin"
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

// server is one server of the demo, a process of its own.
type server struct {
	*demo
	name, hostname, dir string
	ports               ports
	cmd                 *exec.Cmd
	done                chan struct{} // closed when the process and its output have ended
	client              *admin.Client
	roots               *x509.CertPool
}

// secret is every account's password and APOP secret.
const secret = "tanstaaf"

func (s *server) config() string { return filepath.Join(s.dir, site.Config) }

// prepare writes the server's files and makes its accounts; peer is the MX port
// of the other server.
func (s *server) prepare(ctx context.Context, peer int, policy string, accounts ...envelope.Address) error {
	files := site.Files{
		Config: fmt.Sprintf(configTemplate, s.hostname, accounts[0], s.name,
			s.ports.mx, s.ports.submission, s.ports.pop3, s.ports.web, peer, s.dns.Addr),
		CertNames: []string{s.hostname, "127.0.0.1"},
		Scripts:   map[string]string{"policy.lua": policy},
	}
	cert, err := files.Write(s.dir)
	if err != nil {
		return err
	}
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(cert)
	return site.AddAccounts(ctx, s.config(), secret, secret, accounts...)
}

const configTemplate = `hostname = "%s"
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
func (s *server) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.cmd = exec.Command(self, "serve", "-c", s.config(), "--test-clock")
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "[%s] started as process %d\n", s.name, s.cmd.Process.Pid)
	s.done = make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() { s.echo(stdout, func(line string) string { return line }) })
	readers.Go(func() { s.echo(stderr, logLine) })
	go func() {
		readers.Wait()
		s.cmd.Wait()
		close(s.done)
	}()
	return s.until(ctx, "answers at its admin socket", func() bool {
		s.client, err = admin.Dial(ctx, filepath.Join(s.dir, "data", "admin.sock"))
		return err == nil
	})
}

// echo prints each line of a process, in the form that form gives it.
func (s *server) echo(r io.Reader, form func(string) string) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if text := form(lines.Text()); text != "" {
			fmt.Fprintf(s.out, "[%s] %s\n", s.name, text)
		}
	}
}

// shownFields are the fields of a log event that people see, in this order.
var shownFields = []string{
	"id", "session", "user", "mechanism", "from", "to", "subject", "size", "result", "host", "tls", "attempt",
	"dsn", "action", "generation", "handler", "hook", "text", "fields", "status", "err",
}

// logLine turns a log event into a line for people.
func logLine(line string) string {
	var e map[string]any
	if json.Unmarshal([]byte(line), &e) != nil {
		return line
	}
	at, _ := e["time"].(string)
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = t.Format("15:04:05.000")
	}
	text := fmt.Sprintf("%s %v:", at, e["msg"])
	for _, k := range shownFields {
		if v, ok := e[k]; ok {
			text += fmt.Sprintf(" %s=%v", k, v)
		}
	}
	return text
}

func (s *server) running() bool {
	if s.done == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// stop ends the server as an operator would.
func (s *server) stop() { s.end(syscall.SIGTERM) }

// kill ends the server as a power cut would.
func (s *server) kill() { s.end(syscall.SIGKILL) }

func (s *server) end(sig syscall.Signal) {
	if s.running() {
		s.cmd.Process.Signal(sig)
		select {
		case <-s.done:
		case <-time.After(40 * time.Second):
			s.cmd.Process.Kill()
			<-s.done
		}
	}
}

// until waits until ok is true; what says what the server should have done.
func (s *server) until(ctx context.Context, what string, ok func() bool) error {
	for {
		if ok() {
			return nil
		}
		if !s.running() {
			return fmt.Errorf("%s ended before it %s", s.name, what)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s never %s", s.name, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ask calls the server as the command line does.
func (s *server) ask(ctx context.Context, name string, args, answer any) error {
	raw, err := s.client.Call(ctx, name, args)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, answer)
}

// explain prints the trail of a message once it has gone from the queue, and
// returns it.
func (s *server) explain(ctx context.Context, id string) (admin.MessageTrail, error) {
	var trails []admin.MessageTrail
	err := s.until(ctx, "finished message "+id, func() bool {
		return s.ask(ctx, "explain", admin.ExplainArgs{What: id}, &trails) == nil && len(trails) == 1 && !trails[0].Queued
	})
	if err != nil {
		return admin.MessageTrail{}, err
	}
	fmt.Fprintf(s.out, "[%s] carteiro explain %s\n", s.name, id)
	s.printTrails(s.out, trails)
	return trails[0], nil
}

// mailbox waits until an account has n messages in a folder.
func (s *server) mailbox(ctx context.Context, who, folder string, n int64) error {
	return s.until(ctx, fmt.Sprintf("had %d messages in %s of %s", n, folder, who), func() bool {
		var r admin.AccountReport
		if s.ask(ctx, "account.show", admin.AccountArgs{Address: who}, &r) != nil {
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

func (s *server) tls() *tls.Config { return &tls.Config{RootCAs: s.roots, ServerName: s.hostname} }

var errUnexpected = errors.New("unexpected")
