package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/service/audit"
)

// Alice is the boss, bob the assistant. TestDelegation holds the acceptance
// tests of delegation that need a running server, by their numbers; the others are
// plugins/delegate/tests/acceptance.lua.
func TestDelegation(t *testing.T) {
	t.Run("1 send-as", testDelegationAs)
	t.Run("2 on behalf", testDelegationBehalf)
	t.Run("4 no right, at submission and at the MX", testDelegationNone)
	t.Run("7 revoked while sessions are open", testDelegationRevoked)
	t.Run("8 the mailbox, to read or with all rights", testDelegationMailbox)
	t.Run("9 names of the owner, and such that look like it", testDelegationNames)
	t.Run("10 bounces, copies and groups", testDelegationBounces)
	t.Run("expiry", testDelegationExpiry)
	t.Run("no transitive rights, and none that outlive an account", testDelegationTransitive)
	t.Run("sent before the right was taken back", testDelegationQueued)
}

// delegation is a server with the bundle, where bob has rights from alice.
func delegation(t *testing.T, rights ...string) *bundleRig {
	t.Parallel()
	l := newBundleRig(t, "", "delegate")
	for _, r := range rights {
		l.Ctl(l.t, "account", "grant", alice, bob, r)
	}
	return l
}

// sent submits a message as bob, which has to be accepted, and returns what
// the other server got.
func (l *bundleRig) sent(from, text string) testserver.Received {
	l.t.Helper()
	if r := l.submit(bob, from, "x@s.test", text); !strings.HasPrefix(r, "250") {
		l.t.Fatalf("%s for\n%s", r, text)
	}
	got := l.answers()
	if len(got) != 1 {
		l.t.Fatalf("%d messages arrived: %v", len(got), got)
	}
	return got[0]
}

// refused submits a message as bob, which must be refused with a code and have no effect.
func (l *bundleRig) refused(from, text, code string) {
	l.t.Helper()
	if r := l.submit(bob, from, "x@s.test", text); !strings.HasPrefix(r, code) {
		l.t.Errorf("%q, want %s, for\n%s", r, code, text)
	}
	if got := l.answers(); len(got) > 0 {
		l.t.Errorf("a refused message arrived:\n%s", got[0].Text)
	}
}

// checkField checks the one value of a field, or with "" that there is none.
func checkField(t testing.TB, p testserver.Received, name, want string) {
	t.Helper()
	got := p.Header(name)
	if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || got[0] != want) {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// audit is what the owner's record says.
func (l *bundleRig) audit(owner string) []audit.Entry {
	l.t.Helper()
	var list []audit.Entry
	if err := json.Unmarshal([]byte(l.Ctl(l.t, "account", "audit", owner, "--json")), &list); err != nil {
		l.t.Fatal(err)
	}
	return list
}

func testDelegationAs(t *testing.T) {
	l := delegation(t, "send-as")
	testserver.PublishDKIM(l.t, l.Server, l.dns, "example.com")
	p := l.sent(alice, noteOf(alice, "x@s.test"))
	checkField(t, p, "From", alice)
	checkField(t, p, "Sender", "")
	if p.Sender != alice || !l.passes(p, "example.com") {
		t.Errorf("from <%s>, signed by the owner's domain: %v", p.Sender, l.passes(p, "example.com"))
	}
	list := l.audit(alice)
	if len(list) != 1 {
		t.Fatalf("the audit says %v", list)
	}
	e := list[0]
	if e.Who != bob || e.As != alice || e.Action != "send" || e.Right != "send-as" || e.MessageID != "<1."+alice+">" ||
		e.IP != "127.0.0.1" || e.By != "carteiro/delegate" {
		t.Errorf("the audit says %+v", e)
	}
	checkField(t, l.sent(bob, noteOf(alice, "x@s.test", "Sender: "+bob)), "Sender", "")
	if n := len(l.audit(alice)); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
	if list := l.audit(bob); len(list) != 0 {
		t.Errorf("bob's audit says %v", list)
	}
	// The owner reads it too, with the own password; bob has none for it.
	for user, want := range map[string]string{
		alice:             bob + "\tsend\tsend-as\t" + alice + "\t127.0.0.1\t<1." + alice + ">",
		bob:               "",
		alice + "*" + bob: "log in",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr("web")+"/b/delegate/audit", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, testserver.Password)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(body), want) || want == "" && len(body) > 0 {
			t.Errorf("%s reads %s %q, %v; want %q", user, resp.Status, body, err, want)
		}
	}
}

