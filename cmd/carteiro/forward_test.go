package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

// The tests TestForward01 to TestForward10 have the numbers of the acceptance tests of
// forwarding; the tests after them are for the other points of that list. All run against
// a server, with a DNS and the servers of other domains on loopback.

// authentic returns whether dkimpy finds the author's signature of a message valid.
func authentic(t *testing.T, python, raw, record string) bool {
	t.Helper()
	cmd := exec.Command(python, "-c", `
import sys, dkim
key = sys.argv[1].encode()
print(dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: key))`, record)
	cmd.Stdin = strings.NewReader(raw)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("dkimpy: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out)) == "True"
}

// signedBy has dkimpy sign a message of domain.
func signedBy(t *testing.T, python, text, domain, private string) string {
	t.Helper()
	cmd := exec.Command(python, "-c", `
import sys, dkim
m = sys.stdin.buffer.read()
sys.stdout.buffer.write(dkim.sign(m, b"one", sys.argv[1].encode(), sys.argv[2].encode()) + m)`, domain, private)
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dkimpy: %v", err)
	}
	return string(out)
}

// dkimpy is the interpreter with the verifier of others, or the test is
// skipped.
func dkimpy(t *testing.T) string {
	t.Helper()
	need(t, "python3")
	for _, python := range []string{"python3", "/usr/bin/python3"} { // another one may stand in front of Debian's
		if exec.Command(python, "-c", "import dkim").Run() == nil {
			return python
		}
	}
	t.Skip("python3-dkim is not installed")
	return ""
}

// The acceptance tests of forwarding that need sockets, other programs or
// several servers; the others are plugins/forward/tests/acceptance.lua.

// TestForward01: a copy in the mailbox and one outside; body and signed fields are as
// they came, so that the author's signature and DMARC pass there too.
func TestForward01(t *testing.T) {
	python := dkimpy(t)
	l := newForwardRig(t, "", nil)
	private, record := l.authorKey("s.test")
	if err := l.dns.Add("_dmarc.s.test. 60 IN TXT \"v=DMARC1; p=reject\"\n"); err != nil {
		t.Fatal(err)
	}
	setForward(t, l.Server, "alice@example.com", `{"to": ["x@out.test"], "keep": true}`)
	signed := signedBy(t, python, letterOf("1"), "s.test", private)
	l.Deliver(t, "s@s.test", "alice@example.com", signed)
	got := l.out.Wait(1)
	if !strings.HasSuffix(got.Text, signed) {
		t.Errorf("what arrives does not end in what was sent:\n%s", got.Text)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(got.Text, signed), "\r\n") {
		name, _, ok := strings.Cut(line, ":")
		if ok && !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, " ") &&
			!strings.Contains(" Received Delivered-To X-Forwarded-For Authentication-Results ", " "+name+" ") {
			t.Errorf("the field %q was put on top", line)
		}
	}
	if !authentic(t, python, got.Text, record) {
		t.Errorf("the author's signature is broken:\n%s", got.Text)
	}
	if authentic(t, python, strings.Replace(got.Text, "hello", "hallo", 1), record) {
		t.Error("the verifier accepted a changed message")
	}
	l.Mail(t, "alice")
	l.WaitQueueEmpty(t)
	if n := len(l.out.All()); n != 1 {
		t.Errorf("%d copies outside", n)
	}
}

const undelivered = "From: MAILER-DAEMON@mx.out.test\nTo: <whoever@example.com>\nSubject: Undelivered\nAuto-Submitted: auto-replied\n\nno\n"

