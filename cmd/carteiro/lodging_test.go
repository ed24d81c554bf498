package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"carteiro/core/message/mime"
	"carteiro/core/ops/admin"
	"carteiro/core/service/dns"
	"carteiro/core/service/dns/dnsserver"
	"carteiro/core/service/verify"
)

// lodging is a house with a test clock, a DNS of its own, and one host that
// takes the mail for every foreign domain.
type lodging struct {
	*house
	t     testing.TB
	names *dnsserver.Server
	far   *farHost
}

// lodgingZone has s.test, which names this machine as its sender, and others
// that say nothing about theirs.
const lodgingZone = `s.test. MX 10 mx.s.test.
s.test. TXT "v=spf1 ip4:127.0.0.1 -all"
plain.test. MX 10 mx.s.test.
example.com. A 127.0.0.1
mx.s.test. A 127.0.0.1
`

// newLodging builds and starts it with bundles, by their names in carteiro/.
// Of extra, lines before the first table are for the configuration's beginning.
func newLodging(t testing.TB, extra string, bundles ...string) *lodging {
	t.Helper()
	l := &lodging{house: &house{dir: t.TempDir()}, t: t, far: newFarHost(t)}
	var err error
	if l.names, err = dnsserver.Start(lodgingZone); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.names.Close)
	top, tables := extra, ""
	if i := strings.Index("\n"+extra, "\n["); i >= 0 {
		top, tables = extra[:i], extra[i:]
	}
	_, port, _ := net.SplitHostPort(l.far.addr())
	text := fmt.Sprintf("%s[dns]\nresolver = %q\n[delivery]\nport = %s\nallow_private = true\n%s", top, l.names.Addr, port, tables)
	for _, b := range bundles {
		text += "[[bundle]]\nname = \"carteiro/" + b + "\"\n"
	}
	if err := l.build(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	l.open()
	t.Cleanup(func() {
		if l.running() {
			if status, err := l.end(syscall.SIGTERM); status != 0 || err != nil {
				t.Errorf("the server ended with status %d, %v", status, err)
			}
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", l.log())
		}
	})
	return l
}

// open starts the server, once more after an end.
func (l *lodging) open() {
	l.t.Helper()
	if err := l.start("--test-clock"); err != nil {
		l.t.Fatal(err)
	}
}

// ctl runs a command of the command line, which has to succeed.
func (l *lodging) ctl(args ...string) string {
	l.t.Helper()
	out, err := l.try(args...)
	if err != nil {
		l.t.Fatalf("carteiro %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (l *lodging) try(args ...string) (string, error) {
	cmd := exec.Command(carteiro(), append(args, "-c", l.config())...)
	cmd.Env = append(os.Environ(), actAsMain+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// vacation sets alice's absence; fields is JSON without its braces.
func (l *lodging) vacation(user, fields string) {
	l.t.Helper()
	l.ctl("account", "set", user, "vacation", "{"+fields+"}")
}

// send brings a message to the MX, which has to take it.
func (l *lodging) send(from, to, text string) {
	l.t.Helper()
	reply, err := sendSMTP(l.addr("mx"), "EHLO client.s.test", from, strings.Split(to, ","), text)
	if err != nil || !strings.HasPrefix(reply, "250") {
		l.t.Fatalf("from <%s> to %s: %s, %v", from, to, reply, err)
	}
}

// hello sends a short message whose header names its sender and recipient.
func (l *lodging) hello(from, to string, fields ...string) {
	l.t.Helper()
	l.send(from, to, noteOf(from, to, fields...))
}

// noteOf is a short message; fields replace those of the same name.
func noteOf(from, to string, fields ...string) string {
	text := strings.Join(fields, "\n")
	for _, f := range []string{"From: " + from, "To: " + to, "Subject: hello", "Message-ID: <1." + from + ">"} {
		name, _, _ := strings.Cut(f, ":")
		if !strings.Contains("\n"+text, "\n"+name+":") && f != "From: " {
			text = strings.TrimSuffix(f+"\n"+text, "\n")
		}
	}
	return text + "\n\nhello\n"
}

// quiet waits until nothing is in the queue: what a delivery gave rise to was
// queued in the delivery's own commit.
func (l *lodging) quiet() {
	l.t.Helper()
	c, err := admin.Dial(l.t.Context(), filepath.Join(l.dir, "data", "admin.sock"))
	if err != nil {
		l.t.Fatal(err)
	}
	empty := 0 // a message that goes while another takes its place may hide both from one look
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		raw, err := c.Call(l.t.Context(), "queue.list", admin.QueueArgs{})
		var lines []admin.QueueLine
		if err == nil {
			err = json.Unmarshal(raw, &lines)
		}
		if empty++; err != nil || len(lines) > 0 {
			empty = 0
		}
		if empty == 3 {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("the queue is not empty: %+v, %v", lines, err)
		}
	}
}

// answers are what the far host got since it was last asked.
func (l *lodging) answers() []parcel {
	l.t.Helper()
	l.quiet()
	return l.far.take()
}

// answered checks how many messages the far host got since it was last asked.
func (l *lodging) answered(want int, what string) []parcel {
	l.t.Helper()
	got := l.answers()
	if len(got) != want {
		l.t.Errorf("%s: %d answers, want %d: %v", what, len(got), want, got)
	}
	return got
}

// dialTLS opens a session with TLS from its first octet.
func dialTLS(addr string) (*wire, error) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &wire{conn, textproto.NewReader(bufio.NewReader(conn))}, nil
}

// dialStartTLS opens a session in the clear and encrypts it.
func dialStartTLS(addr string) (*wire, error) {
	w, err := dialWire(addr)
	if err != nil {
		return nil, err
	}
	for _, c := range []string{"", "EHLO client.example.net", "STARTTLS"} {
		if code, reply, err := w.smtp(c); err != nil || code >= 400 {
			return nil, fmt.Errorf("%s: %d %s, %w", c, code, reply, err)
		}
	}
	conn := tls.Client(w.Conn, &tls.Config{InsecureSkipVerify: true})
	return &wire{conn, textproto.NewReader(bufio.NewReader(conn))}, nil
}

// saslPlain is the response of PLAIN (RFC 4616) with the password of all
// residents.
func saslPlain(authzid, user string) string {
	return base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + user + "\x00" + password))
}

