package policytest_test

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core/ops/policytest"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

const policies = `
on("receive.rcpt", function(session, tx, rcpt)
  if session.identity or not rcpt.is_local or not session.helo:find("grey") then return end
  local key = "grey:" .. session.ip_net .. ":" .. tx.sender .. ":" .. rcpt.address
  local seen = kv.get(key)
  if not seen then
    kv.set(key, time.now(), { ttl = "36h" })
    return defer(451, "4.7.1", "greylisted, try again in 5 minutes")
  elseif time.now() - seen < 300 then
    return defer(451, "4.7.1", "too early, still greylisted")
  end
  kv.set(key, seen, { ttl = "35d" })
end)
local forwards = map.open("forwards.toml")
on("queue.expand", function(msg, rcpt)
  local f = forwards:get(rcpt.address)
  if not f or msg:header("X-Loop") == rcpt.address then return end
  rcpt:copy_to(f.to, { sender = addr.srs(msg.sender), headers = { ["X-Loop"] = rcpt.address } })
  if not f.keep then return discard("forwarded") end
end)
on("deliver.local", function(msg, rcpt, box)
  local v = box:setting("vacation")
  if not v or not v.active or msg:is_auto() then return end
  if not kv.once("vacation:" .. rcpt.address .. ":" .. msg.sender, { ttl = "7d" }) then return end
  mail.submit { sender = "", from = rcpt.address, to = msg.sender, auto = "auto-replied",
    subject = "Auto: " .. (msg:subject() or ""), text = v.text, in_reply_to = msg }
end)
on("receive.mail", function(session, tx)
  if tx.sender == "breaks@a.example" then error("broken on purpose") end
  if tx.sender == "works@a.example" then for i = 1, 10000 do local x = i * 2 end end
  local mx, why = dns.mx(addr.domain(tx.sender))
  if why == "timeout" then return defer("no DNS") end
end)
on("receive.data", function(session, tx, msg)
  if msg:subject() ~= "ask the web" then return end
  local r, err = http.post("https://api.example/score", { from = tx.sender })
  if err then return defer("the web says " .. err) end
  if r.body == "bad" then return reject("the web says bad") end
  local action = milter.scan("filter", msg)
  if action == "reject" then return reject("the filter says no") end
end)
on("timer.tick", { every = "1h" }, function(now) kv.incr("ticks")
  mail.submit { from = "clock@our.example", to = "bob@our.example", subject = "tick", text = "" } end)
on("observe.event", function(event) if event.name == "delivered" then kv.incr("seen") log.info("delivered to " .. event.data.to) end end)
on("web.request", { path = "/hello" }, function(req)
  return response { status = 201, body = "hello " .. (req.form.name or req.query.name or "nobody") }
end)
`

func options(tests map[string]string) policytest.Options {
	src := hookstest.Scripts(map[string]string{"policy.lua": policies,
		"forwards.toml": "[\"bob@our.example\"]\nto = \"bob@elsewhere.example\"\nkeep = true\n"})
	o := policytest.Options{
		Sources: []hooks.Source{src},
		Tests:   map[string][]byte{"tests/plain.eml": []byte("From: a@a.example\nTo: bob@our.example\nSubject: plain\n\nhello\n")},
	}
	for name, text := range tests {
		o.Tests["tests/"+name] = []byte("local t = require \"carteiro.test\"\n" + text)
	}
	return o
}