// TestForward03: DSNs reach the sender; forged and old return
// addresses are refused at RCPT, and nobody relays by them. A rotated key
// verifies for as long as an address lives.
func TestForward03(t *testing.T) {
	l := newForwardRig(t, "", nil)
	setForward(t, l.Server, "alice@example.com", `{"to": ["x@out.test"]}`)
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("1"))
	path := l.out.Wait(1).Sender
	l.Deliver(t, "", path, undelivered)
	if got := l.s.Wait(1); got.Sender != "" || got.To[0] != "s@s.test" || !strings.Contains(got.Text, "Subject: Undelivered\r\n") {
		t.Errorf("the report: %+v", got)
	}
	changed := []byte(path)
	changed[5] = map[bool]byte{true: 'b', false: 'a'}[changed[5] == 'a']
	for name, tt := range map[string]struct{ from, to string }{
		"one letter of the sign":   {"", string(changed)},
		"mail, not a report":       {"eve@evil.test", path},
		"another address":          {"", strings.Replace(path, "=s@", "=victim@", 1)},
		"another domain":           {"", strings.Replace(path, "s.test", "out.test", 1)},
		"nonsense":                 {"", "SRS0=@example.com"},
		"the form of another tool": {"", "SRS0+abcd=ef=s.test=s@example.com"},
	} {
		if reply := l.Send(t, tt.from, tt.to, undelivered); !strings.HasPrefix(reply, "550 5.7.") {
			t.Errorf("%s: %s", name, reply)
		}
	}
	l.Ctl(t, "srs", "rotate")
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("2"))
	if next := l.out.Wait(2).Sender; next == path {
		t.Error("a rotated key signs the same")
	}
	l.Ctl(t, "clock", "advance", "504h") // 21 days
	l.Deliver(t, "", path, undelivered)
	l.s.Wait(2)
	l.Ctl(t, "clock", "advance", "24h")
	if reply := l.Send(t, "", path, undelivered); !strings.HasPrefix(reply, "550 5.7.") {
		t.Errorf("22 days old: %s", reply)
	}
	l.WaitQueueEmpty(t)
	if n := len(l.s.All()); n != 2 {
		t.Errorf("%d DSNs came back, want 2", n)
	}
}

// TestForward04: two accounts, of one server and of two, that forward to each
// other have a copy each.
func TestForward04(t *testing.T) {
	l := newForwardRig(t, "", nil)
	setForward(t, l.Server, "alice@example.com", `{"to": ["bob@example.com"], "keep": true}`)
	setForward(t, l.Server, "bob@example.com", `{"to": ["alice@example.com"], "keep": true}`)
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("1"))
	l.Mail(t, "alice")
	l.Mail(t, "bob")

	two := l.newServer("127.0.0.6", "", nil, "two.test")
	two.Ctl(t, "account", "add", "carol@two.test")
	setForward(t, l.Server, "alice@example.com", `{"to": ["carol@two.test"], "keep": true}`)
	l.Ctl(t, "alias", "add", "alice@fwd.test", "alice@example.com")
	setForward(t, two, "carol@two.test", `{"to": ["alice@fwd.test"], "keep": true}`)
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("2"))
	testserver.Until(t, "carol has it", func() bool {
		return strings.Contains(two.Ctl(t, "account", "show", "carol@two.test"), "INBOX: 1 messages")
	})
	two.WaitQueueEmpty(t)
	l.WaitQueueEmpty(t)
	if got := l.Mailbox(t, "alice"); len(got) != 1 || !strings.Contains(two.Ctl(t, "account", "show", "carol@two.test"), "INBOX: 1 messages") {
		t.Errorf("%d copies, want 1: %q", len(got), got)
	}
	if n := len(l.s.All()); n != 0 {
		t.Errorf("the sender got a DSN, want none: %+v", l.s.All())
	}
}

