package netline

import (
	"bufio"
	"context"
	"errors"
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

const (
	v2Head = proxySignature + "\x21"
	v2IPv4 = v2Head + "\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\x01\x02\x00\x19"
	v2IPv6 = v2Head + "\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x01\x02\x00\x19"
)

func TestProxyHeader(t *testing.T) {
	tests := []struct {
		in          string
		remote      string // "": the proxy's own
		bad         bool
		left, local string
	}{
		{in: "PROXY TCP4 192.0.2.1 198.51.100.1 258 25\r\nEHLO", remote: "192.0.2.1:258", local: "198.51.100.1:25", left: "EHLO"},
		{in: "PROXY TCP6 2001:db8::1 2001:db8::2 258 25\r\n", remote: "[2001:db8::1]:258", local: "[2001:db8::2]:25"},
		{in: "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 25\r\n", remote: "192.0.2.1:1", local: "[::1]:25"},
		{in: "PROXY UNKNOWN\r\nx", left: "x"},
		{in: "PROXY UNKNOWN anything at all\r\nx", left: "x"},
		{in: v2IPv4 + "EHLO", remote: "192.0.2.1:258", local: "198.51.100.1:25", left: "EHLO"},
		{in: v2IPv6 + "x", remote: "[2001:db8::1]:258", local: "[2001:db8::2]:25", left: "x"},
		{in: v2Head + "\x11\x00\x0f" + v2IPv4[16:] + "\x04\x00\x00x", remote: "192.0.2.1:258", local: "198.51.100.1:25", left: "x"},
		{in: proxySignature + "\x20\x00\x00\x00x", left: "x"},
		{in: v2Head + "\x00\x00\x00x", left: "x"},
		{in: v2Head + "\x11\x00\x04\x01\x02\x03\x04", bad: true},
		{in: proxySignature + "\x31\x11\x00\x00", bad: true},
		{in: proxySignature + "\x22\x11\x00\x00", bad: true},
		{in: v2Head + "\x11\xff\xff", bad: true},
		{in: v2Head + "\x41\x00\x00", bad: true},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n", bad: true},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.1 0258 25\r\n", bad: true},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.1 258\r\n", bad: true},
		{in: "PROXY TCP4 2001:db8::1 2001:db8::2 258 25\r\n", bad: true},
		{in: "PROXY TCP6 192.0.2.1 198.51.100.1 258 25\r\n", bad: true},
		{in: "PROXY TCP4 192.0.2.1  198.51.100.1 258 25\r\n", bad: true},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.1 258 25\n", bad: true},
		{in: "PROXY TCP4 192.0.2.1\r198.51.100.1 258 25\r\n", bad: true},
		{in: "PROXY UNKNOWN " + strings.Repeat("x", 100) + "\r\n", bad: true},
		{in: "EHLO relay.example.org\r\n", bad: true},
		{in: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00", bad: true},
	}
	for _, tt := range tests {
		r := strings.NewReader(tt.in)
		ends, err := readProxy(r)
		if tt.bad {
			if !errors.Is(err, ErrProxy) {
				t.Errorf("%q: %+v, %v, want ErrProxy", tt.in, ends, err)
			}
			continue
		}
		left, _ := io.ReadAll(r)
		if err != nil || ends.known != (tt.remote != "") ||
			ends.known && (ends.remote.String() != tt.remote || ends.local.String() != tt.local) ||
			string(left) != tt.left {
			t.Errorf("%q: %+v, %v, left %q", tt.in, ends, err, left)
		}
	}
}

// FuzzProxyHeader: nothing after a header is read, a header printed from what
// was understood is understood the same, and half a header never is one.
func FuzzProxyHeader(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.1 258 25\r\n", "PROXY UNKNOWN x\r\n", v2IPv4, v2IPv6, proxySignature + "\x20\x00\x00\x00", "EHLO x\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r := strings.NewReader(in)
		ends, err := readProxy(r)
		if err != nil {
			return
		}
		used := len(in) - r.Len()
		if _, err := readProxy(strings.NewReader(in[:used-1])); err == nil {
			t.Errorf("%q is understood without its end", in[:used])
		}
		if !ends.known {
			return
		}
		if !ends.remote.IsValid() || ends.remote.Addr().Zone() != "" {
			t.Errorf("%q: %+v", in, ends)
		}
		if ends.remote.Addr().Is4() != ends.local.Addr().Is4() {
			return // one of two IPv6 addresses stood for IPv4
		}
		family := map[bool]string{true: "TCP4", false: "TCP6"}[ends.remote.Addr().Is4()]
		line := strings.Join([]string{"PROXY", family, ends.remote.Addr().String(), ends.local.Addr().String(),
			portOf(ends.remote), portOf(ends.local)}, " ")
		if again, err := parseProxyV1(line); err != nil || again != ends {
			t.Errorf("%q: %+v, printed %q, again %+v, %v", in, ends, line, again, err)
		}
	})
}

