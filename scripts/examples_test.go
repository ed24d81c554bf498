package scripts_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"testing"
	"time"

	"carteiro/core/mail"
	"carteiro/core/milter"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/scripts"
)

// example loads one example with the files beside it.
func example(t *testing.T, name string) *hookstest.World {
	t.Helper()
	files := map[string]string{}
	entries, err := fs.ReadDir(scripts.Examples(), "examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == name || path.Ext(e.Name()) != ".lua" {
			b, err := fs.ReadFile(scripts.Examples(), path.Join("examples", e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			files[e.Name()] = string(b)
		}
	}
	if files[name] == "" {
		t.Fatalf("no example %s", name)
	}
	src := hookstest.Scripts(files)
	src.HTTP = []string{"127.0.0.1:8081"}
	return hookstest.New(t).Load(src)
}

const letter = "From: Ann <ann@a.example>\nTo: bob@our.example\nSubject: Hello\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <1@a.example>\n\nHow are you?\n"

// good fails the test if a handler failed.
func good(t *testing.T, a hookstest.Answer) hookstest.Answer {
	t.Helper()
	if a.Err() != "" {
		t.Fatalf("policy failed: %s", a.Err())
	}
	return a
}

// covered are the examples that have a test here; TestEveryExampleHasATest
// finds those that have none.
var covered = map[string]func(*testing.T, *hookstest.World){
	"greylisting.lua": func(t *testing.T, w *hookstest.World) {
		ask := func() int {
			return good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveRcpt, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("ann@a.example"), Rcpt: hookstest.Rcpt("bob@our.example")})).Status.Code
		}
		first, second := ask(), ask()
		w.Clock.Advance(6 * time.Minute)
		if third := ask(); first != 451 || second != 451 || third != 0 {
			t.Errorf("answers %d, %d, then after 6 minutes %d", first, second, third)
		}
	},
	"blocklist.lua": func(t *testing.T, w *hookstest.World) {
		for ip, want := range map[string]hooks.Action{"198.51.100.9": hooks.Reject, "2001:db8:bad::1": hooks.Reject, "192.0.2.7": hooks.Continue} {
			if a := good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveConnect, Session: hookstest.Session(ip)})); a.Action != want {
				t.Errorf("%s: %v", ip, a.Verdict)
			}
		}
	},
	"routing.lua": func(t *testing.T, w *hookstest.World) {
		a := good(t, w.Ask(&hooks.Event{Point: hooks.RouteResolve, Domain: "partner.example", Key: "partner.example"}))
		if a.Action != hooks.RouteTo || a.Route.Hosts[0] != "mx.partner.example" {
			t.Errorf("route %v", a.Verdict)
		}
		a = good(t, w.Ask(&hooks.Event{Point: hooks.DeliverResult, Msg: hookstest.Message("a@a.example", letter), Rcpt: hookstest.Rcpt("x@x.example"), Result: &hooks.Result{Class: "deferred", Attempt: 3}}))
		if a.Action != hooks.Reroute {
			t.Errorf("third failure: %v", a.Verdict)
		}
	},
	"forwarding.lua": func(t *testing.T, w *hookstest.World) {
		ask := func(to, text string) hookstest.Answer {
			return good(t, w.Ask(&hooks.Event{Point: hooks.QueueExpand, Msg: hookstest.Message("ann@a.example", text), Rcpt: hookstest.Rcpt(to)}))
		}
		if a := ask("bob@our.example", letter); len(a.Event.Rcpt.Copies) != 1 || a.Action != hooks.Continue || !strings.HasPrefix(string(*a.Event.Rcpt.Copies[0].Sender), "SRS0=") {
			t.Errorf("bob: %v %+v", a.Verdict, a.Event.Rcpt.Copies)
		}
		if a := ask("eve@our.example", letter); len(a.Event.Rcpt.Copies) != 2 || a.Action != hooks.Discard {
			t.Errorf("eve: %v %+v", a.Verdict, a.Event.Rcpt.Copies)
		}
		if a := ask("bob@our.example", "X-Loop: bob@our.example\n"+letter); len(a.Event.Rcpt.Copies) != 0 {
			t.Error("it loops")
		}
	},
	"autoresponder.lua": func(t *testing.T, w *hookstest.World) {
		ask := func(text string) int {
			e := &hooks.Event{Point: hooks.DeliverLocal, Msg: hookstest.Message("ann@a.example", text), Rcpt: hookstest.Rcpt("bob@our.example"),
				Box: &hookstest.Box{Owner: "bob@our.example", Settings: map[string]any{"vacation": map[string]any{"active": true, "text": "away"}}}}
			good(t, w.Ask(e))
			n := 0
			if e.Pending != nil {
				n = len(e.Pending.Submits)
				if n > 0 && (e.Pending.Submits[0].Sender != "" || !strings.Contains(string(e.Pending.Submits[0].Header), "Auto-Submitted: auto-replied")) {
					t.Errorf("reply %+v", e.Pending.Submits[0])
				}
			}
			w.Commit(e)
			return n
		}
		if first, again := ask(letter), ask(letter); first != 1 || again != 0 {
			t.Errorf("replies: %d, then %d", first, again)
		}
		w.Clock.Advance(8 * 24 * time.Hour)
		if list, later := ask("List-Id: <l>\n"+letter), ask(letter); list != 0 || later != 1 {
			t.Errorf("to a list %d, after a week %d", list, later)
		}
	},
	"ratelimit.lua": func(t *testing.T, w *hookstest.World) {
		s := hookstest.Session("192.0.2.7")
		s.Identity = hookstest.Identity("bob@our.example")
		refused := 0
		for range 25 {
			if a := good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: s, Tx: hookstest.Tx("bob@our.example")})); a.Action == hooks.Defer {
				refused++
			}
		}
		if refused < 4 || refused > 5 {
			t.Errorf("%d of 25 refused, with a burst of 20", refused)
		}
	},
	"spamwords.lua": func(t *testing.T, w *hookstest.World) {
		w.Resolver.Answers["a 66.2.0.192.dnsbl.example"] = []netip.Addr{netip.MustParseAddr("127.0.0.2")}
		ask := func(ip, text string) hookstest.Answer {
			return good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session(ip), Tx: hookstest.Tx("ann@a.example", "bob@our.example"), Msg: hookstest.Message("ann@a.example", text)}))
		}
		spam := strings.Replace(letter, "How are you?", "You have won", 1)
		if a := ask("192.0.2.7", letter); a.Event.Msg.Total() != 0 {
			t.Errorf("ham scored %v", a.Event.Msg.Scores)
		}
		if a := ask("192.0.2.7", spam); a.Event.Tx.Recipients[0].Meta["folder"] != "Junk" || !a.Event.Msg.Header.Has("X-Spam") {
			t.Errorf("spam: %v %v", a.Verdict, a.Event.Tx.Recipients[0].Meta)
		}
		if a := ask("192.0.2.66", spam); a.Action != hooks.Reject {
			t.Errorf("listed spam: %v", a.Verdict)
		}
	},
	"httpfilter.lua": func(t *testing.T, w *hookstest.World) {
		ask := func() hookstest.Answer {
			return good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("ann@a.example", "bob@our.example"), Msg: hookstest.Message("ann@a.example", letter)}))
		}
		if a := ask(); a.Action != hooks.Continue || !strings.Contains(w.Log.String(), "the filter does not answer") {
			t.Errorf("without the filter: %v", a.Verdict)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:8081")
		if err != nil {
			t.Skipf("the port of the example is taken: %v", err)
		}
		asked := make(chan string, 2)
		go http.Serve(ln, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			asked <- string(b)
			io.WriteString(rw, `{"score": 20, "reason": "I know them"}`)
		}))
		defer ln.Close()
		a := ask()
		if a.Action != hooks.Reject || a.Event.Msg.Scores[0].Note != "I know them" {
			t.Errorf("the filter's answer: %v %+v", a.Verdict, a.Event.Msg.Scores)
		}
		if got := <-asked; got != `{"client":"192.0.2.7","sender":"ann@a.example","subject":"Hello","text":"How are you?\r\n"}` {
			t.Errorf("it was asked %s", got)
		}
	},
	"rspamd.lua": func(t *testing.T, w *hookstest.World) {
		ask := func(a *milter.Answer) hookstest.Answer {
			w.Milters.Answers["rspamd"] = a
			return w.Ask(&hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("ann@a.example", "bob@our.example"), Msg: hookstest.Message("ann@a.example", "X-Old: 1\n"+letter)})
		}
		a := good(t, ask(&milter.Answer{Action: milter.Accept, Changes: []milter.Change{{Op: "add_header", Name: "X-Spam", Value: "Yes"}, {Op: "change_header", Name: "X-Old", Index: 1},
			{Op: "change_header", Name: "Subject", Value: "[spam] Hello", Index: 1}}}))
		if m := a.Event.Msg; a.Action != hooks.Continue || m.Header.Has("X-Old") || !m.Header.Has("X-Spam") || a.Event.Tx.Recipients[0].Meta["folder"] != "Junk" {
			t.Errorf("changes: %v %s %v", a.Verdict, m.Header.Bytes(), a.Event.Tx.Recipients[0].Meta)
		}
		if s, _ := a.Event.Msg.Header.Get("Subject"); s != "[spam] Hello" {
			t.Errorf("subject %q", s)
		}
		for action, want := range map[string]hooks.Action{milter.Accept: hooks.Continue, milter.Reject: hooks.Reject, milter.Defer: hooks.Defer, milter.Discard: hooks.Discard, milter.Quarantine: hooks.Quarantine} {
			if a := good(t, ask(&milter.Answer{Action: action})); a.Action != want {
				t.Errorf("%s: %v", action, a.Verdict)
			}
		}
		if a := ask(&milter.Answer{Action: milter.Reject, Status: mail.Status{Code: 554, Enhanced: "5.7.9", Text: "no"}}); a.Status.Reply() != "554 5.7.9 no" {
			t.Errorf("worded: %v", a.Verdict)
		}
		if a := ask(nil); a.Err() == "" || a.Action != hooks.Defer {
			t.Errorf("no answer: %v", a.Verdict)
		}
		if q := w.Milters.Asked[0]; q.Session.Remote.Addr().String() != "192.0.2.7" || q.Recipients[0] != "bob@our.example" || q.Fields[0] != (milter.Field{Name: "X-Old", Value: "1"}) {
			t.Errorf("asked %+v", q)
		}
	},
	"ban.lua": func(t *testing.T, w *hookstest.World) {
		login := func(verified bool) time.Duration {
			e := &hooks.Event{Point: hooks.ReceiveAuth, Session: hookstest.Session("192.0.2.7"), Cred: &hooks.Cred{Credentials: &mail.Credentials{User: "bob@our.example"}, Verified: verified}}
			good(t, w.Ask(e))
			return e.Delay
		}
		connect := func(ip string) hooks.Action {
			return good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveConnect, Session: hookstest.Session(ip)})).Action
		}
		if login(true) != 0 || login(false) != time.Second || login(false) != 2*time.Second {
			t.Error("delays")
		}
		for range 7 {
			login(false)
		}
		if connect("192.0.2.7") != hooks.Continue {
			t.Error("banned after nine")
		}
		login(false)
		if connect("192.0.2.9") != hooks.Disconnect || connect("198.51.100.1") != hooks.Continue {
			t.Error("the network of the tenth is not banned, or another is")
		}
		w.Clock.Advance(61 * time.Minute)
		if connect("192.0.2.7") != hooks.Continue {
			t.Error("banned for ever")
		}
	},
	"archive.lua": func(t *testing.T, w *hookstest.World) {
		ask := func(from, to string) int {
			return len(good(t, w.Ask(&hooks.Event{Point: hooks.QueueExpand, Msg: hookstest.Message(from, letter), Rcpt: hookstest.Rcpt(to)})).Event.Rcpt.Copies)
		}
		if out, in, own := ask("bob@our.example", "x@x.example"), ask("ann@a.example", "bob@our.example"), ask("bob@our.example", "archive@our.example"); out != 1 || in != 0 || own != 0 {
			t.Errorf("copies: sent %d, received %d, of the archive's own %d", out, in, own)
		}
	},
}