func testDelegationBehalf(t *testing.T) {
	l := delegation(t, "send-on-behalf")
	testserver.PublishDKIM(l.t, l.Server, l.dns, "example.com")
	for _, from := range []string{alice, bob} {
		p := l.sent(from, noteOf(alice, "x@s.test"))
		checkField(t, p, "From", alice)
		checkField(t, p, "Sender", bob)
		if !l.passes(p, "example.com") || !strings.Contains(strings.ToLower(strings.Join(p.Header("DKIM-Signature"), "")), "sender") {
			t.Errorf("the signature does not cover Sender:\n%s", p.Text)
		}
	}
	p := l.sent(alice, "To: x@s.test\nSubject: without author\n\nhello\n")
	checkField(t, p, "From", alice)
	checkField(t, p, "Sender", bob)
	p = l.sent(bob, noteOf(bob, "x@s.test", "Resent-From: "+alice, "Resent-To: x@s.test"))
	checkField(t, p, "Resent-Sender", bob)
	checkField(t, p, "Sender", "")
	if list := l.audit(alice); len(list) != 4 || list[0].Right != "send-on-behalf" {
		t.Errorf("the audit says %v", list)
	}
}

func testDelegationNone(t *testing.T) {
	l := delegation(t, "read", "full")
	for _, from := range []string{alice, bob} {
		l.refused(from, noteOf(alice, "x@s.test"), "550 5.7.1")
	}
	if list := l.audit(alice); len(list) != 0 {
		t.Errorf("the audit says %v", list)
	}
	// A client that logs in at the MX is a user, too.
	w := l.loginAt("mx", bob)
	for _, from := range []string{alice, bob} {
		if r := l.submitIn(w, from, "x@s.test", noteOf(alice, "x@s.test")); !strings.HasPrefix(r, "550 5.7.1") {
			t.Errorf("at the MX: %s", r)
		}
	}
}

// steps says commands that all have to succeed.
func (l *bundleRig) steps(w *testserver.Dialog, commands ...string) {
	l.t.Helper()
	for _, c := range commands {
		if code, reply, err := w.SMTP(c); err != nil || code >= 400 {
			l.t.Fatalf("%s: %d %s, %v", c, code, reply, err)
		}
	}
}

