package smtpout

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carteiro/core/internal/dialogtest"
	"carteiro/core/internal/testkit"
	"carteiro/core/message/envelope"
	"carteiro/core/protocol/smtpin"
	"carteiro/core/service/dns"
	"carteiro/core/service/dns/dnsserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const letter = "From: a@example.org\r\nTo: b@example.com\r\nSubject: x\r\n\r\n.dots\r\n..\r\nend\r\n"

// message is a message that a memoryBackend accepted.
type message struct {
	tx    envelope.Transaction
	rcpts []envelope.Recipient
	user  envelope.Address
	tls   bool
	body  string
}

func (m message) to() string {
	var out []string
	for _, r := range m.rcpts {
		out = append(out, string(r.Address))
	}
	return strings.Join(out, " ")
}

// memoryBackend is a backend of smtpin that keeps messages. Recipients named
// refused@, later@, full@ and the sender refused@ steer it.
type memoryBackend struct {
	dialogtest.PasswordsOnly

	mu       sync.Mutex
	kept     []message
	sessions int
	helo     string
}

func (k *memoryBackend) Connect(context.Context, *envelope.Session) *envelope.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sessions++
	return nil
}

func (k *memoryBackend) Helo(_ context.Context, _ *envelope.Session, name string) *envelope.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.helo = name
	return nil
}

func (k *memoryBackend) Auth(_ context.Context, _ *envelope.Session, c *envelope.Credentials) (*envelope.Identity, *envelope.Status) {
	if c.User == "alice" && c.Password == "secret word" {
		return &envelope.Identity{User: "alice@example.com"}, nil
	}
	return nil, envelope.Reject(535, "5.7.8", "Authentication credentials invalid")
}

func (k *memoryBackend) Mail(_ context.Context, _ *envelope.Session, tx *envelope.Transaction) *envelope.Status {
	if tx.Sender.Local() == "refused" {
		return envelope.Reject(550, "5.7.1", "Sender refused")
	}
	return nil
}

func (k *memoryBackend) Rcpt(_ context.Context, _ *envelope.Session, _ *envelope.Transaction, r *envelope.Recipient) *envelope.Status {
	switch r.Address.Local() {
	case "refused":
		return envelope.Reject(550, "5.1.1", "No such user")
	case "later":
		return envelope.Defer(450, "4.2.1", "Mailbox busy", nil)
	}
	return nil
}

func (k *memoryBackend) Data(_ context.Context, s *envelope.Session, tx *envelope.Transaction, content io.Reader) smtpin.Outcome {
	b, err := io.ReadAll(content)
	if err != nil {
		return smtpin.Outcome{Status: envelope.StatusOf(err)}
	}
	m := message{tx: *tx, body: string(b), tls: s.TLS != nil}
	if s.Identity != nil {
		m.user = s.Identity.User
	}
	var out smtpin.Outcome
	for _, r := range tx.Recipients {
		m.rcpts = append(m.rcpts, *r)
		var st *envelope.Status
		if r.Address.Local() == "full" {
			st = envelope.Reject(552, "5.2.2", "Mailbox full")
		}
		out.Recipients = append(out.Recipients, st)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, m)
	return out
}

func (k *memoryBackend) End(*envelope.Session, *envelope.Transaction) {}
func (k *memoryBackend) Close(*envelope.Session)                      {}

func (k *memoryBackend) messages() []message {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]message(nil), k.kept...)
}

// serve runs a Server of smtpin until the test ends.
func serve(t testing.TB, cfg smtpin.Config) (envelope.Host, *memoryBackend) {
	t.Helper()
	k := &memoryBackend{}
	cfg.Name, cfg.Hostname, cfg.Grace = "test", "mx.example.com", time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- smtpin.New(cfg, k).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return hostOf(ln), k
}

// hostOf returns the listener by the name in the zone below.
func hostOf(ln net.Listener) envelope.Host {
	return envelope.Host{Name: "mx.example.com", Port: ln.Addr().(*net.TCPAddr).Port}
}

const zone = `
mx.example.com.     60 IN A 127.0.0.1
mx2.example.com.    60 IN A 127.0.0.1
both.example.com.   60 IN A 127.0.0.1
both.example.com.   60 IN AAAA ::1
two.example.com.    60 IN A 127.0.0.1
two.example.com.    60 IN A 127.0.0.2
private.example.    60 IN A 10.1.2.3
private.example.    60 IN AAAA fd00::1
empty.example.      60 IN TXT "x"
`

// resolver returns a resolver that uses a real server with the zone.
func resolver(t testing.TB) *dns.Resolver {
	t.Helper()
	s, err := dnsserver.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Fail("broken.example", "SERVFAIL")
	return dns.New(dns.Options{Servers: []string{s.Addr}, Timeout: 500 * time.Millisecond})
}

