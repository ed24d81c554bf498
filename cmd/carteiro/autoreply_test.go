package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
)

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
	away  = `"active": true, "text": "I am away"`
)

// autoreply is a server on which alice is away.
func autoreply(t *testing.T, extra string) *bundleRig {
	t.Parallel()
	l := newBundleRig(t, extra, "autoreply")
	l.vacation(alice, away)
	return l
}

// TestAutoreply holds the acceptance tests of the autoresponder by their
// numbers, on a running server.
func TestAutoreply(t *testing.T) {
	t.Run("1 one reply to the return path", testAutoreplyOne)
	t.Run("2 once in a period, over restarts and crashes", testAutoreplyPeriod)
	t.Run("3 machines", testAutoreplyMachines)
	t.Run("4 fields that ask for silence", testAutoreplySilence)
	t.Run("5 Bcc, catch-all and aliases", testAutoreplyAddressed)
	t.Run("6 two who are away", testAutoreplyTwoAway)
	t.Run("7 the return path alone", testAutoreplyReturnPath)
	t.Run("8 no injection", testAutoreplyInjection)
	t.Run("9 dates in the user's zone", testAutoreplyDates)
	t.Run("kill in the middle", testAutoreplyKill)
	t.Run("loops, and what cannot be answered", testAutoreplyLoops)
	t.Run("10 forged, junk and floods", testAutoreplyGates)
}

