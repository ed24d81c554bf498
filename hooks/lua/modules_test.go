package lua_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/service/dns"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

const multipart = `From: "Doe, Jane" <jane@a.example>
To: Bob <bob@our.example>, team: x@y.example;
Cc: c@c.example
Subject: test
 folded
Received: two
Received: one
Content-Type: multipart/mixed; boundary=b

preamble
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9 http://one.example/a.
--b
Content-Type: text/html

<html><head><title>T</title><style>.x{}</style></head><body><p>Hello <b>World</b> &amp; co</p><a
href="https://two.example/?a=1&amp;b=2">x</a></body></html>
--b
Content-Type: application/pdf; name="a/b.pdf"
Content-Disposition: attachment; filename="x.pdf"
Content-Transfer-Encoding: base64

aGVsbG8=
--b--
`

// checks are pieces of handlers that call check(name, value) and is(got, want).
var checks = []struct{ hook, body string }{
	{"receive.data", `is(msg:header("subject"), "test folded") is(msg:subject(), "test folded") is(msg:header("X-None"), nil)
is(table.concat(msg:headers("Received"), ","), "two,one") is(#msg:headers("X-None"), 0)
is(msg:from(), "jane@a.example") is(msg:from_display(), "Doe, Jane") is(msg:date(), nil) is(msg:message_id(), nil)
is(msg:addressed_to("BOB@our.example"), true) is(msg:addressed_to("x@y.example"), true) is(msg:addressed_to("q@y.example"), false)
is(msg:is_auto(), false)`},
	{"receive.data",
		`local types = {} for p in msg:parts() do types[#types + 1] = p.type end
is(table.concat(types, " "), "text/plain text/html application/pdf")
local n = 0 for p in msg:parts() do n = n + 1
  if n == 1 then is(p:text(), "café http://one.example/a.") is(p.charset, "iso-8859-1") is(p:text(3), "caf") end
  if n == 3 then is(p.filename, "x.pdf") is(p.disposition, "attachment") is(p:bytes(), "hello") is(p.size, 8) is(p:qr_code(), nil)
    is(p:sha256(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824") p:remove() end end
is(n, 3) is(msg:text():find("Hello World & co", 1, true) ~= nil, true) is(msg:text():find("{}", 1, true), nil)
is(table.concat(msg:urls(), " "), "http://one.example/a https://two.example/?a=1&b=2") is(msg:find("(?i)hello\\s+w"), "Hello W")
is(msg:find("nope"), nil)`},
	{"receive.data",
		`msg:add_header("X-A", "1") msg:prepend_header("X-B", "é") msg:set_header("Subject", "new") is(msg:remove_header("Received"), 2)
is(msg:header("X-A"), "1") is(msg:subject(), "new") is(#msg:headers("Received"), 0)
is(msg:score("A", 1.5, "note"), 1.5) is(msg:score("B", 2), 3.5) is(msg:scores()[1].note, "note") is(msg:priority(3), 3)
is(msg:priority(), 3)
is(pcall(msg.set_header, msg, "X-A", "a\nb"), false) is(pcall(msg.set_header, msg, "X A", "a"), false)
is(pcall(msg.priority, msg, 10), false)
tx.sender = "new@x.example" is(msg.sender, "new@x.example") is(tx:recipients()[1].address, "bob@our.example") is(#msg.id, 26)`},
	{"receive.mail",
		`is(session.ip, "192.0.2.7") is(session.ip_net, "192.0.2.0/24") is(session.listener, "mx") is(session.helo, "mx.a.example")
is(session.rdns, nil)
is(session.tls, nil) is(session.identity.user, "bob@our.example") is(session.identity.team, "x") is(session.closed, false)
is(session.protocol, "smtp")
is(tx.params.size, nil) is(tx.params.smtputf8, false) is(tx.sender, "a@a.example")`},
	{"receive.mail",
		`is(kv.get("x"), nil) kv.set("x", { a = 1, l = { 1, 2 } }) is(kv.get("x").l[2], 2) kv.set("s", "text \0\255")
is(kv.get("s"), "text \0\255")
is(kv.incr("n"), 1) is(kv.incr("n", 5), 6) is(kv.get("n"), 6) is(kv.cas("n", 5, 7), false) is(kv.cas("n", 6, 7), true) is(kv.get("n"), 7)
is(kv.cas("new", nil, true), true)
is(kv.once("o", { ttl = "1h" }), true) is(kv.once("o"), false) kv.delete("o") is(kv.once("o"), true) kv.delete("x") is(kv.get("x"), nil)
kv.set("s", nil) is(kv.get("s"), nil)
kv.set("p:2", "b") kv.set("p:1", "a") kv.set("q", "c") local l = kv.scan("p:", 10) is(#l, 2) is(l[1].key, "p:1") is(l[2].value, "b")
is(#kv.scan("p:", 1), 1)
is(pcall(kv.set, "", 1), false) is(pcall(kv.set, "k", print), false) is(pcall(kv.set, "k", 1, { ttl = "x" }), false)
is(pcall(kv.set, "k", 1, { tll = 1 }), false)`},
	{"receive.mail",
		`is(addr.parse("Jo <jo@X.example>"), "jo@x.example") is(select(2, addr.parse("=?utf-8?q?J=C3=B6?= <jo@x.example>")), "Jö")
is(addr.parse("nobody"), nil) is(#addr.list("A <a@x>, b@y"), 2) is(addr.list("A <a@x.example>, b@y.example")[2].address, "b@y.example")
is(#addr.list(""), 0)
is(addr.user("a+b@x"), "a") is(addr.tag("a+b@x"), "b") is(addr.tag("a@x"), nil) is(addr.domain("a@X"), "x")
is(addr.normalize("A+t@X.example"), "a@x.example") is(addr.normalize("x"), nil)
is(addr.org_domain("a.b.co.uk"), "b.co.uk") is(addr.org_domain("x.y.example"), "y.example")
local s = addr.srs("a@a.example") is(s:match("^SRS0=%w%w%w%w%w%w=%w%w=a%.example=a@mx%.our%.example$") ~= nil, true)
is(addr.srs_reverse(s), "a@a.example") is(addr.srs_reverse(s:upper():gsub("@.*", "@mx.our.example")), "A@a.example")
is(addr.srs(""), "") is(addr.srs("bob@our.example"), "bob@our.example")
is(addr.srs_reverse("SRS0=aaaaaa=aa=a.example=a@mx.our.example"), nil) is(addr.srs_reverse("x@y"), nil)
local s1 = addr.srs("SRS0=abc=de=b.example=q@fwd.example") is(s1:match("^SRS1=%w+=fwd%.example==abc=de=b%.example=q@mx") ~= nil, true)
is(addr.srs_reverse(s1), "SRS0=abc=de=b.example=q@fwd.example")
local v = addr.verp("l-bounces@our.example", "m+t@x.example") is(addr.verp_reverse(v), "m+t@x.example")
is(addr.verp_reverse(v:gsub("m%+t", "n")), nil)`},
	{"receive.mail",
		`is(json.encode({ 1, "a\n\"", true }), '[1,"a\\n\\"",true]') is(json.encode({ b = 1, a = { x = 1.5 } }), '{"a":{"x":1.5},"b":1}')
is(json.encode({}), "{}") is(json.decode('{"a":[1,null,"\\u00e9"]}').a[3], "é")
is(json.decode("[1"), nil) is(select(2, json.decode("[1")):find("not JSON") ~= nil, true) is(pcall(json.encode, print), false)
is(pcall(json.encode, 1/0), false)
is(base64.encode("hello"), "aGVsbG8=") is(base64.decode("aGVsbG8"), "hello") is(base64.decode("?"), nil) is(hex.encode("\1\255"), "01ff")
is(hex.decode("01ff"), "\1\255") is(hex.decode("x"), nil)
is(hash.sha256("hello"):sub(1, 8), "2cf24dba") is(hash.hmac("k", "v"):len(), 64) is(hash.crc32("hello"), 907060870)
is(uuid.new():match("^%x+%-%x+%-4%x+%-[89ab]%x+%-%x+$") ~= nil, true)`},
	{"receive.mail",
		`local s = toml.encode({ b = { 1, 2.5 }, a = { x = "q\"" } }) is(s, "b = [1, 2.5]\n\n[a]\nx = 'q\"'\n") is(toml.decode(s).b[2], 2.5)
is(toml.decode(s).a.x, "q\"")
is(toml.decode("d = 2026-11-25").d, "2026-11-25") is(toml.decode("a ="), nil) is(type(select(2, toml.decode("a ="))), "string")
is(pcall(toml.encode, "x"), false) is(pcall(toml.encode, { f = print }), false)
is(pcall(toml.decode, ("x"):rep(300000)), false) is(toml.encode({}), "")`},
	{"receive.mail",
		`is(time.format(0), "1970-01-01T00:00:00Z") is(time.format(1700000000, "%Y-%m-%d %H:%M", "Europe/Lisbon"), "2023-11-14 22:13")
is(time.format(0, "rfc5322"), "Thu, 01 Jan 1970 00:00:00 +0000")
is(time.parse("2023-11-14"), 1699920000) is(time.parse("Tue, 14 Nov 2023 22:13:20 +0000"), 1700000000) is(time.parse("x"), nil)
is(pcall(time.format, 0, "date", "Nowhere/X"), false) is(time.now() > 1700000000, true)`},
	{"receive.mail",
		`local r = re.compile("(\\w+)@(\\w+)") local a, b = r:match("x jo@host y") is(a .. b, "johost") is(r:find("x jo@host"), 3)
is(re.compile("b+"):match("abbc"), "bb") is(re.compile("x"):match("a"), nil)
local n = 0 for u, h in r:gmatch("a@b c@d") do n = n + 1 end is(n, 2) is(re.set { "a+", "b+" }:match("xbb"), 2)
is(re.set { "q" }:match("x"), nil)
n = 0 for _ in re.compile("^a"):gmatch("aaa") do n = n + 1 end is(n, 1)
local s, k = r:gsub("a@b c@d", "%2 at %1 of %0%%") is(s, "b at a of a@b% d at c of c@d%") is(k, 2)
is(r:gsub("a@b c@d", "x", 1), "x c@d") is(r:gsub("a@b c@d", "x", 0), "a@b c@d") is(re.compile("b*"):gsub("abc", "-"), "-a-c-")
is(re.compile("b"):gsub("abc", "[%1]"), "a[b]c")
is(r:gsub("a@b c@d", function(u, h) if u == "a" then return h .. u end end), "ba c@d") is(re.compile("\\d"):gsub("1 2", function(d)
return d + 1 end), "2 3")
is(pcall(r.gsub, r, "a@b", "%3"), false) is(pcall(r.gsub, r, "a@b", "%"), false) is(pcall(r.gsub, r, "a@b", {}), false)
is(pcall(r.gsub, r, "a@b", function() return {} end), false)
is(pcall(r.gsub, r, "a@b", "x", "y"), false) is(pcall(r.gsub, r, "a@b", "x", 0/0), false)
is(#re.compile("a"):gsub(string.rep("a", 500), "bc"), 1000)
is(re.compile("\\ba"):gsub("aa a ba a", "x"), "xa x ba x") is(re.compile("(?m)^."):gsub("ab\nab", "x"), "xb\nxb")
is(re.compile("$"):gsub("ab", "x"), "abx") is(re.compile("\\B"):gsub("ab c", "x"), "axb c")
is(re.compile("(?i)é|b"):gsub("aÉb", "x"), "axx") is(re.compile(""):gsub("é", "-"), "-é-")
local all = "" for w in re.compile("\\b\\w"):gmatch("one two") do all = all .. w end is(all, "ot")
is(select(2, re.compile("a|"):gsub("baac", "")), 4)`},
	{"receive.mail",
		`is(dns.a("one.example")[1], "192.0.2.1") local l, e = dns.a("none.example") is(l, nil) is(e, "nxdomain")
is(select(2, dns.txt("slow.example")), "timeout") is(select(2, dns.aaaa("bad.example")), "servfail")
is(dns.mx("one.example")[1].host, "mx.one.example") is(dns.ptr("192.0.2.1")[1], "one.example")
local b = dns.batch { { "a", "one.example" }, { "a", "none.example" }, { "ptr", "192.0.2.1" } }
is(b[1][1], "192.0.2.1") is(b[2], "nxdomain") is(b[3][1], "one.example") is(pcall(dns.batch, { { "any", "x" } }), false)`},
	{"receive.mail",
		`is(account.exists("bob@our.example"), true) is(account.exists("x@our.example"), false)
is(account.setting("bob@our.example", "vacation").days, 7) is(account.setting("bob@our.example", "x"), nil)
is(account.may_send_as("bob@our.example", "sales@our.example"), "behalf")
is(account.may_send_as("bob@our.example", "x@our.example"), nil)`},
	{"receive.mail",
		`is(nets:match("192.0.2.77"), "small") is(nets:match("192.0.3.1"), "large") is(nets:match("10.0.0.1"), nil)
is(nets:get("192.0.2.0/24"), "small") is(nets:match("2001:db8::1"), true)
is(domains:match("a.b.Bad.example"), "spam") is(domains:match("example"), nil) is(domains:get("b.bad.example"), nil)
is(regexes:match("viagra now"), "pills") is(regexes:match("hi"), nil) is(tomls:get("k").list[2], "b") is(tomls:get("x"), nil)`},
	{"receive.mail", `log.info("seen", { n = 1 }) print("a", 1) log.warn("bad\nline") is(type(print), "function")`},
	{"receive.mail",
		`is(config.days, 7) is(config.nested.list[1], "x") is(config.none, nil) is(pcall(function() config.days = 1 end), false) local n = 0
for k in pairs(config) do n = n + 1 end is(n, 2)`},
	{"queue.expand",
		`rcpt:set_header("X-A", "1") rcpt:add_header("X-B", "2") rcpt:set_header("x-a", "3") rcpt:remove_header("Subject")
rcpt.meta.folder = "Junk" is(rcpt.user, "bob") is(rcpt.domain, "our.example") is(rcpt.tag, nil) is(rcpt.is_local, true)
is(rcpt.notify, nil)`},
	{"receive.data",
		`crypt.sign_dkim(msg, { domain = "Our.example", selector = "s1" })
is(pcall(crypt.sign_dkim, msg, { domain = "our.example", selector = "../x" }), false)
is(pcall(crypt.sign_dkim, msg, { domain = "" }), false) is(pcall(crypt.sign_dkim, tx, { domain = "our.example" }), false)
is(pcall(crypt.sign_dkim, msg), false) is(pcall(crypt.sign_dkim, msg, { domain = "our.example", bits = 1 }), false)`},
	{"queue.commit",
		`group.key = "slow" is(group.key, "slow") is(group:priority(-3), -3) group:expire("1h") is(group.domain, "x.example")
is(#group:recipients(), 0) group.meta.x = 1`},
	{"deliver.local",
		`is(box.address, "bob@our.example") is(box:quota(), 5) is(select(2, box:quota()), nil) is(box:folders()[1], "INBOX")
is(box:setting("none"), nil)
mail.forward(msg, "f@x.example", { srs = true, headers = { ["X-F"] = "1" } })
is(pcall(mail.submit, { from = "a@x.example", to = "b@x.example\r\nBcc: c@x.example", text = "" }), false)
is(pcall(mail.submit, { from = "a@x.example", to = "b@x.example", headers = { From = "x@x.example" } }), false)
is(pcall(mail.submit, { from = "a@x.example", to = "b@x.example", headers = { ["X-A"] = "a\nb" } }), false)
is(pcall(mail.submit, { to = "b@x.example", text = "x" }), false)
mail.submit { from = "A <a@x.example>", to = "b@x.example", subject = "x\r\nBcc: c@x.example", text = "a\nb", headers = { ["X-A"] = "1" } }
mail.submit { to = "b@x.example", raw = "From: a@x.example\nSubject: s\n\nbody\n" }`},
}

