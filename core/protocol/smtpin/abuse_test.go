package smtpin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"carteiro/core/internal/testkit"
	"carteiro/core/message/envelope"
)

// panicBackend panics in one method of the backend.
type panicBackend struct {
	*memoryBackend
	at string
}

func (f *panicBackend) fault(at string) {
	if f.at == at {
		panic(at)
	}
}

func (f *panicBackend) Connect(ctx context.Context, s *envelope.Session) *envelope.Status {
	st := f.memoryBackend.Connect(ctx, s)
	f.fault("Connect")
	return st
}

func (f *panicBackend) Helo(ctx context.Context, s *envelope.Session, name string) *envelope.Status {
	f.fault("Helo")
	return f.memoryBackend.Helo(ctx, s, name)
}

func (f *panicBackend) Auth(ctx context.Context, s *envelope.Session, c *envelope.Credentials) (*envelope.Identity, *envelope.Status) {
	f.fault("Auth")
	return f.memoryBackend.Auth(ctx, s, c)
}

func (f *panicBackend) Mail(ctx context.Context, s *envelope.Session, tx *envelope.Transaction) *envelope.Status {
	st := f.memoryBackend.Mail(ctx, s, tx)
	f.fault("Mail")
	return st
}

func (f *panicBackend) Rcpt(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, r *envelope.Recipient) *envelope.Status {
	f.fault("Rcpt")
	return f.memoryBackend.Rcpt(ctx, s, tx, r)
}

func (f *panicBackend) Data(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, content io.Reader) Outcome {
	f.fault("Data")
	return f.memoryBackend.Data(ctx, s, tx, content)
}

func (f *panicBackend) End(s *envelope.Session, tx *envelope.Transaction) {
	f.memoryBackend.End(s, tx)
	f.fault("End")
}

func (f *panicBackend) Close(s *envelope.Session) {
	f.memoryBackend.Close(s)
	f.fault("Close")
}

const scene = "EHLO c.example\r\nAUTH PLAIN AGFsaWNlAHNlY3JldCB3b3Jk\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n" +
	"DATA\r\nx\r\n.\r\nQUIT\r\n"

// A panic in any method of the backend ends only that session, with 421, and no session,
// transaction or goroutine (TestMain checks) is left.
func TestPanics(t *testing.T) {
	for _, at := range []string{"Connect", "Helo", "Auth", "Mail", "Rcpt", "Data", "End", "Close"} {
		t.Run(at, func(t *testing.T) {
			log := &testkit.Buffer{}
			f := &panicBackend{memoryBackend: newMemoryBackend(), at: at}
			addr, stop := start(t, New(Config{Hostname: "mx.example.com", InsecureAuth: true, Log: slog.New(slog.NewTextHandler(log, nil))}, f))
			other := dial(t, addr)
			if at != "Connect" {
				other.reply("220 ")
			}
			c := dial(t, addr)
			c.send(scene)
			got := c.everything()
			if last := got[strings.LastIndex(strings.TrimSpace(got), "\n")+1:]; at != "Close" && !strings.HasPrefix(last, "421 4.3.0") ||
				at == "Close" && !strings.HasPrefix(last, "221 ") {
				t.Errorf("the client heard %q", got)
			}
			if at != "Connect" {
				other.send("NOOP\r\n")
				other.reply("250 ")
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if len(f.open) > 0 || len(f.sessions) > 0 || len(f.faults) > 0 {
				t.Errorf("left: %d transactions, %d sessions, faults %q", len(f.open), len(f.sessions), f.faults)
			}
			if !strings.Contains(log.String(), "panic="+`"\"`+at) && !strings.Contains(log.String(), at) {
				t.Errorf("the log does not tell: %s", log)
			}
		})
	}
}

// waitFor waits until the log holds a text.
func waitFor(t *testing.T, l *testkit.Buffer, text string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !strings.Contains(l.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log does not hold %q: %s", text, l)
		}
	}
}

// Clients that say nothing, half a command, half a handshake, half a message
// or read no replies hold nobody up.
func TestSlowClientsHoldNobodyUp(t *testing.T) {
	l := serve(t, Config{TLS: serverTLS(), Grace: time.Millisecond})
	for range 20 {
		for _, say := range []string{
			"", "EH", "EHLO c.example\r\nSTARTTLS\r\n\x16\x03\x01\x02",
			"HELO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nhalf",
		} {
			dial(t, l.addr).send(say)
		}
	}
	deaf := dial(t, l.addr)
	deaf.nc.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	io.WriteString(deaf.nc, strings.Repeat("HELP\r\n", 200_000))
	begin := time.Now()
	c := dial(t, l.addr)
	c.transaction()
	c.send("DATA\r\nx\r\n.\r\nQUIT\r\n")
	for _, want := range []string{"354 ", "250 ", "221 "} {
		c.reply(want)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("a message took %v", d)
	}
}