func portOf(a netip.AddrPort) string {
	_, port, _ := strings.Cut(a.String()[strings.LastIndexByte(a.String(), ']')+1:], ":")
	return port
}

// echo is a server that says who the client is, then waits for it to go.
func echo(t *testing.T, s *Server, sessions *Sessions) (addr string) {
	t.Helper()
	s.Grace = time.Second
	if s.Handshake == 0 {
		s.Handshake = 5 * time.Second
	}
	s.Handle = func(_ context.Context, c *Conn) {
		sessions.Put(c, &envelope.Session{Remote: c.Remote()})
		defer sessions.Remove(c)
		c.Writer().WriteString(c.Remote().String() + " " + c.Local().Addr().String() + "\r\n")
		for {
			if _, err := c.ReadLine(time.Minute); err != nil {
				c.Close(true)
				return
			}
			c.Writer().WriteString("ok\r\n")
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// talk sends and returns what the server says first.
func talk(t *testing.T, addr, send string) (string, net.Conn) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(nc, send)
	line, _ := bufio.NewReader(nc).ReadString('\n')
	return strings.TrimSpace(line), nc
}

// Limits are those of the client that the proxy names, and a proxy that names
// none is refused; both are in the log.
func TestProxiedClients(t *testing.T) {
	log := &testkit.Buffer{}
	s := &Server{Name: "mx", Log: slog.New(slog.NewTextHandler(log, nil)), TooManyFromIPReply: "421 greedy\r\n",
		Limits: NewLimits(LimitsConfig{Connections: 1, Network: 2}, nil), ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	addr := echo(t, s, &Sessions{})
	for _, tt := range []struct{ send, want string }{
		{"PROXY TCP4 192.0.2.1 198.51.100.1 258 25\r\n", "192.0.2.1:258 198.51.100.1"},
		{"PROXY TCP4 192.0.2.1 198.51.100.1 259 25\r\n", "421 greedy"},
		{"PROXY TCP4 192.0.2.2 198.51.100.1 258 25\r\n", "192.0.2.2:258 198.51.100.1"},
		{"PROXY TCP4 192.0.2.3 198.51.100.1 258 25\r\n", "421 greedy"},
		{"PROXY TCP4 192.0.3.3 198.51.100.1 258 25\r\n", "192.0.3.3:258 198.51.100.1"},
		{"EHLO relay.example.org\r\n", ""},
	} {
		if got, _ := talk(t, addr, tt.send); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.send, got, tt.want)
		}
	}
	for _, want := range []string{
		`listener=mx client=192.0.2.1 reason="connections of the address"`, `client=192.0.2.3 reason="connections of the network"`,
		`client=127.0.0.1 reason="PROXY header"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not hold %q: %s", want, log)
		}
	}
}

func TestTotal(t *testing.T) {
	l := NewLimits(LimitsConfig{Total: 2}, nil)
	var frees []func()
	for i := range 3 {
		free, why := l.Acquire(netip.AddrFrom4([4]byte{192, 0, byte(i), 1}))
		if (why == "") != (i < 2) {
			t.Errorf("connection %d: %q", i, why)
		}
		frees = append(frees, free)
	}
	frees[0]()
	frees[1]()
	if len(l.nets) != 0 || len(l.clients) > 1 || l.total != 0 {
		t.Errorf("left over: %v, %v, %d", l.nets, l.clients, l.total)
	}
}

func TestKick(t *testing.T) {
	s := &Server{Log: slog.New(slog.DiscardHandler)}
	sessions := &Sessions{}
	addr := echo(t, s, sessions)
	one, a := talk(t, addr, "")
	_, b := talk(t, addr, "")
	match := func(ms *envelope.Session) bool { return strings.HasPrefix(one, ms.Remote.String()+" ") }
	if n := sessions.Kick(match); n != 1 {
		t.Fatalf("kicked %d", n)
	}
	if _, err := a.Read(make([]byte, 1)); err == nil {
		t.Error("the kicked session is open")
	}
	io.WriteString(b, "x\r\n")
	if line, err := bufio.NewReader(b).ReadString('\n'); err != nil || line != "ok\r\n" {
		t.Errorf("the other one: %q, %v", line, err)
	}
	if n := sessions.Kick(func(*envelope.Session) bool { return true }); n < 1 {
		t.Errorf("kicked %d", n)
	}
}