func TestEveryExampleHasATest(t *testing.T) {
	entries, err := fs.ReadDir(scripts.Examples(), "examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".lua" {
			continue
		}
		run, ok := covered[e.Name()]
		if !ok {
			t.Errorf("%s has no test", e.Name())
			continue
		}
		t.Run(e.Name(), func(t *testing.T) { run(t, example(t, e.Name())) })
	}
}

func TestStartingPolicy(t *testing.T) {
	w := hookstest.New(t).Script(string(scripts.Policy()))
	// Receive: a user may send a hundred at once, not more; strangers need a From.
	s := hookstest.Session("192.0.2.7")
	s.Identity = hookstest.Identity("bob@our.example")
	last := hooks.Continue
	for range 105 {
		last = good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: s, Tx: hookstest.Tx("bob@our.example")})).Action
	}
	if last != hooks.Defer {
		t.Errorf("the 105th message: %v", last)
	}
	data := func(text string) hooks.Action {
		return good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example", "bob@our.example"), Msg: hookstest.Message("a@a.example", text)})).Action
	}
	if data(letter) != hooks.Continue || data("Subject: no From\n\nx\n") != hooks.Reject {
		t.Error("From")
	}
	// Queue: bulk mail steps back.
	e := &hooks.Event{Point: hooks.QueueCommit, Msg: hookstest.Message("a@a.example", "Precedence: bulk\n"+letter), Group: &mail.Group{Key: "x.example", Domain: "x.example"}}
	if good(t, w.Ask(e)); e.Group.Priority != -4 {
		t.Errorf("priority %d", e.Group.Priority)
	}
	// Deliver: a tag names a folder that exists.
	file := func(to string) string {
		rcpt := hookstest.Rcpt(to)
		return good(t, w.Ask(&hooks.Event{Point: hooks.DeliverLocal, Msg: hookstest.Message("a@a.example", letter), Rcpt: rcpt,
			Box: &hookstest.Box{Owner: "bob@our.example", Names: []string{"INBOX", "lists"}}})).Folder
	}
	if file("bob+lists@our.example") != "lists" || file("bob+other@our.example") != "" || file("bob@our.example") != "" {
		t.Error("folders by tag")
	}
}

func TestAMistakeIsTold(t *testing.T) {
	w := hookstest.New(t)
	_, err := w.Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"policy.lua": strings.Replace(string(scripts.Policy()), "rate.take", "rate.tak", 1)})})
	if err == nil || !strings.Contains(err.Error(), "policy.lua:") {
		t.Errorf("a misspelt function: %v", errors.Unwrap(err))
	}
}