// TestForward05: a circle of aliases is refused, named, and nothing changes.
func TestForward05(t *testing.T) {
	l := newForwardRig(t, "", nil)
	l.Ctl(t, "alias", "add", "one@fwd.test", "two@fwd.test")
	l.Ctl(t, "alias", "add", "two@fwd.test", "alice@example.com")
	if out, err := l.Try("alias", "add", "two@fwd.test", "bob@example.com", "one@fwd.test"); err == nil ||
		!strings.Contains(out, "two@fwd.test -> one@fwd.test -> two@fwd.test") {
		t.Errorf("%v\n%s", err, out)
	}
	table := l.WriteFile(t, "table", "fine@fwd.test bob@example.com\na@fwd.test b@fwd.test\nb@fwd.test a@fwd.test\n")
	if out, err := l.Try("alias", "import", table); err == nil || !strings.Contains(out, "a@fwd.test -> b@fwd.test -> a@fwd.test") {
		t.Errorf("%v\n%s", err, out)
	}
	l.Deliver(t, "s@s.test", "one@fwd.test", letterOf("1"))
	l.Mail(t, "alice")
	if reply := l.Send(t, "s@s.test", "fine@fwd.test", letterOf("2")); !strings.HasPrefix(reply, "550 5.1.1") {
		t.Errorf("a part of the table was taken: %s", reply)
	}
}

// TestForward07: a target that fails for an hour does not delay the others, and the others
// get the message only once, also after a restart.
func TestForward07(t *testing.T) {
	l := newForwardRig(t, "", nil)
	l.other.SetReply(func(string) string { return "451 4.2.1 come again" })
	setForward(t, l.Server, "alice@example.com", `{"to": ["x@out.test", "y@other.test"], "keep": true}`)
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("1"))
	l.out.Wait(1)
	l.WaitSubject(t, "alice@example.com", "letter 1")
	for _, d := range []string{"6m", "16m", "40m"} {
		testserver.Until(t, "the failing target waits", func() bool { return strings.Contains(l.Ctl(t, "queue", "list"), "deferred") })
		l.Ctl(t, "clock", "advance", d)
	}
	if _, err := l.Stop(9); err != nil {
		t.Fatal(err)
	}
	l.other.SetReply(nil)
	if err := l.Start("--test-clock"); err != nil {
		t.Fatal(err)
	}
	l.Ctl(t, "clock", "advance", "3h")
	if got := l.other.Wait(1); got.To[0] != "y@other.test" || len(got.To) != 1 {
		t.Errorf("the retry: %+v", got)
	}
	l.WaitQueueEmpty(t)
	if got := l.Mailbox(t, "alice"); len(l.out.All()) != 1 || len(l.other.All()) != 1 || len(got) != 1 {
		t.Errorf("%d and %d copies outside, %d in the mailbox", len(l.out.All()), len(l.other.All()), len(got))
	}
}

const spamPolicy = `on("receive.data", function(session, tx, msg)
  local subject = msg:subject() or ""
  if subject:find("scored") then msg:score("TEST", 7) end
  if subject:find("marked") then msg:set_header("X-Spam", "yes") end
  if subject:find("filed") then for _, r in ipairs(tx:recipients()) do r.meta.folder = "Junk" end end
end)
`

// TestForward08: spam and what fails DMARC stays in the mailbox, and a field says
// why.
func TestForward08(t *testing.T) {
	l := newForwardRig(t, "", map[string]string{"spam.lua": spamPolicy})
	if err := l.dns.Add("forged.test. 60 IN TXT \"v=spf1 -all\"\n_dmarc.forged.test. 60 IN TXT \"v=DMARC1; p=reject\"\n"); err != nil {
		t.Fatal(err)
	}
	setForward(t, l.Server, "alice@example.com", `{"to": ["x@out.test"]}`)
	for id, want := range map[string]string{"scored": "spam", "marked": "spam", "forged": "DMARC failed"} {
		text := letterOf(id)
		if id == "forged" {
			text = strings.ReplaceAll(text, "s@s.test", "s@forged.test")
		}
		l.Deliver(t, "s@s.test", "alice@example.com", text)
		testserver.Contains(t, l.Mail(t, "alice"), "X-Carteiro-Forward-Kept: "+want+"\n", "Subject: letter "+id)
	}
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("filed"))
	testserver.Until(t, "filed into Junk", func() bool {
		return strings.Contains(l.Ctl(t, "account", "show", "alice@example.com"), "Junk: 1 messages")
	})
	l.WaitQueueEmpty(t)
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("good"))
	testserver.Contains(t, l.out.Wait(1).Text, "Subject: letter good")
}

