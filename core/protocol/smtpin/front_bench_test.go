package smtpin

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// script is a connection whose client costs nothing: its input, n transactions in pieces
// as a network would deliver them, is ready at the start, and it ignores replies. So the
// benchmark measures only the server.
type script struct {
	hello, pieces []string
	n             int
	at            int // next piece
	rest          string
	done          chan struct{}
	closed        bool
}

func (s *script) Read(p []byte) (int, error) {
	for s.rest == "" {
		switch {
		case len(s.hello) > 0:
			s.rest, s.hello = s.hello[0], s.hello[1:]
		case s.n == 0:
			return 0, io.EOF
		default:
			s.rest = s.pieces[s.at]
			if s.at++; s.at == len(s.pieces) {
				s.at = 0
				s.n--
			}
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) { return len(p), nil }
func (s *script) Close() error {
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	return nil
}
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 25} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1025} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// once is a listener with one connection.
type once struct {
	conn net.Conn
	gone chan struct{}
}

func (o *once) Accept() (net.Conn, error) {
	if c := o.conn; c != nil {
		o.conn = nil
		return c, nil
	}
	<-o.gone
	return nil, net.ErrClosed
}
func (o *once) Close() error   { close(o.gone); return nil }
func (o *once) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 25} }

// BenchmarkFront compares the front end with go-smtp's server, both with a
// backend that reads content and drops it: messages per second of processor
// time, on one connection.
func BenchmarkFront(b *testing.B) {
	for _, size := range []struct {
		name   string
		octets int
	}{{"2KiB", 2 << 10}, {"1MiB", 1 << 20}} {
		text := strings.Repeat(strings.Repeat("x", 74)+"\r\n", size.octets/76) + ".\r\n"
		pieces := []string{"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"}
		for rest := text; rest != ""; {
			n := min(len(rest), 16<<10)
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		b.Run(size.name+"/carteiro", func(b *testing.B) {
			front(b, pieces, len(text), func(ln net.Listener, done <-chan struct{}) error {
				ctx, cancel := context.WithCancel(context.Background())
				go func() { <-done; cancel() }()
				return New(Config{Hostname: "mx.example.com"}, discardBackend{}).Serve(ctx, ln)
			})
		})
		b.Run(size.name+"/go-smtp", func(b *testing.B) {
			front(b, pieces, len(text), func(ln net.Listener, done <-chan struct{}) error {
				srv := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return drop{}, nil }))
				srv.Domain = "mx.example.com"
				go func() { <-done; srv.Close() }()
				if err := srv.Serve(ln); err != nil && err != gosmtp.ErrServerClosed {
					return err
				}
				return nil
			})
		})
	}
}

type drop struct{}

func (drop) Reset()                                 {}
func (drop) Logout() error                          { return nil }
func (drop) Mail(string, *gosmtp.MailOptions) error { return nil }
func (drop) Rcpt(string, *gosmtp.RcptOptions) error { return nil }
func (drop) Data(r io.Reader) error                 { _, err := io.Copy(io.Discard, r); return err }

func front(b *testing.B, pieces []string, octets int, serve func(net.Listener, <-chan struct{}) error) {
	c := &script{hello: []string{"EHLO c.example\r\n"}, pieces: pieces, n: b.N, done: make(chan struct{})}
	b.SetBytes(int64(octets))
	b.ReportAllocs()
	b.ResetTimer()
	begin := processor(b)
	if err := serve(&once{conn: c, gone: make(chan struct{})}, c.done); err != nil {
		b.Fatal(err)
	}
	used := processor(b) - begin
	b.StopTimer()
	if c.n != 0 || c.rest != "" {
		b.Fatalf("%d messages were not read", c.n)
	}
	b.ReportMetric(float64(b.N)/used.Seconds(), "msg/cpu-s")
}

// processor returns the time that this process used so far.
func processor(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkIdle is the memory of a connection that said EHLO and waits, stack
// and heap, without what the kernel has; 10,000 of them with -benchtime=10000x
// and two descriptors each allowed by ulimit -n.
func BenchmarkIdle(b *testing.B) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	limit.Cur = limit.Max
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // what is allowed must do
	n := min(10_000, int(limit.Cur-100)/2)
	addr, stop := start(b, New(Config{Hostname: "mx.example.com"}, discardBackend{}))
	conns := make([]net.Conn, n)
	buf := make([]byte, 4096)
	before := memory()
	for i := range conns {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		conns[i] = nc
		for _, say := range []string{"EHLO c.example\r\n", ""} {
			if _, err := nc.Read(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.WriteString(nc, say); err != nil {
				b.Fatal(err)
			}
		}
	}
	clients := memory() - before
	for b.Loop() { // nothing is timed here
	}
	b.ReportMetric(float64(clients)/float64(n), "B/conn")
	b.ReportMetric(float64(n), "conns")
	for _, nc := range conns {
		nc.Close()
	}
	if err := stop(); err != nil {
		b.Fatal(err)
	}
}

// memory returns what heap and stacks take, after two collections: the first gives
// pooled buffers up, the second frees them and shrinks stacks.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
