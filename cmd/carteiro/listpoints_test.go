package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
)

// What users expect of a list beyond the ten tests.
func TestListPoints(t *testing.T) {
	l := newListRig(t, "", "d@l.test", "boss@l.test")
	testserver.PublishDKIM(l.t, l.Server, l.dns, "l.test")
	for _, tt := range []struct {
		name string
		run  func(*listRig)
	}{
		{"settings", listSettings}, {"policies", listPolicies}, {"limits", listLimits}, {"digests", listDigests},
		{"members", listMembers},
		{"requests", listRequests}, {"nested", listNested}, {"archive", listArchive}, {"anonymous", listAnonymous},
		{"personal", listPersonal}, {"sealed", listSealed}, {"import", listImports}, {"source", listSource},
		{"removed", listRemoved},
	} {
		if !t.Run(tt.name, func(t *testing.T) {
			part := *l
			part.t = t
			tt.run(&part)
			part.nothing("owner@l.test", "a@l.test", "b@l.test", "c@l.test", "d@l.test", "boss@l.test")
		}) {
			t.Fatal("after that nothing else makes sense")
		}
	}
}

// Settings are checked as they are made, and a list is run without a file.
func listSettings(l *listRig) {
	l.refuses("who runs it?", "create", "set@l.test")
	l.refuses("not in force for that domain", "create", "set@elsewhere.test", "--owner", "owner@l.test")
	l.refuses("there is an account a@l.test", "create", "a@l.test", "--owner", "owner@l.test")
	l.refuses("nobody is none", "create", "set@l.test", "--owner", "nobody")
	l.make("set@l.test", []string{"title=The Set"})
	l.refuses("already", "create", "set@l.test", "--owner", "owner@l.test")
	for _, bad := range []string{"colour=red", "post=everybody", "max_size=-1", "archive=maybe", "reply_to=x", "language=fr", "owner=",
		"bounce_score=0", "post"} {
		l.refuses("", "set", "set@l.test", bad)
	}
	l.list("set", "set@l.test", "post=announce", "max_size=2MiB", "subject_prefix=[set]")
	var shown struct {
		Settings map[string]any
		Members  int
	}
	if err := json.Unmarshal([]byte(l.list("show", "set@l.test", "--json")), &shown); err != nil {
		l.t.Fatal(err)
	}
	for key, want := range map[string]any{
		"post":           "announce",
		"max_size":       2097152.0,
		"subject_prefix": "[set]",
		"title":          "The Set",
		"language":       "en",
		"dmarc":          "auto",
	} {
		if shown.Settings[key] != want {
			l.t.Errorf("%s is %v, want %v", key, shown.Settings[key], want)
		}
	}
	testserver.Contains(l.t, l.list("show", "set@l.test"), "post=announce\n", "0 members, 0 held, 0 posts\n")
	testserver.Contains(l.t, l.list("list"), "set@l.test\n")
	testserver.Contains(l.t, l.list("list", "l.test"), "set@l.test\n")
	l.refuses("there is no list nobody@l.test", "members", "nobody@l.test")
	l.refuses("is no member", "unsubscribe", "set@l.test", "x@out.test")
	l.refuses("is no address", "subscribe", "set@l.test", "a@l.test", "nobody")
	if got := l.list("members", "set@l.test"); got != "" {
		l.t.Errorf("a command that fails leaves members: %q", got)
	}
	// VRFY and EXPN reveal nothing.
	for _, command := range []string{"VRFY set@l.test", "EXPN set@l.test"} {
		w, err := testserver.Dial(l.Addr("mx"))
		if err != nil {
			l.t.Fatal(err)
		}
		w.SMTP("")
		if code, text, err := w.SMTP(command); err != nil || code == 250 || strings.Contains(text, "owner@") {
			l.t.Errorf("%s: %d %s, %v", command, code, text, err)
		}
		w.Close()
	}
}

