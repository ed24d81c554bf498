package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sink is an SMTP server that accepts everything and keeps nothing.
type sink struct {
	delay    time.Duration // before the answer to a message
	messages atomic.Int64
	bytes    atomic.Int64
}

func sinkCommand(ctx context.Context, f *flag.FlagSet, args []string, stdout io.Writer) error {
	var s sink
	listen := f.String("listen", "127.0.0.1:0", "`host:port`")
	f.DurationVar(&s.delay, "delay", 0, "before the answer to a message")
	if err := parse(f, args); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "listener sink smtp %s\n", ln.Addr())
	start := time.Now()
	if err := s.serve(ctx, ln); err != nil {
		return err
	}
	n, took := s.messages.Load(), time.Since(start).Seconds()
	return Report{Messages: int(n), Seconds: took, PerSecond: float64(n) / took, Bytes: s.bytes.Load()}.print(stdout)
}

// serve answers until ctx ends, then closes all sessions.
func (s *sink) serve(ctx context.Context, ln net.Listener) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { ln.Close() })
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		sessions.Go(func() {
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			defer conn.Close()
			s.session(conn) // its error is the client's
		})
	}
}

// session answers one client. Replies wait for the end of what the client has
// sent in one piece.
func (s *sink) session(conn net.Conn) error {
	buf, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	r := textproto.NewReader(buf)
	reply := func(lines ...string) error {
		for _, l := range lines {
			w.WriteString(l + "\r\n")
		}
		if buf.Buffered() > 0 {
			return nil
		}
		return w.Flush()
	}
	if err := reply("220 sink ESMTP"); err != nil {
		return err
	}
	for {
		line, err := r.ReadLine()
		if err != nil {
			return err
		}
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch verb {
		case "EHLO":
			err = reply("250-sink", "250-PIPELINING", "250-8BITMIME", "250 SMTPUTF8")
		case "HELO", "MAIL", "RCPT", "RSET", "NOOP":
			err = reply("250 2.0.0 ok")
		case "DATA":
			err = s.data(r, reply)
		case "QUIT":
			reply("221 2.0.0 bye")
			return w.Flush()
		default:
			err = reply("500 5.5.1 unknown command")
		}
		if err != nil {
			return err
		}
	}
}

func (s *sink) data(r *textproto.Reader, reply func(...string) error) error {
	if err := reply("354 go ahead"); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, r.DotReader())
	if err != nil {
		return err
	}
	time.Sleep(s.delay)
	s.messages.Add(1)
	s.bytes.Add(n)
	return reply("250 2.0.0 ok")
}
