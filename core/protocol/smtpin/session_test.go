package smtpin

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"carteiro/core/message/envelope"
)

// client speaks to a listener in raw octets.
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

// dialPipe connects to a server of servePipes.
func dialPipe(t testing.TB, l *listener) *client {
	t.Helper()
	nc, err := l.pipes.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &client{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatal(err)
	}
}

// reply reads one reply, of several lines or one, and checks how it begins.
func (c *client) reply(want string) string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("want %q, got %q, %v", want, line, err)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, want) {
			c.t.Fatalf("want %q, got %q", want, line)
		}
		return line
	}
}

func (c *client) transaction() {
	c.t.Helper()
	c.reply("220 ")
	c.send("EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n")
	c.reply("250 ")
	c.reply("250 2.1.0")
	c.reply("250 2.1.5")
}

func (c *client) eof() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("want the end of the connection, got %q, %v", rest, err)
	}
}

// Every ending but CRLF.CRLF is content; with Reject the message around it is
// refused, with Normalise it stays one message.
func TestSmuggling(t *testing.T) {
	endings := []string{
		"\n.\n", "\r.\r", "\r\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\r", "\r\n\x00.\r\n", "\r\n.\r\r\n", "\r\n.\x00\r\n", "\n\n.\r\n",
		"\r\n.\n\r\n",
	}
	inner := "MAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nsmuggled\r\n"
	for _, mode := range []Newlines{Reject, Normalise} {
		l := serve(t, Config{BareNewlines: mode})
		for _, end := range endings {
			before := len(l.k.messages())
			c := dial(t, l.addr)
			c.transaction()
			c.send("DATA\r\n")
			c.reply("354 ")
			c.send("first" + end + inner + ".\r\n")
			bare := strings.NewReplacer("\r\n", "").Replace(end)
			refused := mode == Reject && strings.ContainsAny(bare, "\r\n")
			if refused {
				c.reply("550 5.6.11")
			} else {
				c.reply("250 2.0.0")
			}
			c.send("QUIT\r\n")
			c.reply("221 ")
			msgs := l.k.messages()
			if want := map[bool]int{true: before, false: before + 1}[refused]; len(msgs) != want {
				t.Fatalf("%v: %q: %d messages, want %d", mode, end, len(msgs), want)
			}
			if !refused {
				m := msgs[len(msgs)-1]
				if !strings.Contains(m.body, "smuggled\r\n") || m.tx.Sender != "a@example.org" {
					t.Errorf("%v: %q ended the data: %q from %s", mode, end, m.body, m.tx.Sender)
				}
				if strings.ContainsAny(strings.ReplaceAll(m.body, "\r\n", ""), "\r\n") {
					t.Errorf("%q: bare CR or LF in %q", end, m.body)
				}
			}
		}
	}
}

// If a client disconnects in the middle of a message nothing is delivered, and the
// backend gets io.ErrUnexpectedEOF.
func TestCutShort(t *testing.T) {
	for _, content := range []string{
		"DATA\r\nhalf a mess", "DATA\r\nline\r\n", "DATA\r\nline\r\n.", "DATA\r\nline\r\n.\r",
		"BDAT 10 LAST\r\n12345", "BDAT 5\r\n12345", "BDAT 10\r\n123", "BDAT 5\r\n12345BDAT 5 LAST\r\n123",
		"BDAT 5\r\n12345QUIT\r\n", "BDAT 5\r\n12345RSET\r\n", "BDAT 5\r\n12345BDAT x\r\n",
	} {
		t.Run(content, func(t *testing.T) {
			l := serve(t, Config{})
			c := dial(t, l.addr)
			c.transaction()
			c.send(content)
			c.nc.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c.r)
			if err := l.stop(); err != nil {
				t.Fatal(err)
			}
			if len(l.k.kept) > 0 {
				t.Errorf("kept %q", l.k.kept[0].body)
			}
			if len(l.k.failed) != 1 || !errors.Is(l.k.failed[0], io.ErrUnexpectedEOF) {
				t.Errorf("the backend read %v, want io.ErrUnexpectedEOF", l.k.failed)
			}
			if l.k.ended != 1 {
				t.Errorf("End called %d times", l.k.ended)
			}
		})
	}
}