func TestModules(t *testing.T) {
	for _, c := range checks {
		spec, _ := hooks.SpecOf(hooks.Point(c.hook))
		w := hookstest.New(t)
		w.Resolver.Answers = map[string]any{"a one.example": addrs("192.0.2.1"),
			"mx one.example":   []dns.MX{{Host: "mx.one.example", Preference: 10}},
			"txt slow.example": dns.ErrTimeout, "aaaa bad.example": dns.ErrServFail, "ptr 192.0.2.1": []string{"one.example"}}
		w.Accounts.Set("bob@our.example", "vacation", map[string]any{"days": 7.0})
		w.Accounts.Allow("bob@our.example", "sales@our.example", "behalf")
		src := hookstest.Scripts(map[string]string{"a.lua": `local nets, domains, regexes, tomls = map.open("n.cidr"), map.open("d.domains"),
map.open("r.regex"), map.open("t.toml")
local function is(got, want) if got ~= want then error("got " .. tostring(got) .. ", want " .. tostring(want), 2) end end
on("` + c.hook + `", function(` + strings.Join(spec.Args, ", ") + ")\n" + c.body + "\nend)",
			"n.cidr": "# networks\n192.0.2.0/24 small\n192.0.0.0/16\tlarge\n2001:db8::/32\n", "d.domains": "bad.example spam\n",
			"r.regex": "(?i)viagra pills\n", "t.toml": "[k]\nlist = [\"a\", \"b\"]\n"})
		src.Config = map[string]any{"days": int64(7), "nested": map[string]any{"list": []any{"x"}}}
		w.Load(src)
		s := hookstest.Session("192.0.2.7")
		s.Identity = &envelope.Identity{User: "bob@our.example", Extra: map[string]any{"team": "x"}}
		a := w.Ask(&hooks.Event{Point: spec.Point, Session: s, Tx: hookstest.Tx("a@a.example", "bob@our.example"),
			Msg:  hookstest.Message("a@a.example", multipart),
			Rcpt: hookstest.Rcpt("bob@our.example"), Group: &envelope.Group{Domain: "x.example"}, Box: &hookstest.Box{Owner: "bob@our.example",
				Names: []string{"INBOX"}, Used: 5}})
		if a.Err() != "" {
			t.Errorf("%s: %s", c.hook, firstLine(a.Err()))
			continue
		}
		switch c.hook {
		case "receive.data":
			if s := a.Event.Msg.Sign; len(s) > 0 && (len(s) != 1 || s[0].Domain != "our.example" || s[0].Selectors[0] != "s1") {
				t.Errorf("signatures %+v", s)
			}
		case "queue.expand":
			if e := a.Event.Rcpt.Edit; e.Prepend != "x-a: 3\r\nX-B: 2\r\n" || strings.Join(e.Remove, ",") != "X-A,x-a,Subject" {
				t.Errorf("edit %+v", e)
			}
		case "queue.commit":
			if g := a.Event.Group; g.Key != "slow" || g.Priority != -3 || g.Expires.Sub(a.Event.Now) != time.Hour || g.Meta["x"] != 1.0 {
				t.Errorf("group %+v", g)
			}
		case "deliver.local":
			checkSubmits(t, a.Event.Pending.Submits)
		}
	}
}