// plain logs in by PLAIN at a listener with TLS and tells why it cannot.
func (l *lodging) plain(listener, authzid, user string) error {
	l.t.Helper()
	w, err := dialTLS(l.addr(listener))
	if err != nil {
		l.t.Fatal(err)
	}
	defer w.Close()
	if listener == "pop3s" {
		if _, err = w.pop(""); err == nil {
			_, err = w.pop("AUTH PLAIN " + saslPlain(authzid, user))
		}
		return err
	}
	for _, c := range []string{"", "EHLO client.example.net", "AUTH PLAIN " + saslPlain(authzid, user)} {
		if code, reply, err := w.smtp(c); err != nil || code >= 400 {
			return fmt.Errorf("%d %s, %w", code, reply, err)
		}
	}
	return nil
}

// until runs a command of the command line until it prints a word.
func (l *lodging) until(word string, args ...string) {
	l.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if strings.Contains(l.ctl(args...), word) {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("carteiro %s does not print %q", strings.Join(args, " "), word)
		}
	}
}

// login opens an authenticated session at submission.
func (l *lodging) login(user string) *wire {
	l.t.Helper()
	return l.loginAt("submissions", user)
}

// loginAt is login at another listener, with STARTTLS unless it is submissions.
func (l *lodging) loginAt(listener, user string) *wire {
	l.t.Helper()
	var w *wire
	var err error
	if listener == "submissions" {
		w, err = dialTLS(l.addr(listener))
	} else {
		w, err = dialStartTLS(l.addr(listener))
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { w.Close() })
	commands := []string{"", "EHLO client.example.net", "AUTH PLAIN " + saslPlain("", user)}
	if listener != "submissions" {
		commands = commands[1:]
	}
	for _, c := range commands {
		if code, reply, err := w.smtp(c); err != nil || code >= 400 {
			l.t.Fatalf("login of %s: %d %s, %v", user, code, reply, err)
		}
	}
	return w
}

// submit sends a message in an authenticated session and returns the first
// refusal, or the reply to the content.
func (l *lodging) submit(user, from, to, text string) string {
	l.t.Helper()
	return l.submitIn(l.login(user), from, to, text)
}

