package lua_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/service/dns"
	"carteiro/core/service/lists"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

const plainMail = `From: Ann <a@a.example>
To: bob@our.example
Subject: =?utf-8?q?Ol=C3=A1?=
Message-ID: <1@a.example>
Date: Mon, 02 Jan 2023 15:04:05 +0000

Hello Bob, have a look at https://shop.example/x.
`

// The Lua blocks are those of the contract, section 4.

const greylisting = `
on("receive.rcpt", function(session, tx, rcpt)
  if session.identity or not rcpt.is_local then return end
  local key = "grey:" .. session.ip_net .. ":" .. tx.sender .. ":" .. rcpt.address
  local seen = kv.get(key)
  if not seen then
    kv.set(key, time.now(), { ttl = "36h" })
    return defer(451, "4.7.1", "greylisted, try again in 5 minutes")
  elseif time.now() - seen < 300 then
    return defer(451, "4.7.1", "too early, still greylisted")
  end
  kv.set(key, seen, { ttl = "35d" })
end)`

func TestGreylisting(t *testing.T) {
	w := hookstest.New(t).Script(greylisting)
	ask := func() hookstest.Answer {
		return w.Ask(&hooks.Event{Point: hooks.ReceiveRcpt, Session: hookstest.Session("192.0.2.7"),
			Tx: hookstest.Tx("a@a.example"), Rcpt: hookstest.Rcpt("bob@our.example")})
	}
	want := func(code int, text string) {
		t.Helper()
		a := ask()
		if a.Err() != "" || a.Status.Code != code || !strings.Contains(a.Status.Text, text) {
			t.Fatalf("got %v (%s), want %d %s", a.Verdict, a.Err(), code, text)
		}
	}
	want(451, "greylisted, try")
	want(451, "too early")
	w.Clock.Advance(6 * time.Minute)
	want(0, "")
	w.Clock.Advance(30 * 24 * time.Hour)
	want(0, "") // the second set prolonged it
	w.Clock.Advance(36 * 24 * time.Hour)
	want(451, "greylisted, try")
}

func TestRouting(t *testing.T) {
	w := hookstest.New(t).Load(hookstest.Scripts(map[string]string{
		"routes.toml": "[\"partner.example\"]\nhost = \"mx.partner.example\"\nport = 25\ntls = \"verify\"\n",
		"route.lua": `
local routes = map.open("routes.toml")
on("route.resolve", function(domain, key)
  local r = routes:get(domain)
  if r then return route { hosts = { r.host }, port = r.port, tls = r.tls } end
end)
on("deliver.result", function(msg, rcpt, result)
  if result.class == "deferred" and result.attempt >= 3 then return reroute { hosts = { "relay.example.net" } } end
end)`}))
	a := w.Ask(&hooks.Event{Point: hooks.RouteResolve, Domain: "partner.example", Key: "partner.example"})
	if a.Err() != "" || a.Action != hooks.RouteTo || a.Route.Hosts[0] != "mx.partner.example" || a.Route.Port != 25 ||
		a.Route.TLS != "verify" {
		t.Fatalf("route: %+v %s", a.Verdict, a.Err())
	}
	if a := w.Ask(&hooks.Event{Point: hooks.RouteResolve, Domain: "other.example"}); a.Action != hooks.Continue || a.Err() != "" {
		t.Fatalf("other domain: %v %s", a.Verdict, a.Err())
	}
	result := func(attempt int) hookstest.Answer {
		return w.Ask(&hooks.Event{Point: hooks.DeliverResult, Msg: hookstest.Message("a@a.example", plainMail),
			Rcpt:   hookstest.Rcpt("x@partner.example"),
			Result: &hooks.Result{Class: "deferred", Attempt: attempt}})
	}
	if a := result(2); a.Action != hooks.Continue {
		t.Fatalf("second attempt: %v", a.Verdict)
	}
	if a := result(3); a.Action != hooks.Reroute || a.Route.Hosts[0] != "relay.example.net" {
		t.Fatalf("third attempt: %v %s", a.Verdict, a.Err())
	}
}

