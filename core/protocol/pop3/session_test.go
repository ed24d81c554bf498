package pop3

import (
	"bufio"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/internal/dialogtest"
	"carteiro/core/internal/testkit"
	"carteiro/core/protocol/netline"
	"carteiro/core/store"
)

const (
	first  = "Subject: one\r\n\r\nHello\r\n"
	second = "Subject: two\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n"
)

// drop is a running Server under test with its mailboxes.
type drop struct {
	addr string
	m    *memory
	p    *memoryBackend
	srv  *Server
	stop func() error
}

func serve(t testing.TB, cfg Config) *drop {
	t.Helper()
	cfg.Name, cfg.Hostname = "pop3", "pop.example.com"
	d := &drop{m: newMemory(), p: &memoryBackend{}}
	d.m.put("mrose@example.com", first, second)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	srv := New(cfg, d.p, d.m)
	d.srv = srv
	go func() { done <- srv.Serve(ctx, ln) }()
	d.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if d.p.open != d.p.closed || d.m.locked["mrose@example.com"] {
			t.Errorf("%d sessions opened, %d closed, maildrop locked: %v", d.p.open, d.p.closed, d.m.locked)
		}
	})
	return d
}

func TestDialogues(t *testing.T) {
	listeners := map[string]Config{
		"insecure": {InsecureAuth: true, MaxErrors: 30},
		"strict":   {TLS: serverTLS(), APOP: true, MaxErrors: 30},
		"delay":    {InsecureAuth: true, LoginDelay: time.Hour, MaxIdleCommands: 3},
		"pop3s":    {TLS: serverTLS(), Implicit: true, MaxErrors: 3},
	}
	dialogtest.PlayDir(t, "testdata", func(t *testing.T, file string) dialogtest.Server {
		name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".dialog"), "-")
		cfg, found := listeners[name]
		if !found {
			t.Fatalf("no settings for %q", name)
		}
		d := serve(t, cfg)
		return dialogtest.Server{Addr: d.addr, TLS: clientTLS()}
	})
}