func testDelegationRevoked(t *testing.T) {
	l := delegation(t, "send-as", "full")
	text := strings.ReplaceAll(noteOf(alice, "x@s.test"), "\n", "\r\n")
	for _, tt := range []struct {
		when, last    string
		before, after []string
	}{
		{"before MAIL", "MAIL FROM:<" + alice + ">", nil, nil},
		{"before RCPT", "RCPT TO:<x@s.test>", []string{"MAIL FROM:<" + alice + ">"}, nil},
		{"before the content", text + ".", []string{"MAIL FROM:<" + alice + ">", "RCPT TO:<x@s.test>", "DATA"}, nil},
		{"before the content, From alone", text + ".", []string{"MAIL FROM:<" + bob + ">", "RCPT TO:<x@s.test>", "DATA"}, nil},
	} {
		w := l.login(bob)
		l.steps(w, tt.before...)
		l.Ctl(l.t, "account", "revoke", alice, bob, "send-as")
		if code, reply, err := w.SMTP(tt.last); err != nil || code != 550 || !strings.HasPrefix(reply, "5.7.1") {
			t.Errorf("revoked %s: %d %s, %v", tt.when, code, reply, err)
		}
		l.Ctl(l.t, "account", "grant", alice, bob, "send-as")
	}
	w := l.login(bob)
	l.steps(w, "MAIL FROM:<"+alice+">", "RCPT TO:<x@s.test>", "DATA")
	if _, err := fmt.Fprintf(w, "%s", text+strings.Repeat("more of it\r\n", 10_000)); err != nil {
		t.Fatal(err)
	}
	l.Ctl(l.t, "account", "revoke", alice, bob, "send-as")
	if code, reply, err := w.SMTP("the end\r\n."); err != nil || code != 550 || !strings.HasPrefix(reply, "5.7.1") {
		t.Errorf("revoked in the middle of the content: %d %s, %v", code, reply, err)
	}
	if got := l.answers(); len(got) > 0 {
		t.Errorf("%d messages arrived", len(got))
	}

	l.hello("ann@s.test", alice)
	l.WaitQueueEmpty(l.t)
	pop, err := l.maildrop("alice*bob")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pop.POP3("DELE 1"); err != nil {
		t.Fatal(err)
	}
	l.Ctl(l.t, "account", "revoke", alice, bob)
	l.closed(pop, "revoked")
	if n := l.folder(alice, "INBOX"); n != 1 {
		t.Errorf("%d messages in the inbox, want 1: nothing is removed by a session that was closed", n)
	}
	if _, err := l.maildrop("alice*bob"); err == nil {
		t.Error("bob logs in after the revocation")
	}
}

// closed wants the server to close a session within a second.
func (l *bundleRig) closed(w *testserver.Dialog, why string) {
	l.t.Helper()
	w.SetReadDeadline(time.Now().Add(time.Second))
	if line, err := w.ReadLine(); err == nil {
		l.t.Errorf("%s: the session got %q", why, line)
	} else if strings.Contains(err.Error(), "timeout") {
		l.t.Errorf("%s: the session is open after a second", why)
	}
}

