package lua_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

func mailEvent(sender string) *hooks.Event {
	return &hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx(sender)}
}

func dataEvent(raw string) *hooks.Event {
	return &hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example", "bob@our.example"),
		Msg: hookstest.Message("a@a.example", raw)}
}

// TestStashedObjects: what a script keeps of one message is dead in the next.
func TestStashedObjects(t *testing.T) {
	w := hookstest.New(t).Script(`
local kept
on("receive.data", function(session, tx, msg)
  if kept then return reject(550, "5.7.1", tostring(kept.sender)) end
  kept = tx:recipients()[1].meta
  kept = msg
end)
local list = {}
on("receive.mail", function(session, tx)
  if list[1] then tx.meta.x = list[1].x end
  list[1] = tx.meta
end)`)
	for i := range 128 { // more than there are states, so that one is used twice
		a := w.Ask(dataEvent(plainMail))
		if a.Err() == "" && a.Action == hooks.Continue {
			continue
		}
		if a.Action != hooks.Defer || !strings.Contains(a.Err(), "this msg belongs to an earlier call") {
			t.Fatalf("call %d: %v %s", i, a.Verdict, a.Err())
		}
		a = w.Ask(mailEvent("a@a.example"))
		if a.Err() != "" && !strings.Contains(a.Err(), "this meta belongs to an earlier call") {
			t.Fatalf("call %d: %s", i, a.Err())
		}
		return
	}
	t.Fatal("no state was used twice")
}

// TestNoLeak: many messages at once on all states, each sees only itself;
// policies are reloaded meanwhile.
func TestNoLeak(t *testing.T) {
	const script = `
on("receive.data", { order = 1 }, function(session, tx, msg)
  local n = msg:header("X-N")
  if msg.meta.n or tx.meta.n or session.meta.n then return reject(550, "5.0.0", "foreign meta") end
  msg.meta.n, tx.meta.n, session.meta.n = n, { n = n }, n
  kv.set("n" .. n, n)
  if tonumber(n) % 7 == 0 then error("now and then") end
  if tonumber(n) % 11 == 0 then while true do end end
end)
on("receive.data", { order = 2 }, function(session, tx, msg)
  local n = msg:header("X-N")
  if msg.meta.n ~= n or tx.meta.n.n ~= n or session.meta.n ~= n or kv.get("n" .. n) ~= n then return reject(550, "5.0.0", "lost " .. n) end
  dns.a("x.example")
  return discard(n)
end)`
	w := hookstest.New(t)
	src := hookstest.Scripts(map[string]string{"a.lua": script})
	src.Limits.Instructions = 20_000
	load := func() *hooks.Generation {
		g, err := w.Engine.Load(context.Background(), []hooks.Source{src})
		if err != nil {
			t.Error(err)
		}
		return g
	}
	var current hooks.Current
	current.Swap(load())
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 40 {
				n := worker*1000 + i
				if i == 20 && worker%4 == 0 {
					current.Swap(load())
				}
				e := dataEvent(fmt.Sprintf("X-N: %d\n%s", n, plainMail))
				e.Session.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 1}), 25) // see breaker
				v, trail := current.Get().Chain.Run(context.Background(), e)
				bad := n%7 == 0 || n%11 == 0
				if bad && v.Action != hooks.Defer || !bad && (v.Action != hooks.Discard || v.Reason != fmt.Sprint(n)) {
					t.Errorf("%d: %v %v", n, v, trail)
				}
			}
		})
	}
	wg.Wait()
}

func TestMeta(t *testing.T) {
	write := `on("receive.rcpt", function(session, tx, rcpt)
  rcpt.meta.folder = "Junk"
  tx.meta.x = { 1, 2, { deep = "yes" } }
  tx.meta.own = NAME
  local copy = tx.meta.x
  copy[3].deep = "changed"
  if tx.meta.x[3].deep ~= "yes" then return reject("meta gave its inside away") end
  local n = 0
  for k, v in pairs(tx.meta) do n = n + 1 end
  if n < 2 then return reject("pairs") end
end)`
	source := func(name string) hooks.Source {
		return hookstest.Bundle(name, map[string]string{"init.lua": strings.Replace(write, "NAME", `"`+name+`"`, 1)})
	}
	w := hookstest.New(t).Load(hookstest.Scripts(map[string]string{"a.lua": strings.Replace(write, "NAME", `"admin"`, 1)}), source("acme/a"),
		source("acme/b"))
	a := w.Ask(&hooks.Event{Point: hooks.ReceiveRcpt, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example"),
		Rcpt: hookstest.Rcpt("bob@our.example")})
	if a.Err() != "" || a.Action != hooks.Continue {
		t.Fatalf("%v %s", a.Verdict, a.Err())
	}
	m := a.Event.Tx.Meta
	if m["own"] != "admin" || m["acme/a/our.example:own"] != "acme/a" || m["acme/b/our.example:own"] != "acme/b" ||
		len(a.Event.Rcpt.Meta) != 1 || a.Event.Rcpt.Meta["folder"] != "Junk" {
		t.Errorf("%v %v", m, a.Event.Rcpt.Meta)
	}
	if got := fmt.Sprint(m["x"]); got != "[1 2 map[deep:yes]]" {
		t.Errorf("x is %s", got)
	}
}