type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	return &client{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) line(want string) string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		c.t.Fatalf("want %q, got %q, %v", want, line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

func (c *client) login() {
	c.t.Helper()
	c.line("+OK")
	c.send("USER mrose\r\nPASS tan staaf\r\n")
	c.line("+OK")
	c.line("+OK maildrop")
}

// A client that collects a year of mail deletes more than one commit holds.
func TestQuitRemovesAnyNumber(t *testing.T) {
	d := serve(t, Config{InsecureAuth: true})
	const n = 2*store.MaxExpunge + 1
	d.m.put("mrose@example.com", slices.Repeat([]string{first}, n)...)
	c := dial(t, d.addr)
	c.line("+OK")
	c.send("USER mrose\r\nPASS tan staaf\r\n")
	c.line("+OK")
	c.line("+OK")
	for i := 1; i <= n; i++ {
		c.send(fmt.Sprintf("DELE %d\r\n", i))
		c.line("+OK")
	}
	c.send("QUIT\r\n")
	c.line("+OK pop.example.com POP3 server signing off (2 messages left)")
	if left := d.m.boxes["mrose@example.com"].info.Count; left != 2 || d.m.expunges != 3 {
		t.Errorf("%d messages left, %d expunges", left, d.m.expunges)
	}
}

// The dialogue of the lecture: APOP with the timestamp of the greeting, and
// an empty maildrop at the end.
func TestLectureDialogue(t *testing.T) {
	d := serve(t, Config{APOP: true})
	c := dial(t, d.addr)
	greeting := c.line("+OK")
	stamp := greeting[strings.IndexByte(greeting, '<'):]
	sum := md5.Sum([]byte(stamp + "tanstaaf"))
	c.send("APOP mrose " + hex.EncodeToString(sum[:]) + "\r\nSTAT\r\nLIST\r\nRETR 1\r\nDELE 1\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n")
	want := []string{
		"+OK maildrop has 2 messages (57 octets)", "+OK 2 57",
		"+OK 2 messages (57 octets)", "1 23", "2 34", ".",
		"+OK 23 octets", "Subject: one", "", "Hello", ".", "+OK message 1 deleted",
		"+OK 34 octets", "Subject: two", "", "..dot", "...", "..", "end", ".", "+OK message 2 deleted",
		"+OK pop.example.com POP3 server signing off (maildrop empty)",
	}
	for _, w := range want {
		if got := c.line(w); got != w {
			t.Errorf("got %q, want %q", got, w)
		}
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if n := d.m.boxes["mrose@example.com"].info.Count; n != 0 || d.m.expunges != 1 {
		t.Errorf("%d messages left, %d expunges", n, d.m.expunges)
	}
	other := serve(t, Config{APOP: true})
	if again := dial(t, other.addr).line("+OK"); again == greeting {
		t.Errorf("the timestamp %q came twice", again)
	}
}

// Without QUIT nothing is deleted, however the session ends.
func TestAbortDeletesNothing(t *testing.T) {
	ends := map[string]func(*drop, *client){
		"close":   func(_ *drop, c *client) { c.nc.Close() },
		"timeout": func(_ *drop, c *client) { io.Copy(io.Discard, c.r) },
		"stop":    func(d *drop, _ *client) { d.stop() },
		"errors":  func(_ *drop, c *client) { c.send(strings.Repeat("FNORD\r\n", 20)); io.Copy(io.Discard, c.r) },
		"panic":   func(_ *drop, c *client) { c.send("RETR 3\r\n"); c.line("-ERR [SYS/TEMP]") },
		"corrupt": func(_ *drop, c *client) { c.send("RETR 4\r\n"); io.Copy(io.Discard, c.r) },
		"part":    func(_ *drop, c *client) { c.send("QUIT"); c.nc.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			d := serve(t, Config{InsecureAuth: true, Idle: 200 * time.Millisecond})
			d.m.put("mrose@example.com", "panic", "Subject: broken\r\n")
			c := dial(t, d.addr)
			c.login()
			c.send("DELE 1\r\nDELE 2\r\n")
			c.line("+OK")
			c.line("+OK")
			end(d, c)
			c.nc.Close()
			if err := d.stop(); err != nil {
				t.Fatal(err)
			}
			if n := d.m.boxes["mrose@example.com"].info.Count; n != 4 || d.m.expunges != 0 {
				t.Errorf("%d messages left, %d expunges", n, d.m.expunges)
			}
		})
	}
}

// STAT comes from the counters; what arrives later is not seen.
func TestSnapshot(t *testing.T) {
	d := serve(t, Config{InsecureAuth: true})
	c := dial(t, d.addr)
	c.login()
	d.m.put("mrose@example.com", "Subject: later\r\n\r\n")
	c.send("STAT\r\n")
	c.line("+OK 2 57\r\n")
	if d.m.walks != 0 {
		t.Error("STAT walked the messages")
	}
	c.send("LIST 3\r\nUIDL 2\r\nDELE 2\r\nSTAT\r\nLIST\r\nRSET\r\nSTAT\r\nDELE 1\r\nQUIT\r\n")
	for _, want := range []string{
		"-ERR", "+OK 2 7.2\r\n", "+OK", "+OK 1 23\r\n", "+OK 1 messages", "1 23", ".", "+OK", "+OK 2 57\r\n", "+OK", "+OK",
	} {
		c.line(want)
	}
	if d.m.walks != 1 {
		t.Errorf("the messages were walked %d times", d.m.walks)
	}
	c = dial(t, d.addr)
	c.login()
	c.send("UIDL\r\nQUIT\r\n")
	for _, want := range []string{"+OK 2 messages", "1 7.2\r\n", "2 7.3\r\n", ".", "+OK"} {
		c.line(want)
	}
}

// A client decodes exactly the stored message, in as many octets as LIST says. If the
// message does not end in CRLF, one is added.
func TestRetrIsExact(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	texts := []string{
		"\r\n", "a: b\r\n\r\n", "a: b\r\n\r\n.\r\n..\r\n...\r\n", "a: b\r\n\r\n" + long + "\r\n." + long + "\r\n",
		strings.Repeat("y", 16<<10-1) + "\r\n\r\n.\r\n", strings.Repeat("z", 16<<10) + "\r\n", "no end", "", "bare\n.\nlf\n", "a\r\n\n", "cr\r",
	}
	d := serve(t, Config{InsecureAuth: true})
	d.m.put("mrose@example.com", texts...)
	c := dial(t, d.addr)
	c.login()
	for i, text := range texts {
		c.send(fmt.Sprintf("RETR %d\r\n", i+3))
		c.line(fmt.Sprintf("+OK %d octets\r\n", len(text)))
		if !strings.HasSuffix(text, "\r\n") && text != "" {
			text += "\r\n"
		}
		if strings.HasPrefix(text, "bare") { // for a strict client the dot after a bare LF is one too many
			text = strings.ReplaceAll(text, "\n.", "\n..")
		}
		if got := c.multiline(); got != text {
			t.Errorf("message %d: got %.60q, want %.60q", i+3, got, text)
		}
	}
}

// multiline reads to CRLF.CRLF, and undoes the stuffing after CRLF only.
func (c *client) multiline() string {
	c.t.Helper()
	var b strings.Builder
	bol := true
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("after %.60q: %v", b.String()+line, err)
		}
		if bol && line == ".\r\n" {
			return b.String()
		}
		if bol {
			line = strings.TrimPrefix(line, ".")
		}
		bol = strings.HasSuffix(line, "\r\n")
		b.WriteString(line)
	}
}

