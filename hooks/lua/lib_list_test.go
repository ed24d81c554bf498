package lua_test

import (
	"slices"
	"strings"
	"testing"

	"carteiro/core/message/mime"
	"carteiro/core/service/lists"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

const is = `local function is(got, want) if got ~= want then error("got " .. tostring(got) .. ", want " .. tostring(want), 2) end end
`

// ask runs the body of a handler at queue.expand, for devs@our.example.
func askExpand(t *testing.T, src hooks.Source, raw string) hookstest.Answer {
	t.Helper()
	w := hookstest.New(t).Load(src)
	a := w.Ask(&hooks.Event{Point: hooks.QueueExpand, Msg: hookstest.Message("a@a.example", raw), Rcpt: hookstest.Rcpt("devs@our.example")})
	if a.Err() != "" {
		t.Errorf("%s", a.Err())
	}
	return a
}

// Lists are made, changed and taken away; a handler reads its own changes.
func TestListsChange(t *testing.T) {
	a := askExpand(t, hookstest.Scripts(map[string]string{"a.lua": is + `on("queue.expand", function(msg, rcpt)
  is(#list.names(), 0) is(list.settings("devs@our.example"), nil)
  list.configure("devs@our.example", { title = "x" }) list.configure("all@x.example", {})
  is(#list.names(), 2) is(list.names("our.example")[1], "devs@our.example") is(#list.names("example"), 0)
is(list.settings("Devs@our.example").title, "x")
  list.add("devs@our.example", "m@x.example", { mode = "regular" }) list.add("devs@our.example", "n@x.example")
  list.configure("devs@our.example", { title = "y" }) is(#list.members("devs@our.example"), 2)
is(list.settings("devs@our.example").title, "y")
  is(#list.roster("devs@our.example"), 2) is(list.roster("devs@our.example", { mode = "regular" })[1].address, "m@x.example")
  list.configure("devs@our.example", nil) is(list.settings("devs@our.example"), nil) is(#list.members("devs@our.example"), 0)
is(#list.names(), 1)
  is(pcall(list.configure, "", {}), false) is(pcall(list.configure, "x", "y"), false)
end)`}), plainMail)
	if n := len(a.Event.Pending.Effects); n != 8 {
		t.Errorf("%d effects", n)
	}
}

// What is held is listed at once, decided once, and leaves a decision to be
// carried out.
func TestListHolds(t *testing.T) {
	a := askExpand(t, hookstest.Scripts(map[string]string{"a.lua": is + `on("queue.expand", function(msg, rcpt)
  is(rcpt.released, false)
  list.hold(rcpt.address, msg, { why = "stranger" })
  local held = list.held(rcpt.address) is(#held, 1)
  is(held[1].why, "stranger") is(held[1].from, "a@a.example") is(held[1].id, msg.id) is(list.held(rcpt.address, msg.id).subject, "Olá")
is(list.held("other@our.example", msg.id), nil)
  is(list.release("other@our.example", msg.id), false) is(list.release(rcpt.address, msg.id), true)
  is(list.release(rcpt.address, msg.id), false) is(list.drop(rcpt.address, msg.id), false) is(#list.held(rcpt.address), 0)
  is(pcall(list.hold, "not an address", msg), false) is(pcall(list.hold, rcpt.address, rcpt), false)
  return discard("held")
end)`}), plainMail)
	s := a.Event.Pending.Submits
	if len(s) != 1 || !s[0].Hold || !s[0].Forward || s[0].Rcpts[0] != "devs@our.example" {
		t.Errorf("%+v", s)
	}
	e := a.Event.Pending.Effects
	if last := e[len(e)-1]; last.Space != lists.DecisionSpace || string(last.Value) != "release" {
		t.Errorf("%+v", last)
	}
}

// A fork is changed like the message of receive.data; the current message
// cannot be, and does not change.
func TestForkInLua(t *testing.T) {
	raw := strings.ReplaceAll(plainMail, "Subject:", "X-Old: 1\nSubject:")
	a := askExpand(t, hookstest.Scripts(map[string]string{"a.lua": is + `on("queue.expand", function(msg, rcpt)
  local f = rcpt:fork()
  f:set_header("Subject", "[devs] " .. f:subject()) f:add_header("List-Id", "<devs.our.example>") is(f:remove_header("X-Old"), 1)
f:append_text("foot of %(who) %(other)\n", { who = "all" })
  crypt.sign_dkim(f, { domain = "our.example" })
  is(f:subject(), "[devs] Olá") is(rcpt:fork():subject(), "[devs] Olá") is(msg:subject(), "Olá") is(msg:header("X-Old"), "1")
  is(pcall(msg.set_header, msg, "Subject", "x"), false) is(pcall(msg.append_text, msg, "x"), false)
is(pcall(crypt.sign_dkim, msg, { domain = "our.example" }), false)
  for _, how in ipairs { { fill = "x" }, { fill = { a = 1 } }, { fill = { a = string.rep("x", 5000) } }, { arc = "no domain" }, { arcs =
"a.example" } } do
    is(pcall(rcpt.copy_to, rcpt, "m@x.example", how), false)
  end
  is(pcall(f.append_text, f, "x", "y"), false) is(pcall(f.append_text, f, string.rep("%(a)", 1000), { a = "x" }), false)
  is(msg:raw():find("Subject: ", 1, true) ~= nil, true) is(msg:raw(5), "From:") is(msg:report(), nil) is(msg.ours, false)
  rcpt:replace({ "m@x.example" }, function(a) return { sender = addr.verp("devs-bounces@our.example", a), headers = { ["X-M"] = a }, fill =
{ who = a }, arc = "Our.Example" } end)
  rcpt:copy_to("devs@our.example", { mailbox = true })
end)`}), raw)
	r := a.Event.Rcpt
	f := r.Fork
	if f == nil || !slices.Equal(f.Footer, []mime.Text{{Text: "foot of "}, {Name: "who", Text: "all"}, {Text: " %("}, {Text: "other)\n"}}) ||
		len(f.Sign) != 1 || f.Header.Has("X-Old") || !f.Header.Has("List-Id") || !a.Event.Msg.Header.Has("X-Old") {
		t.Fatalf("fork %+v", f)
	}
	if len(r.Replace) != 1 || r.Replace[0].Mailbox || r.Replace[0].Fill["who"] != "m@x.example" || r.Replace[0].ARC != "our.example" ||
		r.Copies[0].Fill != nil || len(r.Copies) != 1 || !r.Copies[0].Mailbox || !strings.HasPrefix(string(*r.Replace[0].Sender),
		"devs-bounces+m=x.example=") {
		t.Errorf("%+v %+v", r.Replace, r.Copies)
	}
	// A handler that fails leaves no fork.
	w := hookstest.New(t).Load(hookstest.Scripts(map[string]string{"a.lua": `on("queue.expand", function(msg, rcpt)
rcpt:fork():set_header("Subject", "x") error("no") end)`}))
	b := w.Ask(&hooks.Event{Point: hooks.QueueExpand, Msg: hookstest.Message("a@a.example", raw), Rcpt: hookstest.Rcpt("devs@our.example")})
	if b.Event.Rcpt.Fork != nil {
		t.Error("a failed handler's fork stays")
	}
}

// What a report says of its recipients.
func TestReportInLua(t *testing.T) {
	raw := "From: mailer-daemon@x.example\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n" +
		"Content-Type: text/plain\n\nsorry\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.x.example\n\n" +
		"Final-Recipient: rfc822; m@x.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 no such user\n--b--\n"
	askExpand(t, hookstest.Scripts(map[string]string{"a.lua": is + `on("queue.expand", function(msg)
  local r = msg:report() is(#r, 1) is(r[1].address, "m@x.example") is(r[1].status, "5.1.1") is(r[1].class, "hard") is(r[1].action, "failed")
is(r[1].diagnostic, "550 no such user")
end)`}), raw)
}

// A bundle has each domain's settings and kv in turn; server says where it is.
func TestForDomain(t *testing.T) {
	src := hookstest.Bundle("acme/lists", map[string]string{"init.lua": is + `on("admin.command", { command = "list" }, function(cmd)
  is(cmd.name, "list") is(cmd.verb, "create") is(cmd.args[1], "devs@our.example") is(cmd.options.owner, "a@x.example") is(cmd.json, true)
  kv.set("k", "server") is(config.word, "server")
  local a, b = for_domain("our.example", function() is(kv.get("k"), nil) is(config.word, "ours") kv.set("k", "ours") return 1, 2 end)
  is(a + b, 3) is(kv.get("k"), "server") is(for_domain("our.example", function() return kv.get("k") end), "ours")
  is(for_domain("our.example", function() return for_domain("", function() return kv.get("k") end) end), "server")
is(pcall(for_domain, "other.example", function() end), false) is(pcall(for_domain, "our.example"), false)
  is(pcall(for_domain, "our.example", function() error("x") end), false) is(kv.get("k"), "server")
  is(server.hostname(), "mx.our.example") is(server.url("/u/1"), "https://mx.our.example/b/lists/u/1")
is(server.is_local("our.example"), true) is(server.is_local("x.example"), false)
  is(#server.sign("x"), 32) is(server.sign("x"), server.sign("x")) is(server.sign("x") == server.sign("y"), false)
  if cmd.json then return response { body = json.encode { ok = true } } end
  return reject("no")
end)`})
	src.Config = map[string]any{"word": "server"}
	src.DomainConfig = map[string]map[string]any{"our.example": {"word": "ours"}}
	w := hookstest.New(t).Load(src)
	a := w.Ask(&hooks.Event{Point: hooks.AdminCommand, Command: &hooks.Command{Name: "list", Verb: "create",
		Args: []string{"devs@our.example"}, Options: map[string]string{"owner": "a@x.example"}, JSON: true}})
	if a.Err() != "" || a.Response == nil || a.Response.Body != `{"ok":true}` {
		t.Errorf("%v %s", a.Response, a.Err())
	}
}
