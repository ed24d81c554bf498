package main

import (
	"fmt"
	"strings"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/service/dns/dnsserver"
)

// bundleRig is a server with bundles, a test clock, a test DNS, and one mail server for all
// other domains.
type bundleRig struct {
	*testserver.Server
	t   testing.TB
	dns *dnsserver.Server
	mx  *testserver.FakeMX // of all other domains
}

// bundleZone has s.test, which names this machine as its sender, and others
// that say nothing about theirs.
const bundleZone = `s.test. MX 10 mx.s.test.
s.test. TXT "v=spf1 ip4:127.0.0.1 -all"
plain.test. MX 10 mx.s.test.
example.com. A 127.0.0.1
mx.s.test. A 127.0.0.1
`

// newBundleRig builds and starts it with bundles, by their names in carteiro/.
// Of extra, lines before the first table are for the configuration's beginning.
func newBundleRig(t testing.TB, extra string, bundles ...string) *bundleRig {
	t.Helper()
	l := &bundleRig{Server: &testserver.Server{Dir: t.TempDir()}, t: t, mx: testserver.NewFakeMX(t, "127.0.0.1:0", "SMTPUTF8")}
	var err error
	if l.dns, err = dnsserver.Start(bundleZone); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.dns.Close)
	top, tables := testserver.SplitConfig(extra)
	text := fmt.Sprintf("%s[dns]\nresolver = %q\n[delivery]\nport = %s\nallow_private = true\n%s", top, l.dns.Addr, l.mx.Port(), tables)
	for _, b := range bundles {
		text += "[[bundle]]\nname = \"carteiro/" + b + "\"\n"
	}
	if err := l.Build(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	l.StartFor(t, "--test-clock")
	return l
}

// restart starts the server again after it was stopped.
func (l *bundleRig) restart() {
	l.t.Helper()
	if err := l.Start("--test-clock"); err != nil {
		l.t.Fatal(err)
	}
}

// vacation sets alice's absence; fields is JSON without its braces.
func (l *bundleRig) vacation(user, fields string) {
	l.t.Helper()
	l.Ctl(l.t, "account", "set", user, "vacation", "{"+fields+"}")
}

// send brings a message to the MX, which has to take it.
func (l *bundleRig) send(from, to, text string) {
	l.t.Helper()
	reply, err := testserver.SendSMTP(l.Addr("mx"), "EHLO client.s.test", from, strings.Split(to, ","), text)
	if err != nil || !strings.HasPrefix(reply, "250") {
		l.t.Fatalf("from <%s> to %s: %s, %v", from, to, reply, err)
	}
}

// hello sends a short message whose header names its sender and recipient.
func (l *bundleRig) hello(from, to string, fields ...string) {
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

// answers returns the messages that the other server got since the last call.
func (l *bundleRig) answers() []testserver.Received {
	l.t.Helper()
	l.WaitQueueEmpty(l.t)
	return l.mx.Take()
}

// answered checks how many messages the other server got since the last call.
func (l *bundleRig) answered(want int, what string) []testserver.Received {
	l.t.Helper()
	got := l.answers()
	if len(got) != want {
		l.t.Errorf("%s: %d answers, want %d: %v", what, len(got), want, got)
	}
	return got
}

// plain logs in with PLAIN at a listener with TLS; the error says why that failed.
func (l *bundleRig) plain(listener, authzid, user string) error {
	l.t.Helper()
	w, err := testserver.DialTLS(l.Addr(listener))
	if err != nil {
		l.t.Fatal(err)
	}
	defer w.Close()
	if listener == "pop3s" {
		if _, err = w.POP3(""); err == nil {
			_, err = w.POP3("AUTH PLAIN " + testserver.SASLPlain(authzid, user))
		}
		return err
	}
	for _, c := range []string{"", "EHLO client.example.net", "AUTH PLAIN " + testserver.SASLPlain(authzid, user)} {
		if code, reply, err := w.SMTP(c); err != nil || code >= 400 {
			return fmt.Errorf("%d %s, %w", code, reply, err)
		}
	}
	return nil
}

// until runs a command of the command line until it prints a word.
func (l *bundleRig) until(word string, args ...string) {
	l.t.Helper()
	testserver.Until(l.t, fmt.Sprintf("carteiro %s prints %q", strings.Join(args, " "), word), func() bool {
		return strings.Contains(l.Ctl(l.t, args...), word)
	})
}

// login opens an authenticated session at submission.
func (l *bundleRig) login(user string) *testserver.Dialog {
	l.t.Helper()
	return l.loginAt("submissions", user)
}

// loginAt is login at another listener, with STARTTLS unless it is submissions.
func (l *bundleRig) loginAt(listener, user string) *testserver.Dialog {
	l.t.Helper()
	var w *testserver.Dialog
	var err error
	if listener == "submissions" {
		w, err = testserver.DialTLS(l.Addr(listener))
	} else {
		w, err = testserver.DialStartTLS(l.Addr(listener))
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { w.Close() })
	commands := []string{"", "EHLO client.example.net", "AUTH PLAIN " + testserver.SASLPlain("", user)}
	if listener != "submissions" {
		commands = commands[1:]
	}
	for _, c := range commands {
		if code, reply, err := w.SMTP(c); err != nil || code >= 400 {
			l.t.Fatalf("login of %s: %d %s, %v", user, code, reply, err)
		}
	}
	return w
}

// submit sends a message in an authenticated session and returns the first
// refusal, or the reply to the content.
func (l *bundleRig) submit(user, from, to, text string) string {
	l.t.Helper()
	return l.submitIn(l.login(user), from, to, text)
}

func (l *bundleRig) submitIn(w *testserver.Dialog, from, to, text string) string {
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
		code, reply, err := w.SMTP(c)
		if err != nil {
			l.t.Fatal(err)
		}
		if code >= 400 || strings.HasSuffix(c, "\r\n.") {
			return fmt.Sprintf("%d %s", code, reply)
		}
	}
	return ""
}

// folder is how many messages a folder of an account has once the queue is
// empty.
func (l *bundleRig) folder(account, name string) int64 {
	l.t.Helper()
	l.WaitQueueEmpty(l.t)
	return l.Folder(l.t, account, name)
}

// passes verifies a message as another server would and returns the results
// of DKIM, by domain.
func (l *bundleRig) passes(p testserver.Received, domain string) bool {
	l.t.Helper()
	for _, s := range testserver.Verify(l.t, l.dns, p.Text).DKIM {
		if s.Result == "pass" && s.Domain == domain {
			return true
		}
	}
	return false
}