func checkSubmits(t *testing.T, s []hooks.Submit) {
	t.Helper()
	if len(s) != 3 {
		t.Fatalf("%d submits", len(s))
	}
	if !s[0].Forward || !strings.HasPrefix(string(s[0].Sender), "SRS0=") || s[0].Edit.Prepend != "X-F: 1\r\n" || s[0].Space != "scripts" {
		t.Errorf("forward %+v", s[0])
	}
	h := string(s[1].Header)
	if strings.Contains(h, "\nBcc") || !strings.Contains(h, "Subject: x  Bcc: c@x.example\r\n") || !strings.Contains(h,
		"From: A <a@x.example>\r\n") ||
		!strings.Contains(h, "X-A: 1\r\n") || !strings.Contains(h, "Auto-Submitted: auto-generated\r\n") || string(s[1].Body) != "a\r\nb\r\n" {
		t.Errorf("submit %s%s", h, s[1].Body)
	}
	if h := string(s[2].Header); !strings.HasPrefix(h, "From: a@x.example\r\nSubject: s\r\n") || !strings.Contains(h, "Message-ID: <") ||
		string(s[2].Body) != "body\r\n" {
		t.Errorf("raw %s%s", h, s[2].Body)
	}
}

// TestSRSAges: 21 days and no longer.
func TestSRSAges(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.mail", function(session, tx)
  if tx.sender == "" then return reject(addr.srs("a@a.example")) end
  return reject(tostring(addr.srs_reverse(tx.sender))) end)`)
	signed := w.Ask(mailEvent("")).Status.Text
	for _, c := range []struct {
		days int
		want string
	}{{0, "a@a.example"}, {21, "a@a.example"}, {1, "nil"}, {1000, "nil"}} {
		w.Clock.Advance(time.Duration(c.days) * 24 * time.Hour)
		if got := w.Ask(mailEvent(signed)).Status.Text; got != c.want {
			t.Errorf("%d days later: %s, want %s", c.days, got, c.want)
		}
	}
}

// TestRateRefund: what a failed handler took is given back.
func TestRateRefund(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.mail", { on_error = "continue" }, function(session, tx)
  local ok, wait, left = rate.take("k", "2/1h")
  if not ok then return defer("wait " .. wait) end
  if tx.sender == "bad@a.example" then error("x") end
  return reject("left " .. left) end)`)
	for i, c := range []struct{ sender, want string }{{"bad@a.example", ""}, {"bad@a.example", ""}, {"bad@a.example", ""},
		{"a@a.example", "left 1"},
		{"bad@a.example", ""}, {"a@a.example", "left 0"}, {"a@a.example", "wait 1800"}} {
		if got := w.Ask(mailEvent(c.sender)).Status.Text; got != c.want {
			t.Errorf("%d: got %q, want %q", i, got, c.want)
		}
	}
}