// What the client said arrives in the words of core/message/envelope.
func TestWhatTheBackendSees(t *testing.T) {
	l := serve(t, Config{RelayFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	c := dial(t, l.addr)
	c.reply("220 ")
	c.send("EHLO c.example\r\nMAIL FROM:<\"a\"@EXAMPLE.org> BODY=8BITMIME SIZE=5 RET=FULL ENVID=QQ+2B MT-PRIORITY=3 BY=-5;NT SMTPUTF8\r\n" +
		"RCPT TO:<postmaster> NOTIFY=NEVER\r\n" +
		"RCPT TO:<@hop.example:B+tag@example.com> NOTIFY=DELAY,FAILURE ORCPT=rfc822;b+2Btag@e.com\r\nDATA\r\n" +
		"..a\r\n.b\r\nc\r\n.\r\nQUIT\r\n")
	for _, want := range []string{"250 ", "250 ", "250 ", "250 ", "354 ", "250 ", "221 "} {
		c.reply(want)
	}
	m := l.k.messages()[0]
	prio := envelope.Priority(3)
	want := envelope.Params{Size: 5, Body: "8BITMIME", SMTPUTF8: true, EnvID: "QQ+", Ret: "FULL", Priority: &prio, By: -5, ByMode: "NT"}
	if !reflect.DeepEqual(m.tx.Params, want) {
		t.Errorf("params %+v, want %+v", m.tx.Params, want)
	}
	if m.tx.Sender != "a@example.org" || m.session != "UTF8SMTP" || m.body != ".a\r\nb\r\nc\r\n" {
		t.Errorf("sender %s, with %s, body %q", m.tx.Sender, m.session, m.body)
	}
	rcpts := []envelope.Recipient{
		{N: 0, Address: "postmaster@example.com", Orig: "postmaster@example.com", Notify: envelope.NotifyNever},
		{
			N:       1,
			Address: "B+tag@example.com",
			Orig:    "B+tag@example.com",
			Notify:  envelope.NotifyDelay | envelope.NotifyFailure,
			ORcpt:   "rfc822;b+tag@e.com",
		},
	}
	if !reflect.DeepEqual(m.rcpts, rcpts) {
		t.Errorf("recipients %+v, want %+v", m.rcpts, rcpts)
	}
}

// Replies to pipelined commands come in one packet.
func TestRepliesAreCoalesced(t *testing.T) {
	l := serve(t, Config{})
	c := dial(t, l.addr)
	c.reply("220 ")
	c.send("EHLO c.example\r\n")
	c.reply("250 ")
	c.send("MAIL FROM:<a@example.org>\r\n" + strings.Repeat("RCPT TO:<b@example.com>\r\n", 20))
	buf := make([]byte, 4096)
	n, err := c.nc.Read(buf)
	if lines := strings.Count(string(buf[:n]), "\r\n"); err != nil || lines != 21 {
		t.Errorf("the first read gave %d replies, %v, want 21", lines, err)
	}
}

// Stop: idle sessions get 421, content that is coming in may finish, and after the grace
// period everything is closed.
func TestStop(t *testing.T) {
	l := serve(t, Config{Grace: 10 * time.Second})
	idle, busy := dial(t, l.addr), dial(t, l.addr)
	idle.transaction()
	busy.transaction()
	busy.send("DATA\r\n")
	busy.reply("354 ")
	stopped := make(chan error, 1)
	go func() { stopped <- l.stop() }()
	idle.reply("421 4.3.2")
	idle.eof()
	if nc, err := net.Dial("tcp", l.addr); err == nil {
		nc.Close()
		t.Error("a stopping server accepts connections")
	}
	busy.send("x\r\n.\r\n")
	busy.reply("250 2.0.0")
	busy.reply("421 4.3.2")
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

// A client in the middle of a handshake is not waited for.
func TestStopDuringHandshake(t *testing.T) {
	l := serve(t, Config{TLS: serverTLS(), Implicit: true, Grace: time.Hour})
	c := dial(t, l.addr)
	c.send("\x16\x03\x01")
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, c.r)
}

func TestGraceEnds(t *testing.T) {
	l := serve(t, Config{Grace: 50 * time.Millisecond})
	c := dial(t, l.addr)
	c.transaction()
	c.send("DATA\r\n")
	c.reply("354 ")
	c.send("never finished\r\n")
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if len(l.k.failed) != 1 || !errors.Is(l.k.failed[0], io.ErrUnexpectedEOF) {
		t.Errorf("the backend read %v", l.k.failed)
	}
}

// A client that leaves while the backend commits does not cancel the commit.
func TestCommitIsNotCancelled(t *testing.T) {
	l := serve(t, Config{})
	l.k.block = make(chan struct{})
	c := dial(t, l.addr)
	c.transaction()
	c.send("DATA\r\n")
	c.reply("354 ")
	c.send("x\r\n.\r\n")
	c.nc.Close()
	l.k.block <- struct{}{}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if len(l.k.kept) != 1 {
		t.Errorf("kept %d messages, want 1; failed %v", len(l.k.kept), l.k.failed)
	}
}

func TestTooSlow(t *testing.T) {
	for _, begin := range []string{"DATA\r\n", "BDAT 1000000 LAST\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			c := dialPipe(t, servePipes(t, Config{MinRate: 100, RateAfter: time.Minute}))
			c.transaction()
			c.send(begin)
			if begin == "DATA\r\n" {
				c.reply("354 ")
			}
			began, done := time.Now(), make(chan struct{})
			go func() {
				defer close(done)
				for {
					time.Sleep(5 * time.Second)
					if _, err := io.WriteString(c.nc, "slow\r\n"); err != nil {
						return
					}
				}
			}()
			c.reply("421 4.4.2")
			if took := time.Since(began); took < time.Minute || took > time.Minute+5*time.Second {
				t.Errorf("%q ended after %v, want a minute", begin, took)
			}
			c.nc.Close()
			<-done
		})
	}
}