// client makes a Client for peers on loopback. Its dialogues come out when
// the test fails.
func client(t testing.TB, cfg Config) *Client {
	t.Helper()
	cfg.Hostname, cfg.AllowPrivate = "out.example.org", true
	if cfg.Resolver == nil {
		cfg.Resolver = resolver(t)
	}
	if cfg.RootCAs == nil {
		_, cfg.RootCAs = certificates()
	}
	if cfg.Timeouts.Final == 0 {
		cfg.Timeouts = Timeouts{Connect: 2 * time.Second, Greeting: 3 * time.Second, Mail: 3 * time.Second, Rcpt: 3 * time.Second,
			Data: 3 * time.Second, Final: 3 * time.Second, Quit: 100 * time.Millisecond}
	}
	if trace := cfg.Trace; true {
		var mu sync.Mutex
		var lines []string
		cfg.Trace = func(hop, line string) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, line)
			if trace != nil {
				trace(hop, line)
			}
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(strings.Join(lines, "\n"))
			}
		})
	}
	c := New(cfg)
	t.Cleanup(c.Close)
	return c
}

// benchClient is client without traces.
func benchClient(b *testing.B, cfg Config) *Client {
	cfg.Hostname, cfg.AllowPrivate, cfg.Resolver = "out.example.org", true, resolver(b)
	c := New(cfg)
	b.Cleanup(c.Close)
	return c
}

func hop(hosts ...envelope.Host) envelope.NextHop {
	return envelope.NextHop{Name: "example.com", Hosts: hosts}
}

// transfer returns the letter to the given recipients.
func transfer(to ...string) envelope.Transfer {
	t := envelope.Transfer{ID: envelope.NewID(time.Now()), Sender: "a@example.org", Size: int64(len(letter)), Open: opens(letter)}
	for i, a := range to {
		t.Recipients = append(t.Recipients, &envelope.Recipient{N: uint32(i), Address: envelope.Address(a)})
	}
	return t
}

func opens(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// codes is outcomes in short: "250 550 451/down".
func codes(out []envelope.Outcome) string {
	var s []string
	for _, o := range out {
		word := fmt.Sprintf("%d", o.Status.Code)
		if o.Status.Code >= 400 {
			word += " " + o.Status.Enhanced
		}
		if o.Down {
			word += " down"
		}
		s = append(s, word)
	}
	return strings.Join(s, ", ")
}

// peer is a scripted peer's side of one connection.
type peer struct {
	t    testing.TB
	nc   net.Conn
	r    *bufio.Reader
	seen []string
}

// say sends lines.
func (p *peer) say(lines ...string) {
	io.WriteString(p.nc, strings.Join(lines, "\r\n")+"\r\n")
}

// want reads a line and checks how it starts; false when it does not, or the
// connection is gone.
func (p *peer) want(prefix string) bool {
	line, err := p.r.ReadString('\n')
	p.seen = append(p.seen, strings.TrimRight(line, "\r\n"))
	if err == nil && strings.HasPrefix(line, prefix) {
		return true
	}
	p.t.Errorf("peer got %q, %v; want %q", line, err, prefix)
	return false
}

// hello greets and answers EHLO with extensions.
func (p *peer) hello(ext ...string) bool {
	p.say("220 peer ESMTP")
	return p.want("EHLO out.example.org") && p.offer(ext...)
}

func (p *peer) offer(ext ...string) bool {
	lines := append([]string{"peer"}, ext...)
	for i := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		lines[i] = "250" + sep + lines[i]
	}
	p.say(lines...)
	return true
}

// step wants a line and answers it.
func (p *peer) step(prefix string, reply ...string) bool {
	if !p.want(prefix) {
		return false
	}
	p.say(reply...)
	return true
}

// message reads content to its end; the dots stay.
func (p *peer) message() string {
	var b strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			return b.String() + "<cut>"
		}
		if line == ".\r\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

// eof waits until the client closes, and returns what it sent until then.
func (p *peer) eof() string {
	b, _ := io.ReadAll(p.r)
	return string(b)
}

// runPeer runs a peer on addr; connection n is led by the nth script, those
// after the last by the last. The number of connections is counted.
func runPeer(t testing.TB, addr string, scripts ...func(p *peer)) (envelope.Host, *atomic.Int32) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int32
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			script := scripts[min(int(n.Add(1)), len(scripts))-1]
			wg.Go(func() {
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(10 * time.Second))
				script(&peer{t: t, nc: nc, r: bufio.NewReader(nc)})
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return hostOf(ln), &n
}

const any4 = "127.0.0.1:0"

// certificates are a server's settings for mx.example.com and the pool that
// trusts it.
var certificates = sync.OnceValues(func() (*tls.Config, *x509.CertPool) {
	server, client := testkit.Certificates("mx.example.com")
	return server, client.RootCAs
})

func serverTLS() *tls.Config { s, _ := certificates(); return s }

var _ Resolver = (*dns.Resolver)(nil)
