package netline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLimits(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLimits(LimitsConfig{Connections: 1, Messages: Rate{N: 2, Per: time.Minute}, AuthFailures: Rate{N: 1, Per: time.Minute}},
		func() time.Time { return now })
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i, want := range []bool{true, true, false} {
		if got := l.Message(a); got != want {
			t.Errorf("message %d: %v, want %v", i+1, got, want)
		}
	}
	if !l.Message(b) {
		t.Error("each address has a bucket of its own")
	}
	now = now.Add(29 * time.Second)
	if l.Message(a) {
		t.Error("a token came too early")
	}
	now = now.Add(time.Second)
	for i, want := range []bool{true, false} {
		if got := l.Message(a); got != want {
			t.Errorf("after half of the time, message %d: %v, want %v", i+1, got, want)
		}
	}
	for range 100 {
		if !l.Recipient(a) || !l.MayAuth(a) {
			t.Fatal("zero is no limit, and asking for AUTH costs nothing")
		}
	}
	l.AuthFailed(a)
	if l.MayAuth(a) || !l.MayAuth(b) {
		t.Error("one failure a minute")
	}
	release, why := l.Acquire(netip.MustParseAddr("2001:db8::1"))
	if why != "" {
		t.Fatal("the first connection is refused")
	}
	if _, why := l.Acquire(netip.MustParseAddr("2001:db8::ffff")); why == "" {
		t.Error("a /64 is one client")
	}
	if other, why := l.Acquire(netip.MustParseAddr("2001:db8:0:1::1")); why != "" {
		t.Error("another /64 is another client")
	} else {
		other()
	}
	release()
	if again, why := l.Acquire(netip.MustParseAddr("2001:db8::2")); why != "" {
		t.Error("a connection that ended counts")
	} else {
		again()
	}
	var none *Limits
	if free, why := none.Acquire(a); why != "" || !none.Message(a) || !none.MayAuth(a) {
		t.Error("nil limits nothing")
	} else {
		free()
	}
}

// Memory follows the clients that were there lately.
func TestLimitsForget(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLimits(LimitsConfig{Messages: Rate{N: 1, Per: time.Second}}, func() time.Time { return now })
	for i := range 100_000 {
		l.Message(netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1}))
		now = now.Add(time.Millisecond)
	}
	if n := len(l.clients); n > 2*minSweep {
		t.Errorf("%d clients are remembered", n)
	}
}

// linesOf gives what ReadLine makes of octets, errors as "!": short texts.
func linesOf(t *testing.T, in io.Reader) []string {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		io.Copy(client, in)
		client.Close()
	}()
	c := newConn(server, &buffers{})
	defer server.Close()
	var out []string
	for {
		line, err := c.ReadLine(5 * time.Second)
		switch {
		case errors.Is(err, ErrBadLine):
			out = append(out, "!bad")
		case errors.Is(err, ErrTooLong):
			out = append(out, "!long")
		case err != nil:
			return out
		default:
			out = append(out, string(line))
		}
	}
}

func TestReadLine(t *testing.T) {
	long := strings.Repeat("x", MaxLine-2)
	tests := []struct {
		in   string
		want []string
	}{
		{"a\r\n\r\nb\r\n", []string{"a", "", "b"}},
		{"a\r\nb", []string{"a"}},
		{"a\rb\r\nc\r\n", []string{"!bad", "c"}},
		{"a\r\r\nc\r\n", []string{"!bad", "c"}},
		{"a\x00\r\nc\td\r\n", []string{"!bad", "c\td"}},
		{"a\nb\nc\r\nd\r\n", []string{"!bad", "!bad", "!bad", "d"}},
		{"\n\r\na\r\n", []string{"!bad", "!bad", "a"}},
		{long + "\r\na\r\n", []string{long, "a"}},
		{long + "x\r\na\r\n", []string{"!long", "a"}},
		{long + strings.Repeat("x", readSize) + "\r\na\r\n", []string{"!long", "a"}},
		{strings.Repeat("x", readSize-1) + "\r\na\r\n", []string{"!long", "a"}},
		{strings.Repeat("x", readSize) + "\r\na\r\n", []string{"!long", "a"}},
		{strings.Repeat("x", readSize) + "\nb\r\na\r\n", []string{"!bad", "!bad", "a"}},
		{strings.Repeat("x", 2*maxSkip) + "\r\na\r\n", nil},
	}
	for _, tt := range tests {
		got := linesOf(t, strings.NewReader(tt.in))
		if strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("%.40q: got %.80q, want %.80q", tt.in, got, tt.want)
		}
	}
}

