package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/message/mime"
)

// The ten tests of a list manager, by their numbers, and below them one for
// each other point that users expect. They speak SMTP, POP3, HTTP and DNS to a
// running server; those that need none are plugins/mailinglist/tests/acceptance.lua.

func TestList(t *testing.T) {
	l := newListRig(t, "", "d@l.test", "boss@l.test")
	testserver.PublishDKIM(l.t, l.Server, l.dns, "l.test")
	for _, tt := range []struct {
		name string
		run  func(*listRig)
	}{
		{"1 post", list1Post}, {"2 moderation", list2Moderation}, {"3 DMARC", list3DMARC}, {"4 automatic mail", list4Automatic},
		{"5 one click", list5OneClick},
		{"6 joining", list6Joining}, {"7 bounces", list7Bounces}, {"10 content", list10Content},
	} {
		if !t.Run(tt.name, func(t *testing.T) {
			part := *l
			part.t = t
			tt.run(&part)
			part.nothing("owner@l.test", "a@l.test", "b@l.test", "c@l.test", "d@l.test", "boss@l.test")
		}) {
			t.Fatalf("after that nothing else makes sense\n%s", l.Log())
		}
	}
}

func list1Post(l *listRig) {
	l.make("devs@l.test", nil, "a@l.test", "b@l.test", "c@out.test")
	if got := l.list("members", "devs@l.test"); got != "a@l.test\nb@l.test\nc@out.test\n" {
		l.t.Errorf("members %q", got)
	}
	text := article("Ann <a@l.test>", "devs@l.test", "hi")
	if reply := l.post("a@l.test", "devs@l.test", text); !strings.HasPrefix(reply, "250 ") {
		l.t.Fatal(reply)
	}
	paths := map[string]bool{}
	check := func(who, from, got string) {
		if !regexp.MustCompile(`^devs-bounces\+` + regexp.QuoteMeta(strings.Replace(who, "@", "=", 1)) + `=\w+@l\.test$`).MatchString(from) {
			l.t.Errorf("the copy for %s has the return path %q", who, from)
		}
		paths[from] = true
		for name, want := range map[string]string{
			"List-Id":               "<devs.l.test>",
			"Message-ID":            testserver.Header(text, "Message-ID"),
			"From":                  "Ann <a@l.test>",
			"To":                    "devs@l.test",
			"Subject":               "hi",
			"Date":                  "Mon, 2 Nov 2026 10:00:00 +0000",
			"List-Post":             "<mailto:devs@l.test>",
			"List-Help":             "<mailto:devs-request@l.test>",
			"List-Owner":            "<mailto:devs-owner@l.test>",
			"List-Subscribe":        "<mailto:devs-join@l.test>",
			"List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
			"Precedence":            "list",
			"Archived-At":           "",
		} {
			if v := testserver.Header(got, name); v != want {
				l.t.Errorf("%s: %s is %q, want %q", who, name, v, want)
			}
		}
		if v := testserver.Header(got, "List-Unsubscribe"); !strings.HasPrefix(v, "<https://mx.l.test/b/mailinglist/u/devs@l.test/") ||
			!strings.Contains(v, ">, <mailto:devs-leave+") {
			l.t.Errorf("%s: List-Unsubscribe is %q", who, v)
		}
		if testserver.Body(got) != "hello\n" || !strings.Contains(testserver.Header(got, "Received"), "mx.l.test") {
			l.t.Errorf("%s got\n%s", who, got)
		}
		// RFC 8058 section 3.1: the signature covers both fields.
		signed := strings.ToLower(strings.Join(strings.Fields(testserver.Header(got, "DKIM-Signature")), ""))
		if l.dkim(got) != "l.test pass" || !strings.Contains(signed, ":list-unsubscribe:list-unsubscribe-post:") ||
			!strings.Contains(signed, ":list-id:") {
			l.t.Errorf("%s: signatures %q, %s", who, l.dkim(got), signed)
		}
	}
	for _, who := range []string{"a@l.test", "b@l.test"} {
		got := l.Mail(l.t, who)
		check(who, strings.Trim(testserver.Header(got, "Return-Path"), "<>"), got)
	}
	c := l.mx.WaitFor("c@out.test", 1)
	check("c@out.test", c.Sender, c.LF())
	if len(paths) != 3 {
		l.t.Errorf("return paths %v", paths)
	}
}