// TestForward09: what another forwarder rewrote becomes SRS1, and a report
// finds its way over both.
func TestForward09(t *testing.T) {
	l := newForwardRig(t, "", nil)
	two := l.newServer("127.0.0.6", "", nil, "two.test")
	two.Ctl(t, "alias", "add", "carol@two.test", "alice@example.com")
	// example.com is local to both, so the second knows the first by fwd.test.
	l.Ctl(t, "account", "add", "ann@fwd.test")
	setForward(t, l.Server, "ann@fwd.test", `{"to": ["carol@two.test"]}`)
	two.Ctl(t, "account", "add", "bea@two.test")
	two.Ctl(t, "alias", "add", "carol@two.test", "bea@two.test")
	setForward(t, two, "bea@two.test", `{"to": ["x@out.test"]}`)
	l.Deliver(t, "s@s.test", "ann@fwd.test", letterOf("1"))
	got := l.out.Wait(1)
	if !regexp.MustCompile(`^SRS1=[a-z2-7]{6}=fwd\.test==[a-z2-7]{6}=[a-z2-7]{2}=s\.test=s@two\.test$`).MatchString(got.Sender) {
		t.Errorf("the sender is %s", got.Sender)
	}
	two.Deliver(t, "", got.Sender, undelivered)
	if dsn := l.s.Wait(1); dsn.Sender != "" || dsn.To[0] != "s@s.test" {
		t.Errorf("the DSN: %+v", dsn)
	}
	forged := strings.Replace(got.Sender, "=s@", "=t@", 1)
	if reply := two.Send(t, "", forged, undelivered); !strings.HasPrefix(reply, "550 5.7.") {
		t.Errorf("forged: %s", reply)
	}
	two.Ctl(t, "clock", "advance", "528h") // 22 days
	if reply := two.Send(t, "", got.Sender, undelivered); !strings.HasPrefix(reply, "550 5.7.") {
		t.Errorf("22 days old: %s", reply)
	}
}

