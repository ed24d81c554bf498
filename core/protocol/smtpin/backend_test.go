package smtpin

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"carteiro/core/internal/dialogtest"
	"carteiro/core/internal/testkit"
	"carteiro/core/message/envelope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message is what the memoryBackend took responsibility for.
type message struct {
	tx      envelope.Transaction
	rcpts   []envelope.Recipient
	session string
	body    string
}

// memoryBackend is a Backend that keeps messages in memory. Addresses steer it:
// refused@, later@, panic@ as recipients; the sender early@ makes Data refuse
// without reading, discard@ makes it accept without reading, panicdata@ panic.
type memoryBackend struct {
	dialogtest.PasswordsOnly

	mu       sync.Mutex
	kept     []message
	open     map[*envelope.Transaction]bool
	ended    int
	sessions map[*envelope.Session]bool
	closed   int
	failed   []error // what content said instead of io.EOF
	faults   []string
	block    chan struct{} // Data waits for it at the end, when set
}

func newMemoryBackend() *memoryBackend {
	return &memoryBackend{open: make(map[*envelope.Transaction]bool), sessions: make(map[*envelope.Session]bool)}
}

func (k *memoryBackend) Connect(_ context.Context, s *envelope.Session) *envelope.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sessions[s] = true
	return nil
}

func (k *memoryBackend) Helo(_ context.Context, _ *envelope.Session, name string) *envelope.Status {
	switch name {
	case "refused.example":
		return envelope.Reject(550, "5.7.1", "Not you")
	case "panic.example":
		panic("helo")
	case "friend.example":
		return &envelope.Status{Code: 250, Text: "hello friend"}
	}
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
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open[tx] = true
	if tx.Sender.Local() == "priority" {
		tx.Params.Priority = nil
		return &envelope.Status{Code: 250, Enhanced: "2.3.6", Text: "priority changed"}
	}
	return nil
}

func (k *memoryBackend) Rcpt(_ context.Context, _ *envelope.Session, _ *envelope.Transaction, r *envelope.Recipient) *envelope.Status {
	switch r.Address.Local() {
	case "refused":
		return envelope.Reject(550, "5.1.1", "No such user\r\n250 injected "+strings.Repeat("x", 900))
	case "later":
		return envelope.Defer(450, "4.2.1", "Mailbox busy", nil)
	case "bye":
		return &envelope.Status{Code: 550, Enhanced: "5.7.1", Text: "Go away", Close: true}
	case "panic":
		panic("rcpt")
	}
	return nil
}

func (k *memoryBackend) Data(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, content io.Reader) Outcome {
	switch tx.Sender.Local() {
	case "early":
		return Outcome{Status: envelope.Reject(554, "5.7.1", "Refused unread")}
	case "discard":
		return Outcome{}
	case "panicdata":
		io.ReadFull(content, make([]byte, 3))
		panic("data")
	}
	b, err := io.ReadAll(content)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.failed = append(k.failed, err)
		return Outcome{Status: envelope.StatusOf(err)}
	}
	if k.block != nil {
		<-k.block
	}
	if ctx.Err() != nil {
		return Outcome{Status: envelope.StatusOf(ctx.Err())}
	}
	m := message{tx: *tx, session: s.With(tx.Params.SMTPUTF8), body: string(b)}
	out := Outcome{}
	for _, r := range tx.Recipients {
		m.rcpts = append(m.rcpts, *r)
		if r.Address.Local() == "full" {
			out.Recipients = append(out.Recipients, envelope.Reject(552, "5.2.2", "Mailbox full"))
		} else {
			out.Recipients = append(out.Recipients, nil)
		}
	}
	k.kept = append(k.kept, m)
	return out
}

func (k *memoryBackend) End(_ *envelope.Session, tx *envelope.Transaction) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.open[tx] {
		k.faults = append(k.faults, "End of a transaction that is not open")
	}
	delete(k.open, tx)
	k.ended++
}

func (k *memoryBackend) Close(s *envelope.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.sessions[s] || !s.Closed.Load() {
		k.faults = append(k.faults, "Close of a session that is not open, or not marked")
	}
	delete(k.sessions, s)
	k.closed++
}

func (k *memoryBackend) messages() []message {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]message(nil), k.kept...)
}

// listener is a running Server under test.
type listener struct {
	addr string
	k    *memoryBackend
	stop func() error // ends Serve and returns its error

	pipes *testkit.Pipes // of servePipes
}

// serve runs a Server until the test ends, then checks that every session and
// every transaction was ended exactly once.
func serve(t testing.TB, cfg Config) *listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, cfg)
}

// servePipes is serve in a bubble: its clients come from dialPipe.
func servePipes(t testing.TB, cfg Config) *listener {
	t.Helper()
	pipes := testkit.NewPipes()
	l := serveOn(t, pipes, cfg)
	l.pipes = pipes
	return l
}

func serveOn(t testing.TB, ln net.Listener, cfg Config) *listener {
	t.Helper()
	l := &listener{k: newMemoryBackend()}
	cfg.Name = "test"
	if cfg.Hostname == "" {
		cfg.Hostname = "mx.example.com"
	}
	if cfg.Postmaster == "" {
		cfg.Postmaster = "postmaster@example.com"
	}
	l.addr, l.stop = startOn(ln, New(cfg, l.k))
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if len(l.k.open) > 0 || len(l.k.sessions) > 0 || len(l.k.faults) > 0 {
			t.Errorf("transactions left open %d, sessions %d, faults %q", len(l.k.open), len(l.k.sessions), l.k.faults)
		}
	})
	return l
}

func start(t testing.TB, srv *Server) (addr string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(ln, srv)
}

func startOn(ln net.Listener, srv *Server) (addr string, stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	return ln.Addr().String(), sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

// certificates are the server's and the client's side of one certificate, which
// the server looks up at each handshake.
var certificates = sync.OnceValues(func() (server, client *tls.Config) {
	server, client = testkit.Certificates("mx.example.com")
	certificate := &server.Certificates[0]
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }}, client
})

func serverTLS() *tls.Config { s, _ := certificates(); return s }
func clientTLS() *tls.Config { _, c := certificates(); return c }
