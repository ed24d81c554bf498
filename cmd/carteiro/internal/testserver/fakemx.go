package testserver

import (
	"bufio"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/message/mime"
)

// FakeMX is the mail server of another domain. It keeps every message, and
// answers RCPT as the test says.
type FakeMX struct {
	t  testing.TB
	ln net.Listener

	mu         sync.Mutex
	got        []Received
	reply      func(rcpt string) string
	extensions []string
}

// Received is a transaction whose content was taken.
type Received struct {
	MailArgs string   // what follows MAIL FROM:
	RcptArgs []string // what follows RCPT TO:, of those accepted
	Sender   string
	To       []string
	Text     string // lines end in CRLF
}

// Header returns the values of a header field.
func (r Received) Header(name string) []string {
	head, _, _ := strings.Cut(r.Text, "\r\n\r\n")
	return mime.ParseHeader([]byte(head + "\r\n")).All(name)
}

// LF is the text with LF for line ends.
func (r Received) LF() string { return strings.ReplaceAll(r.Text, "\r\n", "\n") }

// NewFakeMX starts one at an address of loopback until the test ends. It offers
// 8BITMIME and extensions.
func NewFakeMX(t testing.TB, addr string, extensions ...string) *FakeMX {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		if !strings.HasPrefix(addr, "127.0.0.1:") {
			t.Skipf("no other addresses of loopback: %v", err)
		}
		t.Fatal(err)
	}
	f := &FakeMX{t: t, ln: ln, extensions: append([]string{"8BITMIME"}, extensions...)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				f.session(conn)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		ln.Close()
		running.Wait()
	})
	return f
}

// Addr is the host:port that it listens at.
func (f *FakeMX) Addr() string { return f.ln.Addr().String() }

// Port is the port that it listens at.
func (f *FakeMX) Port() string {
	_, port, _ := net.SplitHostPort(f.Addr())
	return port
}

// SetReply makes reply answer every RCPT, with the address of the recipient; ""
// accepts it, and so does a nil reply.
func (f *FakeMX) SetReply(reply func(rcpt string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reply = reply
}

// SetExtensions changes what is offered beside 8BITMIME, in new sessions.
func (f *FakeMX) SetExtensions(extensions ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.extensions = append([]string{"8BITMIME"}, extensions...)
}

// path is the address between < and >.
func path(s string) string {
	i, j := strings.IndexByte(s, '<'), strings.IndexByte(s, '>')
	if i < 0 || j < i {
		return s
	}
	return s[i+1 : j]
}

// session speaks enough SMTP for one client; it ends when the client goes.
func (f *FakeMX) session(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(conn)
	say := func(s string) { io.WriteString(conn, s+"\r\n") }
	say("220 fake.test ESMTP")
	var m Received
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, args, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		_, args, _ = strings.Cut(args, ":") // of FROM: and TO:
		switch strings.ToUpper(verb) {
		case "EHLO":
			f.mu.Lock()
			offered := slices.Clone(f.extensions)
			f.mu.Unlock()
			for i, e := range offered {
				offered[i] = "250-" + e
			}
			offered[len(offered)-1] = strings.Replace(offered[len(offered)-1], "250-", "250 ", 1)
			say("250-fake.test\r\n" + strings.Join(offered, "\r\n"))
		case "MAIL":
			m = Received{MailArgs: args, Sender: path(args)}
			say("250 ok")
		case "RCPT":
			reply := f.rcpt(path(args))
			if reply == "" {
				reply = "250 ok"
				m.RcptArgs, m.To = append(m.RcptArgs, args), append(m.To, path(args))
			}
			say(reply)
		case "DATA":
			if len(m.To) == 0 {
				say("554 no valid recipients")
				continue
			}
			say("354 go on")
			if m.Text, err = readContent(r); err != nil {
				return
			}
			f.mu.Lock()
			f.got = append(f.got, m)
			f.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// readContent reads up to the dot.
func readContent(r *bufio.Reader) (string, error) {
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return text.String(), err
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
}

// rcpt is the reply to a recipient, "" for one that is accepted.
func (f *FakeMX) rcpt(address string) string {
	f.mu.Lock()
	reply := f.reply
	f.mu.Unlock()
	if reply == nil {
		return ""
	}
	return reply(address)
}

// All is what came so far.
func (f *FakeMX) All() []Received {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

// Take returns what came since the last Take, and forgets it.
func (f *FakeMX) Take() []Received {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := f.got
	f.got = nil
	return got
}

// For is what came for one address so far.
func (f *FakeMX) For(address string) (out []Received) {
	for _, m := range f.All() {
		for _, a := range m.To {
			if strings.EqualFold(a, address) {
				out = append(out, m)
			}
		}
	}
	return out
}

// Wait returns the nth message, from 1, when it has come.
func (f *FakeMX) Wait(n int) Received {
	f.t.Helper()
	if !Poll(Patience, func() bool { return len(f.All()) >= n }) {
		f.t.Fatalf("%s never got message %d, it has %+v", f.Addr(), n, f.All())
	}
	return f.All()[n-1]
}

// WaitFor returns the nth message for an address, from 1, when it has come.
func (f *FakeMX) WaitFor(address string, n int) Received {
	f.t.Helper()
	if !Poll(Patience, func() bool { return len(f.For(address)) >= n }) {
		f.t.Fatalf("message %d for %s never came; there are %d", n, address, len(f.For(address)))
	}
	return f.For(address)[n-1]
}
