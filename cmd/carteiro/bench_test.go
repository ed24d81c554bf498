package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/scripts"
)

// benchServer is a whole server in this process, with a policy and bundles, on
// a disk.
func benchServer(b *testing.B, policy []byte, bundles ...string) (addr string, s *server) {
	b.Helper()
	addr, s, stop := startBench(b, policy, bundles...)
	b.Cleanup(stop)
	return addr, s
}

// startBench is benchServer for benchmarks that stop the server themselves.
func startBench(b *testing.B, policy []byte, bundles ...string) (addr string, s *server, stop func()) {
	b.Helper()
	dir := b.TempDir()
	toml := fmt.Sprintf(`hostname = "mx.our.example"
domains = ["our.example"]
[storage]
dir = %q
reserve = "64MiB"
[[listener]]
name = "mx"
protocol = "smtp"
addr = "127.0.0.1:0"
[scripts]
dir = %q
[dns]
resolver = "127.0.0.1:1"
[log]
level = "error"
`, filepath.Join(dir, "data"), filepath.Join(dir, "scripts"))
	for _, name := range bundles {
		toml += fmt.Sprintf("[[bundle]]\nname = %q\n", name)
	}
	os.Mkdir(filepath.Join(dir, "scripts"), 0o700)
	os.WriteFile(filepath.Join(dir, "scripts", "policy.lua"), policy, 0o600)
	os.WriteFile(filepath.Join(dir, "c.toml"), []byte(toml), 0o600)
	cfg, err := config.Load(filepath.Join(dir, "c.toml"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if s, err = openServer(ctx, cfg, serverOptions{log: io.Discard}); err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		if err := s.directory.AddAccount(ctx, envelope.Address(fmt.Sprintf("u%d@our.example", i)), ""); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.bind(); err != nil {
		b.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { s.pipeline.Run(ctx) })
	running.Go(func() { s.listeners[0].serve(ctx, s.listeners[0].Listener) })
	return s.listeners[0].Addr().String(), s, func() {
		cancel()
		running.Wait()
		s.close()
	}
}

// client speaks just enough SMTP for a load, pipelining what it may.
type benchClient struct {
	conn net.Conn
	r    *bufio.Reader
}

func (c *benchClient) replies(n int, codes string) error {
	for i := range n {
		for {
			line, err := c.r.ReadString('\n')
			if err != nil {
				return err
			}
			if len(line) > 3 && line[3] == '-' {
				continue
			}
			if line[0] != codes[min(i, len(codes)-1)] {
				return fmt.Errorf("reply %q", line)
			}
			break
		}
	}
	return nil
}

func dialBench(addr string) (*benchClient, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &benchClient{conn, bufio.NewReader(conn)}
	io.WriteString(conn, "EHLO bench.example\r\n")
	return c, c.replies(2, "2")
}

func (c *benchClient) send(from, to, body string) error {
	io.WriteString(c.conn, "MAIL FROM:<"+from+">\r\nRCPT TO:<"+to+">\r\nDATA\r\n")
	if err := c.replies(3, "223"); err != nil {
		return err
	}
	io.WriteString(c.conn, body+".\r\n")
	return c.replies(1, "2")
}

// benchMessage is the nth message, of 2 KiB.
func benchMessage(from, to string, n int64) string {
	return fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: bench\r\nMessage-ID: <%d@a.example>\r\n\r\n", from, to, n) + benchText
}

var benchText = strings.Repeat(strings.Repeat("x", 70)+"\r\n", 28)

// BenchmarkListener sends messages of 2 KiB through the real listener, the
// starting policy and the store; they are delivered to 100 mailboxes
// meanwhile.
func BenchmarkListener(b *testing.B) {
	for _, conns := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(conns), func(b *testing.B) {
			addr, s := benchServer(b, scripts.Policy())
			benchSend(b, addr, s, conns)
		})
	}
}

// BenchmarkForward is BenchmarkListener without the bundle, with it where
// nobody forwards, and where everybody forwards to somebody here instead of
// keeping the mail: as many deliveries, each by way of a setting.
func BenchmarkForward(b *testing.B) {
	for _, conns := range []int{10, 100} {
		b.Run(fmt.Sprintf("none/%d", conns), func(b *testing.B) {
			addr, s := benchServer(b, scripts.Policy())
			benchSend(b, addr, s, conns)
		})
		b.Run(fmt.Sprintf("enabled/%d", conns), func(b *testing.B) {
			addr, s := benchServer(b, scripts.Policy(), "carteiro/forward")
			benchSend(b, addr, s, conns)
		})
		b.Run(fmt.Sprintf("forwarding/%d", conns), func(b *testing.B) {
			addr, s := benchServer(b, scripts.Policy(), "carteiro/forward")
			if err := s.directory.AddAccount(b.Context(), "target@our.example", ""); err != nil {
				b.Fatal(err)
			}
			for i := range 100 {
				if err := s.directory.Set(b.Context(), envelope.Address(fmt.Sprintf("u%d@our.example", i)), "forward",
					[]byte(`{"to": ["target@our.example"]}`), true); err != nil {
					b.Fatal(err)
				}
			}
			benchSend(b, addr, s, conns)
		})
	}
}

