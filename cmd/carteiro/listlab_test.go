package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/config"
	"carteiro/core/service/dns"
	"carteiro/core/service/dns/dnsserver"
	"carteiro/core/service/verify"
)

// listLab is a running server for l.test and m.test, with mailing lists, and
// the rest of the world: a DNS on loopback and one server for all others.
type listLab struct {
	*house
	t    testing.TB
	dns  *dnsserver.Server
	sink *smtpSink
	from string // host:port that the bundle may ask
}

const listZone = `
out.test.        60 IN MX 10 mx.out.test.
strict.test.     60 IN MX 10 mx.out.test.
mx.out.test.     60 IN A 127.0.0.1
_dmarc.strict.test. 60 IN TXT "v=DMARC1; p=reject"
strict.test.     60 IN TXT "v=spf1 ip4:127.0.0.1 -all"
vouched.test.     60 IN MX 10 mx.out.test.
vouched.test.     60 IN TXT "v=spf1 ip4:127.0.0.1 -all"
_dmarc.vouched.test. 60 IN TXT "v=DMARC1; p=none"
_dmarc.forged.test. 60 IN TXT "v=DMARC1; p=reject"
forged.test.     60 IN TXT "v=spf1 -all"
forged.test.     60 IN MX 10 mx.out.test.
`

const listConfig = `hostname = "mx.l.test"
postmaster = "owner@l.test"
domains = ["l.test", "m.test"]
[storage]
dir = "data"
key_file = "store.key"
reserve = "1MiB"
[[listener]]
name = "mx"
protocol = "smtp"
addr = "127.0.0.1:0"
[[listener]]
name = "submission"
protocol = "submission"
addr = "127.0.0.1:0"
insecure_auth = true
[[listener]]
name = "pop3"
protocol = "pop3"
addr = "127.0.0.1:0"
insecure_auth = true
apop = true
[[listener]]
name = "web"
protocol = "http"
addr = "127.0.0.1:0"
[[bundle]]
name = "carteiro/mailinglist"
http = ["%s"]
[limits]
connections = 0
messages = "0"
recipients = "0"
[queue]
retry = ["5m"]
[delivery]
port = %s
allow_private = true
[dns]
resolver = "%s"
%s`

// newListLab starts it, with accounts owner, a, b and c at l.test.
func newListLab(t testing.TB, extra string, accounts ...envelope.Address) *listLab {
	t.Helper()
	zone, err := dnsserver.Start(listZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(zone.Close)
	l := &listLab{house: &house{dir: t.TempDir()}, t: t, dns: zone, sink: newSMTPSink(t), from: "127.0.0.1:" + freePort(t)}
	text := fmt.Sprintf(listConfig, l.from, l.sink.port, zone.Addr, extra)
	for name, text := range map[string]string{"carteiro.toml": text, "store.key": site.RandomHex(32) + "\n"} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.people(t.Context(), append([]envelope.Address{"owner@l.test", "a@l.test", "b@l.test", "c@l.test"}, accounts...)); err != nil {
		t.Fatal(err)
	}
	if err := l.start("--test-clock"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !l.running() {
			return
		}
		if status, err := l.end(syscall.SIGTERM); status != 0 || err != nil {
			t.Errorf("the server ended with status %d, %v", status, err)
		}
		if strings.Contains(l.log(), "policy failed") && !t.Failed() {
			t.Error("a policy failed")
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", l.log())
		}
	})
	return l
}

// people makes accounts, while no server runs.
func (l *listLab) people(ctx context.Context, accounts []envelope.Address) error {
	cfg, err := config.Load(l.config())
	if err != nil {
		return err
	}
	s, err := openServer(ctx, cfg, serverOptions{offline: true, log: io.Discard})
	if err != nil {
		return err
	}
	defer s.close()
	for _, a := range accounts {
		if err := s.directory.AddAccount(ctx, a, password); err != nil {
			return err
		}
		if err := s.directory.SetAPOP(ctx, a, apopSecret); err != nil {
			return err
		}
	}
	return nil
}