// TestMemoize: one call for all who ask at the same time.
func TestMemoize(t *testing.T) {
	w := hookstest.New(t)
	w.Resolver.Answers["txt x.example"] = []string{"v1"}
	w.Script(`local ask = cache.memoize(function(name) return dns.txt(name) end, { ttl = "1m" })
local broken = cache.memoize(function() error("x") end)
on("receive.mail", function(session, tx)
  if tx.sender == "" then broken() end
  local l = ask("x.example")
  l[2] = "changed"
  return reject(l[1] .. #ask("x.example")) end)`)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			v, trail := w.Generation.Chain.Run(t.Context(), mailEvent("a@a.example"))
			if v.Status.Text != "v11" {
				t.Errorf("%v %v", v, trail)
			}
		})
	}
	wg.Wait()
	if w.Resolver.Asked != 1 {
		t.Errorf("asked %d times", w.Resolver.Asked)
	}
	w.Clock.Advance(2 * time.Minute)
	e := mailEvent("a@a.example")
	w.Ask(e)
	if w.Resolver.Asked != 2 {
		t.Errorf("after the ttl: asked %d times", w.Resolver.Asked)
	}
	for range 2 {
		if a := w.Ask(mailEvent("")); !strings.Contains(a.Err(), "policy.lua:2: x") {
			t.Errorf("%v %s", a.Verdict, a.Err())
		}
	}
}