// Who may post.
func listPolicies(l *listRig) {
	l.make("ann@l.test", []string{"post=announce", "bans=@bad.test,eve@out.test"}, "a@l.test", "x@out.test")
	if reply := l.post("a@l.test", "ann@l.test", article("a@l.test", "ann@l.test", "me too")); !strings.HasPrefix(reply, "550 5.7.2 ") {
		l.t.Errorf("a member posts to an announce list: %s", reply)
	}
	l.post("owner@l.test", "ann@l.test", article("owner@l.test", "ann@l.test", "news"))
	if got := l.Mail(l.t, "a@l.test"); testserver.Header(got, "List-Post") != "NO" {
		l.t.Errorf("List-Post %q", testserver.Header(got, "List-Post"))
	}
	l.list("set", "ann@l.test", "post=anyone")
	for _, from := range []string{"any@bad.test", "eve+1@out.test"} {
		if reply := l.post(from, "ann@l.test", article(from, "ann@l.test", "banned")); !strings.HasPrefix(reply, "550 5.7.2 ") {
			l.t.Errorf("%s is banned, but got reply %s", from, reply)
		}
	}
	// Members' spellings: case of the domain, tags.
	l.list("set", "ann@l.test", "post=members")
	for _, from := range []string{"a@L.TEST", "A+tag@l.test"} {
		if reply := l.post("a@l.test", "ann@l.test", article(from, "ann@l.test", "spelt "+from)); !strings.HasPrefix(reply, "250 ") {
			l.t.Errorf("%s: %s", from, reply)
		}
		l.Mail(l.t, "a@l.test")
	}
	// Each post held, a member moderated, first posts.
	held := func(why string) {
		l.t.Helper()
		l.post("a@l.test", "ann@l.test", article("a@l.test", "ann@l.test", "to be held"))
		testserver.Contains(l.t, l.Mail(l.t, "owner@l.test"), why)
		list := l.held("ann@l.test")
		if len(list) != 1 {
			l.t.Fatalf("held %+v", list)
		}
		l.list("approve", "ann@l.test", list[0].ID)
		l.Mail(l.t, "a@l.test")
	}
	l.list("set", "ann@l.test", "post=moderated")
	held("each post is held")
	l.list("set", "ann@l.test", "post=members")
	l.list("member", "ann@l.test", "a@l.test", "moderated=true")
	held("the author is moderated")
	l.list("member", "ann@l.test", "a@l.test", "moderated=false")
	l.list("set", "ann@l.test", "first_post=true")
	l.post("a@l.test", "ann@l.test", article("a@l.test", "ann@l.test", "known by now"))
	l.Mail(l.t, "a@l.test")
	l.list("unsubscribe", "ann@l.test", "a@l.test")
	l.list("subscribe", "ann@l.test", "a@l.test")
	held("first post")
	l.refuses("known of a member", "member", "ann@l.test", "a@l.test", "colour=red")
}