func TestTimeout(t *testing.T) {
	limits := Timeouts{Command: 5 * time.Minute, DataBlock: 3 * time.Minute}
	synctest.Test(t, func(t *testing.T) {
		l := servePipes(t, Config{Timeouts: limits})
		c := dialPipe(t, l)
		c.reply("220 ")
		began := time.Now()
		time.Sleep(limits.Command - time.Second)
		c.send("NOO") // part of a line does not buy more time
		c.reply("421 4.4.2")
		if took := time.Since(began); took != limits.Command {
			t.Errorf("the command timed out after %v, want %v", took, limits.Command)
		}
		c = dialPipe(t, l)
		c.transaction()
		c.send("DATA\r\n")
		c.reply("354 ")
		began = time.Now()
		c.reply("421 4.4.2")
		if took := time.Since(began); took != limits.DataBlock {
			t.Errorf("the content timed out after %v, want %v", took, limits.DataBlock)
		}
		c.eof()
	})
}

// The limit of a read is each read's: content that keeps coming may take longer.
func TestDeadlineRolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dialPipe(t, servePipes(t, Config{MinRate: -1, Timeouts: Timeouts{DataBlock: 3 * time.Minute}}))
		c.transaction()
		c.send("DATA\r\n")
		c.reply("354 ")
		for range 10 {
			c.send("line\r\n")
			time.Sleep(3*time.Minute - time.Second)
		}
		c.send(".\r\n")
		c.reply("250 ")
	})
}