// benchSend sends b.N messages over so many connections.
func benchSend(b *testing.B, addr string, s *server, conns int) {
	clients := make([]*benchClient, conns)
	for i := range clients {
		var err error
		if clients[i], err = dialBench(addr); err != nil {
			b.Fatal(err)
		}
		defer clients[i].conn.Close()
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	cost := startCost(s)
	b.ResetTimer()
	for _, c := range clients {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				to := fmt.Sprintf("u%d@our.example", n%100)
				if err := c.send("a@a.example", to, benchMessage("a@a.example", to, n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	cost.report(b, b.N)
}

// cost is what messages take that others on the machine change less than they
// change the time that passes: processor time, and commits of the store, each of
// which waits for the disk twice.
type cost struct {
	server  *server
	cpu     time.Duration
	commits int64
}

func startCost(s *server) cost { return cost{s, cpu(), s.store.Stats().Commits} }

func (c cost) report(b *testing.B, messages int) {
	b.ReportMetric(float64((cpu()-c.cpu).Microseconds())/float64(messages), "cpu-us/msg")
	b.ReportMetric(float64(c.server.store.Stats().Commits-c.commits)/float64(messages), "commits/msg")
}

// cpu is the processor time of this process, which others on the machine
// change less than they change the time that passes.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLargeMessages measures how much memory messages of 50 MiB take while they
// come in, one and ten at once.
func BenchmarkLargeMessages(b *testing.B) {
	line := strings.Repeat("x", 74) + "\r\n"
	chunk := strings.Repeat(line, 1000)
	lines := (50<<20 - 200) / len(chunk)
	for _, conns := range []int{1, 10} {
		b.Run(fmt.Sprint(conns), func(b *testing.B) {
			addr, s := benchServer(b, scripts.Policy())
			var peak atomic.Uint64
			stop := make(chan struct{})
			runtime.GC()
			base := residentMemory()
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
						if n := residentMemory(); n > peak.Load() {
							peak.Store(n)
						}
					}
				}
			}()
			b.SetBytes(int64(conns * lines * len(chunk)))
			cost := startCost(s)
			for b.Loop() {
				var wg sync.WaitGroup
				for i := range conns {
					wg.Go(func() {
						c, err := dialBench(addr)
						if err != nil {
							b.Error(err)
							return
						}
						defer c.conn.Close()
						fmt.Fprintf(c.conn, "MAIL FROM:<a@a.example>\r\nRCPT TO:<u%d@our.example>\r\nDATA\r\n", i)
						c.replies(3, "223")
						io.WriteString(c.conn, "From: a@a.example\r\n\r\n")
						for range lines {
							io.WriteString(c.conn, chunk)
						}
						io.WriteString(c.conn, ".\r\n")
						if err := c.replies(1, "2"); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			close(stop)
			cost.report(b, b.N*conns)
			b.ReportMetric(float64(max(peak.Load(), base)-base)/(1<<20), "MiB-peak")
		})
	}
}

// residentMemory is the anonymous memory of this process in octets; what the
// kernel keeps of mapped files does not count.
func residentMemory() uint64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		var kb uint64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 0
}

// BenchmarkTwentyHandlers sends messages of 2 KiB over 100 connections through
// 20 handlers at receive.data, each with two header reads and a pattern, and
// reports their share of the time from the end of the content to the 250.
func BenchmarkTwentyHandlers(b *testing.B) {
	const handler = `on("receive.data", function(session, tx, msg)
  local from, id = msg:header("From"), msg:header("Message-ID")
  if not from or not id or from:match("^[^@]+@[^@]+$") == nil then return reject("no") end
end)
`
	addr, s := benchServer(b, []byte(strings.Repeat(handler, 20)))
	body := "From: a@a.example\r\nTo: u@our.example\r\nSubject: bench\r\nMessage-ID: <1@a.example>\r\n\r\n" +
		strings.Repeat(strings.Repeat("x", 70)+"\r\n", 28)
	const conns = 100
	var next, waited atomic.Int64
	var wg sync.WaitGroup
	cost := startCost(s)
	b.ResetTimer()
	for range conns {
		wg.Go(func() {
			c, err := dialBench(addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.conn.Close()
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				io.WriteString(c.conn, "MAIL FROM:<a@a.example>\r\nRCPT TO:<"+fmt.Sprintf("u%d@our.example", n%100)+">\r\nDATA\r\n")
				if err := c.replies(3, "223"); err != nil {
					b.Error(err)
					return
				}
				start := time.Now()
				io.WriteString(c.conn, body+".\r\n")
				if err := c.replies(1, "2"); err != nil {
					b.Error(err)
					return
				}
				waited.Add(int64(time.Since(start)))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	cost.report(b, b.N)
	families, err := s.journal.Registry.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "carteiro_script_hook_seconds" && m.GetLabel()[0].GetValue() == "receive.data" {
				b.ReportMetric(100*m.GetHistogram().GetSampleSum()/(float64(waited.Load())/1e9), "%-of-wait")
			}
		}
	}
}