func (l *lodging) submitIn(w *wire, from, to, text string) string {
	l.t.Helper()
	commands := []string{"RSET", "MAIL FROM:<" + from + ">"}
	if strings.ContainsFunc(from+text, func(r rune) bool { return r > 126 }) {
		commands[1] += " SMTPUTF8"
	}
	for r := range strings.SplitSeq(to, ",") {
		commands = append(commands, "RCPT TO:<"+r+">")
	}
	text = strings.TrimSuffix(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n")
	for _, c := range append(commands, "DATA", text+"\r\n.") {
		code, reply, err := w.smtp(c)
		if err != nil {
			l.t.Fatal(err)
		}
		if code >= 400 || strings.HasSuffix(c, "\r\n.") {
			return fmt.Sprintf("%d %s", code, reply)
		}
	}
	return ""
}

// inbox waits for n messages of a resident and removes them.
func (l *lodging) inbox(user string, n int) []string {
	l.t.Helper()
	got, err := waitPOP(l.addr("pop3"), user, n)
	if err != nil || len(got) != n {
		l.t.Fatalf("%d messages for %s, want %d, %v", len(got), user, n, err)
	}
	return got
}

// folder is how many messages a folder of an account has.
func (l *lodging) folder(user, name string) int64 {
	l.t.Helper()
	l.quiet()
	var r admin.AccountReport
	if err := json.Unmarshal([]byte(l.ctl("account", "show", user, "--json")), &r); err != nil {
		l.t.Fatal(err)
	}
	for _, f := range r.Folders {
		if f.Name == name {
			return f.Messages
		}
	}
	return 0
}

// passes verifies a message as another server would and returns the results
// of DKIM, by domain.
func (l *lodging) passes(p parcel, domain string) bool {
	l.t.Helper()
	head, body, _ := strings.Cut(p.text, "\r\n\r\n")
	res, err := verify.Check(l.t.Context(), dns.New(dns.Options{Servers: []string{l.names.Addr}}), verify.Message{Sender: "", Helo: "mx.example.com",
		Header: mime.ParseHeader([]byte(head + "\r\n")), Body: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, s := range res.DKIM {
		if s.Result == "pass" && s.Domain == domain {
			return true
		}
	}
	return false
}

// signs makes a key of the domain and publishes it.
func (l *lodging) signs(domain string) {
	l.t.Helper()
	var key struct{ Name, Record string }
	if err := json.Unmarshal([]byte(l.ctl("dkim", "generate", domain, "--json")), &key); err != nil {
		l.t.Fatal(err)
	}
	if err := l.names.Add(key.Name + ". TXT " + quotedTXT(key.Record) + "\n"); err != nil {
		l.t.Fatal(err)
	}
}

// parcel is a message that the far host took.
type parcel struct {
	from string
	to   []string
	text string // with CRLF
}

func (p parcel) header(name string) []string {
	head, _, _ := strings.Cut(p.text, "\r\n\r\n")
	return mime.ParseHeader([]byte(head + "\r\n")).All(name)
}

// farHost is an SMTP server that takes everything.
type farHost struct {
	ln  net.Listener
	mu  sync.Mutex
	got []parcel
	// reply answers RCPT; nil takes every recipient.
	reply func(rcpt string) string
}

func newFarHost(t testing.TB) *farHost {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &farHost{ln: ln}
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
				f.serve(conn)
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

func (f *farHost) addr() string { return f.ln.Addr().String() }

func (f *farHost) serve(conn net.Conn) {
	r := bufio.NewReader(conn)
	say := func(s string) { io.WriteString(conn, s+"\r\n") }
	say("220 far")
	var p parcel
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		path := ""
		if i, j := strings.IndexByte(line, '<'), strings.IndexByte(line, '>'); i >= 0 && j > i {
			path = line[i+1 : j]
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
		case "EHLO":
			say("250-far\r\n250-8BITMIME\r\n250 SMTPUTF8")
		case "MAIL":
			p = parcel{from: path}
			say("250 ok")
		case "RCPT":
			if s := f.answer(path); s != "" {
				say(s)
				continue
			}
			p.to = append(p.to, path)
			say("250 ok")
		case "DATA":
			say("354 go")
			var text strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(line, "."))
			}
			p.text = text.String()
			f.mu.Lock()
			f.got = append(f.got, p)
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

// answer is the refusal of a recipient, "" for none.
func (f *farHost) answer(rcpt string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reply == nil {
		return ""
	}
	return f.reply(rcpt)
}

// take hands out what came since the last time.
func (f *farHost) take() []parcel {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := f.got
	f.got = nil
	return got
}