// notified sends a message whose sender wants a DSN of success.
func (l *forwardRig) notified(t *testing.T, to, notify, id string) {
	t.Helper()
	w, err := testserver.Dial(l.Addr("mx"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	text := strings.ReplaceAll(strings.ReplaceAll(letterOf(id), "\n.", "\n.."), "\n", "\r\n")
	for _, c := range []string{"", "EHLO mx.s.test", "MAIL FROM:<s@s.test> ENVID=QQ" + id,
		"RCPT TO:<" + to + "> NOTIFY=" + notify + " ORCPT=rfc822;" + to, "DATA", text + "."} {
		if code, reply, err := w.SMTP(c); err != nil || code >= 400 {
			t.Fatalf("%q: %d %s %v", c, code, reply, err)
		}
	}
}

// TestForward10: a sender who wants DSNs of success gets one "relayed", about the address
// that they know, whether or not the next hop supports DSNs.
func TestForward10(t *testing.T) {
	l := newForwardRig(t, "", nil)
	l.other.SetExtensions("DSN")
	for n, target := range []string{"hidden@out.test", "hidden@other.test"} {
		setForward(t, l.Server, "alice@example.com", `{"to": ["`+target+`"]}`)
		l.notified(t, "alice@example.com", "SUCCESS,FAILURE", fmt.Sprint(n))
		got := l.s.Wait(n + 1)
		testserver.Contains(t, strings.ReplaceAll(got.Text, "\r\n", "\n"), "Action: relayed\n",
			"Final-Recipient: rfc822; alice@example.com\n", "Original-Recipient: rfc822;alice@example.com\n",
			"Original-Envelope-Id: QQ"+fmt.Sprint(n)+"\n")
		if strings.Contains(got.Text, "hidden") || strings.Contains(got.Text, "out.test") || strings.Contains(got.Text, "other.test") ||
			got.Sender != "" {
			t.Errorf("the report names the target: %s", got.Text)
		}
		l.WaitQueueEmpty(t)
	}
	if to := l.other.All()[0].RcptArgs[0]; strings.Contains(to, "SUCCESS") || !strings.Contains(to, "NOTIFY=FAILURE") ||
		!strings.Contains(to, "ORCPT=rfc822;alice@example.com") {
		t.Errorf("the next hop was told %s", to)
	}
	// With a copy in the mailbox, success is reported from there, once.
	setForward(t, l.Server, "alice@example.com", `{"to": ["hidden@out.test"], "keep": true}`)
	l.notified(t, "alice@example.com", "SUCCESS", "2")
	testserver.Contains(t, l.s.Wait(3).Text, "Action: delivered", "Final-Recipient: rfc822; alice@example.com")
	l.out.Wait(2)
	l.WaitQueueEmpty(t)
	if n := len(l.s.All()); n != 3 {
		t.Errorf("%d reports, want 3", n)
	}
}

// TestForwardFailure: a target that refuses for good gives the sender a report
// which names the address that they wrote to, and costs the copy in the mailbox
// nothing.
func TestForwardFailure(t *testing.T) {
	l := newForwardRig(t, "", nil)
	l.out.SetReply(func(to string) string { return "550 5.1.1 <" + to + "> is unknown at out.test" })
	setForward(t, l.Server, "alice@example.com", `{"to": ["hidden@out.test", "y@other.test"], "keep": true}`)
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("1"))
	l.Mail(t, "alice")
	l.other.Wait(1)
	got := l.s.Wait(1)
	testserver.Contains(t, got.Text, "Action: failed", "Final-Recipient: rfc822; alice@example.com", "To: s@s.test")
	if strings.Contains(got.Text, "hidden") || strings.Contains(got.Text, "out.test") {
		t.Errorf("the report names the target: %s", got.Text)
	}
}

// TestForwardConsent: nothing is forwarded to a target outside before it has answered the
// confirmation mail; a token works once; automatic answers do not confirm.
func TestForwardConsent(t *testing.T) {
	l := newForwardRig(t, "", nil)
	l.Ctl(t, "account", "set", "alice@example.com", "forward", `{"to": ["x@out.test"], "keep": false}`)
	asked := l.out.Wait(1) // at once, before any mail came
	if asked.Sender != "" || !strings.Contains(asked.Text, "Auto-Submitted: auto-generated\r\n") ||
		!strings.Contains(asked.Text, "alice@example.com") {
		t.Errorf("the mail that asks: %+v", asked)
	}
	token := regexp.MustCompile(`forward-confirm\+[0-9a-f]{32}@example\.com`).FindString(asked.Text)
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("1"))
	testserver.Contains(t, l.Mail(t, "alice"), "X-Carteiro-Forward-Kept: a target has not confirmed\n")
	answer := "From: x@out.test\nTo: " + token + "\nSubject: Re: Confirm\n%s\nyes\n"
	for what, tt := range map[string]struct{ from, to, field string }{
		"the null sender":   {"", token, ""},
		"a machine":         {"x@out.test", token, "Auto-Submitted: auto-replied\n"},
		"another token":     {"x@out.test", "forward-confirm+" + strings.Repeat("0", 32) + "@example.com", ""},
		"in another domain": {"x@out.test", strings.Replace(token, "example.com", "fwd.test", 1), ""},
	} {
		if reply := l.Send(t, tt.from, tt.to, fmt.Sprintf(answer, tt.field)); !strings.HasPrefix(reply, "550 5.7.1") {
			t.Errorf("%s: %s", what, reply)
		}
	}
	l.Deliver(t, "x@out.test", token, fmt.Sprintf(answer, ""))
	if reply := l.Send(t, "x@out.test", token, fmt.Sprintf(answer, "")); !strings.HasPrefix(reply, "550 5.7.1") {
		t.Errorf("a second time: %s", reply)
	}
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("2"))
	testserver.Contains(t, l.out.Wait(2).Text, "Subject: letter 2")
	if got := l.Mailbox(t, "alice"); len(got) != 0 {
		t.Errorf("a copy stays: %q", got)
	}
}