func TestForwarding(t *testing.T) {
	w := hookstest.New(t).Load(hookstest.Scripts(map[string]string{
		"forwards.toml": "[\"bob@our.example\"]\nto = \"bob@elsewhere.example\"\nkeep = true\n[\"eve@our.example\"]\n" +
			"to = [\"e1@x.example\", \"e2@x.example\"]\n",
		"forward.lua": `
local forwards = map.open("forwards.toml")
on("queue.expand", function(msg, rcpt)
  local f = forwards:get(rcpt.address)
  if not f or msg:header("X-Loop") == rcpt.address then return end
  rcpt:copy_to(f.to, { sender = addr.srs(msg.sender), headers = { ["X-Loop"] = rcpt.address } })
  if not f.keep then return discard("forwarded") end
end)`}))
	ask := func(rcpt, raw string) hookstest.Answer {
		return w.Ask(&hooks.Event{Point: hooks.QueueExpand, Msg: hookstest.Message("a@a.example", raw), Rcpt: hookstest.Rcpt(rcpt)})
	}
	a := ask("bob@our.example", plainMail)
	copies := a.Event.Rcpt.Copies
	if a.Err() != "" || a.Action != hooks.Continue || len(copies) != 1 || copies[0].Address != "bob@elsewhere.example" {
		t.Fatalf("bob: %v %s %+v", a.Verdict, a.Err(), copies)
	}
	if s := string(*copies[0].Sender); !strings.HasPrefix(s, "SRS0=") || !strings.HasSuffix(s, "=a.example=a@mx.our.example") {
		t.Errorf("sender %q", s)
	}
	if copies[0].Fields != "X-Loop: bob@our.example\r\n" || copies[0].From.Hook != "queue.expand" {
		t.Errorf("copy %+v", copies[0])
	}
	if a := ask("bob@our.example", "X-Loop: bob@our.example\n"+plainMail); len(a.Event.Rcpt.Copies) != 0 {
		t.Error("looped")
	}
	if a := ask("eve@our.example", plainMail); a.Action != hooks.Discard || len(a.Event.Rcpt.Copies) != 2 {
		t.Errorf("eve: %v %+v", a.Verdict, a.Event.Rcpt.Copies)
	}
}

func TestScoring(t *testing.T) {
	w := hookstest.New(t).Script(`
local bad = re.set { "(?i)crypto\\s+giveaway", "(?i)you have won" }
on("receive.data", { order = 10 }, function(session, tx, msg)
  if msg:auth().dmarc.result == "fail" then msg:score("DMARC_FAIL", 4) end
  if dns.rbl(session.ip, "dnsbl.example") then msg:score("RBL", 5) end
  if bad:match(msg:text(65536)) then msg:score("SCAM_WORDS", 3) end
end)
on("receive.data", { order = 90 }, function(session, tx, msg)
  local total = msg:score()
  if total >= 15 then return reject(550, "5.7.1", "message looks like spam") end
  if total >= 6 then
    msg:set_header("X-Spam", "yes")
    for _, rcpt in ipairs(tx:recipients()) do rcpt.meta.folder = "Junk" end
  end
end)`)
	ask := func(ip, raw string) hookstest.Answer {
		return w.Ask(&hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session(ip), Tx: hookstest.Tx("a@a.example", "bob@our.example"),
			Msg: hookstest.Message("a@a.example", raw)})
	}
	w.Resolver.Answers["a 66.2.0.192.dnsbl.example"] = addrs("127.0.0.2")
	a := ask("192.0.2.66", strings.Replace(plainMail, "Hello", "You HAVE won a\nCRYPTO   giveaway", 1))
	if a.Err() != "" || a.Event.Msg.Total() != 8 || a.Event.Tx.Recipients[0].Meta["folder"] != "Junk" || !a.Event.Msg.Header.Has("X-Spam") {
		t.Fatalf("spam: %v %s %v %v", a.Verdict, a.Err(), a.Event.Msg.Scores, a.Event.Tx.Recipients[0].Meta)
	}
	a = ask("192.0.2.7", plainMail)
	if a.Err() != "" || a.Event.Msg.Total() != 0 || a.Event.Msg.Header.Has("X-Spam") || len(a.Trail) != 0 {
		t.Fatalf("ham: %v %s", a.Event.Msg.Scores, a.Err())
	}
	w.Resolver.Answers["a 7.2.0.192.dnsbl.example"] = dns.ErrTimeout
	if a = ask("192.0.2.7", plainMail); a.Err() != "" || a.Event.Msg.Total() != 0 {
		t.Fatalf("a list that does not answer counts: %v %s", a.Event.Msg.Scores, a.Err())
	}
}

