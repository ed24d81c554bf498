package policytest_test

import (
	"fmt"
	"strings"
	"testing"

	"carteiro/core/ops/policytest"
)

// refused are calls of the test library that it does not understand, each
// with a part of what it says.
var refused = []struct{ call, want string }{
	{`t.remote { ["x@out.example"] = { 950, "5.1.1", "no such user" } }`,
		`t.remote: x@out.example has to have a code of 2xx, 4xx or 5xx, got 950`},
	{`t.remote { ["x@out.example"] = "550 no such user" }`, `x@out.example must be a code such as 451, or { code, enhanced, text }`},
	{`t.remote { ["x@out.example"] = { 550, "4.1.1", "no" } }`, `enhanced code like 5.1.1, got "4.1.1"`},
	{`t.remote { ["x@out.example"] = { 550, "5.1.1", "no", "more" } }`, `{ code, [enhanced,] text }`},
	{`t.remote { ["x@out.example"] = { code = 550, test = "no" } }`, `there is no option test; known are code, enhanced, text`},
	{`t.remote { ["x@out.example"] = { text = "no" } }`, `has to have a code`},
	{`t.remote { ["x@out.example"] = true }`, `must be a code`},
	{`t.remote { ["x@out.example"] = 550.5 }`, `has to have a code`},
	{`t.remote { ["not a domain"] = 550 }`, `the key "not a domain" must be an address, a domain or "*"`},
	{`t.remote(550)`, `t.remote: the answers must be a table`},
	{`t.remote { 550 }`, `must be a table with names, got a list`},
	{`t.remote()`, `t.remote needs the answers`},
	{`t.http { ["x.example"] = { status = 200 } }`, `must be a URL`},
	{`t.http { ["https://x.example/"] = 200 }`, `must be a table`},
	{`t.http { ["https://x.example/"] = "tiemout" }`, `must be`},
	{`t.http { ["https://x.example/"] = { stauts = 200 } }`, `there is no option stauts; known are body, headers, status`},
	{`t.http { ["https://x.example/"] = { status = "200" } }`, `status must be a whole number from 100 to 599, got "200"`},
	{`t.http { ["https://x.example/"] = { body = { a = 1 } } }`, `body must be a text, got a table`},
	{`t.http { ["https://x.example/"] = { headers = "x" } }`, `headers must be a table`},
	{`t.milter { x = "acept" }`, `must be`},
	{`t.milter { x = { action = "acept" } }`, `did you mean accept?`},
	{`t.milter { x = { code = "550" } }`, `code must be`},
	{`t.milter { x = { changes = { { op = "addheader" } } } }`, `did you mean add_header?`},
	{`t.milter { x = { changes = "none" } }`, `changes must be a list`},
	{`t.milter { x = 550 }`, `must be`},
	{`t.dns { ["x.example"] = "192.0.2.1" }`, `must be a table`},
	{`t.dns { ["x.example"] = { txts = "x" } }`, `there is no option txts`},
	{`t.dns { ["x.example"] = { a = "mx.x.example" } }`, `a must be an IP address`},
	{`t.dns { ["x.example"] = { a = "2001:db8::1" } }`, `a must be an IPv4 address`},
	{`t.dns { ["x.example"] = { aaaa = { "192.0.2.1" } } }`, `element 1 must be an IPv6 address`},
	{`t.dns { ["x.example"] = { mx = { { hots = "mx" } } } }`, `mx`},
	{`t.dns { ["x.example"] = { mx = { { host = "mx", preference = "10" } } } }`, `mx`},
	{`t.dns { ["x.example"] = { txt = 5 } }`, `txt must be a text, got 5`},
	{`t.dns { ["x.example"] = { ptr = "y.example" } }`, `ptr is for an IP address`},
	{`t.dns { ["x.example"] = {} }`, `has no records`},
	{`t.dns("x.example")`, `must be a table`},
	{`t.account("bob", {})`, `is not an address`},
	{`t.account({})`, `must be an address, got a table`},
	{`t.account("bob@our.example", "secret")`, `t.account: the settings must be a table`},
	{`t.account("bob@our.example", { password = 5 })`, `password must be a text`},
	{`t.account("bob@our.example", { quota = "lots" })`, `quota must be a number of octets or a size`},
	{`t.account("bob@our.example", {}, { confirm = true })`, `there is no option confirm`},
	{`t.account("bob@our.example", {}, { confirmed = "yes" })`, `confirmed must be true or false`},
	{`t.alias("team@our.example")`, `t.alias needs the targets`},
	{`t.alias("team@our.example", { "bob" })`, `element 1 "bob" is not an address`},
	{`t.alias("team@our.example", 5)`, `must be an address, got 5`},
	{`t.grant("bob@our.example", "ann@our.example")`, `t.grant needs the right`},
	{`t.grant("bob@our.example", "ann@our.example", "ass")`, `ass`},
	{`t.domain("not a domain")`, `t.domain`},
	{`t.domain()`, `t.domain needs the domain`},
	{`t.key("bob@our.example", "pgp")`, `the kind must be openpgp, smime`},
	{`t.key("bob@our.example", "openpgp", { expire = "1d" })`, `there is no option expire`},
	{`t.key("bob@our.example", "openpgp", { expires = "soon" })`, `expires must be seconds or a text`},
	{`t.config { never_heard_of = 1 }`, `no policy has a setting never_heard_of`},
	{`t.config("x")`, `must be a table`},
	{`t.settle("1h")`, `t.settle has 0 arguments, got "1h" as another one`},
	{`t.sent("bob@our.example")`, `t.sent has 0 arguments`},
	{`t.log(5)`, `t.log has 0 arguments`},
	{`t.clock.now("UTC")`, `t.clock.now has 0 arguments`},
	{`t.http { ["GTE https://x.example/"] = { status = 200 } }`, `must be a URL, or a method and a URL`},
	{`t.http { ["DELETE https://x.example/"] = { status = 200 } }`, `must be a URL, or a method and a URL`},
	{`t.fail("dns.mx x.example y.example", "timeout")`, `"x.example y.example" is not a name`},
	{`t.limit { instruction = 5 }`, `there is no option instruction`},
	{`t.limit { instructions = "many" }`, `instructions must be a whole number`},
	{`t.limit { instructions = 0 }`, `instructions must be`},
	{`t.limit { wall = "soon" }`, `wall must be seconds`},
	{`t.limit { alloc = "big" }`, `alloc must be a number of octets or a size`},
	{`t.fail("dns.mxx", "timeout")`, `there is no kind "mxx"`},
	{`t.fail("dns.mx", "tiemout")`, `t.fail`},
	{`t.fail()`, `t.fail needs what fails`},
	{`t.fail("commit", "once", "more")`, ``},
	{`t.session("192.0.2.7")`, `must be a table`},
	{`t.session { ip = 5 }`, `ip must be an IP address`},
	{`t.session { helo = true }`, `helo must be a text`},
	{`t.session { helo = 5 }`, `helo must be a text`},
	{`t.session { tls = "TLS1.3" }`, `tls must be true or false`},
	{`t.session { trusted = 1 }`, `trusted must be true or false`},
	{`t.session { protocol = "stmp" }`, `did you mean smtp?`},
	{`t.session { identity = "bob" }`, `identity "bob" is not an address`},
	{`t.session { listener = 25 }`, `listener must be a text`},
	{`t.session { rdns = { "x" } }`, `rdns must be a text`},
	{`t.session {}.codes = t.session {}.codes`, `there is no s:codes`},
	{`t.session {}:mial("a@a.example")`, `there is no s:mial; did you mean mail?`},
	{`t.session {}.mail("a@a.example")`, `called with a colon`},
	{`t.session {}:mail()`, `s:mail needs the sender`},
	{`t.session {}:mail("a@a.example", { sise = 5 })`, `there is no option sise`},
	{`t.session {}:mail("a@a.example", { size = "5" })`, `size must be a whole number`},
	{`t.session {}:mail("a@a.example", { body = "8BIT" })`, `body must be 7BIT`},
	{`t.session {}:rcpt("a@a.example", { notify = "SUCESS" })`, `did you mean SUCCESS?`},
	{`t.session {}:rcpt("a@a.example", "x")`, `must be a table`},
	{`t.session {}:data(5)`, `s:data: the message must be`},
	{`t.session {}:data { subjet = "x" }`, `there is no option subjet`},
	{`t.session {}:data { raw = "x", subject = "x" }`, `the option subject would be lost`},
	{`t.session {}:data { text = 5 }`, `text must be a text`},
	{`t.session {}:auth("bob@our.example")`, `s:auth needs the password`},
	{`t.session {}:helo()`, `s:helo needs the name`},
	{`t.session {}:rset("x")`, `s:rset has 0 arguments`},
	{`t.deliver()`, `t.deliver needs the options`},
	{`t.deliver { sender = "a@a.example" }`, `the option to is missing`},
	{`t.deliver { sender = "a@a.example", to = 5 }`, `to must be a text`},
	{`t.deliver { sender = "a@a.example", to = { 5 } }`, `element 1 must be a text`},
	{`t.deliver { sender = "a@a.example", to = "bob@our.example", headers = { "X-A: x" } }`, `headers must be a table with names, got a list`},
	{`t.deliver { sender = "a@a.example", to = "bob@our.example", headers = { ["X-A"] = {{}} } }`, `must be a text or a number`},
	{`t.deliver { sender = "a@a.example", to = "bob@our.example", params = { sise = 5 } }`, `there is no option sise`},
	{`t.deliver { sender = "a@a.example", to = "bob@our.example", raw = t.file("plain.eml"), text = "x" }`, `the option text would be lost`},
	{`t.mailbox("bob@ou.example")`, `bob@ou.example is at no domain of this server`},
	{`t.mailbox("bob@our.example", 5)`, `the folder must be a text`},
	{`t.mailbox()`, `t.mailbox needs the address`},
	{`t.web { pathh = "/x" }`, `there is no option pathh`},
	{`t.web { path = "x" }`, `path must begin with a slash`},
	{`t.web { path = "/x", query = "a=b" }`, `query must be a table`},
	{`t.web { path = "/x", form = { a = { "b" } } }`, `a must be a text or a number`},
	{`t.web { path = "/x", form = { a = "b" }, body = "c" }`, `a body or a form, not both`},
	{`t.web { path = "/x", ip = "here" }`, `ip must be an IP address`},
	{`t.web()`, `t.web needs the request`},
	{`t.command { name = "x", arg = { "y" } }`, `there is no option arg`},
	{`t.command { name = "x", args = "y" }`, `args must be a list`},
	{`t.command { name = "x", options = { a = {} } }`, `a must be a text or a number`},
	{`t.command { verb = "x" }`, `the option name is missing`},
	{`t.command { name = "x", json = "yes" }`, `json must be true or false`},
	{`t.decrypt()`, `t.decrypt needs the message`},
	{`t.clock.advance()`, `t.clock.advance needs the time`},
	{`t.clock.advance(-5)`, `must be seconds`},
	{`t.clock.set("tomorrow")`, `is not a time like`},
	{`t.clock.wait("5m")`, `there is no t.clock.wait`},
	{`t.remotes {}`, `there is no t.remotes; did you mean remote?`},
	{`t.eq(1)`, `t.eq needs two values`},
	{`t.ne(1)`, `t.ne needs two values`},
	{`t.ok()`, `t.ok needs a value`},
	{`t.lacks(nil, "x")`, `t.lacks: a list or a text was expected, got nil`},
	{`t.lacks({}, nil)`, `t.lacks: what to look for is nil`},
	{`t.lacks("x", 5)`, `in a text a text is looked for`},
	{`t.contains({}, nil)`, `what to look for is nil`},
	{`t.matches("x")`, `t.matches: the pattern must be a text`},
	{`t.fails(nil)`, `t.fails: a function was expected`},
	{`t.fails("x")`, `t.fails: a function was expected`},
	{`t.fails(function() error("x") end, 5)`, `the pattern must be a text`},
	{`t.no_errors("x")`, `t.no_errors: what t.deliver or t.settle returned was expected`},
	{`t.errors({})`, `t.errors: what t.deliver`},
	{`t.case("y", function() end)`, `t.case belongs at the top`},
	{`local r = t.settle() t.eq(r.mailboxes["x@our.example"], { INBOX = 5 })`, `got { INBOX = 0 }, want { INBOX = 5 }`},
}