// good are cases that pass; the first two are those of the contract, but for
// the name that has this policy greylist.
const good = `
t.case("greylisted, then accepted", function()
  local s = t.session { ip = "192.0.2.7", helo = "grey.a.example" }
  s:mail("a@a.example")
  t.eq(s:rcpt("bob@our.example").code, 451)
  t.clock.advance("6m")
  local s2 = t.session { ip = "192.0.2.7", helo = "grey.a.example" }
  s2:mail("a@a.example")
  t.eq(s2:rcpt("bob@our.example").code, 250)
end)
t.case("forwarded with a copy kept", function()
  local r = t.deliver { sender = "a@a.example", to = "bob@our.example", raw = t.file("plain.eml") }
  t.contains(r.recipients, "bob@elsewhere.example")
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
  t.no_errors(r)
  t.eq(r.code, 250)
  t.eq(#r.sent, 1)
  t.eq(r.sent[1].to, { "bob@elsewhere.example" })
  t.eq(r.sent[1].host, "mx.elsewhere.example")
  t.eq(r.sent[1].headers["x-loop"], "bob@our.example")
  t.matches(r.sent[1].sender, "^SRS0=")
  t.eq(t.mailbox("bob@our.example")[1].subject, "plain")
end)
t.case("nothing is left of the case before", { tags = { "clean" } }, function()
  t.eq(#t.mailbox("bob@our.example"), 0)
  t.eq(#t.sent(), 0)
  t.eq(t.settle().mailboxes["bob@our.example"].INBOX, 0)
end)
t.case("a kv that cannot be read, a disk that is full", function()
  local function rcpt()
    local s = t.session { ip = "192.0.2.7", helo = "grey.a.example" }
    s:mail("a@a.example")
    return s:rcpt("bob@our.example")
  end
  t.fail("kv.get", "once")
  t.eq(rcpt().code, 451)
  t.eq(#t.errors(), 1)
  t.contains(t.errors()[1], "the test has kv.get fail")
  t.eq(rcpt().code, 451, "greylisted now")
  t.eq(#t.errors(), 1)
  t.clock.advance("6m")
  t.fail("commit")
  t.eq(t.deliver { sender = "a@a.example", to = "bob@our.example", text = "x" }.code, 452)
  t.eq(#t.mailbox("bob@our.example"), 0)
  t.fail("commit", "never")
  t.eq(t.deliver { sender = "a@a.example", to = "bob@our.example", text = "x" }.code, 250)
end)
t.case("vacation, once in a week", { smoke = true }, function()
  t.account("bob@our.example")
  t.account("eve@our.example", { vacation = { active = true, text = "away" }, password = "x" })
  local mail = { sender = "a@a.example", to = "eve@our.example", subject = "hi" }
  local r = t.deliver(mail)
  t.eq(#r.submitted, 1)
  t.eq(r.submitted[1].subject, "Auto: hi")
  t.eq(r.submitted[1].to, { "a@a.example" })
  t.eq(#t.deliver(mail).submitted, 0)
  t.clock.advance("8d")
  t.eq(#t.deliver(mail).submitted, 1)
  t.eq(t.deliver { sender = "a@a.example", to = { "nobody@our.example", "eve@our.example" } }.refused["nobody@our.example"].code, 550)
  t.eq(t.deliver { sender = "a@a.example", to = "nobody@our.example" }.code, 550)
end)
t.case("errors are found", function()
  local r = t.deliver { sender = "breaks@a.example", to = "bob@our.example" }
  t.eq(r.code, 451)
  t.eq(#t.errors(r), 1)
  t.contains(t.errors(r)[1], "broken on purpose")
  t.fails(function() t.no_errors(r) end, "a policy failed")
end)
t.case("limits and faults", function()
  t.limit { instructions = 1000 }
  t.contains(t.errors(t.deliver { sender = "works@a.example", to = "bob@our.example" })[1], "1000 instructions")
  t.limit {}
  t.eq(t.deliver { sender = "works@a.example", to = "bob@our.example" }.code, 250)
  t.fail("dns.mx", "timeout")
  t.eq(t.deliver { sender = "a@a.example", to = "bob@our.example" }.text, "no DNS")
end)
t.case("web and filter", function()
  t.http { ["POST https://api.example/score"] = { body = "bad" } }
  t.milter { filter = "reject" }
  local mail = { sender = "a@a.example", to = "bob@our.example", subject = "ask the web" }
  t.eq(t.deliver(mail).text, "the web says bad")
  t.eq(t.requests()[1].body, '{"from":"a@a.example"}')
  t.http { ["POST https://api.example/score"] = { body = "good" } }
  t.eq(t.deliver(mail).text, "the filter says no")
  t.milter { filter = "accept" }
  t.eq(t.deliver(mail).code, 250)
  t.http { ["POST https://api.example/score"] = "timeout" }
  t.eq(t.deliver(mail).text, "the web says timeout")
  t.eq(t.web { path = "/hello", form = { name = "Ann" } }.body, "hello Ann")
  t.eq(t.web { path = "/none" }.status, 404)
end)
t.case("remote answers, retries, reports", function()
  t.remote { ["x@r.example"] = 451, ["y@r.example"] = { code = 550, enhanced = "5.1.1", text = "no such user" } }
  local r = t.deliver { identity = "eve@our.example", sender = "eve@our.example", from = "eve@our.example",
    to = { "x@r.example", "y@r.example", "z@r.example" } }
  t.eq(#r.sent, 1)
  t.eq(r.sent[1].to, { "z@r.example" })
  t.eq(#r.dsns, 1)
  t.contains(r.dsns[1].raw, "no such user")
  t.remote { ["x@r.example"] = 250 }
  t.clock.advance("6m")
  t.eq(#t.sent(), 2)
end)
t.case("timers", function()
  t.settle()
  t.eq(#t.submitted(), 0)
  t.clock.advance("61m")
  t.eq(#t.submitted(), 1)
  t.clock.advance("5h")
  t.eq(#t.submitted(), 2, "one that missed several runs once")
  t.eq(#t.mailbox("bob@our.example"), 2)
end)
t.case("the clock starts at a fixed time, and can be set back before anything happened", function()
  t.eq(t.clock.now(), 1767268800) -- 2026-01-01T12:00:00Z
  t.clock.set("2001-01-01T00:00:00Z")
  t.eq(t.clock.now(), 978307200)
  t.account("bob@our.example")
  t.clock.set("2000-06-01T00:00:00Z")
  t.clock.advance("59m")
  t.eq(#t.submitted(), 0)
  t.clock.advance("2m")
  t.eq(#t.submitted(), 1, "timers count from the time that was set")
  t.session {}
  t.fails(function() t.clock.set("2000-05-01") end, "only goes forward; it is 2000%-06%-01T01:01:00Z")
  t.clock.set("2000-07-01")
  t.eq(t.clock.now(), 962409600)
end)
t.case("events", function()
  t.deliver { sender = "a@a.example", to = "eve@our.example" }
  t.contains(table.concat(t.log(), "\n"), "delivered to eve@our.example")
end)
t.case("sessions", function()
  local s = t.session { helo = false }
  t.eq(s.code, 220)
  t.eq(s:helo("x.example").code, 250)
  t.eq(s:rcpt("bob@our.example").code, 503)
  t.eq(s:auth("bob@our.example", "wrong").code, 535)
  t.eq(s:auth("bob@our.example", "secret").code, 235)
  t.eq(s:mail("not an address").code, 501)
  t.eq(s:mail("bob@our.example", { body = "8BITMIME", notify = nil }).code, 250)
  t.eq(s:rcpt("x@r.example", { notify = { "SUCCESS" } }).code, 250)
  t.eq(s:data { subject = "hi" }.code, 250)
  t.eq(s:data("x").code, 503)
  t.eq(s:quit().code, 221)
  t.eq(s:mail("a@a.example").code, 503)
  t.eq(t.session{}:mail("bob@our.example").code, 250)
end)
`

