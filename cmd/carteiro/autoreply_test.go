package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

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

// TestAutoreply holds the acceptance tests of the autoresponder that need a
// running server; the others are plugins/autoreply/tests/acceptance.lua.
func TestAutoreply(t *testing.T) {
	t.Run("1 one reply to the return path", testAutoreplyOne)
	t.Run("2 once in a period, over restarts and crashes", testAutoreplyPeriod)
	t.Run("kill in the middle", testAutoreplyKill)
	t.Run("loops, and what cannot be answered", testAutoreplyLoops)
	t.Run("10 forged and junk, beside other policies", testAutoreplyGates)
}

func testAutoreplyOne(t *testing.T) {
	l := autoreply(t, "")
	testserver.PublishDKIM(l.t, l.Server, l.dns, "example.com")
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
}