// verdictCases are single handlers and what comes of them.
var verdictCases = []struct{ hook, body, want string }{
	{"receive.mail", `return reject("no")`, "reject 550 5.7.1 no"},
	{"receive.mail", `return reject(554, "5.7.2", "no")`, "reject 554 5.7.2 no"},
	{"receive.mail", `return reject(554, "no")`, "reject 554 no"},
	{"receive.mail", `return defer(450, "4.2.0", "later")`, "defer 450 4.2.0 later"},
	{"receive.mail", `return disconnect("bye")`, "disconnect 421 4.7.0 bye"},
	{"receive.mail", `return reject(250, "ok")`, "!reject: code must be 500..599, got 250"},
	{"receive.mail", `return defer(550, "x")`, "!defer: code must be 400..499, got 550"},
	{"receive.mail", `return reject(550, "4.7.1", "x")`, "!reject: enhanced code must be like 5.7.1, got \"4.7.1\""},
	{"receive.mail", `return reject(550, "5.7.1", "a\r\nb")`, "!reject: text must be one line"},
	{"receive.mail", `return reject(nil)`, "!reject: text must be a string, got nil"},
	{"receive.mail", `return reject({})`, "!reject: text must be a string, got table"},
	{"receive.mail", `return true`, "!a handler returns a verdict or nothing, not true"},
	{"receive.mail", `return "reject"`, "!a handler returns a verdict such as reject(...) or nothing, not a string"},
	{"receive.mail", `return session`, "!a handler returns a verdict such as reject(...) or nothing, not a session"},
	{"receive.mail", `local v = quarantine("x") return v`, "!quarantine is not a verdict of receive.mail"},
	{"receive.mail", `error("plain")`, "!policy.lua:2: plain"},
	{"receive.mail", `error("no place", 0)`, "!policy failed: no place"},
	{"receive.mail", `local x = tx.sendr`, "!tx.sendr does not exist; did you mean sender?"},
	{"receive.mail", `return "a" .. nil`, "!attempt to concatenate a nil value"},
	{"queue.commit", `return hold("check")`, "hold (check)"},
	{"queue.commit", `return schedule(1700000000)`, "schedule 2023-11-14T22:13:20Z"},
	{"queue.commit", `return schedule("soon")`, "!schedule: time must be Unix seconds, got soon"},
	{"deliver.local", `return fileinto("Lists/dev", { "\\Seen" })`, "fileinto Lists/dev"},
	{"deliver.local", `return fileinto("../x")`, "!fileinto: \"../x\" is not the name of a folder"},
	{"deliver.local", `return redirect("x@y.example")`, "redirect x@y.example"},
	{"deliver.local", `return redirect("nobody")`, "!redirect: \"nobody\": bad address"},
	{"deliver.local", `return keep("bad flag")`, "!keep: \"bad flag\" is not a flag"},
	{"deliver.result", `return retry("10m")`, "retry in 10m0s"},
	{"deliver.result", `return retry(0)`, "!retry: at least a second"},
	{"deliver.result", `return fail("gone")`, "fail 550 5.7.1 gone"},
	{"deliver.result", `return reroute { hosts = { "a", "b" } }`, "reroute [a b]"},
	{"deliver.result", `return reroute { hosts = { "a" }, user = "u", password = "p" }`, "!reroute cannot have a password"},
	{"route.resolve", `return route { hosts = "a", tls = "yes" }`, "!route: tls must be \"may\", \"verify\" or \"none\", got yes"},
	{"route.resolve", `return route { hosts = {} }`, "!route: hosts must name at least one host"},
	{"route.resolve", `return route { host = "a", prot = 1 }`, "!route: unknown field prot; did you mean port?"},
	{"queue.expand", `rcpt:replace({ "nobody" })`, "!rcpt:replace: \"nobody\": bad address"},
	{"queue.expand", `rcpt:set_header("X-A", "b\r\nBcc: c")`, "!bad header field"},
	{"queue.expand", `msg:set_header("X-A", "b")`, "!the message cannot be changed at queue.expand: not allowed in this hook"},
	{"queue.expand", `rcpt.meta.folder = "a\nb"`, "!meta.folder: must be the name of a folder"},
	{"queue.expand", `rcpt.address = "x@y.example"`, "!a recipient's address cannot be changed at queue.expand"},
}

func TestVerdicts(t *testing.T) {
	for _, c := range verdictCases {
		spec, _ := hooks.SpecOf(hooks.Point(c.hook))
		w := hookstest.New(t).Script("on(\"" + c.hook + "\", function(" + strings.Join(spec.Args, ", ") + ")\n" + c.body + "\nend)")
		a := w.Ask(&hooks.Event{Point: spec.Point, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example"),
			Msg:  hookstest.Message("a@a.example", plainMail),
			Rcpt: hookstest.Rcpt("bob@our.example"), Group: &envelope.Group{}, Box: &hookstest.Box{}, Result: &hooks.Result{}, Domain: "x.example"})
		if want, bad := strings.CutPrefix(c.want, "!"); bad {
			if !strings.Contains(a.Err(), want) {
				t.Errorf("%s: %s\n got %v %q\nwant %q", c.hook, c.body, a.Verdict, firstLine(a.Err()), want)
			}
		} else if a.Err() != "" || a.Verdict.String() != c.want {
			t.Errorf("%s: %s\n got %v %q\nwant %q", c.hook, c.body, a.Verdict, firstLine(a.Err()), c.want)
		}
	}
}

func TestTraceback(t *testing.T) {
	w := hookstest.New(t).Script("local function inner()\n  error(\"deep\")\nend\non(\"receive.mail\", function()\n  inner()\nend)")
	err := w.Ask(mailEvent("a@a.example")).Err()
	for _, want := range []string{"policy.lua:2: deep", "stack traceback", "policy.lua:5:"} {
		if !strings.Contains(err, want) {
			t.Errorf("no %q in %s", want, err)
		}
	}
}
