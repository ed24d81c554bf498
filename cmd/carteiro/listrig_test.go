package main

import (
	"fmt"
	"strings"
	"testing"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/message/envelope"
	"carteiro/core/service/dns/dnsserver"
)

// listRig is a running server for l.test and m.test, with mailing lists, a DNS on loopback,
// and one server for all other domains.
type listRig struct {
	*testserver.Server
	t    testing.TB
	dns  *dnsserver.Server
	mx   *testserver.FakeMX // of all other domains
	from string             // host:port that the bundle may ask
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

// newListRig starts it, with accounts owner, a, b and c at l.test.
func newListRig(t testing.TB, extra string, accounts ...envelope.Address) *listRig {
	t.Helper()
	zone, err := dnsserver.Start(listZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(zone.Close)
	l := &listRig{
		Server: &testserver.Server{Dir: t.TempDir()},
		t:      t,
		dns:    zone,
		mx:     testserver.NewFakeMX(t, "127.0.0.1:0", "PIPELINING"),
		from:   "127.0.0.1:" + testserver.FreePort(t),
	}
	accounts = append([]envelope.Address{"owner@l.test", "a@l.test", "b@l.test", "c@l.test"}, accounts...)
	if err := l.BuildFrom(t.Context(), fmt.Sprintf(listConfig, l.from, l.mx.Port(), zone.Addr, extra), accounts...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the server has ended
		if strings.Contains(l.Log(), "policy failed") && !t.Failed() {
			t.Error("a policy failed")
		}
	})
	l.StartFor(t, "--test-clock")
	return l
}

// list runs `carteiro list` and returns what it printed.
func (l *listRig) list(args ...string) string {
	l.t.Helper()
	out, err := l.Command(append([]string{"list"}, args...)...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("list %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// refuses runs `carteiro list`, which must fail and say why.
func (l *listRig) refuses(why string, args ...string) {
	l.t.Helper()
	out, err := l.Command(append([]string{"list"}, args...)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), why) {
		l.t.Errorf("list %s: %v, want %q\n%s", strings.Join(args, " "), err, why, out)
	}
}

// make makes a list with members, run by owner@l.test.
func (l *listRig) make(name string, settings []string, members ...string) {
	l.t.Helper()
	l.list(append([]string{"create", name, "--owner", "owner@l.test"}, settings...)...)
	if len(members) > 0 {
		l.list(append([]string{"subscribe", name}, members...)...)
	}
}

// post sends a message by SMTP from outside and returns the reply to it.
func (l *listRig) post(sender, to, text string) string {
	l.t.Helper()
	reply, err := testserver.SendSMTP(l.Addr("mx"), "EHLO client.test", sender, []string{to}, text)
	if err != nil {
		l.t.Fatal(err)
	}
	return reply
}

// article is a plain message.
func article(from, to, subject string, more ...string) string {
	return "From: " + from + "\nTo: " + to + "\nSubject: " + subject + "\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <" +
		site.RandomHex(6) + "@test>\n" + strings.Join(more, "") + "\nhello\n"
}

// nothing fails the test if an account has mail once the queue is idle.
func (l *listRig) nothing(users ...string) {
	l.t.Helper()
	l.WaitQueueIdle(l.t)
	for _, u := range users {
		if got, err := testserver.ReadPOP3(l.Addr("pop3"), u, true); err != nil || len(got) != 0 {
			l.t.Errorf("%s has %d messages, %v\n%s", u, len(got), err, strings.Join(got, "\n---\n"))
		}
	}
}

func (l *listRig) advance(d string) {
	l.t.Helper()
	if out, err := l.Command("clock", "advance", d).CombinedOutput(); err != nil {
		l.t.Fatalf("clock advance %s: %v\n%s", d, err, out)
	}
}

// dkim verifies the signatures of a message against the zone: "domain result"
// of each.
func (l *listRig) dkim(text string) string {
	l.t.Helper()
	var out []string
	for _, r := range l.verify(text).DKIM {
		out = append(out, r.Domain+" "+r.Result)
	}
	return strings.Join(out, "; ")
}

// verify verifies a message, with LF for line ends, against the zone.
func (l *listRig) verify(text string) *envelope.AuthResults {
	l.t.Helper()
	return testserver.Verify(l.t, l.dns, strings.ReplaceAll(text, "\n", "\r\n"))
}
