package main

import (
	"bufio"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// smtpSink is a mail server that keeps what it gets, for tests that look at
// envelopes.
type smtpSink struct {
	port string

	mu     sync.Mutex
	got    []sunk
	answer func(to string) string // reply to RCPT; nil: 250
}

// sunk is one message that a sink got.
type sunk struct {
	from string
	to   []string
	text string // lines end in \n
}

func newSMTPSink(t testing.TB) *smtpSink {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &smtpSink{}
	_, s.port, _ = net.SplitHostPort(ln.Addr().String())
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() { s.session(conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); sessions.Wait() })
	return s
}

// session speaks enough SMTP for one client; it ends when the client goes.
func (s *smtpSink) session(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	r := textproto.NewReader(bufio.NewReader(conn))
	say := func(line string) { io.WriteString(conn, line+"\r\n") }
	say("220 sink.test ESMTP")
	var m sunk
	for {
		line, err := r.ReadLine()
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.Fields(line + " x")[0])
		between := func() string {
			i, j := strings.IndexByte(line, '<'), strings.IndexByte(line, '>')
			if i < 0 || j < i {
				return ""
			}
			return line[i+1 : j]
		}
		switch verb {
		case "EHLO":
			say("250-sink.test\r\n250-8BITMIME\r\n250 PIPELINING")
		case "MAIL":
			m = sunk{from: between()}
			say("250 ok")
		case "RCPT":
			s.mu.Lock()
			answer := s.answer
			s.mu.Unlock()
			reply := "250 ok"
			if answer != nil && answer(between()) != "" {
				reply = answer(between())
			} else {
				m.to = append(m.to, between())
			}
			say(reply)
		case "DATA":
			say("354 go on")
			lines, err := r.ReadDotLines()
			if err != nil {
				return
			}
			m.text = strings.Join(lines, "\n") + "\n"
			s.mu.Lock()
			s.got = append(s.got, m)
			s.mu.Unlock()
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// all is what came so far.
func (s *smtpSink) all() []sunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sunk(nil), s.got...)
}

// to is what came for one address so far.
func (s *smtpSink) to(address string) (out []sunk) {
	for _, m := range s.all() {
		for _, a := range m.to {
			if strings.EqualFold(a, address) {
				out = append(out, m)
			}
		}
	}
	return out
}

// wait returns the nth message for an address, from 1, when it has come.
func (s *smtpSink) wait(t testing.TB, address string, n int) sunk {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if got := s.to(address); len(got) >= n {
			return got[n-1]
		}
		if time.Now().After(end) {
			t.Fatalf("message %d for %s never came; there are %d", n, address, len(s.to(address)))
		}
	}
}