// TestArguments: an argument that the library does not understand fails the case at the
// line of the call, whatever the policies do.
func TestArguments(t *testing.T) {
	var b strings.Builder
	for i, c := range refused {
		fmt.Fprintf(&b, "t.case(%q, function() %s end)\n", fmt.Sprint(i), c.call)
	}
	r, err := policytest.Test(t.Context(), options(map[string]string{"bad.lua": b.String()}))
	if err != nil || len(r.Cases) != len(refused) {
		t.Fatalf("%v, %d cases", err, len(r.Cases))
	}
	for i, c := range refused {
		got := r.Cases[i].Err
		if c.want == "" {
			continue
		}
		if at := fmt.Sprintf("tests/bad.lua:%d: ", i+2); !strings.HasPrefix(got, at) || !strings.Contains(got, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s%s", c.call, got, at, c.want)
		}
	}
}

// TestArgumentsOfCase: what t.case itself is given.
func TestArgumentsOfCase(t *testing.T) {
	for text, want := range map[string]string{
		`t.case("x")`:                                    "expected t.case(name, [options,] function)",
		`t.case(5, function() end)`:                      "the name must be a text",
		`t.case("x", { smok = true }, function() end)`:   "there is no option smok; known are smoke, tags",
		`t.case("x", { smoke = "y" }, function() end)`:   "smoke must be true or false",
		`t.case("x", { tags = "slow" }, function() end)`: "tags must be a list",
		`t.case("x", "smoke", function() end)`:           "the options must be a table",
	} {
		_, err := policytest.Test(t.Context(), options(map[string]string{"bad.lua": text}))
		if err == nil || !strings.Contains(err.Error(), "tests/bad.lua:2: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// taken is all that the library understands, in each form.
const taken = `
t.case("answers of other servers", function()
  t.remote { ["gone@out.example"] = { 550, "5.1.1", "no such user" }, ["b@out.example"] = { 551, "no" }, ["c@out.example"] = 552,
    ["d@out.example"] = { code = 553, enhanced = "5.7.1", text = "never" },
    ["e@out.example"] = { 554 }, ["out2.example"] = 250, ["*"] = 451 }
  local function said(to)
    local r = t.deliver { sender = "bob@our.example", identity = "bob@our.example", to = to, text = "x" }
    return r.dsns[1] and r.dsns[1].raw or ""
  end
  t.contains(said("gone@out.example"), "550 5.1.1 no such user")
  t.contains(said("b@out.example"), "551 no")
  t.contains(said("c@out.example"), "552")
  t.contains(said("d@out.example"), "553 5.7.1 never")
  t.contains(said("e@out.example"), "554")
  t.eq(said("x@out2.example"), "")
  t.eq(said("x@other.example"), "")
end)
t.case("everything else", function()
  t.http { ["POST https://x.example/a"] = "timeout", ["https://x.example/b"] = { status = 204, body = "", headers = { a = 1 } },
    ["https://x.example/c"] = "tls" }
  t.milter { a = "reject", b = "unreachable", c = { action = "quarantine", reason = "x",
    changes = { { op = "add_header", name = "X", value = "y" } } } }
  t.dns { ["x.example"] = { a = "192.0.2.1", aaaa = { "2001:db8::1" }, mx = "mx.x.example", txt = { "a", "b" } },
    ["y.example"] = { mx = { host = "mx.y.example", preference = 5 } },
    ["z.example"] = { mx = { "a.z.example", { host = "b.z.example" } } },
    ["192.0.2.1"] = { ptr = "x.example" } }
  t.limit { wall = "5s", alloc = "8MiB", instructions = 1000000, recipients = 10, submits = 5 }
  t.account("bob@our.example", { quota = "1MiB", password = "x" }, { confirmed = true })
  t.account("ann@our.example")
  t.alias("team@our.example", { "bob@our.example" })
  t.alias("one@our.example", "bob@our.example")
  t.domain("two.example")
  t.key("bob@our.example", "openpgp", { expires = "1d" })
  t.fail("dns.mx z.example", "timeout")
  t.fail("kv.get", "once")
  t.eq(t.session { helo = "mx.x.example" }.code, 250)
  t.eq(t.session {}.code, 220)
  t.eq(t.session().code, 220)
  t.eq(t.session { helo = false }.enhanced, nil)
  local r = math.random(1, 6)
  t.ok(r >= 1 and r <= 6)
  t.eq(time.now(), t.clock.now())
  t.eq(#uuid.new(), 36)
end)
t.case("bodies are decoded", function()
  t.deliver { sender = "bob@our.example", identity = "bob@our.example", to = "x@out.example",
    raw = "From: bob@our.example\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n" ..
      "Content-Transfer-Encoding: base64\n\nb2zDoQo=\n" }
  t.eq(t.sent()[1].text, "ol\195\161\n")
  t.contains(t.sent()[1].body, "b2zDoQo=")
end)
t.case("who has no mail", function()
  local r = t.deliver { sender = "a@a.example", to = "bob@our.example", text = "x" }
  t.eq(r.mailboxes["nobody@our.example"].INBOX, 0)
  t.eq(r.mailboxes["bob@our.example"].Junk, 0)
end)
`

func TestArgumentsTaken(t *testing.T) {
	r, err := policytest.Test(t.Context(), options(map[string]string{"good.lua": taken}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cases {
		if c.Err != "" {
			t.Errorf("%s: %s", c.Name, c.Err)
		}
	}
}

// TestSaid: a failed case has what it and its policies printed and logged; one
// that does well has not.
func TestSaid(t *testing.T) {
	o := options(map[string]string{"a.lua": `
t.case("fails", function() print("so far", 1) log.warn("odd", { n = 2 })
  t.deliver { sender = "says@a.example", to = "bob@our.example" } t.eq(1, 2) end)
t.case("works", function() print("quiet") end)
t.case("chatters", function() for i = 1, 70 do print(i) end t.ok(false) end)`})
	o.Sources[0].Files["said.lua"] = []byte("on(\"receive.mail\", function(session, tx) if tx.sender == \"says@a.example\" then " +
		"log.info(\"seen\") end end)")
	o.Sources[0].Main = append(o.Sources[0].Main, "said.lua")
	r, err := policytest.Test(t.Context(), o)
	if err != nil || len(r.Cases) != 3 {
		t.Fatalf("%v %+v", err, r)
	}
	if got := strings.Join(r.Cases[0].Log, "\n"); !strings.HasPrefix(got,
		"info: so far\\t1\nwarn: odd n=2\ninfo: seen (receive.mail, said.lua:1)\n") {
		t.Errorf("%q", got)
	}
	if got := r.Cases[1].Log; got != nil {
		t.Errorf("%q", got)
	}
	if got := r.Cases[2].Log; len(got) != 51 || got[0] != "20 lines before these" || got[50] != "info: 70" {
		t.Errorf("%q", got)
	}
}