// TestMemoizeOfAGeneration: results are not handed on to the next one.
func TestMemoizeOfAGeneration(t *testing.T) {
	w := hookstest.New(t)
	w.Resolver.Answers["txt x.example"] = []string{"v1"}
	policy := `local ask = cache.memoize(function(name) return dns.txt(name) end)
on("receive.mail", function() return reject(ask("x.example")[1]) end)`
	for i, text := range []string{policy, policy + "\n-- another"} {
		w.Script(text)
		w.Ask(mailEvent("a@a.example"))
		w.Ask(mailEvent("a@a.example"))
		if w.Resolver.Asked != i+1 {
			t.Errorf("generation %d: asked %d times", i, w.Resolver.Asked)
		}
	}
}

// TestOverlay: a later handler of the same message reads what an earlier one
// wrote, another source does not.
func TestOverlay(t *testing.T) {
	w := hookstest.New(t).Load(hookstest.Scripts(map[string]string{
		"a.lua": `on("receive.data", function() kv.set("k", "v") kv.incr("n", 2) end)
on("queue.expand", function() if kv.get("k") ~= "v" or kv.incr("n") ~= 3 then return reject("lost") end end)`}),
		hookstest.Bundle("acme/x",
			map[string]string{"init.lua": `on("queue.expand", function() if kv.get("k") then return reject("foreign") end kv.set("k", "mine")
end)`}))
	e := dataEvent(plainMail)
	w.Ask(e)
	next := &hooks.Event{Point: hooks.QueueExpand, Msg: e.Msg, Rcpt: hookstest.Rcpt("bob@our.example"), Pending: e.Pending}
	if a := w.Ask(next); a.Err() != "" || a.Action != hooks.Continue {
		t.Fatalf("%v %s", a.Verdict, a.Err())
	}
	if _, err := w.KV.Get(t.Context(), "scripts", "k"); err == nil {
		t.Error("written before the commit")
	}
	w.Commit(next)
	if v, err := w.KV.Get(t.Context(), "acme/x/our.example", "k"); err != nil || string(v) != "smine" {
		t.Errorf("%q %v", v, err)
	}
	if v, err := w.KV.Get(t.Context(), "scripts", "n"); err != nil || string(v) != "3" {
		t.Errorf("%q %v", v, err)
	}
}

func TestLog(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.data", function(session, tx, msg) log.warn("odd\nline", { n = 1 }) print("p", 2) end)`)
	e := dataEvent(plainMail)
	w.Ask(e)
	for _, want := range []string{`level=WARN msg=script text="odd\nline" hook=receive.data handler=policy.lua:1 id=` + e.Msg.ID.String() +
		` fields.n=1`, `level=INFO msg=script text="p\t2"`} {
		if !strings.Contains(w.Log.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Log)
		}
	}
}

// TestOnceAgain: the retry of the same message is not refused by the claim of
// its first try; another message is.
func TestOnceAgain(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.data", function() if not kv.once("k") then return discard("second") end end)`)
	e := dataEvent(plainMail)
	first := w.Ask(e)
	e.Pending = nil // the commit failed
	second := w.Ask(e)
	if first.Action != hooks.Continue || second.Action != hooks.Continue {
		t.Errorf("%v %v", first.Verdict, second.Verdict)
	}
	if a := w.Ask(dataEvent(plainMail)); a.Action != hooks.Discard {
		t.Errorf("another message while the first is on its way: %v", a.Verdict)
	}
}