func TestStoreFails(t *testing.T) {
	d := serve(t, Config{InsecureAuth: true})
	c := dial(t, d.addr)
	c.login()
	c.send("DELE 1\r\n")
	c.line("+OK")
	d.m.mu.Lock()
	d.m.err = errors.New("disk on fire in /var/lib")
	d.m.mu.Unlock()
	c.send("RETR 2\r\nQUIT\r\n")
	for _, want := range []string{"-ERR [SYS/TEMP] message", "-ERR [SYS/TEMP] the deleted messages could not be removed"} {
		if got := c.line(want); strings.Contains(got, "/var") {
			t.Errorf("the peer is told %q", got)
		}
	}
	c = dial(t, d.addr)
	c.line("+OK")
	c.send("USER mrose\r\nPASS tan staaf\r\n")
	c.line("+OK")
	c.line("-ERR [SYS/TEMP]")
	d.m.mu.Lock()
	d.m.err = store.ErrNotFound
	d.m.mu.Unlock()
	if d.m.expunges != 0 {
		t.Error("something was expunged")
	}
}

func TestAuthFailuresAreLimited(t *testing.T) {
	d := serve(t,
		Config{InsecureAuth: true, Limits: netline.NewLimits(netline.LimitsConfig{AuthFailures: netline.Rate{N: 2, Per: time.Hour}}, nil)})
	c := dial(t, d.addr)
	c.line("+OK")
	for range 2 {
		c.send("USER mrose\r\nPASS wrong\r\n")
		c.line("+OK")
		c.line("-ERR [AUTH]")
	}
	c.send("USER mrose\r\nPASS tan staaf\r\n")
	c.line("+OK")
	c.line("-ERR [SYS/TEMP] too many failed logins")
}

var certificates = sync.OnceValues(func() (server, client *tls.Config) { return testkit.Certificates("pop.example.com") })

func serverTLS() *tls.Config { s, _ := certificates(); return s }
func clientTLS() *tls.Config { _, c := certificates(); return c }

// starttls makes the handshake and returns the connection's tls-exporter
// binding.
func (c *client) starttls() []byte {
	c.t.Helper()
	tc := tls.Client(c.nc, clientTLS())
	tc.SetDeadline(time.Now().Add(10 * time.Second))
	if err := tc.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.nc, c.r = tc, bufio.NewReader(tc)
	state := tc.ConnectionState()
	binding, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		c.t.Fatal(err)
	}
	return binding
}