func TestCases(t *testing.T) {
	r, err := policytest.Test(t.Context(), options(map[string]string{"good.lua": good}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cases {
		if c.Err != "" {
			t.Errorf("%s:%d %s: %s", c.File, c.Line, c.Name, c.Err)
		}
	}
	if n := strings.Count(good, "t.case("); len(r.Cases) != n {
		t.Errorf("%d cases of %d ran", len(r.Cases), n)
	}
	if r.Cases[0].Line != 3 {
		t.Errorf("the first case is in line %d", r.Cases[0].Line)
	}
}

// contract are the tests of the hook contract, letter by letter.
const contract = `local t = require "carteiro.test"
t.case("greylisted, then accepted", function()
  local s = t.session { ip = "192.0.2.7", helo = "mx.a.example" }
  s:mail("a@a.example")
  t.eq(s:rcpt("bob@our.example").code, 451)
  t.clock.advance("6m")
  local s2 = t.session { ip = "192.0.2.7" }
  s2:mail("a@a.example")
  t.eq(s2:rcpt("bob@our.example").code, 250)
end)
t.case("forwarded with a copy kept", function()
  local r = t.deliver { sender = "a@a.example", to = "bob@our.example", raw = t.file("plain.eml") }
  t.contains(r.recipients, "bob@elsewhere.example")
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
  t.no_errors(r)
end)
`

// TestContract: each test of the contract passes with the contract's policy
// for it, and fails without one.
func TestContract(t *testing.T) {
	examples := map[string]string{"greylist": "greylisting.lua", "forward": "forwarding.lua"}
	for name, file := range examples {
		policy, err := os.ReadFile("../../../scripts/examples/" + file)
		if err != nil {
			t.Fatal(err)
		}
		o := options(nil)
		o.Tests["tests/contract.lua"] = []byte(contract)
		o.Run = regexp.MustCompile(": " + name)
		for _, with := range []bool{true, false} {
			text := ""
			if with {
				text = string(policy)
			}
			o.Sources = []hooks.Source{hookstest.Scripts(map[string]string{"policy.lua": text,
				"forwards.toml": "[\"bob@our.example\"]\nto = \"bob@elsewhere.example\"\nkeep = true\n"})}
			r, err := policytest.Test(t.Context(), o)
			if err != nil || len(r.Cases) != 1 || (r.Failed() == 0) != with {
				t.Errorf("%s, policy %v: %v %+v", name, with, err, r)
			}
		}
	}
}

// TestTarpit: a client that is made to wait costs no time of ours.
func TestTarpit(t *testing.T) {
	o := options(nil)
	o.Sources = []hooks.Source{hookstest.Scripts(map[string]string{"policy.lua": `
on("receive.mail", function() tarpit(30) end)
on("receive.data", function() tarpit(30) end)`})}
	o.Tests["tests/a.lua"] = []byte(`local t = require "carteiro.test"
t.case("waits", function()
  local before = t.clock.now()
  t.eq(t.deliver { sender = "a@a.example", to = "bob@our.example" }.code, 250)
  t.eq(t.clock.now() - before, 60)
end)`)
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second) // less than a single tarpit
	defer cancel()
	r, err := policytest.Test(ctx, o)
	if err != nil || len(r.Cases) != 1 || r.Failed() != 0 {
		t.Errorf("%v %+v", err, r)
	}
}

// Failures name the line of the test, what it got and what it wanted.
func TestFailures(t *testing.T) {
	for body, want := range map[string]string{
		`t.eq(1, 2)`: "tests/bad.lua:3: got 1, want 2",
		`t.eq({ a = 1 }, { a = "1" }, "numbers")`: `tests/bad.lua:3: got { a = 1 }, want { a = "1" } (numbers)`,
		`t.ne(1, 1)`:                "tests/bad.lua:3: got 1, which it must not be",
		`t.ok(nil)`:                 "tests/bad.lua:3: got nil, want something true",
		`t.contains({ 1, 2 }, 3)`:   "tests/bad.lua:3: 3 is not in { 1, 2 }",
		`t.lacks("abc", "b")`:       `tests/bad.lua:3: "b" is in "abc"`,
		`t.matches("abc", "^b")`:    `tests/bad.lua:3: "abc" does not match "^b"`,
		`t.fails(function() end)`:   "tests/bad.lua:3: no error was raised",
		`t.file("none.eml")`:        "tests/bad.lua:3: there is no file none.eml beside the test",
		`t.session { ipp = "x" }`:   "tests/bad.lua:3: wrong arguments: t.session: there is no option ipp",
		`t.deliver { ip = "x" }`:    "tests/bad.lua:3: wrong arguments: t.deliver: ip must be an IP address",
		`t.fail("kv.set", "once")`:  "tests/bad.lua:3: wrong arguments: t.fail:",
		`t.fail("commit", "now")`:   "tests/bad.lua:3: wrong arguments: t.fail:",
		`t.fail("dns.mx", "never")`: "tests/bad.lua:3: wrong arguments: t.fail:",
		`t.clock.advance("x")`:      "tests/bad.lua:3: wrong arguments: t.clock.advance: the time must be seconds",
		"t.session {} t.clock.set(\"2001-01-01\")": "tests/bad.lua:3: wrong arguments: t.clock.set: after the first session of a test its " +
			"clock only goes forward; it is 2026-01-01T12:00:00Z",
		`t.clock.set()`:     "tests/bad.lua:3: wrong arguments: t.clock.set needs the time",
		`local x = nil + 1`: "tests/bad.lua:3: ",
		`while true do end`: "budget exhausted",
		`t.no_errors(t.deliver { sender = "breaks@a.example", to = "bob@our.example" })`: "tests/bad.lua:3: a policy failed: receive.mail: " +
			"policy.lua:28: policy failed: policy.lua:29:",
	} {
		r, err := policytest.Test(t.Context(), options(map[string]string{"bad.lua": "t.case(\"x\", function()\n" + body + "\nend)"}))
		if err != nil {
			t.Errorf("%s: %v", body, err)
		} else if len(r.Cases) != 1 || r.Failed() != 1 || !strings.Contains(r.Cases[0].Err, want) {
			t.Errorf("%s: got %q, want %q", body, r.Cases[0].Err, want)
		}
	}
}

func TestChoice(t *testing.T) {
	names := func(o policytest.Options) (out []string) {
		r, err := policytest.Test(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range r.Cases {
			out = append(out, c.Name)
		}
		return out
	}
	o := options(map[string]string{"a.lua": `t.case("one", { smoke = true }, function() end) t.case("two", function() end)`,
		"b.lua": `t.case("three", function() end)`})
	for _, c := range []struct {
		only []string
		run  string
		want []string
	}{{nil, "", []string{"one", "two", "three"}}, {[]string{"smoke"}, "", []string{"one"}}, {[]string{"b"}, "", []string{"three"}},
		{nil, "b.lua: t", []string{"three"}}, {[]string{}, "", nil}} {
		o.Only, o.Run = c.only, nil
		if c.run != "" {
			o.Run = regexp.MustCompile(c.run)
		}
		if got := names(o); !slices.Equal(got, c.want) {
			t.Errorf("%v %q: %q", c.only, c.run, got)
		}
	}
}

func TestCoverage(t *testing.T) {
	o := options(map[string]string{"a.lua": `t.case("x", function() t.deliver { sender = "breaks@a.example", to = "bob@our.example" } end)`})
	o.Cover = true
	r, err := policytest.Test(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Coverage) != 1 || r.Coverage[0].File != "policy.lua" {
		t.Fatalf("%+v", r.Coverage)
	}
	c := r.Coverage[0]
	line := func(text string) int { return 1 + strings.Count(policies[:strings.Index(policies, text)], "\n") }
	if slices.Contains(c.Missed, line(`error("broken`)) || !slices.Contains(c.Missed, line(`return defer("no DNS")`)) ||
		c.Lines != c.Ran+len(c.Missed) || c.Ran == 0 {
		t.Errorf("%+v", c)
	}
}

// Tests and policies that do not load are errors with a place, not failures.
func TestLoadErrors(t *testing.T) {
	for text, want := range map[string]string{
		"t.case(":      "tests/a.lua:",
		"os.exit()":    "unknown name os",
		"error(\"x\")": "tests/a.lua:2: x",
		"on(\"receive.nowhere\", function() end)": "there is no hook",
	} {
		if _, err := policytest.Test(t.Context(), options(map[string]string{"a.lua": text})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	o := options(nil)
	o.Sources[0].Files["policy.lua"] = []byte("retrun 1")
	if _, err := policytest.Test(t.Context(), o); err == nil || !strings.Contains(err.Error(), "policy.lua:1") {
		t.Errorf("policy: %v", err)
	}
}
