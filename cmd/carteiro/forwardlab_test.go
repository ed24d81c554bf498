package main

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"carteiro/core/service/dns/dnsserver"
)

// outside is the mail server of another domain. It keeps every transaction as
// it was spoken, and answers RCPT as the test says.
type outside struct {
	t  testing.TB
	ip string

	mu     sync.Mutex
	got    []spoken
	refuse func(to string) string // reply to RCPT; "" is 250
	dsn    bool                   // offers DSN
}

// spoken is a transaction whose data was taken.
type spoken struct {
	from string   // what follows MAIL FROM:
	to   []string // what follows RCPT TO:, of those accepted
	raw  string   // lines end in CRLF, dots undone
}

func (s spoken) sender() string { return between(s.from) }

func between(s string) string {
	i, j := strings.IndexByte(s, '<'), strings.IndexByte(s, '>')
	if i < 0 || j < i {
		return s
	}
	return s[i+1 : j]
}

func (o *outside) serve(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go o.session(conn)
	}
}

func (o *outside) session(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(conn)
	say := func(s string) { io.WriteString(conn, s+"\r\n") }
	say("220 outside ESMTP")
	var m spoken
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			o.mu.Lock()
			dsn := o.dsn
			o.mu.Unlock()
			if dsn {
				say("250-outside\r\n250-DSN\r\n250 8BITMIME")
			} else {
				say("250-outside\r\n250 8BITMIME")
			}
		case "MAIL":
			m = spoken{from: rest[len("FROM:"):]}
			say("250 ok")
		case "RCPT":
			o.mu.Lock()
			refuse := o.refuse
			o.mu.Unlock()
			reply := ""
			if refuse != nil {
				reply = refuse(between(rest))
			}
			if reply == "" {
				reply = "250 ok"
				m.to = append(m.to, rest[len("TO:"):])
			}
			say(reply)
		case "DATA":
			if len(m.to) == 0 {
				say("554 no valid recipients")
				continue
			}
			say("354 go on")
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				m.raw += strings.TrimPrefix(line, ".")
			}
			o.mu.Lock()
			o.got = append(o.got, m)
			o.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (o *outside) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

func (o *outside) all() []spoken {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]spoken(nil), o.got...)
}

// wait returns the nth transaction, from 1, when it was spoken.
func (o *outside) wait(n int) spoken {
	o.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if got := o.all(); len(got) >= n {
			return got[n-1]
		}
		if time.Now().After(end) {
			o.t.Fatalf("%s never got transaction %d, it has %+v", o.ip, n, o.all())
		}
	}
}

// forwardLab is a world of domains: ours at house, with forwarding, and those
// of others, whose servers are all at one port, at addresses of loopback.
type forwardLab struct {
	*house
	t     testing.TB
	dns   *dnsserver.Server
	port  string
	out   *outside // out.test
	other *outside // other.test
	s     *outside // s.test, where mail comes from
}

const forwardZone = `
out.test. 60 IN MX 10 mx.out.test.
mx.out.test. 60 IN A 127.0.0.2
other.test. 60 IN MX 10 mx.other.test.
mx.other.test. 60 IN A 127.0.0.3
s.test. 60 IN MX 10 mx.s.test.
s.test. 60 IN TXT "v=spf1 ip4:127.0.0.1 -all"
mx.s.test. 60 IN A 127.0.0.4
example.com. 60 IN MX 10 mx.house.test.
fwd.test. 60 IN MX 10 mx.house.test.
mx.house.test. 60 IN A 127.0.0.5
two.test. 60 IN MX 10 mx.two.test.
mx.two.test. 60 IN A 127.0.0.6
`

func newForwardLab(t testing.TB, config string, scripts map[string]string) *forwardLab {
	t.Helper()
	l := &forwardLab{t: t}
	var err error
	if l.dns, err = dnsserver.Start(forwardZone); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.dns.Close)
	l.port = freePort(t)
	l.out, l.other, l.s = l.outside("127.0.0.2"), l.outside("127.0.0.3"), l.outside("127.0.0.4")
	l.house = l.newHouse("127.0.0.5", config, scripts, "fwd.test")
	return l
}