func testAutoreplyOne(t *testing.T) {
	l := autoreply(t, "")
	l.PublishDKIM(l.t, l.dns, "example.com")
	l.hello("ann@s.test", alice, "References: <0@s.test>")
	r := l.answered(1, "a message")[0]
	if r.Sender != "" || fmt.Sprint(r.To) != "[ann@s.test]" {
		t.Errorf("from <%s> to %v", r.Sender, r.To)
	}
	for name, want := range map[string]string{
		"Auto-Submitted":           "auto-replied",
		"X-Auto-Response-Suppress": "All",
		"In-Reply-To":              "<1.ann@s.test>",
		"References":               "<0@s.test> <1.ann@s.test>",
		"From":                     alice,
		"To":                       "ann@s.test",
		"Subject":                  "Auto: hello",
	} {
		if got := r.Header(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !l.passes(r, "example.com") {
		t.Errorf("no signature of the user's domain that passes:\n%s", r.Text)
	}
	testserver.Contains(t, l.TakeMail(l.t, "alice", 1)[0], "Subject: hello\n")
}

func testAutoreplyPeriod(t *testing.T) {
	l := autoreply(t, "")
	l.hello("ann@s.test", alice)
	l.answered(1, "the first message")
	l.hello("ann@s.test", alice)
	l.answered(0, "the same day")
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if _, err := l.Stop(sig); err != nil {
			t.Fatal(err)
		}
		l.restart()
		l.hello("ann@s.test", alice)
		l.answered(0, "after "+sig.String())
	}
	l.Ctl(l.t, "clock", "advance", "6d")
	l.hello("ann@s.test", alice)
	l.answered(0, "within the period")
	l.Ctl(l.t, "clock", "advance", "25h")
	l.hello("ann@s.test", alice)
	l.answered(1, "after the period")
	l.vacation(alice, `"active": true, "text": "I am still away"`)
	l.hello("ann@s.test", alice)
	l.answered(1, "another text")
	l.TakeMail(l.t, "alice", 7)
}

func testAutoreplyMachines(t *testing.T) {
	l := autoreply(t, "")
	for _, from := range []string{"", "MAILER-DAEMON@s.test", "owner-x@s.test", "x-owner@s.test", "x-request@s.test", "noreply@s.test",
		"no-reply@s.test", "listserv@s.test", "majordomo@s.test"} {
		l.send(from, alice, "From: x@s.test\nTo: "+alice+"\nSubject: hello\n\nhello\n")
	}
	l.send(alice, alice, noteOf(alice, alice))
	l.answered(0, "machines and oneself")
	l.TakeMail(l.t, "alice", 10)
}

func testAutoreplySilence(t *testing.T) {
	l := autoreply(t, "")
	fields := []string{"List-Id: <l.s.test>", "List-Unsubscribe: <mailto:x@s.test>", "Precedence: bulk", "Precedence: list",
		"Precedence: junk", "Auto-Submitted: auto-generated",
		"Auto-Submitted: auto-replied; x=y", "X-Auto-Response-Suppress: All", "X-Auto-Response-Suppress: DR, OOF"}
	for i, f := range fields {
		l.hello(fmt.Sprintf("u%d@s.test", i), alice, f)
	}
	l.answered(0, "lists and bulk")
	l.hello("ann@s.test", alice, "Auto-Submitted: no")
	l.answered(1, "Auto-Submitted: no")
	l.TakeMail(l.t, "alice", len(fields)+1)
}

func testAutoreplyAddressed(t *testing.T) {
	l := autoreply(t, "")
	l.Ctl(l.t, "alias", "add", "@example.com", alice)
	l.Ctl(l.t, "alias", "add", "chief@example.com", "head@example.com")
	l.Ctl(l.t, "alias", "add", "head@example.com", alice)
	l.hello("a@s.test", alice, "To: somebody@s.test")
	l.hello("b@s.test", "whoever@example.com")
	l.answered(0, "Bcc and catch-all")
	l.hello("c@s.test", "chief@example.com", "To: x@s.test", "Cc: The Chief <chief@example.com>")
	l.answered(1, "an alias of an alias in Cc")
	l.hello("d@s.test", "alice+news@example.com")
	l.answered(1, "a sub-address")
	l.hello("e@s.test", alice, "To: x@s.test", "Resent-To: "+alice)
	l.answered(1, "Resent-To")
	l.TakeMail(l.t, "alice", 5)
}

func testAutoreplyTwoAway(t *testing.T) {
	l := autoreply(t, "")
	l.vacation(bob, away)
	if r := l.submit(alice, alice, bob, noteOf(alice, bob)); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	l.WaitQueueEmpty(l.t)
	l.TakeMail(l.t, "bob", 1)
	testserver.Contains(t, l.TakeMail(l.t, "alice", 1)[0], "Auto-Submitted: auto-replied\n", "Return-Path: <>\n")
	if r := l.submit(bob, bob, alice, noteOf(bob, alice)); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	l.WaitQueueEmpty(l.t)
	l.TakeMail(l.t, "alice", 1)
	l.TakeMail(l.t, "bob", 1)
}

func testAutoreplyReturnPath(t *testing.T) {
	l := autoreply(t, "")
	l.hello("ann@s.test", alice, "From: boss@plain.test", "Reply-To: other@plain.test", "Sender: third@plain.test")
	if r := l.answered(1, "a message"); fmt.Sprint(r[0].To) != "[ann@s.test]" || r[0].Header("To")[0] != "ann@s.test" {
		t.Errorf("to %v\n%s", r[0].To, r[0].Text)
	}
}

func testAutoreplyInjection(t *testing.T) {
	l := autoreply(t, "")
	l.vacation(alice, `"active": true, "subject": "Re: {subject}", "text": "Dear {name}: {subject}", "html": "<b>{name}</b> {subject}"`)
	l.hello("ann@s.test", alice, `From: =?utf-8?Q?x=0D=0ABcc:_w@s.test?= <ann@s.test>`,
		"Subject: =?utf-8?Q?a=0D=0ABcc:_v@s.test=0D=0A=0D=0Abody?=\n =?utf-8?B?"+"Cg1CY2M6IHlAcy50ZXN0IDxpPj0/dXRmLTg/UT9hPz0="+"?=")
	r := l.answered(1, "a message")[0]
	if len(r.Header("Subject")) != 1 || r.Header("Bcc") != nil || fmt.Sprint(r.To) != "[ann@s.test]" {
		t.Errorf("to %v\n%s", r.To, r.Text)
	}
	testserver.Contains(t, r.Text, "Subject: Re: a Bcc: v@s.test body", "multipart/alternative", "text/html", "&lt;i&gt;")
	if strings.Contains(r.Text, "=?utf-8?Q?a?=") || strings.Contains(r.Text, " <i>") && strings.Contains(r.Text,
		"</b> a Bcc: v@s.test body Bcc: y@s.test <i>") {
		t.Errorf("words of a stranger are more than words:\n%s", r.Text)
	}
}

func testAutoreplyDates(t *testing.T) {
	l := autoreply(t, "")
	// At the same moment it is three different days, 26 hours apart.
	now := strings.TrimSpace(l.Ctl(l.t, "clock", "advance", "1s"))
	at, err := time.Parse(time.RFC3339, now)
	if err != nil {
		t.Fatal(err)
	}
	east, west := at.In(time.FixedZone("", 14*3600)), at.In(time.FixedZone("", -11*3600))
	try := func(from string, want int, fields string) {
		t.Helper()
		l.vacation(alice, away+fields)
		l.hello(from, alice)
		l.answered(want, fields)
	}
	day := func(t time.Time, days int) string { return t.AddDate(0, 0, days).Format(time.DateOnly) }
	try("a@s.test", 0, fmt.Sprintf(`, "until": %q, "timezone": "Pacific/Kiritimati"`, day(east, -1)))
	try("b@s.test", 1, fmt.Sprintf(`, "until": %q, "timezone": "Pacific/Kiritimati"`, day(east, 0)))
	try("c@s.test", 1, fmt.Sprintf(`, "until": %q, "timezone": "Pacific/Pago_Pago"`, day(west, 0)))
	try("d@s.test", 0, fmt.Sprintf(`, "from": %q, "timezone": "Pacific/Pago_Pago"`, day(west, 1)))
	l.Ctl(l.t, "clock", "advance", "24h")
	l.hello("d@s.test", alice)
	l.answered(1, "the first day has come")
	l.TakeMail(l.t, "alice", 5)
}

func testAutoreplyLoops(t *testing.T) {
	l := newBundleRig(t, "")
	// Set while nobody checks it: such a text cannot be sent.
	l.vacation(alice, `"active": true, "text": "I am away", "days": "seven"`)
	text := "\n[[bundle]]\nname = \"carteiro/autoreply\"\n"
	f, err := os.OpenFile(l.ConfigFile(), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Ctl(l.t, "reload")
	l.hello("ann@s.test", alice)
	l.answered(0, "an absence that cannot be read")
	testserver.Contains(t, l.TakeMail(l.t, "alice", 1)[0], "Subject: hello\n")
	l.vacation(alice, away)
	l.hello("bea@s.test", alice, "Delivered-To: "+alice)
	for _, p := range l.answers() {
		if p.Header("Auto-Submitted")[0] != "auto-replied" || !strings.Contains(p.Text, "multipart/report") {
			t.Errorf("a loop was answered with\n%s", p.Text)
		}
	}
}

// testAutoreplyKill kills the server while it answers: afterwards everybody
// has been answered once, however often they write again. What was on its way
// may come twice, as the same message.
func testAutoreplyKill(t *testing.T) {
	l := autoreply(t, "")
	const n = 60
	for i := range n {
		l.hello(fmt.Sprintf("u%d@s.test", i), alice)
		if i == n/2 {
			if _, err := l.Stop(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			l.restart()
		}
	}
	if _, err := l.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.restart()
	for i := range n {
		l.hello(fmt.Sprintf("u%d@s.test", i), alice)
	}
	l.WaitQueueEmpty(l.t)
	l.Ctl(l.t, "clock", "advance", "6m") // what an attempt was cut off from is tried again
	ids := map[string]string{}
	for _, p := range l.answers() {
		id := p.Header("Message-ID")[0]
		if old := ids[p.To[0]]; old != "" && old != id {
			t.Errorf("%s was answered twice: %s and %s", p.To[0], old, id)
		}
		ids[p.To[0]] = id
	}
	if len(ids) != n {
		t.Errorf("%d were answered, want %d", len(ids), n)
	}
	l.TakeMail(l.t, "alice", 2*n)
}

func testAutoreplyGates(t *testing.T) {
	l := autoreply(t, "")
	if err := l.dns.Add("_dmarc.bank.test. TXT \"v=DMARC1; p=reject\"\nbank.test. MX 10 mx.s.test.\nforged.test. MX 10 mx.s.test.\n" +
		"forged.test. TXT \"v=spf1 -all\"\n"); err != nil {
		t.Fatal(err)
	}
	l.hello("ann@bank.test", alice)
	l.hello("ann@forged.test", alice)
	l.hello("ann@s.test", alice, "X-Spam-Flag: YES")
	l.answered(0, "forged and junk")
	l.SetPolicy(t, "score.lua", `on("receive.data", function(session, tx, msg)
  if msg:subject() == "lottery" then msg:score("LOTTERY", 6) end
  if msg:subject() == "filed" then for _, r in ipairs(tx:recipients()) do r.meta.folder = "Junk" end end
end)`)
	l.Ctl(l.t, "reload")
	l.hello("bea@s.test", alice, "Subject: lottery")
	l.hello("cid@s.test", alice, "Subject: filed")
	l.answered(0, "a score over the line, and the junk folder")
	l.TakeMail(l.t, "alice", 4)

	w, err := testserver.Dial(l.Addr("mx"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.SMTP("")
	w.SMTP("EHLO client.s.test")
	for i := range 1000 {
		from := fmt.Sprintf("u%d@s.test", i)
		for _, c := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<" + alice + ">", "DATA",
			strings.TrimSuffix(strings.ReplaceAll(noteOf(from, alice), "\n", "\r\n"), "\r\n") + "\r\n."} {
			if code, reply, err := w.SMTP(c); err != nil || code >= 400 {
				t.Fatalf("%s: %d %s, %v", c, code, reply, err)
			}
		}
	}
	l.answered(100, "a thousand senders")
	if n := l.folder(alice, "INBOX"); n != 1000 {
		t.Errorf("%d messages in the inbox, want 1000", n)
	}
}