// What is held or refused for what it is.
func listLimits(l *listRig) {
	l.make("lim@l.test", []string{"post=anyone", "max_size=2KiB", "max_recipients=3", "types=application/zip,video/*"}, "a@l.test")
	if reply := l.post("x@out.test", "lim@l.test", article("x@out.test", "lim@l.test", "big",
		"X-Pad: "+strings.Repeat("x", 900)+"\n")+strings.Repeat("padding\n", 300)); !strings.HasPrefix(reply, "550 5.3.4 ") {
		l.t.Errorf("too large: %s", reply)
	}
	w, err := testserver.Dial(l.Addr("mx"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, c := range []string{"", "EHLO x.test", "MAIL FROM:<x@out.test> SIZE=100000"} {
		w.SMTP(c)
	}
	if code, text, _ := w.SMTP("RCPT TO:<lim@l.test>"); code != 552 {
		l.t.Errorf("declared too large: %d %s", code, text)
	}
	w.Close()
	zip := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nsee\n--b\nContent-Type: %s\n\n" +
		"PK\n--b--\n"
	for why, text := range map[string]string{
		"more than 3 addresses":          "From: x@out.test\nTo: lim@l.test, b@x.test, c@x.test\nCc: d@x.test\nSubject: many\n\nhi\n",
		"a part of type application/zip": "From: x@out.test\nTo: lim@l.test\nSubject: zip\n" + fmt.Sprintf(zip, "application/zip"),
		"a part of type video/mp4":       "From: x@out.test\nTo: lim@l.test\nSubject: film\n" + fmt.Sprintf(zip, "video/mp4"),
		"not in To or Cc":                "From: x@out.test\nTo: somebody@x.test\nSubject: hidden\n\nhi\n",
		"a command":                      "From: x@out.test\nTo: lim@l.test\nSubject: unsubscribe\n\n",
	} {
		if reply := l.post("x@out.test", "lim@l.test", text); !strings.HasPrefix(reply, "250 ") {
			l.t.Errorf("%s: %s", why, reply)
		}
		list := l.held("lim@l.test")
		if len(list) != 1 || !strings.Contains(list[0].Reason, why) {
			l.t.Fatalf("%s: held %+v", why, list)
		}
		l.list("reject", "lim@l.test", list[0].ID)
		l.Mail(l.t, "owner@l.test")
	}
	// What nobody decides about goes in the end.
	l.post("x@out.test", "lim@l.test", "From: x@out.test\nTo: somebody@x.test\nSubject: hidden\n\nhi\n")
	l.Mail(l.t, "owner@l.test")
	l.advance("740h")
	l.WaitQueueIdle(l.t)
	if list := l.held("lim@l.test"); len(list) != 0 {
		l.t.Errorf("after a month: %+v", list)
	}
}

// Digests as plain text and as MIME, by time and by size; other members get
// each post.
func listDigests(l *listRig) {
	l.make("dig@l.test", []string{"post=anyone", "title=Dig"}, "a@l.test")
	l.list("subscribe", "dig@l.test", "b@l.test", "--mode", "digest")
	l.list("subscribe", "dig@l.test", "c@l.test", "--mode", "mime-digest")
	l.list("subscribe", "dig@l.test", "d@l.test", "--mode", "none")
	l.refuses("mode must be", "subscribe", "dig@l.test", "x@out.test", "--mode", "sometimes")
	for n := range 3 {
		more := "Content-Type: text/plain; charset=utf-8\n"
		if n == 2 { // malformed MIME is carried as it is
			more = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=broken\n"
		}
		l.post("x@out.test", "dig@l.test", article("Xavier <x@out.test>", "dig@l.test", fmt.Sprintf("post %d é", n), more))
	}
	l.TakeMail(l.t, "a@l.test", 3)
	l.nothing("b@l.test", "c@l.test")
	l.advance("25h")
	plain, multi := l.Mail(l.t, "b@l.test"), l.Mail(l.t, "c@l.test")
	for who, got := range map[string]string{"b": plain, "c": multi} {
		if !regexp.MustCompile(`^<dig-bounces\+`+who+`=l\.test=\w+@l\.test>$`).MatchString(testserver.Header(got, "Return-Path")) ||
			testserver.Header(got, "Subject") != "Dig digest, issue 1" || testserver.Header(got, "List-Id") != "<dig.l.test>" ||
			!strings.Contains(testserver.Header(got, "List-Unsubscribe"), "/u/dig@l.test/") || l.dkim(got) != "l.test pass" {
			l.t.Errorf("%s got\n%s", who, got)
		}
		testserver.Contains(l.t, got, "  1. post 0 é (Xavier)\n", "  3. post 2 é (Xavier)\n", "hello\n")
	}
	if kind := testserver.Header(plain, "Content-Type"); !strings.HasPrefix(kind, "text/plain") ||
		strings.Contains(plain, "\nContent-Type: message/rfc822") {
		l.t.Errorf("plain digest is %s", kind)
	}
	if strings.Count(multi, "\nContent-Type: message/rfc822\n") != 3 || !strings.Contains(multi, "\nContent-Type: multipart/digest; ") ||
		strings.Count(multi, "\nMessage-ID: <") != 4 {
		l.t.Errorf("MIME digest\n%s", multi)
	}
	l.advance("25h") // nothing was posted
	l.nothing("b@l.test", "c@l.test")
	l.list("set", "dig@l.test", "digest_size=1KiB", "digest_every=744")
	for range 3 {
		l.post("x@out.test", "dig@l.test", article("x@out.test", "dig@l.test", "sized")+strings.Repeat("words\n", 100))
	}
	l.TakeMail(l.t, "a@l.test", 3)
	l.advance("61m")
	if got := l.Mail(l.t, "b@l.test"); testserver.Header(got, "Subject") != "Dig digest, issue 2" {
		l.t.Errorf("second digest:\n%s", got)
	}
	l.Mail(l.t, "c@l.test")
}

// What members choose: own posts, no second copies.
func listMembers(l *listRig) {
	l.make("mem@l.test", nil, "a@l.test", "b@l.test", "c@l.test")
	l.list("member", "mem@l.test", "a@l.test", "metoo=false")
	l.list("member", "mem@l.test", "b@l.test", "nodup=true")
	reply, err := testserver.SendSMTP(l.Addr("mx"), "EHLO client.test", "a@l.test", []string{"mem@l.test", "b@l.test"},
		article("a@l.test", "mem@l.test, b@l.test", "once"))
	if err != nil || !strings.HasPrefix(reply, "250 ") {
		l.t.Fatal(reply, err)
	}
	l.Mail(l.t, "c@l.test")
	if got := l.Mail(l.t, "b@l.test"); testserver.Header(got, "List-Id") != "" {
		l.t.Errorf("b got the list's copy\n%s", got)
	}
	l.nothing("a@l.test", "b@l.test")
}

// Commands by mail.
func listRequests(l *listRig) {
	l.make("req@l.test", []string{"roster=members"}, "a@l.test", "m@out.test")
	ask := func(from, subject, text string) string {
		l.t.Helper()
		n := len(l.mx.For(from))
		if reply := l.post(from, "req-request@l.test",
			"From: "+from+"\nTo: req-request@l.test\nSubject: "+subject+"\nMessage-ID: <ask@out.test>\n\n"+text); !strings.HasPrefix(reply, "250 ") {
			l.t.Fatal(reply)
		}
		got := l.mx.WaitFor(from, n+1)
		if got.Sender != "" || testserver.Header(got.LF(), "Auto-Submitted") != "auto-replied" ||
			testserver.Header(got.LF(), "In-Reply-To") != "<ask@out.test>" {
			l.t.Errorf("the answer from %q:\n%s", got.Sender, got.LF())
		}
		return decoded(l.t, got.LF())
	}
	testserver.Contains(l.t, ask("m@out.test", "help", ""), "Commands, one a line", "req-join@l.test")
	testserver.Contains(l.t, ask("m@out.test", "", "set digest\nwho\nnonsense 1\nend\nset none\n"), "> set digest\ndigest is set.",
		"The members are not shown.", "nonsense: not a command")
	if m := l.member("req@l.test", "m@out.test"); m.Mode != "digest" {
		l.t.Errorf("mode %q", m.Mode)
	}
	testserver.Contains(l.t, ask("s@out.test", "set none", ""), "Only for members.")
	// Whose domain vouches for him, sees the members.
	l.list("subscribe", "req@l.test", "v@vouched.test")
	testserver.Contains(l.t, ask("v@vouched.test", "who", ""), "a@l.test\nm@out.test\nv@vouched.test\n")
	testserver.Contains(l.t, ask("m@out.test", "who", ""), "The members are not shown.")
	testserver.Contains(l.t, ask("s@out.test", "who", ""), "The members are not shown.")
	// The owner's address reaches the owners; machines get no answers.
	l.post("s@out.test", "req-owner@l.test", article("s@out.test", "req-owner@l.test", "hello owner"))
	if got := l.Mail(l.t, "owner@l.test"); testserver.Header(got, "Subject") != "hello owner" ||
		testserver.Header(got, "Return-Path") != "<req-bounces@l.test>" {
		l.t.Errorf("the owner got\n%s", got)
	}
	n := len(l.mx.All())
	l.post("", "req-request@l.test", article("s@out.test", "req-request@l.test", "help"))
	l.post("s@out.test", "req-join@l.test", article("s@out.test", "req-join@l.test", "away", "Auto-Submitted: auto-replied\n"))
	l.WaitQueueIdle(l.t)
	if got := len(l.mx.All()); got != n {
		l.t.Errorf("%d answers to machines", got-n)
	}
	// Lists where owners decide who joins.
	l.list("set", "req@l.test", "join=moderated")
	l.post("new@out.test", "req-join@l.test", article("new@out.test", "req-join@l.test", "join"))
	confirm := replyTo(l.t, l.mx.WaitFor("new@out.test", 1).LF())
	l.post("new@out.test", confirm, article("new@out.test", confirm, "Re:"))
	notice := l.Mail(l.t, "owner@l.test")
	testserver.Contains(l.t, notice, "new@out.test wants to become a member")
	if strings.Contains(l.list("members", "req@l.test"), "new@out.test") {
		l.t.Error("a member before the owner agreed")
	}
	l.post("owner@l.test", replyTo(l.t, notice), article("owner@l.test", replyTo(l.t, notice), "Re:"))
	testserver.Contains(l.t, l.list("members", "req@l.test"), "new@out.test\n")
	l.list("set", "req@l.test", "join=closed")
	if reply := l.post("late@out.test", "req-join@l.test", article("late@out.test", "req-join@l.test", "join")); !strings.HasPrefix(reply,
		"550 5.7.2 ") {
		l.t.Errorf("a closed list: %s", reply)
	}
}

// A list that is a member of another takes its posts if it names it.
func listNested(l *listRig) {
	l.make("top@l.test", []string{"post=anyone"}, "sub@m.test", "a@l.test", "top@l.test-x.test")
	l.make("sub@m.test", nil, "b@l.test")
	l.post("x@out.test", "top@l.test", article("x@out.test", "top@l.test", "not named"))
	l.Mail(l.t, "a@l.test")
	l.nothing("b@l.test")
	l.list("set", "sub@m.test", "parents=top@l.test")
	l.post("x@out.test", "top@l.test", article("x@out.test", "top@l.test", "named"))
	l.Mail(l.t, "a@l.test")
	if got := l.Mail(l.t, "b@l.test"); testserver.Header(got, "List-Id") != "<sub.m.test>" ||
		!strings.HasPrefix(testserver.Header(got, "Return-Path"), "<sub-bounces+b=l.test=") {
		l.t.Errorf("b got\n%s", got)
	}
	// In a circle it ends.
	l.list("subscribe", "sub@m.test", "top@l.test")
	l.list("set", "top@l.test", "parents=sub@m.test")
	l.post("x@out.test", "top@l.test", article("x@out.test", "top@l.test", "circle"))
	l.Mail(l.t, "a@l.test")
	l.Mail(l.t, "b@l.test")
}

// The archive: mbox, pages, search, and who may see them.
func listArchive(l *listRig) {
	l.make("arc@l.test", []string{"post=anyone", "archive=true"}, "a@l.test")
	for n, word := range []string{"apples", "pears <b>bold</b>", "secret"} {
		more := ""
		if word == "secret" {
			more = "X-No-Archive: yes\n"
		}
		l.post("x@out.test", "arc@l.test", article("Xavier <x@out.test>", "arc@l.test", word,
			more)+fmt.Sprintf("about %s, number %d\nFrom the beginning of a line\n", word, n))
	}
	posts := l.TakeMail(l.t, "a@l.test", 3)
	slices.SortFunc(posts, func(a, b string) int {
		return strings.Compare(testserver.Header(a, "Subject"), testserver.Header(b, "Subject"))
	})
	if v := testserver.Header(posts[0], "List-Archive"); v != "<https://mx.l.test/b/mailinglist/archive/arc@l.test>" {
		l.t.Errorf("List-Archive %q", v)
	}
	page := strings.Trim(testserver.Header(posts[1], "Archived-At"), "<>")
	status, body := l.web("GET", page, "")
	if status != 200 || !strings.Contains(body, "about pears &lt;b&gt;bold&lt;/b&gt;, number 1") || strings.Contains(body, "<b>bold") {
		l.t.Errorf("the page of a post: %d %s", status, body)
	}
	index := "https://mx.l.test/b/mailinglist/archive/arc@l.test"
	if status, _ := l.web("GET", index, ""); status != 404 {
		l.t.Errorf("the archive is not public: %d", status)
	}
	if status, _ := l.web("GET", page[:len(page)-1]+"x", ""); status != 404 {
		l.t.Errorf("a guessed page: %d", status)
	}
	l.list("set", "arc@l.test", "archive_public=true")
	status, body = l.web("GET", index, "")
	if status != 200 || !strings.Contains(body, ">apples</a>") || !strings.Contains(body, ">pears &lt;b&gt;bold&lt;/b&gt;</a>") ||
		strings.Contains(body, "secret") {
		l.t.Errorf("the index: %d %s", status, body)
	}
	if _, body = l.web("GET", index+"?q="+url.QueryEscape("PEARS number"), ""); strings.Contains(body, ">apples</a>") ||
		!strings.Contains(body, ">pears") {
		l.t.Errorf("the search: %s", body)
	}
	if _, body = l.web("GET", index+"?q=%22%3E%3Cscript%3E", ""); strings.Contains(body, "<script>") {
		l.t.Errorf("the search writes what it is given: %s", body)
	}
	mbox := l.list("export", "arc@l.test")
	if strings.Count("\n"+mbox, "\nFrom ") != 3 || strings.Count(mbox, "\n>From the beginning") != 3 ||
		!strings.HasPrefix(mbox, "From x@out.test ") || strings.Count(mbox, "\nArchived-At:") != 3 {
		l.t.Errorf("mbox:\n%.3000s", mbox)
	}
}

// Nothing reveals the author.
func listAnonymous(l *listRig) {
	l.make("anon@l.test", []string{"post=anyone", "anonymous=true", "title=Nobody"}, "a@l.test")
	l.post("x@out.test", "anon@l.test", article("Xavier Who <x@out.test>", "anon@l.test", "anon",
		"Sender: x@out.test\nReply-To: x@out.test\nX-Originating-IP: [203.0.113.9]\nX-Mailer: XMail\nDKIM-Signature: v=1; d=out.test\n"+
			"Received: from x-home.out.test\n"))
	got := l.Mail(l.t, "a@l.test")
	if testserver.Header(got, "From") != `"Nobody" <anon@l.test>` || l.dkim(got) != "l.test pass" {
		l.t.Errorf("From %q, %s", testserver.Header(got, "From"), l.dkim(got))
	}
	for _, trace := range []string{"out.test", "Xavier", "203.0.113.9", "XMail", "client.test"} {
		if strings.Contains(got, trace) {
			l.t.Errorf("%q is in\n%s", trace, got)
		}
	}
	// An explicit Reply-To.
	l.list("set", "anon@l.test", "anonymous=false", "reply_to=help@l.test")
	l.post("x@out.test", "anon@l.test", article("x@out.test", "anon@l.test", "reply",
		"Reply-To: x@out.test\nDKIM-Signature: v=1; d=out.test\n"))
	if got := l.Mail(l.t, "a@l.test"); testserver.Header(got, "Reply-To") != "help@l.test" ||
		strings.Contains(testserver.Header(got, "DKIM-Signature"), "out.test") {
		l.t.Errorf("Reply-To %q, signed %q", testserver.Header(got, "Reply-To"), testserver.Header(got, "DKIM-Signature"))
	}
	// A signature that a change broke stays if the owner wants that; one that no change
	// broke always stays.
	l.list("set", "anon@l.test", "dkim=keep")
	l.post("x@out.test", "anon@l.test", article("x@out.test", "anon@l.test", "kept", "DKIM-Signature: v=1; d=out.test\n"))
	testserver.Contains(l.t, testserver.Header(l.Mail(l.t, "a@l.test"), "DKIM-Signature"), "d=out.test")
	l.list("set", "anon@l.test", "dkim=drop", "reply_to=none")
	l.post("x@out.test", "anon@l.test", article("x@out.test", "anon@l.test", "unchanged", "DKIM-Signature: v=1; d=out.test\n"))
	testserver.Contains(l.t, testserver.Header(l.Mail(l.t, "a@l.test"), "DKIM-Signature"), "d=out.test")
}

// A footer that differs from member to member: what each gets is signed, and
// the post is stored once but for the mailboxes here.
func listPersonal(l *listRig) {
	l.make("own@l.test", []string{"post=anyone", "archive=true", `footer=-- \n%(list) for %(member): %(leave) %(other)`}, "a@l.test",
		"b@l.test", "p1@out.test", "p2@out.test")
	l.post("ann@out.test", "own@l.test", article("Ann <ann@out.test>", "own@l.test", "personal"))
	page := regexp.MustCompile(`own@l\.test for (\S+): (https?://\S+/b/mailinglist/u/\S+) %\(other\)`)
	for _, who := range []string{"a@l.test", "b@l.test", "p1@out.test", "p2@out.test"} {
		text := ""
		if strings.HasSuffix(who, "@out.test") {
			text = strings.ReplaceAll(l.mx.WaitFor(who, 1).LF(), "\r\n", "\n")
		} else {
			text = l.Mail(l.t, who)
		}
		found := page.FindStringSubmatch(decoded(l.t, text))
		if found == nil || found[1] != who || l.dkim(text) != "l.test pass" {
			l.t.Fatalf("%s has, signed %s,\n%s", who, l.dkim(text), decoded(l.t, text))
		}
		testserver.Contains(l.t, testserver.Header(text, "List-Unsubscribe"), found[2])
		if code, _ := l.web("POST", found[2], "List-Unsubscribe=One-Click"); code != 200 {
			l.t.Errorf("the link of %s answers %d", who, code)
		}
	}
	if left := l.list("members", "own@l.test"); strings.TrimSpace(left) != "" {
		l.t.Errorf("who left are still there: %s", left)
	}
	l.Mail(l.t, "a@l.test") // a letter that says so
	l.Mail(l.t, "b@l.test")
	_, archive, _ := strings.Cut(l.list("export", "own@l.test"), "\n")
	if archive = decoded(l.t, archive); !strings.Contains(archive, "own@l.test for own@l.test: http") || strings.Contains(archive, "/u/") {
		l.t.Errorf("the archive has\n%s", archive)
	}
}

// An ARC seal says how a post arrived, for receivers that trust the list's domain.
func listSealed(l *listRig) {
	l.make("sealed@l.test", []string{"post=anyone", "arc=true", "subject_prefix=[s]"}, "a@l.test", "p3@out.test")
	l.post("ann@strict.test", "sealed@l.test", article("Ann <ann@strict.test>", "sealed@l.test", "one"))
	out := strings.ReplaceAll(l.mx.WaitFor("p3@out.test", 1).LF(), "\r\n", "\n")
	if got := l.verify(out); got.ARC.Result != "pass" || got.ARC.Domain != "l.test" || l.dkim(out) != "l.test pass" {
		l.t.Errorf("ARC %+v, DKIM %s of\n%s", got.ARC, l.dkim(out), out)
	}
	testserver.Contains(l.t, strings.ReplaceAll(testserver.Header(out, "ARC-Authentication-Results"), ";\t", "; "),
		"i=1; mx.l.test; spf=pass smtp.mailfrom=strict.test; dkim=none; dmarc=pass header.from=strict.test policy.dmarc=reject")
	if got := l.Mail(l.t, "a@l.test"); strings.Contains(got, "ARC-") {
		l.t.Errorf("what stays here is sealed\n%s", got)
	}
	// Sealed by somebody before, it is the second set.
	l.post("ann@strict.test", "sealed@l.test", strings.NewReplacer("List-Id:", "X-List-Id:", "Message-ID: <", "Message-ID: <2").Replace(out))
	again := strings.ReplaceAll(l.mx.WaitFor("p3@out.test", 2).LF(), "\r\n", "\n")
	if got := l.verify(again); !strings.Contains(testserver.Header(again, "ARC-Seal"), "i=2;") || got.ARC.Result != "fail" ||
		!strings.Contains(testserver.Header(again, "ARC-Seal"), "cv=fail") {
		l.t.Errorf("changed on its way: %+v\n%s", got.ARC, again)
	}
	l.Mail(l.t, "a@l.test")
}

// Members of other list managers.
func listImports(l *listRig) {
	l.make("imp@l.test", nil)
	dir := l.t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			l.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			l.t.Fatal(err)
		}
		return path
	}
	var many strings.Builder
	for n := range 120 {
		fmt.Fprintf(&many, "m%d@out.test\n", n)
	}
	l.list("import", "imp@l.test", write("lines", "# members\nAnn Other <ann@out.test>\n\n"+many.String()))
	l.list("import", "imp@l.test",
		write("roster.json", `{"entries": [{"email": "dig@out.test", "display_name": "D", "delivery_mode": "plaintext_digests"},
			{"email": "off@out.test", "delivery_mode": "regular", "delivery_status": "by_user"}]}`))
	write("mlmmj/subscribers.d/a", "one@out.test\ntwo@out.test\n")
	write("mlmmj/digesters.d/a", "three@out.test\n")
	l.list("import", "imp@l.test", filepath.Join(dir, "mlmmj"))
	for address, mode := range map[string]string{
		"ann@out.test":   "regular",
		"dig@out.test":   "digest",
		"off@out.test":   "none",
		"one@out.test":   "regular",
		"three@out.test": "mime-digest",
		"m119@out.test":  "regular",
	} {
		if m := l.member("imp@l.test", address); m.Mode != mode {
			l.t.Errorf("%s has mode %q, want %q", address, m.Mode, mode)
		}
	}
	if n := strings.Count(l.list("members", "imp@l.test"), "\n"); n != 126 {
		l.t.Errorf("%d members", n)
	}
	// A source that changes: who came from it goes with it, others stay, and
	// what a member chose is kept.
	l.list("import", "imp@l.test", write("ldap", "one@out.test\nnew@out.test\ngone@out.test\n"), "--source", "ldap")
	l.list("member", "imp@l.test", "new@out.test", "mode=digest")
	testserver.Contains(l.t, l.list("import", "imp@l.test", write("ldap", "new@out.test\nnewer@out.test\n"), "--source", "ldap"),
		"1 members removed\n", "1 members taken over\n")
	got := l.list("members", "imp@l.test")
	if m := l.member("imp@l.test", "new@out.test"); m.Mode != "digest" || strings.Contains(got, "gone@") || !strings.Contains(got,
		"newer@out.test\n") || !strings.Contains(got, "one@out.test\n") {
		l.t.Errorf("%+v, members\n%s", m, got)
	}
	l.refuses("bad:2: ", "import", "imp@l.test", write("bad", "x@out.test\nnobody\n"))
	l.refuses("not a list of mlmmj", "import", "imp@l.test", l.t.TempDir())
	l.WaitQueueIdle(l.t)
	if got := l.mx.For("ann@out.test"); len(got) != 0 {
		l.t.Errorf("an imported member was told: %+v", got)
	}
}