func TestAutoresponder(t *testing.T) {
	w := hookstest.New(t).Script(`
on("deliver.local", function(msg, rcpt, box)
  local v = box:setting("vacation")
  if not v or not v.active or msg:is_auto() or not msg:addressed_to(rcpt.address) then return end
  if not kv.once("vacation:" .. rcpt.address .. ":" .. msg.sender, { ttl = "7d" }) then return end
  mail.submit { sender = "", from = rcpt.address, to = msg.sender, auto = "auto-replied",
    subject = "Auto: " .. (msg:subject() or ""), text = v.text, in_reply_to = msg }
end)`)
	ask := func(sender, raw string) []hooks.Submit {
		t.Helper()
		a := w.Ask(&hooks.Event{Point: hooks.DeliverLocal, Msg: hookstest.Message(sender, raw), Rcpt: hookstest.Rcpt("bob@our.example"),
			Box: &hookstest.Box{Owner: "bob@our.example", Settings: map[string]any{"vacation": map[string]any{"active": true,
				"text": "Away.\nBob"}}}})
		if a.Err() != "" || a.Action != hooks.Continue {
			t.Fatalf("%v %s", a.Verdict, a.Err())
		}
		submits := append([]hooks.Submit(nil), a.Event.Pending.Submits...)
		w.Commit(a.Event)
		return submits
	}
	s := ask("a@a.example", plainMail)
	if len(s) != 1 || s[0].Sender != "" || s[0].Rcpts[0] != "a@a.example" || string(s[0].Body) != "Away.\r\nBob\r\n" {
		t.Fatalf("%+v", s)
	}
	for _, want := range []string{"From: bob@our.example\r\n", "To: a@a.example\r\n", "Auto-Submitted: auto-replied\r\n",
		"In-Reply-To: <1@a.example>\r\n",
		"References: <1@a.example>\r\n", "Subject: =?utf-8?q?Auto:_Ol=C3=A1?=\r\n", "Message-ID: <", "Date: "} {
		if !strings.Contains(string(s[0].Header), want) {
			t.Errorf("no %q in\n%s", want, s[0].Header)
		}
	}
	if s := ask("a@a.example", plainMail); len(s) != 0 {
		t.Error("answered twice in a week")
	}
	w.Clock.Advance(8 * 24 * time.Hour)
	if s := ask("a@a.example", plainMail); len(s) != 1 {
		t.Error("no answer after a week")
	}
	if s := ask("c@a.example", plainMail); len(s) != 1 {
		t.Error("another sender got no answer")
	}
	for name, raw := range map[string]string{"list": "List-Id: <x>\n" + plainMail, "bulk": "Precedence: bulk\n" + plainMail,
		"auto": "Auto-Submitted: auto-generated\n" + plainMail, "not addressed": strings.Replace(plainMail, "bob@", "team@", 1)} {
		if s := ask("d@a.example", raw); len(s) != 0 {
			t.Errorf("%s was answered", name)
		}
	}
	if s := ask("", plainMail); len(s) != 0 {
		t.Error("the null sender was answered")
	}
}

func TestRateLimit(t *testing.T) {
	w := hookstest.New(t).Script(`
on("receive.mail", function(session, tx)
  if not session.identity then return end
  local ok, wait = rate.take("out:" .. session.identity.user, "100/1h", { burst = 20 })
  if not ok then return defer(451, "4.7.28", "limit reached, try again in " .. wait .. " s") end
end)`)
	s := hookstest.Session("192.0.2.7")
	s.Identity = &envelope.Identity{User: "bob@our.example"}
	ask := func() hookstest.Answer {
		a := w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: s, Tx: hookstest.Tx("bob@our.example")})
		if a.Err() != "" {
			t.Fatal(a.Err())
		}
		return a
	}
	for i := range 20 {
		if a := ask(); a.Action != hooks.Continue {
			t.Fatalf("message %d: %v", i+1, a.Verdict)
		}
	}
	if a := ask(); a.Status.Text != "limit reached, try again in 36 s" {
		t.Fatalf("message 21: %v", a.Verdict)
	}
	w.Clock.Advance(36 * time.Second)
	if a := ask(); a.Action != hooks.Continue {
		t.Fatalf("after 36 s: %v", a.Verdict)
	}
	// A restart: another engine on the same KV.
	w2 := hookstest.New(t)
	w2.Engine = lua.New(lua.Options{KV: w.KV, Clock: w.Clock})
	w2.KV, w2.Clock = w.KV, w.Clock
	w2.Script(`on("receive.mail", function(session, tx)
  if not rate.take("out:bob@our.example", "100/1h", { burst = 20 }) then return defer("no") end end)`)
	if a := w2.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: s, Tx: hookstest.Tx("bob@our.example")}); a.Action != hooks.Defer {
		t.Fatalf("after a restart: %v %s", a.Verdict, a.Err())
	}
}

