package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// startSink serves until the test ends.
func startSink(t *testing.T, s *sink) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var server sync.WaitGroup
	server.Go(func() {
		if err := s.serve(ctx, ln); err != nil {
			t.Errorf("sink: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		server.Wait()
	})
	return ln.Addr().String()
}

// load runs the command and returns its report.
func load(t *testing.T, status int, args ...string) Report {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(t.Context(), args, &out, &errs); got != status {
		t.Fatalf("%q: status %d, want %d\n%s%s", args, got, status, &out, &errs)
	}
	var r Report
	if status < 2 {
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, &out)
		}
	}
	return r
}

func TestSend(t *testing.T) {
	for _, extra := range [][]string{
		nil, {"--pipelining"}, {"--per-connection", "3"}, {"--rcpts", "5", "--to", "u%d@sink.example"}, {"--size", "100000"}, {"--size", "0"},
	} {
		t.Run(strings.Join(extra, " "), func(t *testing.T) {
			var s sink
			args := append(
				[]string{"smtp", "--server", startSink(t, &s), "--to", "u@sink.example", "--messages", "50", "--connections", "4"},
				extra...)
			r := load(t, 0, args...)
			if r.Messages != 50 || r.Failed != 0 || s.messages.Load() != 50 {
				t.Errorf("%d sent, %d failed, %d arrived; want 50, 0, 50", r.Messages, r.Failed, s.messages.Load())
			}
			if r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 || r.PerSecond <= 0 {
				t.Errorf("numbers make no sense: %+v", r)
			}
		})
	}
}

func TestSize(t *testing.T) {
	for _, size := range []int{200, 1000, 4096, 65536} {
		o := sendOptions{from: "a@b.example", size: size}
		if got := len(o.message()) - len(".\r\n"); got < size || got > size+2 {
			t.Errorf("a message of %d octets has %d", size, got)
		}
	}
}

// TestLatency: what is reported includes what the server takes.
func TestLatency(t *testing.T) {
	s := sink{delay: 20 * time.Millisecond}
	r := load(t, 0, "smtp", "--server", startSink(t, &s), "--to", "u@sink.example", "--messages", "5", "--connections", "1")
	if r.P50 < 20 {
		t.Errorf("p50 %v ms against a server that takes 20 ms", r.P50)
	}
}

// TestFailures are counted, named, and make the run fail.
func TestFailures(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("554 5.3.2 go away\r\n"))
			conn.Close()
		}
	}()
	r := load(t, 1, "smtp", "--server", ln.Addr().String(), "--to", "u@x.example", "--messages", "3", "--connections", "1")
	if r.Messages != 0 || r.Failed != 3 || !strings.Contains(r.FirstError, "go away") {
		t.Errorf("%+v", r)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"imap"}, {"smtp"}, {"smtp", "--to", "a@b", "--connections", "0"},
		{"smtp", "--to", "a@b", "--rcpts", "2"},
		{
			"smtp", "--to", "a@b", "--tls", "maybe",
		}, {"smtp", "--nonsense"}, {"smtp", "--to", "a@b", "stray"}, {"pop3"}, {"pop3", "--user", "a", "--connections", "2"}} {
		load(t, 2, args...)
	}
}

func TestPercentile(t *testing.T) {
	var times []time.Duration
	for i := range 200 {
		times = append(times, time.Duration(i+1)*time.Millisecond)
	}
	for _, tt := range []struct {
		n, p int
		want float64
	}{{0, 50, 0}, {1, 50, 1}, {1, 99, 1}, {2, 50, 1}, {3, 50, 2}, {100, 99, 99}, {200, 99, 198}, {200, 100, 200}} {
		if got := percentile(times[:tt.n], tt.p); got != tt.want {
			t.Errorf("percentile %d of 1..%d ms = %v, want %v", tt.p, tt.n, got, tt.want)
		}
	}
}

// TestRead reads from a maildrop of three messages.
func TestRead(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	removed := make(chan int, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		c := textproto.NewConn(conn)
		c.PrintfLine("+OK ready")
		for n := 0; ; {
			line, err := c.ReadLine()
			switch {
			case err != nil:
				return
			case line == "STAT":
				c.PrintfLine("+OK 3 30")
			case strings.HasPrefix(line, "RETR "):
				fmt.Fprintf(conn, "+OK\r\nSubject: x\r\n\r\n..\r\n.\r\n")
			case line == "QUIT":
				c.PrintfLine("+OK")
				removed <- n
				return
			default:
				if strings.HasPrefix(line, "DELE ") {
					n++
				}
				c.PrintfLine("+OK")
			}
		}
	}()
	r := load(t, 0, "pop3", "--server", ln.Addr().String(), "--user", "a", "--password", "b", "--remove")
	if n := <-removed; r.Messages != 3 || n != 3 {
		t.Errorf("read %d, removed %d, want 3 and 3", r.Messages, n)
	}
}