// maildrop logs in to POP3 with the password of all testserver.Accounts.
func (l *bundleRig) maildrop(name string) (*testserver.Dialog, error) {
	w, err := testserver.DialTLS(l.Addr("pop3s"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { w.Close() })
	for _, c := range []string{"", "USER " + name, "PASS " + testserver.Password} {
		if _, err := w.POP3(c); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func testDelegationMailbox(t *testing.T) {
	l := delegation(t, "send-as", "read")
	l.hello("ann@s.test", alice)
	l.WaitQueueEmpty(l.t)
	owner, err := l.maildrop(alice)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice*bob", "alice@example.com*bob@example.com", "ALICE@example.com*bob"} {
		w, err := l.maildrop(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := w.POP3("RETR 1"); err != nil {
			t.Fatal(err)
		}
		if lines, err := w.ReadDotLines(); err != nil || !strings.Contains(strings.Join(lines, "\n"), "Subject: hello") {
			t.Errorf("RETR gave %q, %v", lines, err)
		}
		if line, err := w.POP3("DELE 1"); err == nil {
			t.Errorf("DELE with the right to read: %s", line)
		}
		if _, err := w.POP3("QUIT"); err != nil {
			t.Error(err)
		}
	}
	if _, err := owner.POP3("QUIT"); err != nil {
		t.Error("the owner's session, beside those of readers: ", err)
	}
	if n := l.folder(alice, "INBOX"); n != 1 {
		t.Fatalf("%d messages left, want 1", n)
	}
	if list := l.audit(alice); len(list) != 3 || list[0].Action != "login" || list[0].Who != bob {
		t.Errorf("the audit says %v", list)
	}
	for _, name := range []string{"bob*alice", "alice*nobody", "nobody*bob", "*bob", "alice*", "alice*bob*bob"} {
		if _, err := l.maildrop(name); err == nil {
			t.Errorf("%s logs in", name)
		}
	}
	if _, err := testserver.ReadPOP3(l.Addr("pop3"), "alice*bob", false); err != nil {
		t.Errorf("by APOP: %v", err)
	}
	if err := l.plain("pop3s", alice, bob); err != nil {
		t.Errorf("by SASL with an authorization identity: %v", err)
	}
	if l.plain("pop3s", bob, alice) == nil {
		t.Error("alice logs in as bob")
	}
	// For SMTP a delegate has no other name than the own.
	if l.plain("submissions", alice, bob) == nil || l.plain("submissions", "", "alice*bob") == nil {
		t.Error("bob logs in as alice to send")
	}

	l.Ctl(l.t, "account", "grant", alice, bob, "full")
	w, err := l.maildrop("alice*bob")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"DELE 1", "QUIT"} {
		if _, err := w.POP3(c); err != nil {
			t.Error(err)
		}
	}
	if n := l.folder(alice, "INBOX"); n != 0 {
		t.Errorf("%d messages left, want 0", n)
	}
	l.hello("ann@s.test", alice)
	l.WaitQueueEmpty(l.t)
	if w, err = l.maildrop("alice*bob"); err != nil {
		t.Fatal(err)
	}
	l.Ctl(l.t, "account", "revoke", alice, bob, "full")
	l.closed(w, "less than it was")
}

func testDelegationNames(t *testing.T) {
	l := delegation(t, "send-on-behalf")
	l.Ctl(l.t, "alias", "add", "chief@example.com", alice)
	l.Ctl(l.t, "alias", "add", "all@example.com", alice, "carol@s.test")
	for _, from := range []string{"alice+work@example.com", "ALICE@example.com", "chief@example.com", "chief+x@EXAMPLE.com"} {
		checkField(t, l.sent(from, noteOf(from, "x@s.test")), "Sender", bob)
	}
	if list := l.audit(alice); len(list) != 4 || list[0].As != "chief+x@example.com" || list[0].Owner != alice {
		t.Errorf("the audit says %v", list)
	}
	for _, tt := range []struct{ from, code string }{
		{"аlice@example.com", "550 5.7.1"}, // a Cyrillic а
		{"alice@exаmple.com", "550 5.7.1"},
		{"alicе+x@example.com", "550 5.7.1"},
		{"=?utf-8?Q?alice?=@example.com", "550 5.7.1"},
		{"=?utf-8?Q?alice=40example.com?=", "550 5.6.0"},
		{"=?utf-8?Q?Alice_=3Calice=40example.com=3E?=", "550 5.6.0"},
		{"Bosses: alice@example.com;", "550 5.6.0"},
		{"bob@example.com, Nobody:;", "550 5.6.0"},
		{"<@elsewhere.test:bob@example.com>", "550 5.6.0"},
		{"", "550 5.6.0"},
		{"<>", "550 5.6.0"},
		{"undisclosed:;", "550 5.6.0"},
		{"alice@example.com <bob@example.com>", "550 5.6.0"},
		{"bob@example.com (", "550 5.6.0"},
		{"\"alice@example.com", "550 5.6.0"},
		{"all@example.com", "550 5.7.1"}, // others are meant, too
		{"alice@example.com.", "550 5."},
		{"alice", "550 5.6.0"},
	} {
		l.refused(bob, noteOf(bob, "x@s.test", "From: "+tt.from), tt.code)
	}
	l.refused("аlice@example.com", noteOf(bob, "x@s.test"), "550 5.7.1")
}

func testDelegationBounces(t *testing.T) {
	l := delegation(t, "send-on-behalf")
	l.mx.SetReply(func(rcpt string) string {
		if strings.HasPrefix(rcpt, "nobody") {
			return "550 5.1.1 nobody here"
		}
		return ""
	})
	boxes := map[string]string{alice: "alice", bob: "bob"}
	for i, tt := range []struct{ policy, to string }{{"sender", bob}, {"owner", alice}, {"delegate", bob}} {
		l.Ctl(l.t, "account", "set", alice, "delegation", fmt.Sprintf(`{"bounces": %q}`, tt.policy))
		from := bob
		if tt.policy == "delegate" {
			from = alice
		}
		if r := l.submit(bob, from, "nobody@s.test", noteOf(alice, "nobody@s.test")); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
		l.WaitQueueEmpty(l.t)
		testserver.Contains(t, l.TakeMail(l.t, boxes[tt.to], 1)[0], "multipart/report", "5.1.1")
		if n := l.folder(alice, "Sent"); n != int64(i+1) {
			t.Errorf("%d copies in Sent, want %d", n, i+1)
		}
	}
	// In the inbox as a recipient, and once in Sent.
	l.Ctl(l.t, "account", "set", alice, "delegation", `{"sent": "both"}`)
	if r := l.submit(bob, bob, alice+",y@s.test,z@s.test", noteOf(alice, alice)); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	if a, b := l.folder(alice, "Sent"), l.folder(bob, "Sent"); a != 4 || b != 1 {
		t.Errorf("%d and %d copies in Sent, want 4 and 1", a, b)
	}
	testserver.Contains(t, l.TakeMail(l.t, "alice", 1)[0], "Sender: "+bob)
	if out, err := l.Try("account", "set", alice, "delegation", `{"sent": "everybody"}`); err == nil ||
		!strings.Contains(out, "delegation.sent") {
		t.Errorf("a bad setting: %s, %v", out, err)
	}
	l.mx.Take()
	testDelegationGroups(l)
}

// testDelegationGroups: groups may be delegates and owners.
func testDelegationGroups(l *bundleRig) {
	l.Ctl(l.t, "account", "revoke", alice, bob)
	l.refused(bob, noteOf(alice, "x@s.test"), "550 5.7.1")
	l.Ctl(l.t, "alias", "add", "staff@example.com", "desk@example.com")
	l.Ctl(l.t, "alias", "add", "desk@example.com", bob, "carol@s.test")
	l.Ctl(l.t, "account", "grant", alice, "staff@example.com", "send-as")
	l.Ctl(l.t, "account", "grant", alice, "staff@example.com", "full")
	checkField(l.t, l.sent(alice, noteOf(alice, "x@s.test")), "Sender", "")
	w, err := l.maildrop("alice*bob")
	if err != nil {
		l.t.Fatal(err)
	}
	l.Ctl(l.t, "alias", "add", "desk@example.com", "carol@s.test")
	l.closed(w, "no member any more")
	l.refused(bob, noteOf(alice, "x@s.test"), "550 5.7.1")

	// A list of addresses that policies keep.
	l.SetPolicy(l.t, "crew.lua", `on("receive.helo", function(session, name)
  if name == "join.example" then list.configure("crew@example.com", {}) list.add("crew@example.com", "bob@example.com") end
  if name == "leave.example" then list.remove("crew@example.com", "bob@example.com") end
end)`)
	l.Ctl(l.t, "reload")
	helo := func(name string) {
		w, err := testserver.Dial(l.Addr("mx"))
		if err != nil {
			l.t.Fatal(err)
		}
		defer w.Close()
		w.SMTP("")
		l.steps(w, "EHLO "+name)
	}
	helo("join.example")
	l.Ctl(l.t, "account", "grant", alice, "crew@example.com", "send-as")
	l.sent(alice, noteOf(alice, "x@s.test"))
	helo("leave.example")
	l.refused(alice, noteOf(alice, "x@s.test"), "550 5.7.1")

	l.Ctl(l.t, "alias", "add", "board@example.com", alice, "carol@s.test")
	l.refused(bob, noteOf("board@example.com", "x@s.test"), "550 5.7.1")
	l.Ctl(l.t, "account", "grant", "board@example.com", bob, "send-on-behalf")
	checkField(l.t, l.sent(bob, noteOf("board@example.com", "x@s.test")), "Sender", bob)
	testserver.Contains(l.t, l.Ctl(l.t, "account", "show", "board@example.com", "--json"), `"right": "send-on-behalf"`)
	if out, err := l.Try("account", "grant", "board@example.com", bob, "read"); err == nil {
		l.t.Errorf("the right to read a mailbox that is none: %s", out)
	}
	l.Ctl(l.t, "account", "revoke", "board@example.com", bob)
	l.refused(bob, noteOf("board@example.com", "x@s.test"), "550 5.7.1")
}

func testDelegationExpiry(t *testing.T) {
	l := delegation(t)
	now, err := time.Parse(time.RFC3339, strings.TrimSpace(l.Ctl(l.t, "clock", "advance", "1s")))
	if err != nil {
		t.Fatal(err)
	}
	day := func(n int) string { return now.UTC().AddDate(0, 0, n).Format(time.DateOnly) }
	for _, r := range []string{"send-as", "read"} {
		l.Ctl(l.t, "account", "grant", alice, bob, r, "--until", day(1))
	}
	if out, err := l.Try("account", "grant", alice, bob, "full", "--until", day(-1)); err == nil {
		t.Errorf("a right that is over: %s", out)
	}
	l.sent(alice, noteOf(alice, "x@s.test"))
	w, err := l.maildrop("alice*bob")
	if err != nil {
		t.Fatal(err)
	}
	l.Ctl(l.t, "clock", "advance", "48h")
	l.closed(w, "the last day is over")
	l.refused(alice, noteOf(alice, "x@s.test"), "550 5.7.1")
	if _, err := l.maildrop("alice*bob"); err == nil {
		t.Error("bob logs in after the last day")
	}
	testserver.Contains(t, l.Ctl(l.t, "account", "show", alice, "--json"), `"right": "send-as"`, `"delegate": "bob@example.com"`,
		`"until": "`+day(2)+"T00:00:00Z")
}

func testDelegationTransitive(t *testing.T) {
	l := delegation(t, "send-as", "full")
	l.Ctl(l.t, "account", "add", "ceo@example.com")
	for _, r := range []string{"send-as", "send-on-behalf", "full"} {
		l.Ctl(l.t, "account", "grant", "ceo@example.com", alice, r)
	}
	l.sent(alice, noteOf(alice, "x@s.test"))
	l.refused("ceo@example.com", noteOf("ceo@example.com", "x@s.test"), "550 5.7.1")
	l.refused(alice, noteOf("ceo@example.com", "x@s.test"), "550 5.7.1")
	if _, err := l.maildrop("ceo*bob"); err == nil {
		t.Error("bob can read the mail of an owner that only alice may act for")
	}
	if out, err := l.Try("account", "grant", alice, alice, "read"); err == nil {
		t.Errorf("a grant to oneself: %s", out)
	}
	l.Ctl(l.t, "account", "add", "eve@example.com")
	l.Ctl(l.t, "account", "grant", alice, "eve@example.com", "send-as")
	l.Ctl(l.t, "account", "rm", "eve@example.com")
	l.Ctl(l.t, "account", "add", "eve@example.com")
	if out := l.Ctl(l.t, "account", "show", alice, "--json"); strings.Contains(out, "eve@") {
		t.Errorf("a new account of that name still has the right: %s", out)
	}
}

func testDelegationQueued(t *testing.T) {
	l := delegation(t, "send-as")
	l.mx.SetReply(func(string) string { return "451 4.3.0 later" })
	if r := l.submit(bob, alice, "x@s.test", noteOf(alice, "x@s.test")); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	l.until("deferred", "queue", "list")
	l.Ctl(l.t, "account", "revoke", alice, bob)
	l.mx.SetReply(nil)
	l.Ctl(l.t, "clock", "advance", "6m")
	if got := l.answers(); len(got) != 1 {
		t.Errorf("%d messages arrived, want the one that was sent with the right", len(got))
	}
}