func (l *forwardLab) outside(ip string) *outside {
	l.t.Helper()
	ln, err := net.Listen("tcp", ip+":"+l.port)
	if err != nil {
		l.t.Skipf("no other addresses of loopback: %v", err)
	}
	l.t.Cleanup(func() { ln.Close() })
	o := &outside{t: l.t, ip: ip}
	go o.serve(ln)
	return o
}

// newHouse is a server with the bundle for further domains, which the world
// reaches at ip.
func (l *forwardLab) newHouse(ip, config string, scripts map[string]string, domains ...string) *house {
	l.t.Helper()
	h := &house{dir: l.t.TempDir()}
	extra := fmt.Sprintf("[[listener]]\nname = \"world\"\nprotocol = \"smtp\"\naddr = \"%s:%s\"\n[[bundle]]\nname = \"carteiro/forward\"\nconfig = { %s }\n[delivery]\nport = %s\nallow_private = true\n[dns]\nresolver = \"%s\"\n",
		ip, l.port, config, l.port, l.dns.Addr)
	if err := h.build(l.t.Context(), extra); err != nil {
		l.t.Fatal(err)
	}
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(h.dir, "scripts", name), []byte(text), 0o600); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := h.start("--test-clock"); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if status, err := h.end(syscall.SIGTERM); status != 0 || err != nil {
			l.t.Errorf("the server ended with status %d, %v", status, err)
		}
		if l.t.Failed() {
			l.t.Logf("the server's log:\n%s", h.log())
		}
	})
	for _, d := range domains {
		h.cli(l.t, "domain", "add", d)
	}
	return h
}

// cli runs a command that has to succeed, and returns what it printed.
func (h *house) cli(t testing.TB, args ...string) string {
	t.Helper()
	out, err := h.try(args...)
	if err != nil {
		t.Fatalf("carteiro %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (h *house) try(args ...string) (string, error) {
	out, err := h.command(args...).CombinedOutput()
	return string(out), err
}

// forward sets a forward whose targets have agreed.
func (h *house) forward(t testing.TB, account, value string) {
	t.Helper()
	h.cli(t, "account", "set", account, "forward", value, "--confirmed")
}

// send is mail from outside; it returns the last reply.
func (h *house) send(t testing.TB, from, to, text string) string {
	t.Helper()
	reply, err := sendSMTP(h.addr("mx"), "EHLO mx.s.test", from, strings.Fields(to), text)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// accepted is send for mail that has to be taken.
func (h *house) accepted(t testing.TB, from, to, text string) {
	t.Helper()
	if reply := h.send(t, from, to, text); !strings.HasPrefix(reply, "250 ") {
		t.Fatalf("%s to %s: %s", from, to, reply)
	}
}

// drained waits until the queue is empty.
func (h *house) drained(t testing.TB) {
	t.Helper()
	empty := 0 // a message that goes while another takes its place may hide both from one look
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out := h.cli(t, "queue", "list")
		if empty++; strings.Contains(out, "@") {
			empty = 0
		}
		if empty == 2 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the queue is not empty:\n%s", out)
		}
	}
}

// box is what is in a resident's mailbox now.
func (h *house) box(t testing.TB, user string) []string {
	t.Helper()
	got, err := readPOP(h.addr("pop3"), user, false)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// letterOf is a message with an id of its own.
func letterOf(id string, fields ...string) string {
	return "From: Sam <s@s.test>\nTo: alice@example.com\nSubject: letter " + id + "\nDate: Wed, 25 Nov 2026 12:00:00 +0000\nMessage-ID: <" + id + "@s.test>\n" +
		strings.Join(append(fields, ""), "\n") + "\nhello\n.a line with a dot\n"
}

// authorKey makes a DKIM key, publishes it and returns the private one.
func (l *forwardLab) authorKey(domain string) (private, record string) {
	l.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		l.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		l.t.Fatal(err)
	}
	record = "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	if err := l.dns.Add(fmt.Sprintf("one._domainkey.%s. 60 IN TXT %q %q\n", domain, record[:200], record[200:])); err != nil {
		l.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})), record
}