// list runs `carteiro list` and returns what it printed.
func (l *listLab) list(args ...string) string {
	l.t.Helper()
	out, err := l.command(append([]string{"list"}, args...)...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("list %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// refuses runs `carteiro list`, which must fail and say why.
func (l *listLab) refuses(why string, args ...string) {
	l.t.Helper()
	out, err := l.command(append([]string{"list"}, args...)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), why) {
		l.t.Errorf("list %s: %v, want %q\n%s", strings.Join(args, " "), err, why, out)
	}
}

// make makes a list with members, run by owner@l.test.
func (l *listLab) make(name string, settings []string, members ...string) {
	l.t.Helper()
	l.list(append([]string{"create", name, "--owner", "owner@l.test"}, settings...)...)
	if len(members) > 0 {
		l.list(append([]string{"subscribe", name}, members...)...)
	}
}

// post sends a message by SMTP from outside and returns the reply to it.
func (l *listLab) post(sender, to, text string) string {
	l.t.Helper()
	reply, err := sendSMTP(l.addr("mx"), "EHLO client.test", sender, []string{to}, text)
	if err != nil {
		l.t.Fatal(err)
	}
	return reply
}

// article is a plain message.
func article(from, to, subject string, more ...string) string {
	return "From: " + from + "\nTo: " + to + "\nSubject: " + subject + "\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <" + site.RandomHex(6) + "@test>\n" + strings.Join(more, "") + "\nhello\n"
}

// box waits until an account has n messages, and takes them.
func (l *listLab) box(user string, n int) []string {
	l.t.Helper()
	got, err := waitPOP(l.addr("pop3"), user, n)
	if err != nil {
		l.t.Fatal(err)
	}
	if len(got) != n {
		l.t.Fatalf("%d messages for %s, want %d:\n%s", len(got), user, n, strings.Join(got, "\n---\n"))
	}
	return got
}

// one waits for exactly one message.
func (l *listLab) one(user string) string {
	l.t.Helper()
	return l.box(user, 1)[0]
}

// idle waits until nothing is due, so that what has not come will not come.
func (l *listLab) idle() {
	l.t.Helper()
	empty := 0 // a message that goes while another takes its place may hide both from one look
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		out, err := l.command("queue", "list", "--status", "queued", "--json").Output()
		var lines []any
		if empty++; err != nil || json.Unmarshal(out, &lines) != nil || len(lines) > 0 {
			empty = 0
		}
		if empty == 2 {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("the queue is not idle: %v\n%s", err, out)
		}
	}
}

// nothing fails the test if an account has mail once the queue is idle.
func (l *listLab) nothing(users ...string) {
	l.t.Helper()
	l.idle()
	for _, u := range users {
		if got, err := readPOP(l.addr("pop3"), u, true); err != nil || len(got) != 0 {
			l.t.Errorf("%s has %d messages, %v\n%s", u, len(got), err, strings.Join(got, "\n---\n"))
		}
	}
}

func (l *listLab) advance(d string) {
	l.t.Helper()
	if out, err := l.command("clock", "advance", d).CombinedOutput(); err != nil {
		l.t.Fatalf("clock advance %s: %v\n%s", d, err, out)
	}
}

// value is a field of a message, unfolded; several are joined by "; ".
func value(text, name string) string {
	head, _, _ := strings.Cut(text, "\n\n")
	return strings.Join(mime.ParseHeader([]byte(head+"\n")).All(name), "; ")
}

// content is what follows the header section.
func content(text string) string {
	_, body, _ := strings.Cut(text, "\n\n")
	return body
}

// dkim verifies the signatures of a message against the zone: "domain result"
// of each.
func (l *listLab) dkim(text string) string {
	l.t.Helper()
	var out []string
	for _, r := range l.verify(text).DKIM {
		out = append(out, r.Domain+" "+r.Result)
	}
	return strings.Join(out, "; ")
}

// verify verifies a message, with LF for line ends, against the zone.
func (l *listLab) verify(text string) *envelope.AuthResults {
	l.t.Helper()
	return verified(l.t, l.dns, strings.ReplaceAll(text, "\n", "\r\n"))
}

// publish makes a DKIM key for a domain and puts it into the zone.
func (l *listLab) publish(domain string) {
	l.t.Helper()
	l.house.publish(l.t, l.dns, domain)
}

// verified is what a server at 127.0.0.1 that knows a zone finds out about a
// message.
func verified(t testing.TB, zone *dnsserver.Server, text string) *envelope.AuthResults {
	t.Helper()
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	results, err := verify.Check(t.Context(), dns.New(dns.Options{Servers: []string{zone.Addr}}), verify.Message{Sender: "x@x.test", Header: mime.ParseHeader([]byte(head + "\r\n")),
		Body: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// publish makes a DKIM key for a domain and puts it into a zone.
func (h *house) publish(t testing.TB, zone *dnsserver.Server, domain string) {
	t.Helper()
	out, err := h.command("dkim", "generate", domain, "--json").CombinedOutput()
	var key verify.Key
	if err != nil || json.Unmarshal(out, &key) != nil {
		t.Fatalf("dkim generate %s: %v\n%s", domain, err, out)
	}
	if err := zone.Add(key.Name + ". 60 IN TXT " + quotedTXT(key.Record) + "\n"); err != nil {
		t.Fatal(err)
	}
}