var confirmAddress = regexp.MustCompile(`[\w.-]+-confirm\+\w+@[\w.]+`)

// replyTo is the address that confirms, in the From of a letter.
func replyTo(t testing.TB, text string) string {
	t.Helper()
	a := confirmAddress.FindString(testserver.Header(text, "From"))
	if a == "" {
		t.Fatalf("no address to confirm at in\n%s", text)
	}
	return a
}

type heldPost struct{ ID, From, Subject, Reason string }

func (l *listRig) held(name string) (out []heldPost) {
	l.t.Helper()
	if err := json.Unmarshal([]byte(l.list("held", name, "--json")), &out); err != nil {
		l.t.Fatal(err)
	}
	return out
}

func list2Moderation(l *listRig) {
	l.make("mods@l.test", []string{"moderators=d@l.test,boss@l.test"}, "a@l.test")
	// A stranger's post is refused, or held if the list is set so.
	if reply := l.post("x@out.test", "mods@l.test", article("x@out.test", "mods@l.test", "spam?")); !strings.HasPrefix(reply, "550 5.7.2 ") {
		l.t.Errorf("a stranger's post: got reply %s", reply)
	}
	l.list("set", "mods@l.test", "strangers=hold")
	hold := func(subject string) (id, notice string) {
		l.t.Helper()
		if reply := l.post("x@out.test", "mods@l.test", article("x@out.test", "mods@l.test", subject)); !strings.HasPrefix(reply, "250 ") {
			l.t.Fatal(reply)
		}
		notice = l.Mail(l.t, "d@l.test")
		testserver.Contains(l.t, notice, "Return-Path: <>\n", "Auto-Submitted: auto-replied\n", "mods@l.test", "x@out.test", subject,
			"only members may post")
		l.Mail(l.t, "boss@l.test")
		held := l.held("mods@l.test")
		if len(held) != 1 || held[0].Subject != subject || held[0].From != "x@out.test" || held[0].Reason == "" {
			l.t.Fatalf("held %+v", held)
		}
		return held[0].ID, notice
	}
	reply := func(from, to, text string) string {
		return l.post(from, to, "From: "+from+"\nTo: "+to+"\nSubject: Re: held\n\n"+text+"\n")
	}
	_, notice := hold("by reply")
	l.nothing("a@l.test")
	// An answering machine decides nothing.
	if got := l.post("d@l.test", replyTo(l.t, notice),
		"From: d@l.test\nSubject: away\nAuto-Submitted: auto-replied\n\nyes\n"); !strings.HasPrefix(got, "250 ") ||
		len(l.held("mods@l.test")) != 1 {
		l.t.Errorf("a machine's answer: %s, held %v", got, l.held("mods@l.test"))
	}
	for range 2 { // the second approval does nothing
		if got := reply("d@l.test", replyTo(l.t, notice), "\n> quoted: discard\n"); !strings.HasPrefix(got, "250 ") {
			l.t.Fatal(got)
		}
	}
	if got := l.Mail(l.t, "a@l.test"); testserver.Header(got, "Subject") != "by reply" || testserver.Header(got, "List-Id") == "" {
		l.t.Errorf("approved:\n%s", got)
	}
	// Discard, and reject with a reason.
	_, notice = hold("dropped by reply")
	reply("d@l.test", replyTo(l.t, notice), "discard\n")
	_, notice = hold("refused by reply")
	reply("d@l.test", replyTo(l.t, notice), "Reject not here, please\n\n> quoted\n")
	if got := l.mx.WaitFor("x@out.test", 1); got.Sender != "" {
		l.t.Errorf("the refusal comes from %q", got.Sender)
	} else {
		testserver.Contains(l.t, got.LF(), "refused by reply", "not here, please", "Auto-Submitted: auto-replied")
	}
	// The command line, once, and only for the list's own.
	id, _ := hold("by command")
	l.make("other@l.test", nil)
	l.refuses("no message "+id+" is held for other@l.test", "approve", "other@l.test", id)
	l.list("approve", "mods@l.test", id)
	l.refuses("no message "+id+" is held", "approve", "mods@l.test", id)
	l.refuses("no message "+id+" is held", "reject", "mods@l.test", id)
	if got := l.Mail(l.t, "a@l.test"); testserver.Header(got, "Subject") != "by command" {
		l.t.Errorf("approved:\n%s", got)
	}
	id, _ = hold("refused by command")
	l.list("reject", "mods@l.test", id, "--reason", "off topic")
	testserver.Contains(l.t, l.mx.WaitFor("x@out.test", 2).LF(), "refused by command", "off topic")
	if held := l.held("mods@l.test"); len(held) != 0 {
		l.t.Errorf("held %+v", held)
	}
	l.nothing("a@l.test")
}