// TestForwardFile: the text of a .forward file is a setting.
func TestForwardFile(t *testing.T) {
	l := newForwardRig(t, "", nil)
	file := l.WriteFile(t, "dotforward", "# in the mailbox and outside\n\\alice, x@out.test\n\"|/usr/bin/procmail\"\nbob\n")
	l.Ctl(t, "account", "set", "alice@example.com", "forward", "@"+file, "--confirmed")
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("1"))
	l.out.Wait(1)
	l.Mail(t, "alice")
	l.Mail(t, "bob")
	l.Ctl(t, "account", "set", "alice@example.com", "forward", "null")
	l.Deliver(t, "s@s.test", "alice@example.com", letterOf("2"))
	l.Mail(t, "alice")
	l.WaitQueueEmpty(t)
	if n := len(l.out.All()); n != 1 {
		t.Errorf("%d copies outside after the setting is gone", n)
	}
}

// TestForwardMember: a member of a list here who forwards outside: the copy has
// the list's fields and the return path that is the member's own, to which the
// target's reports belong.
func TestForwardMember(t *testing.T) {
	l := newForwardRig(t, "", nil)
	config, err := os.ReadFile(l.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	l.WriteFile(t, "carteiro.toml", string(config)+"[[bundle]]\nname = \"carteiro/mailinglist\"\n")
	l.Ctl(t, "reload")
	l.Ctl(t, "list", "create", "devs@fwd.test", "--owner", "bob@example.com", "post=anyone")
	l.Ctl(t, "list", "subscribe", "devs@fwd.test", "alice@example.com")
	setForward(t, l.Server, "alice@example.com", `{"to": ["x@out.test"]}`)
	l.Deliver(t, "s@s.test", "devs@fwd.test", strings.Replace(letterOf("1"), "To: alice@example.com", "To: devs@fwd.test", 1))
	got := l.out.Wait(1)
	if !regexp.MustCompile(`^devs-bounces\+alice=example\.com=[a-z2-7]+@fwd\.test$`).MatchString(got.Sender) {
		t.Errorf("the sender is %s", got.Sender)
	}
	testserver.Contains(t, got.Text, "List-Id: <devs.fwd.test>\r\n", "List-Unsubscribe:", "Delivered-To: alice@example.com\r\n")
}

// TestForwardSealed: a seal says to receivers that trust the owner's domain how
// the mail arrived; the copy in the mailbox has none.
func TestForwardSealed(t *testing.T) {
	python := dkimpy(t)
	l := newForwardRig(t, `arc = true`, nil)
	testserver.PublishDKIM(t, l.Server, l.dns, "example.com")
	private, record := l.authorKey("s.test")
	setForward(t, l.Server, "alice@example.com", `{"to": ["x@out.test"], "keep": true}`)
	l.Deliver(t, "s@s.test", "alice@example.com", signedBy(t, python, letterOf("1"), "s.test", private))
	got := l.out.Wait(1).Text
	if res := testserver.Verify(t, l.dns, got); res.ARC.Result != "pass" || res.ARC.Domain != "example.com" ||
		!authentic(t, python, got, record) {
		t.Errorf("ARC %+v of\n%s", res.ARC, got)
	}
	testserver.Contains(t, strings.ReplaceAll(got, "\r\n\t", " "),
		"ARC-Authentication-Results: i=1; mx.example.com; spf=pass smtp.mailfrom=s.test; dkim=pass header.d=s.test header.s=one;")
	if kept := l.Mail(t, "alice"); strings.Contains(kept, "ARC-") {
		t.Errorf("in the mailbox\n%s", kept)
	}
}