// A list whose members come from a source, which is read at regular times.
func listSource(l *listRig) {
	ln, err := net.Listen("tcp", l.from)
	if err != nil {
		l.t.Fatal(err)
	}
	var answer atomic.Pointer[[3]string] // status, type, body
	set := func(status, kind, body string) { answer.Store(&[3]string{status, kind, body}) }
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := answer.Load()
		w.Header().Set("Content-Type", a[1])
		code, _ := strconv.Atoi(a[0])
		w.WriteHeader(code)
		io.WriteString(w, a[2])
	})}
	go server.Serve(ln)
	l.t.Cleanup(func() { server.Close() })
	l.make("club@l.test", []string{"leave=open"}, "own@out.test")
	l.refuses("must be a URL", "set", "club@l.test", "source=ldap:club")
	l.list("set", "club@l.test", "source=http://"+l.from+"/members?q=1", "source_every=2")
	testserver.Contains(l.t, l.list("show", "club@l.test"), "the source: not asked yet")
	// is advances the clock and waits for members and for what is said of the
	// source.
	is := func(after, state string, want ...string) {
		l.t.Helper()
		l.advance(after)
		var got string
		var have []string
		ok := testserver.Poll(testserver.Patience, func() bool {
			got = l.list("members", "club@l.test") + l.list("show", "club@l.test")
			members, _, _ := strings.Cut(got, "anonymous=")
			have = strings.Fields(members)
			slices.Sort(have)
			return slices.Equal(have, want) && strings.Contains(got, "the source: "+state+"\n")
		})
		if !ok {
			l.t.Fatalf("after %s %v, want %v and %s, in\n%s", after, have, want, state, got)
		}
	}
	set("200", "text/plain", "# the club\nAnn@Out.test\n\nbea@out.test\r\nown@out.test\n")
	is("5m", "good", "ann@out.test", "bea@out.test", "own@out.test")
	set("200", "application/json; charset=utf-8", `["bea@out.test", {"address": "cy@out.test", "name": "Cy", "mode": "digest"}]`)
	is("2h", "good", "bea@out.test", "cy@out.test", "own@out.test") // own was there before
	if m := l.member("club@l.test", "cy@out.test"); m.Mode != "digest" {
		l.t.Errorf("%+v", m)
	}
	for _, bad := range []struct{ status, kind, body, why string }{
		{"500", "text/plain", "x@out.test\n", "status 500"},
		{"200", "text/plain", "# nobody\n", "the answer names nobody"},
		{"200", "text/plain", "x@out.test\nnobody\n", "entry 2 of the answer has no address, or a mode that is none"},
		{"200", "application/json", `[{"address": "x@out.test", "mode": "loud"}]`,
			"entry 1 of the answer has no address, or a mode that is none"},
		{"200", "application/json", "[", "the answer is no JSON array"},
	} {
		set(bad.status, bad.kind, bad.body)
		is("3h", "failed: "+bad.why, "bea@out.test", "cy@out.test", "own@out.test")
	}
	// Who left stays away; who joins again stays.
	l.post("bea@out.test", "club-leave@l.test", article("bea@out.test", "club-leave@l.test", "leave"))
	set("200", "text/plain", "bea@out.test\ncy@out.test\n")
	is("3h", "good", "cy@out.test", "own@out.test")
	// Many come over several runs.
	var many strings.Builder
	want := []string{"own@out.test"}
	for n := range 700 {
		a := fmt.Sprintf("c%03d@out.test", n)
		fmt.Fprintln(&many, a)
		want = append(want, a)
	}
	slices.Sort(want)
	set("200", "text/plain", many.String())
	l.advance("3h")
	l.advance("5m")
	l.advance("5m")
	is("5m", "good", want...)
	l.WaitQueueIdle(l.t)
	if got := l.mx.For("ann@out.test"); len(got) != 0 {
		l.t.Errorf("a member of the source was told: %+v", got)
	}
}