func list3DMARC(l *listRig) {
	l.make("dmarc@l.test", []string{"post=anyone", "subject_prefix=[d]"}, "a@l.test", "m@out.test")
	if reply := l.post("ann@strict.test", "dmarc@l.test", article("Ann Other <ann@strict.test>", "dmarc@l.test", "strict",
		"Sender: ann@strict.test\n")); !strings.HasPrefix(reply, "250 ") {
		l.t.Fatal(reply)
	}
	got := l.Mail(l.t, "a@l.test")
	if from, reply := testserver.Header(got, "From"), testserver.Header(got, "Reply-To"); from != `"Ann Other via dmarc" <dmarc@l.test>` ||
		reply != "ann@strict.test" || testserver.Header(got, "Sender") != "" {
		l.t.Errorf("From %q, Reply-To %q", from, reply)
	}
	if d := l.dkim(got); d != "l.test pass" {
		l.t.Errorf("signatures %q", d)
	}
	// To a domain that does not mind, nothing is rewritten.
	if reply := l.post("ann@out.test", "dmarc@l.test", article("Ann <ann@out.test>", "dmarc@l.test", "lax")); !strings.HasPrefix(reply,
		"250 ") {
		l.t.Fatal(reply)
	}
	if got := l.Mail(l.t, "a@l.test"); testserver.Header(got, "From") != "Ann <ann@out.test>" || testserver.Header(got, "Reply-To") != "" {
		l.t.Errorf("From %q", testserver.Header(got, "From"))
	}
	l.list("set", "dmarc@l.test", "dmarc=never")
	l.post("ann@strict.test", "dmarc@l.test", article("Ann <ann@strict.test>", "dmarc@l.test", "never"))
	if got := l.Mail(l.t, "a@l.test"); testserver.Header(got, "From") != "Ann <ann@strict.test>" {
		l.t.Errorf("From %q", testserver.Header(got, "From"))
	}
	l.list("set", "dmarc@l.test", "dmarc=auto", "reply_to=list")
	l.post("ann@strict.test", "dmarc@l.test", article("Ann <ann@strict.test>", "dmarc@l.test", "list"))
	if got := l.Mail(l.t, "a@l.test"); testserver.Header(got, "Reply-To") != "dmarc@l.test" ||
		testserver.Header(got, "Cc") != "ann@strict.test" {
		l.t.Errorf("Reply-To %q, Cc %q", testserver.Header(got, "Reply-To"), testserver.Header(got, "Cc"))
	}
	// A post with a forged author is refused, whatever the name.
	if reply := l.post("eve@forged.test", "dmarc@l.test", article("Bob <bob@forged.test>", "dmarc@l.test",
		"forged")); !strings.HasPrefix(reply, "550 5.7.2 ") {
		l.t.Errorf("forged: %s", reply)
	}
}