// Whoever is refused for a limit, or ends a session by one, is in the log
// with the reason.
func TestRefusalsAreLogged(t *testing.T) {
	log := &testkit.Buffer{}
	cfg := Config{MaxErrors: 1, MaxNonMail: 2, MaxSize: 10, TLS: serverTLS(), Log: slog.New(slog.NewTextHandler(log, nil)),
		Limits: NewLimits(LimitsConfig{Messages: Rate{N: 1, Per: time.Hour}}, nil)}
	l := serve(t, cfg)
	for _, tt := range []struct{ send, reason string }{
		{"FNORD\r\nFNORD\r\n", "reason=errors"},
		{"NOOP\r\nNOOP\r\nNOOP\r\n", `reason="commands without mail"`},
		{"BDAT 99999999 LAST\r\n", `reason="content far above the size limit"`},
		{"HELO c\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\nQUIT\r\n", `reason="messages of the address"`},
		{"GET / HTTP/1.1\r\n", "http on a mail port"},
		{"PROXY UNKNOWN\r\n", `reason="PROXY header from`},
	} {
		c := dial(t, l.addr)
		c.send(tt.send)
		c.everything()
		waitFor(t, log, tt.reason)
	}
	cfg.Limits = NewLimits(LimitsConfig{Connections: 2}, nil)
	l = serve(t, cfg)
	one, two := dial(t, l.addr), dial(t, l.addr)
	one.reply("220 ")
	two.reply("220 ")
	dial(t, l.addr).reply("421 4.7.0")
	waitFor(t, log, `reason="connections of the address"`)
	for line := range strings.SplitSeq(strings.TrimSpace(log.String()), "\n") {
		if !strings.Contains(line, "client=127.0.0.1") {
			t.Errorf("no client in %q", line)
		}
	}
}