// A list that goes while its mail waits: what was taken is delivered, what was
// held goes, its addresses are unknown.
func listRemoved(l *listRig) {
	l.make("rm@l.test", []string{"post=moderated"}, "a@l.test", "later@out.test")
	l.post("x@out.test", "rm@l.test", article("x@out.test", "rm@l.test", "held for ever"))
	l.Mail(l.t, "owner@l.test")
	l.list("set", "rm@l.test", "post=anyone")
	l.mx.SetReply(func(to string) string {
		if to == "later@out.test" {
			return "451 4.2.0 later"
		}
		return ""
	})
	l.post("x@out.test", "rm@l.test", article("x@out.test", "rm@l.test", "waiting"))
	l.Mail(l.t, "a@l.test")
	l.list("rm", "rm@l.test")
	l.mx.SetReply(nil)
	l.advance("6m")
	if got := l.mx.WaitFor("later@out.test", 1); testserver.Header(got.LF(), "Subject") != "waiting" {
		l.t.Errorf("what was waiting:\n%s", got.LF())
	}
	l.WaitQueueIdle(l.t)
	if out, err := l.Command("queue", "list").CombinedOutput(); err != nil || strings.Contains(string(out), "held") {
		l.t.Errorf("still held: %v\n%s", err, out)
	}
	for _, to := range []string{"rm@l.test", "rm-join@l.test", "rm-bounces+x=out.test=abcdef@l.test"} {
		if reply := l.post("x@out.test", to, article("x@out.test", to, "gone")); !strings.HasPrefix(reply, "550 5.1.1 ") {
			l.t.Errorf("%s: %s", to, reply)
		}
	}
	l.make("rm@l.test", nil)
	if got := l.list("members", "rm@l.test"); got != "" {
		l.t.Errorf("a new list of that name has members %q", got)
	}
}