func list4Automatic(l *listRig) {
	l.make("auto@l.test", []string{"post=anyone"}, "a@l.test")
	before := len(l.mx.All())
	for sender, more := range map[string]string{
		"x@out.test": "Auto-Submitted: auto-replied\n",
		"":           "",
		"y@out.test": "Precedence: auto_reply\n",
		"z@out.test": "Auto-Submitted: auto-generated (cron)\n",
	} {
		if reply := l.post(sender, "auto@l.test", article("x@out.test", "auto@l.test", "away", more)); !strings.HasPrefix(reply, "250 ") {
			l.t.Errorf("%q: %s", sender, reply)
		}
	}
	l.nothing("a@l.test", "owner@l.test")
	if after := len(l.mx.All()); after != before {
		l.t.Errorf("%d answers", after-before)
	}
	if reply := l.post("x@out.test", "auto@l.test", article("x@out.test", "auto@l.test", "by hand",
		"Auto-Submitted: no\n")); !strings.HasPrefix(reply, "250 ") {
		l.t.Error(reply)
	}
	l.Mail(l.t, "a@l.test")
}

// web sends a request for the path of a URL to the http listener.
func (l *listRig) web(method, link, form string) (int, string) {
	l.t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		l.t.Fatal(err)
	}
	u.Scheme, u.Host = "http", l.Addr("web")
	req, err := http.NewRequestWithContext(l.t.Context(), method, u.String(), strings.NewReader(form))
	if err != nil {
		l.t.Fatal(err)
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", "null") // as a page in a sandbox sends it
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func list5OneClick(l *listRig) {
	l.make("click@l.test", nil, "a@l.test", "b@l.test", "c@l.test")
	l.post("a@l.test", "click@l.test", article("a@l.test", "click@l.test", "click"))
	link := func(user string) (web, mailto string) {
		m := regexp.MustCompile(`<(https://[^>]*)>, <mailto:([^>]*)>`).FindStringSubmatch(testserver.Header(l.Mail(l.t, user),
			"List-Unsubscribe"))
		if m == nil {
			l.t.Fatal("no link")
		}
		return m[1], m[2]
	}
	a, _ := link("a@l.test")
	b, mailto := link("b@l.test")
	members := func() string { l.t.Helper(); return l.list("members", "click@l.test") }
	if status, body := l.web("GET", a, ""); status != 200 || !strings.Contains(body, "<form method=\"post\">") ||
		!strings.Contains(members(), "a@l.test") {
		l.t.Errorf("GET: %d, members %q", status, members())
	}
	for _, bad := range []string{a[:len(a)-1] + "x", a[:len(a)-1], strings.Replace(a, "click@", "devs@", 1),
		b[:strings.LastIndexByte(b, '-')] + a[strings.LastIndexByte(a, '-'):]} {
		if status, _ := l.web("POST", bad, "List-Unsubscribe=One-Click"); status < 400 || status > 499 {
			l.t.Errorf("POST of %s: %d", bad, status)
		}
	}
	if got := members(); got != "a@l.test\nb@l.test\nc@l.test\n" {
		l.t.Fatalf("members %q", got)
	}
	if status, body := l.web("POST", a, "List-Unsubscribe=One-Click"); status != 200 || strings.Contains(members(), "a@l.test") {
		l.t.Errorf("POST: %d, members %q\n%s", status, members(), body)
	}
	testserver.Contains(l.t, l.Mail(l.t, "a@l.test"), "Subject: You left click\n", "Return-Path: <>\n")
	if status, _ := l.web("POST", a, "List-Unsubscribe=One-Click"); status != 200 { // again: nothing more to do
		l.t.Errorf("POST again: %d", status)
	}
	// The other half of the field: mail to that address does it as well.
	if reply := l.post("b@l.test", strings.Replace(mailto, "b=l", "c=l", 1),
		article("b@l.test", mailto, "unsubscribe")); !strings.HasPrefix(reply, "550 ") {
		l.t.Errorf("a changed address: %s", reply)
	}
	if reply := l.post("b@l.test", mailto, article("b@l.test", mailto, "unsubscribe")); !strings.HasPrefix(reply, "250 ") {
		l.t.Error(reply)
	}
	l.Mail(l.t, "b@l.test")
	l.Mail(l.t, "c@l.test") // the post
	if got := members(); got != "c@l.test\n" {
		l.t.Errorf("members %q", got)
	}
}

func list6Joining(l *listRig) {
	l.make("join@l.test", nil)
	if reply := l.post("new@out.test", "join-join@l.test",
		"From: Buy my stuff <new@out.test>\nSubject: Cheap pills\n\ncheap pills\n"); !strings.HasPrefix(reply, "250 ") {
		l.t.Fatal(reply)
	}
	ask := l.mx.WaitFor("new@out.test", 1)
	testserver.Contains(l.t, ask.LF(), "Auto-Submitted: auto-replied\n", "join@l.test", "https://mx.l.test/b/mailinglist/confirm/join@l.test/")
	if ask.Sender != "" || strings.Contains(strings.ToLower(ask.LF()), "pills") || strings.Contains(ask.LF(), "stuff") {
		l.t.Errorf("from %q:\n%s", ask.Sender, ask.LF())
	}
	if got := l.list("members", "join@l.test"); got != "" {
		l.t.Errorf("members before the confirmation: %q", got)
	}
	confirm := replyTo(l.t, ask.LF())
	l.post("new@out.test", confirm, "From: new@out.test\nSubject: away\nAuto-Submitted: auto-replied\n\naway\n")
	if got := l.list("members", "join@l.test"); got != "" {
		l.t.Errorf("a machine confirmed: %q", got)
	}
	if reply := l.post("new@out.test", confirm, article("new@out.test", confirm, "Re: confirm")); !strings.HasPrefix(reply, "250 ") {
		l.t.Fatal(reply)
	}
	if got := l.list("members", "join@l.test"); got != "new@out.test\n" {
		l.t.Errorf("members %q", got)
	}
	testserver.Contains(l.t, l.mx.WaitFor("new@out.test", 2).LF(), "Subject: Welcome to join\n")
	if reply := l.post("new@out.test", confirm, article("new@out.test", confirm, "Re: confirm")); !strings.HasPrefix(reply, "550 5.1.1 ") {
		l.t.Errorf("the token again: %s", reply)
	}
	// 100 times for one victim, over two lists and with tags.
	l.make("bomb@l.test", nil)
	for n := range 100 {
		to := []string{"join-join@l.test", "bomb-subscribe@l.test"}[n%2]
		from := fmt.Sprintf("victim+%d@out.test", n%5)
		if reply := l.post("eve@out.test", to, article(from, to, "join")); !strings.HasPrefix(reply, "250 ") {
			l.t.Fatal(reply)
		}
	}
	l.WaitQueueIdle(l.t)
	asked := 0
	for _, m := range l.mx.All() {
		if strings.HasPrefix(m.To[0], "victim") {
			asked++
		}
	}
	if asked != 3 {
		l.t.Errorf("the victim got %d letters, want 3", asked)
	}
	l.advance("61m")
	l.post("eve@out.test", "join-join@l.test", article("victim@out.test", "join-join@l.test", "join"))
	l.mx.WaitFor("victim@out.test", 1)
	list6Web(l)
	list6Tokens(l)
}

// list6Web: by the web: the form, then the page that the letter names.
func list6Web(l *listRig) {
	page := "https://mx.l.test/b/mailinglist/list/join@l.test"
	if status, body := l.web("GET", page, ""); status != 200 || !strings.Contains(body, `name="email"`) {
		l.t.Errorf("the form: %d %s", status, body)
	}
	if status, _ := l.web("POST", page, "email="+url.QueryEscape("web@out.test")); status != 200 {
		l.t.Errorf("POST: %d", status)
	}
	token := regexp.MustCompile(`https://\S+/confirm/\S+`).FindString(decoded(l.t, l.mx.WaitFor("web@out.test", 1).LF()))
	if status, _ := l.web("GET", token, ""); status != 200 || strings.Contains(l.list("members", "join@l.test"), "web@out.test") {
		l.t.Errorf("a GET confirms: %d", status)
	}
	if status, _ := l.web("POST", token, "x=y"); status != 200 || !strings.Contains(l.list("members", "join@l.test"), "web@out.test") {
		l.t.Errorf("POST: %d, members %q", status, l.list("members", "join@l.test"))
	}
	if status, _ := l.web("POST", token, "x=y"); status != 404 {
		l.t.Errorf("POST of a token that is spent: %d", status)
	}
}

// list6Tokens: they age, and leaving needs one too.
func list6Tokens(l *listRig) {
	l.post("late@out.test", "join-join@l.test", article("late@out.test", "join-join@l.test", "join"))
	late := replyTo(l.t, l.mx.WaitFor("late@out.test", 1).LF())
	l.advance("73h")
	if reply := l.post("late@out.test", late, article("late@out.test", late, "Re: confirm")); !strings.HasPrefix(reply, "550 5.1.1 ") {
		l.t.Errorf("after three days: %s", reply)
	}
	// Leaving by mail is confirmed, for anybody can write a From.
	l.post("new@out.test", "join-leave@l.test", article("new@out.test", "join-leave@l.test", "leave"))
	leave := replyTo(l.t, l.mx.WaitFor("new@out.test", 3).LF())
	if got := l.list("members", "join@l.test"); !strings.Contains(got, "new@out.test") {
		l.t.Error("left without a confirmation")
	}
	l.post("new@out.test", leave, article("new@out.test", leave, "Re: confirm"))
	if got := l.list("members", "join@l.test"); strings.Contains(got, "new@out.test") {
		l.t.Errorf("members %q", got)
	}
}

// report is a DSN of another server.
func report(to, status string) string {
	return "From: MAILER-DAEMON@out.test\nTo: " + to +
		"\nSubject: failed\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n" +
		"Content-Type: text/plain\n\nsorry\n" +
		"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.out.test\n\nFinal-Recipient: rfc822; b@out.test\n" +
		"Action: failed\nStatus: " + status + "\nDiagnostic-Code: smtp; 550 " + status + " no\n\n--b--\n"
}

type listMember struct {
	Address, Mode string
	Off           any
	Score         float64
	Active        bool
	Probed        any
}

func (l *listRig) member(name, address string) (m listMember) {
	l.t.Helper()
	if err := json.Unmarshal([]byte(l.list("member", name, address, "--json")), &m); err != nil {
		l.t.Fatal(err)
	}
	return m
}

func list7Bounces(l *listRig) {
	l.make("bounce@l.test", []string{"post=anyone", "bounce_warnings=2"}, "b@out.test", "soft@out.test")
	path := func(address string) string { // of the copy that an address gets
		n := len(l.mx.For(address))
		l.post("x@out.test", "bounce@l.test", article("x@out.test", "bounce@l.test", "post"))
		return l.mx.WaitFor(address, n+1).Sender
	}
	bounce := func(to, status, want string) {
		l.t.Helper()
		if reply := l.post("", to, report(to, status)); !strings.HasPrefix(reply, want) {
			l.t.Errorf("bounce to %s: %s, want %s", to, reply, want)
		}
	}
	score := func(address string) float64 { l.t.Helper(); return l.member("bounce@l.test", address).Score }
	b := path("b@out.test")
	forged := strings.Replace(b, "b=out.test", "soft=out.test", 1)
	bounce(forged, "5.1.1", "550 5.1.1")
	if reply := l.post("eve@out.test", b, article("eve@out.test", b, "not a report")); !strings.HasPrefix(reply, "250 ") {
		l.t.Error(reply)
	}
	if score("soft@out.test") != 0 || score("b@out.test") != 0 {
		l.t.Errorf("forged bounces counted: %v, %v", score("soft@out.test"), score("b@out.test"))
	}
	bounce(l.mx.For("soft@out.test")[0].Sender, "4.2.2", "250 ")
	bounce(b, "5.1.1", "250 ")
	bounce(b, "5.1.1", "250 ") // once a day
	if s, h := score("soft@out.test"), score("b@out.test"); s <= 0 || s >= h || h != 1 {
		l.t.Errorf("soft %v, hard %v", s, h)
	}
	// A member whose address does not fit into a local part is known all the same.
	const long = "somebody.with.a.name.as.long.as.names.may.be.in.some.parts@out.test"
	l.list("subscribe", "bounce@l.test", long)
	back := path(long)
	if len(back) > 64+len("@l.test") || strings.Contains(back, "somebody") {
		l.t.Errorf("return path %s", back)
	}
	bounce(back, "5.1.1", "250 ")
	if s := score(long); s != 1 {
		l.t.Errorf("the long address has score %v", s)
	}
	l.list("unsubscribe", "bounce@l.test", long)
	n := len(l.mx.For("b@out.test"))
	for range 4 {
		l.advance("24h")
		bounce(b, "5.1.1", "250 ")
	}
	probe := l.mx.WaitFor("b@out.test", n+1)
	testserver.Contains(l.t, probe.LF(), "Subject: Does mail reach you? bounce\n", "5.1.1")
	if m := l.member("bounce@l.test", "b@out.test"); !m.Active || m.Off != nil || probe.Sender == b {
		l.t.Errorf("switched off before the probe came back: %+v, probe from %s", m, probe.Sender)
	}
	bounce(strings.Replace(probe.Sender, "b=out", "soft=out", 1), "5.1.1", "550 5.1.1")
	bounce(probe.Sender, "5.1.1", "250 ")
	if m := l.member("bounce@l.test", "b@out.test"); m.Active || m.Off != "bounces" {
		l.t.Errorf("after the probe came back: %+v", m)
	}
	testserver.Contains(l.t, l.Mail(l.t, "owner@l.test"), "b@out.test was switched off")
	n = len(l.mx.For("b@out.test"))
	path("soft@out.test")
	l.WaitQueueIdle(l.t)
	if got := len(l.mx.For("b@out.test")); got != n {
		l.t.Errorf("%d posts to a member that is switched off", got-n)
	}
	list7Off(l, b, probe.Sender, bounce)
	// What is too little to be probed stays as it is.
	if s := score("soft@out.test"); s != 0.5 {
		l.t.Errorf("soft bounces: %v", s)
	}
}

// list7Off: two warnings, a week apart; the answer to one brings the mail back,
// and without an answer the member is removed.
func list7Off(l *listRig, b, probe string, bounce func(to, status, want string)) {
	n := len(l.mx.For("b@out.test"))
	l.advance("170h")
	warning := l.mx.WaitFor("b@out.test", n+1)
	testserver.Contains(l.t, warning.LF(), "Subject: You get no mail of bounce any more\n")
	back := replyTo(l.t, warning.LF())
	l.post("b@out.test", back, article("b@out.test", back, "Re: here I am"))
	if m := l.member("bounce@l.test", "b@out.test"); !m.Active || m.Off != nil || m.Score != 0 {
		l.t.Errorf("after the answer: %+v", m)
	}
	// Without an answer it is removed in the end.
	for day := range 5 {
		bounce(b, "5.0.0", "250 ")
		if day < 4 {
			l.advance("24h")
		}
	}
	l.WaitQueueIdle(l.t)
	probes := 0
	for _, m := range l.mx.For("b@out.test") {
		if strings.Contains(m.LF(), "Subject: Does mail reach you?") {
			probes++
		}
	}
	if n = len(l.mx.For("b@out.test")); probes != 2 {
		l.t.Errorf("%d probes, want 2", probes)
	}
	bounce(probe, "5.0.0", "250 ")
	l.Mail(l.t, "owner@l.test")
	for range 3 {
		l.advance("170h")
	}
	l.WaitQueueIdle(l.t)
	if got := len(l.mx.For("b@out.test")) - n; got != 2 {
		l.t.Errorf("%d warnings, want 2", got)
	}
	if got := l.list("members", "bounce@l.test"); got != "soft@out.test\n" {
		l.t.Errorf("members %q", got)
	}
}

func list10Content(l *listRig) {
	l.make("fmt@l.test", []string{"post=anyone", "subject_prefix=[devs]", `footer=-- \n%(list): https://lists.test/`}, "a@l.test")
	const part = "--inner\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<p>caf=C3=A9</p> \n" +
		"--inner--\n"
	signed := "MIME-Version: 1.0\nContent-Type: multipart/signed; micalg=pgp-sha256; protocol=\"application/pgp-signature\"; " +
		"boundary=\"outer\"\n"
	body := "--outer\nContent-Type: multipart/alternative; boundary=inner\n\n" + part +
		"\n--outer\nContent-Type: application/pgp-signature\n\n-----BEGIN PGP SIGNATURE-----\n-----END PGP SIGNATURE-----\n--outer--\n"
	send := func(subject, more, body string) string {
		l.t.Helper()
		if reply := l.post("x@out.test", "fmt@l.test",
			"From: x@out.test\nTo: fmt@l.test\nSubject: "+subject+"\n"+more+"\n"+body); !strings.HasPrefix(reply, "250 ") {
			l.t.Fatal(reply)
		}
		return l.Mail(l.t, "a@l.test")
	}
	got := send("Re: [devs] =?utf-8?Q?caf=C3=A9?=", signed, body)
	if s := mime.DecodeWords(testserver.Header(got, "Subject")); s != "Re: [devs] café" || testserver.Body(got) != body {
		l.t.Errorf("subject %q, body\n%s", s, testserver.Body(got))
	}
	got = send("=?utf-8?Q?caf=C3=A9?=", "", "hi\n")
	if s := mime.DecodeWords(testserver.Header(got, "Subject")); s != "[devs] café" {
		l.t.Errorf("subject %q", s)
	}
	if text := testserver.Body(got); !strings.HasPrefix(text, "hi\n--=20\nfmt@l.test: https://lists.test/\n") &&
		!strings.HasPrefix(text, "hi\n-- \nfmt@l.test: https://lists.test/\n") {
		l.t.Errorf("body %q", text)
	}
	got = send("Fwd: =?utf-8?B?W2RldnNdIFRow6k=?=", "", "hi\n") // the prefix is inside of the encoded word
	if s := mime.DecodeWords(testserver.Header(got, "Subject")); s != "Fwd: [devs] Thé" {
		l.t.Errorf("subject %q", s)
	}
	got = send("html", "MIME-Version: 1.0\nContent-Type: text/html\n", "<p>hi</p>\n")
	if !strings.HasPrefix(testserver.Header(got, "Content-Type"), "multipart/mixed;") ||
		!strings.Contains(testserver.Body(got), "Content-Type: text/html\n\n<p>hi</p>\n") ||
		!strings.Contains(testserver.Body(got), "https://lists.test/") {
		l.t.Errorf("html:\n%s", got)
	}
	if d := l.dkim(got); d != "l.test pass" {
		l.t.Errorf("signatures %q", d)
	}
	// Octets above 127 in header fields, lines of 998 octets.
	for name, subject := range map[string]string{
		"latin-1": "caf\xe9",
		"utf-8":   "café",
		"broken":  "\xff\xfe",
		"long":    strings.Repeat("x", 980),
		"nothing": "",
	} {
		got = send(subject, "X-Raw: \xe9\n", "hi\n")
		if s := mime.DecodeWords(testserver.Header(got, "Subject")); !strings.HasPrefix(s, "[devs]") {
			l.t.Errorf("%s: subject %q", name, s)
		}
	}
	// Long lines and octets above 127 in the body go through.
	long := strings.Repeat("é", 499)
	if got = send("eight bits", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
		long+"\n"); !strings.HasPrefix(decoded(l.t, got), long+"\n") {
		l.t.Errorf("long line:\n%.300s", testserver.Body(got))
	}
}

// decoded is the text of a message that is one part.
func decoded(t testing.TB, text string) string {
	t.Helper()
	head, body, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n\r\n")
	index, err := mime.ReadIndex(mime.ParseHeader([]byte(head+"\r\n")), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	s, err := index.Parts[0].Text(strings.NewReader(body), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(s, "\r\n", "\n")
}