func TestConnectionLimits(t *testing.T) {
	limits := NewLimits(LimitsConfig{Connections: 2}, nil)
	l := serve(t, Config{MaxConnections: 3, Limits: limits})
	other := serve(t, Config{Limits: limits, MaxConnections: 1})
	a, b := dial(t, l.addr), dial(t, other.addr)
	a.reply("220 ")
	b.reply("220 ")
	dial(t, other.addr).reply("421 4.3.2")
	c := dial(t, l.addr)
	c.reply("421 4.7.0")
	c.eof()
	a.send("QUIT\r\n")
	a.reply("221 ")
	a.nc.Close()
	for range 100 { // the server forgets a session just after its goodbye
		c = dial(t, l.addr)
		if line, err := c.r.ReadString('\n'); err == nil && strings.HasPrefix(line, "220 ") {
			return
		}
		c.nc.Close()
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a connection that ended is still counted")
}

func TestRateLimits(t *testing.T) {
	now := time.Unix(0, 0)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	l := serve(t, Config{InsecureAuth: true, Limits: NewLimits(LimitsConfig{
		Messages: Rate{N: 2, Per: time.Minute}, Recipients: Rate{N: 3, Per: time.Minute}, AuthFailures: Rate{N: 1, Per: time.Minute},
	}, clock)})
	c := dial(t, l.addr)
	c.transaction()
	c.send("RCPT TO:<b@example.com>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<b@example.com>\r\nRSET\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n")
	for _, want := range []string{"250 ", "250 ", "450 4.7.1", "250 ", "250 ", "250 ", "450 4.7.1"} {
		c.reply(want)
	}
	mu.Lock()
	now = now.Add(30 * time.Second) // half of the bucket is there again
	mu.Unlock()
	c.send("MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\nAUTH PLAIN AGFsaWNlAHdyb25n\r\nAUTH PLAIN AGFsaWNlAHNlY3JldCB3b3Jk\r\n")
	for _, want := range []string{"250 ", "250 ", "450 ", "535 ", "421 4.7.0"} {
		c.reply(want)
	}
	c.eof()
}

// No octet of a peer reaches the log as it came, and none without bound.
func TestLogIsQuoted(t *testing.T) {
	var log strings.Builder
	var mu sync.Mutex
	w := writerFunc(func(p []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return log.Write(p) })
	l := serve(t, Config{TLS: serverTLS(), Log: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	c := dial(t, l.addr)
	c.reply("220 ")
	c.send("EHLO c.example\r\nGET \x1b[31m" + strings.Repeat("y", 3000) + "\r\nSTARTTLS\r\n")
	c.reply("250 ")
	c.reply("500 ")
	c.reply("220 ")
	c.send("\x16\x03\x01" + strings.Repeat("\x1b[31m", 400) + "\r\n")
	c.nc.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, c.r)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	if strings.Contains(text, "\x1b") || strings.Contains(text, strings.Repeat("y", 201)) {
		t.Errorf("the log holds what the peer sent: %q", text)
	}
	if !strings.Contains(text, "tls failed") {
		t.Errorf("the failed handshake is not in the log: %q", text)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// refuser refuses every connection.
type refuser struct{ *memoryBackend }

func (r refuser) Connect(ctx context.Context, s *envelope.Session) *envelope.Status {
	r.memoryBackend.Connect(ctx, s)
	return envelope.Reject(554, "5.7.1", "No service")
}

// RFC 5321 3.1: after a 554 greeting only QUIT is obeyed.
func TestRefusedAtConnect(t *testing.T) {
	k := newMemoryBackend()
	addr, stop := start(t, New(Config{Hostname: "mx.example.com"}, refuser{k}))
	c := dial(t, addr)
	c.reply("554 5.7.1")
	c.send("EHLO c.example\r\nBDAT 4 LAST\r\nQUITMAIL FROM:<>\r\nQUIT\r\n")
	for _, want := range []string{"503 ", "503 ", "503 ", "221 "} {
		c.reply(want)
	}
	c.eof()
	if err := stop(); err != nil || k.closed != 1 {
		t.Errorf("stop: %v, Close called %d times", err, k.closed)
	}
}

func TestObserve(t *testing.T) {
	var mu sync.Mutex
	got := make(map[string]int)
	count := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		got[fmt.Sprintf(format, args...)]++
	}
	l := serve(t, Config{Observe: Observe{
		Open:    func(l string) { count("open") },
		Closed:  func(l string, _ time.Duration) { count("closed") },
		Command: func(_, verb string, code int, _ time.Duration) { count("%s %d", verb, code) },
		Content: func(_ string, n int64, code int, _ time.Duration) { count("content %d %d", n, code) },
	}})
	c := dial(t, l.addr)
	c.transaction()
	c.send("FNORD\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
	for _, want := range []string{"500 ", "354 ", "250 ", "221 "} {
		c.reply(want)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"open", "closed", "other 500", "MAIL 250", "DATA 250", "content 3 250", "QUIT 221"} {
		if got[want] != 1 {
			t.Errorf("%s observed %d times; all: %v", want, got[want], got)
		}
	}
}

// overTLS makes the handshake on a connection.
func overTLS(t testing.TB, nc net.Conn) *client {
	t.Helper()
	tc := tls.Client(nc, clientTLS())
	tc.SetDeadline(time.Now().Add(10 * time.Second))
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, nc: tc, r: bufio.NewReader(tc)}
}

// Chunks that come one by one over many connections do not get mixed up: the
// buffers that a waiting session gives back serve others meanwhile.
func TestChunksOfManySessions(t *testing.T) {
	l := serve(t, Config{})
	var clients []*client
	for range 8 {
		c := dial(t, l.addr)
		c.transaction()
		clients = append(clients, c)
	}
	for round := range 20 {
		for i, c := range clients {
			text := fmt.Sprintf("session %d round %d\r\n", i, round)
			c.send(fmt.Sprintf("BDAT %d\r\n", len(text)))
			c.send(text)
		}
		for _, c := range clients {
			c.reply("250 2.0.0")
		}
	}
	for _, c := range clients {
		c.send("BDAT 0 LAST\r\n")
		c.reply("250 2.0.0")
	}
	for _, m := range l.k.messages() {
		lines := strings.Split(strings.TrimSuffix(m.body, "\r\n"), "\r\n")
		who, _, _ := strings.Cut(lines[0], " round")
		for n, line := range lines {
			if line != fmt.Sprintf("%s round %d", who, n) {
				t.Fatalf("line %d is %q in the message of %s", n, line, who)
			}
		}
		if len(lines) != 20 {
			t.Fatalf("%d lines", len(lines))
		}
	}
}

// As many octets as are read ahead of the buffers, and one fewer or more, in
// one piece, in the clear and by TLS: each command has its reply at once.
func TestReadAhead(t *testing.T) {
	plain := serve(t, Config{})
	secret := serve(t, Config{TLS: serverTLS(), Implicit: true})
	for _, l := range []*listener{plain, secret} {
		c := dial(t, l.addr)
		if l == secret {
			c = overTLS(t, c.nc)
		}
		c.reply("220 ")
		for _, n := range []int{511, 512, 513, 1023, 1024, 1025, 512} {
			text := strings.Repeat("NOOP\r\n", 5)
			text += "NOOP " + strings.Repeat("x", n%200) + "\r\n"
			for n-len(text) > 400 {
				text += "NOOP " + strings.Repeat("x", 200) + "\r\n"
			}
			text += "NOOP " + strings.Repeat("x", n-len(text)-7) + "\r\n"
			if len(text) != n {
				t.Fatalf("%d octets, want %d", len(text), n)
			}
			c.send(text)
			for range strings.Count(text, "\n") {
				c.reply("250 2.0.0")
			}
		}
	}
}