// A bare LF, alone or after a short line, is refused and skipped if the client sent
// nothing else; if more came with it, the rest is refused too.
func TestReadLineBareLF(t *testing.T) {
	tests := []struct {
		pieces []string
		want   string
	}{
		{[]string{"NOOP\n", "NOOP\r\n"}, "!bad|NOOP"},
		{[]string{"\n", "NOOP\r\n"}, "!bad|NOOP"},
		{[]string{"NOOP\nRSET", "\r\nNOOP\r\n"}, "!bad|!bad|NOOP"},
		{[]string{"NO", "OP\n", "RSET\r\n", "NOOP\r\n"}, "!bad|!bad|NOOP"},
		{[]string{"RSET\r\nNOOP\n", "RSET\r\n", "NOOP\r\n"}, "RSET|!bad|!bad|NOOP"},
		{[]string{strings.Repeat("x", 254) + "\n", "RSET\r\n"}, "!bad|RSET"},
		{[]string{strings.Repeat("x", 1447) + "\n", "RSET\r\n", "NOOP\r\n"}, "!bad|!bad|NOOP"},
		{[]string{"A\n", "B\n", "C\r\n"}, "!bad|!bad|C"},
	}
	for _, tt := range tests {
		if got := strings.Join(linesOf(t, &pieces{tt.pieces}), "|"); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.pieces, got, tt.want)
		}
	}
}

type pieces struct{ left []string }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[0])
	if p.left[0] = p.left[0][n:]; p.left[0] == "" {
		p.left = p.left[1:]
	}
	return n, nil
}

// slowly is ReadLine by its documentation: the lines to be obeyed.
func slowly(in string, n int) (obeyed []string) {
	buf, rest := "", false
	for {
		alone, reads := buf == "", 0
		for !strings.Contains(buf, "\n") {
			if in == "" {
				return obeyed
			}
			k := min(n, len(in))
			buf, in = buf+in[:k], in[k:]
			reads++
		}
		line, left, _ := strings.Cut(buf, "\n")
		buf = left
		body, crlf := strings.CutSuffix(line, "\r")
		clean := !strings.ContainsFunc(body, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
		if crlf && clean && !rest {
			obeyed = append(obeyed, body)
		}
		rest = !crlf && (rest || !alone || reads > 1 || buf != "")
	}
}

// FuzzReadLine: the lines that are obeyed are those of a slow reading, and
// after a bare LF that came with more none is.
func FuzzReadLine(f *testing.F) {
	f.Add("a\r\nb\nc\r\nd\r\n", uint8(1))
	f.Add("a\rb\r\n\r\n\n\r\n", uint8(2))
	f.Add("ab\nc\r\nd\r\n", uint8(2))
	f.Fuzz(func(t *testing.T, in string, cut uint8) {
		if len(in) > 1000 {
			return
		}
		n := int(cut%16) + 1
		var got []string
		for _, line := range linesOf(t, &cutReader{in: []byte(in), n: n}) {
			if line != "!bad" {
				got = append(got, line)
			}
		}
		want := slices.DeleteFunc(slowly(in, n), func(l string) bool { return l == "!bad" })
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q: obeyed %q, want %q", in, got, want)
		}
	})
}

type cutReader struct {
	in []byte
	n  int
}

func (c *cutReader) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.in[:min(c.n, len(c.in))])
	c.in = c.in[n:]
	return n, nil
}

// Serve returns an error if the listener fails, and none after Stop.
func TestServeEnds(t *testing.T) {
	var log bytes.Buffer
	s := &Server{Grace: time.Second, Log: slog.New(slog.NewTextHandler(&log, nil)), Handle: func(_ context.Context, c *Conn) {
		for {
			if _, err := c.ReadLine(time.Minute); err != nil {
				if !errors.Is(err, ErrStopping) {
					t.Errorf("ReadLine: %v", err)
				}
				return
			}
		}
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), ln) }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.Write([]byte("x\r\n"))
	ln.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v, want net.ErrClosed", err)
	}
}

func TestExemptClientsAreNotCounted(t *testing.T) {
	l := NewLimits(
		LimitsConfig{Connections: 1, Messages: Rate{N: 1, Per: time.Hour}, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		nil,
	)
	for _, tt := range []struct {
		ip   string
		want bool
	}{{"127.0.0.1", true}, {"::ffff:127.0.0.1", true}, {"192.0.2.1", false}} {
		a := netip.MustParseAddr(tt.ip)
		l.Message(a)
		l.Acquire(a)
		_, why := l.Acquire(a)
		again := why == ""
		if again != tt.want || l.Message(a) != tt.want {
			t.Errorf("%s: a second connection %v, want %v", tt.ip, again, tt.want)
		}
	}
}