func TestMailingList(t *testing.T) {
	w := hookstest.New(t).Script(`
on("queue.expand", function(msg, rcpt)
  local l = list.settings(rcpt.address)
  if not l then return end
  if l.closed and not list.member(rcpt.address, msg:from()) then return reject(550, "5.7.2", "members only") end
  rcpt:replace(list.members(rcpt.address), function(member)
    return { sender = addr.verp(l.bounces, member), headers = { ["List-Id"] = "<" .. l.id .. ">", Precedence = "list" } }
  end)
end)
on("deliver.local", function(msg, rcpt, box)
  list.add("devs@our.example", "c@x.example", { mode = "digest" })
  list.remove("devs@our.example", "b@x.example")
  if not list.set("devs@our.example", "c@x.example", { since = 1 }) then return discard("set") end
  if list.set("devs@our.example", "nobody@x.example", {}) then return discard("set of nobody") end
  if table.concat(list.members("devs@our.example"), " ") ~= "a@a.example c@x.example" then return discard("members") end
  if #list.members("devs@our.example", { mode = "digest" }) ~= 1 then return discard("filter") end
end)`)
	g := lists.New(w.KV)
	settings, err1 := lists.Configure("devs@our.example", map[string]any{"closed": true, "id": "devs.our.example",
		"bounces": "devs-bounces@our.example"})
	a1, err2 := lists.Put("devs@our.example", lists.Member{Address: "a@a.example"})
	b1, err3 := lists.Put("devs@our.example", lists.Member{Address: "b@x.example"})
	if err := errors.Join(err1, err2, err3, g.Apply(t.Context(), settings, a1, b1)); err != nil {
		t.Fatal(err)
	}
	expand := func(raw string) hookstest.Answer {
		return w.Ask(&hooks.Event{Point: hooks.QueueExpand, Msg: hookstest.Message("a@a.example", raw), Rcpt: hookstest.Rcpt("devs@our.example")})
	}
	a := expand(plainMail)
	to := a.Event.Rcpt.Replace
	if a.Err() != "" || len(to) != 2 || to[0].Address != "a@a.example" ||
		to[0].Fields != "List-Id: <devs.our.example>\r\nPrecedence: list\r\n" {
		t.Fatalf("%v %s %+v", a.Verdict, a.Err(), to)
	}
	if s := string(*to[1].Sender); !strings.HasPrefix(s, "devs-bounces+b=x.example=") || !strings.HasSuffix(s, "@our.example") {
		t.Errorf("sender %s", s)
	}
	if a := expand(strings.Replace(plainMail, "<a@a.example>", "<z@a.example>", 1)); a.Status.Enhanced != "5.7.2" {
		t.Errorf("stranger: %v %s", a.Verdict, a.Err())
	}
	if a := expand("Subject: no From\n\nx\n"); a.Status.Enhanced != "5.7.2" {
		t.Errorf("nobody: %v %s", a.Verdict, a.Err())
	}
	a = w.Ask(&hooks.Event{Point: hooks.DeliverLocal, Msg: hookstest.Message("a@a.example", plainMail),
		Rcpt: hookstest.Rcpt("bob@our.example"), Box: &hookstest.Box{}})
	if a.Err() != "" || a.Action != hooks.Continue {
		t.Fatalf("%v %s", a.Verdict, a.Err())
	}
	if _, err := g.Member(t.Context(), "devs@our.example", "c@x.example"); err == nil {
		t.Error("a change counts before the commit")
	}
	w.Commit(a.Event)
	if m, err := g.Member(t.Context(), "devs@our.example", "c@x.example"); err != nil || m.Attributes["since"] != 1.0 ||
		m.Attributes["mode"] != "digest" {
		t.Errorf("%v %v", m, err)
	}
}