func TestGreetDelay(t *testing.T) {
	l := serve(t, Config{GreetDelay: 50 * time.Millisecond, RelayFrom: nil})
	early := dial(t, l.addr)
	early.send("EHLO c.example\r\nQUIT\r\n")
	early.reply("554 5.5.1")
	early.reply("503 ")
	early.reply("221 ")
	patient := dial(t, l.addr)
	begin := time.Now()
	patient.reply("220 ")
	if time.Since(begin) > 2*time.Second {
		t.Error("the greeting came late")
	}
	patient.send("EHLO c.example\r\nQUIT\r\n")
	patient.reply("250 ")
	patient.reply("221 ")
	trusted := serve(t, Config{GreetDelay: time.Hour, RelayFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	dial(t, trusted.addr).reply("220 ")
}

// watcher keeps what Connect saw.
type watcher struct {
	*memoryBackend
	seen []envelope.Session
}

func (w *watcher) Connect(ctx context.Context, s *envelope.Session) *envelope.Status {
	w.mu.Lock()
	w.seen = append(w.seen,
		envelope.Session{Remote: s.Remote, Local: s.Local, RDNS: s.RDNS, Trusted: s.Trusted, Identity: s.Identity, Helo: s.Helo})
	w.mu.Unlock()
	if s.Remote.Addr() == netip.MustParseAddr("203.0.113.1") {
		return envelope.Reject(554, "5.7.1", "Not you")
	}
	return w.memoryBackend.Connect(ctx, s)
}

// What a proxy says about its client holds for policies, trust and limits.
func TestXclientIsBelieved(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	w := &watcher{memoryBackend: newMemoryBackend()}
	addr, stop := start(t, New(Config{Hostname: "mx.example.com", RelayFrom: loopback, XclientFrom: loopback}, w))
	c := dial(t, addr)
	c.reply("220 ")
	c.send("XCLIENT NAME=client.example ADDR=192.0.2.1 PORT=1025 LOGIN=alice@EXAMPLE.com HELO=h.example DESTADDR=192.0.2.9 DESTPORT=25\r\n" +
		"XCLIENT ADDR=203.0.113.1\r\nEHLO x\r\nQUIT\r\n")
	for _, want := range []string{"220 ", "554 5.7.1", "503 ", "221 "} {
		c.reply(want)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(w.seen) != 3 {
		t.Fatalf("Connect was called %d times", len(w.seen))
	}
	s := &w.seen[1]
	if !w.seen[0].Trusted || s.Trusted || s.Remote.String() != "192.0.2.1:1025" || s.Local.String() != "192.0.2.9:25" ||
		s.RDNS != "client.example" ||
		s.Identity == nil || s.Identity.User != "alice@example.com" ||
		s.Helo != "h.example" {
		t.Errorf("the second Connect saw %v %v %q %v %q", s.Remote, s.Local, s.RDNS, s.Identity, s.Helo)
	}
	if s = &w.seen[2]; s.Identity != nil || s.RDNS != "" || s.Helo != "" {
		t.Errorf("the third Connect saw %q %v %q", s.RDNS, s.Identity, s.Helo)
	}
}

// Behind a PROXY header, with TLS from the first octet too.
func TestProxied(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	w := &watcher{memoryBackend: newMemoryBackend()}
	addr, stop := start(t,
		New(Config{Hostname: "mx.example.com", RelayFrom: loopback, ProxyFrom: loopback, TLS: serverTLS(), Implicit: true}, w))
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "PROXY TCP6 2001:db8::1 2001:db8::2 1025 465\r\n")
	c := overTLS(t, nc)
	c.reply("220 ")
	c.send("QUIT\r\n")
	c.reply("221 ")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if s := &w.seen[0]; s.Trusted || s.Remote.String() != "[2001:db8::1]:1025" || s.Local.String() != "[2001:db8::2]:465" {
		t.Errorf("Connect saw %v %v, trusted %v", s.Remote, s.Local, s.Trusted)
	}
}

func TestKick(t *testing.T) {
	k := newMemoryBackend()
	srv := New(Config{Hostname: "mx.example.com", InsecureAuth: true}, k)
	addr, stop := start(t, srv)
	a, b := dial(t, addr), dial(t, addr)
	for _, c := range []*client{a, b} {
		c.transaction()
	}
	b.send("RSET\r\nAUTH PLAIN AGFsaWNlAHNlY3JldCB3b3Jk\r\nMAIL FROM:<alice@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
	for _, want := range []string{"250 ", "235 ", "250 ", "250 ", "354 "} {
		b.reply(want)
	}
	alice := func(s *envelope.Session) bool { return s.Identity != nil && s.Identity.User == "alice@example.com" }
	if n := srv.Kick(alice); n != 1 {
		t.Fatalf("kicked %d sessions", n)
	}
	if _, err := b.r.ReadByte(); err == nil {
		t.Error("the session is still open")
	}
	a.send("DATA\r\n.\r\n")
	a.reply("354 ")
	a.reply("250 ")
	if err := stop(); err != nil || len(k.open) > 0 || len(k.sessions) > 0 || len(k.kept) != 1 {
		t.Errorf("stop %v, left %d transactions, %d sessions; kept %d", err, len(k.open), len(k.sessions), len(k.kept))
	}
}

// FuzzXclient: what was understood is understood again when it is printed,
// and no value brings anything that a log line or a reply must not hold.
func FuzzXclient(f *testing.F) {
	for _, s := range []string{
		"NAME=a.example ADDR=192.0.2.1", "ADDR=IPV6:2001:db8::1 PORT=25", "LOGIN=a+40b PROTO=SMTP", "HELO=[192.0.2.1] NAME=[UNAVAILABLE]",
		"DESTADDR=::1 DESTPORT=0", "X=1", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		x, err := parseXclient(arg)
		if err != nil {
			return
		}
		var out []string
		text := func(key string, v *string) {
			if v == nil {
				return
			}
			if strings.ContainsFunc(*v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("%q: %s is %q", arg, key, *v)
			}
			if *v == "" {
				out = append(out, key+"=[UNAVAILABLE]")
			} else {
				out = append(out, key+"="+encodeXtext(*v))
			}
		}
		text("NAME", x.name)
		text("HELO", x.helo)
		text("LOGIN", x.login)
		if x.esmtp != nil {
			out = append(out, "PROTO="+map[bool]string{true: "ESMTP", false: "SMTP"}[*x.esmtp])
		}
		for key, a := range map[string]netip.Addr{"ADDR": x.addr, "DESTADDR": x.destAddr} {
			if a.IsValid() {
				out = append(out, key+"="+a.String())
			}
		}
		if len(out) == 0 {
			return
		}
		again, err := parseXclient(strings.Join(out, " "))
		same := func(a, b *string) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }
		if err != nil || again.addr != x.addr || again.destAddr != x.destAddr || !same(again.name, x.name) || !same(again.helo, x.helo) ||
			!same(again.login, x.login) {
			t.Errorf("%q: %+v, printed %q, again %+v, %v", arg, x, out, again, err)
		}
	})
}

// A connection that is reset, after any octet, with replies unread, leaves
// nothing: serve looks for open transactions and sessions in the end.
func TestResetAnywhere(t *testing.T) {
	l := serve(t, Config{InsecureAuth: true})
	for cut := range len(scene) {
		c := dial(t, l.addr)
		c.send(scene[:cut])
		if cut%2 == 0 {
			c.reply("220 ")
		}
		c.nc.(*net.TCPConn).SetLinger(0)
		c.nc.Close()
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	for _, m := range l.k.messages() {
		if m.body != "x\r\n" {
			t.Errorf("a cut message was kept: %q", m.body)
		}
	}
}
