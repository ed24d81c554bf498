package hooks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// does are ways to make each change of the table; OBJ is one of the hook's
// arguments.
var does = map[hooks.Changes][]string{
	hooks.ChangeSender: {`tx.sender = "n@x.example"`},
	hooks.ChangeAddress: {`rcpt.address = "ann@our.example"`, `tx:recipients()[1].address = "ann@our.example"`,
		`rcpts[1].address = "ann@our.example"`},
	hooks.ChangeMessage: {`msg:add_header("X-A", "b")`, `msg:prepend_header("X-A", "b")`, `msg:set_header("Subject", "b")`,
		`msg:remove_header("Subject")`,
		`msg:append_text("more")`, `for part in msg:parts() do part:replace("x") end`, `for part in msg:parts() do part:remove() end`},
	hooks.ChangeAttempt: {`msg:add_header("X-A", "b")`, `msg:prepend_header("X-A", "b")`, `msg:set_header("Subject", "b")`,
		`msg:remove_header("Subject")`},
	hooks.ChangeScore: {`msg:score("A", 1)`, `msg:priority(3)`},
	hooks.ChangeRecipients: {`rcpt:replace("x@out.example")`, `rcpt:replace({ "x@out.example" }, { priority = 3 })`,
		`rcpt:fork():set_header("X-A", "b")`, `rcpt:variant():set_header("X-A", "b")`},
	hooks.ChangeCopies: {`rcpt:copy_to("x@out.example")`,
		`rcpt:copy_to({ "x@out.example" }, function(a) return { headers = { ["X-A"] = "b" } } end)`},
	hooks.ChangeOwnFields: {`rcpt:set_header("X-A", "b")`, `rcpt:add_header("X-A", "b")`, `rcpt:remove_header("Subject")`},
	hooks.ChangeGroup:     {`group.key = "k"`, `group:priority(3)`, `group:expire("1h")`},
	hooks.ChangeText:      {`dsn.text = "x"`},
	hooks.ChangeMeta: {`session.meta.x = 1`, `tx.meta.x = 1`, `msg.meta.x = 1`, `rcpt.meta.x = 1`, `group.meta.x = 1`,
		`rcpts[1].meta.x = 1`},
	hooks.ChangeEffects: {`kv.set("k", 1)`, `kv.incr("n", 1)`, `kv.once("o")`, `kv.delete("k")`, `kv.cas("c", nil, 1)`,
		`rate.take("k", "30/1m")`, `list.configure("l@our.example", {})`,
		`mail.submit { from = "bob@our.example", to = "x@out.example", subject = "s", text = "t" }`},
	hooks.ChangeDelay: {`tarpit(1)`},
}

var forwardings = []string{`mail.forward(msg, "x@out.example")`, `mail.file(msg, "bob@our.example", "Junk")`}

// returns are ways to return each verdict.
var returns = map[hooks.Action][]string{
	hooks.Accept: {`return accept()`}, hooks.Reject: {`return reject("x")`,
		`return reject(550, "5.7.1", "x")`}, hooks.Defer: {`return defer("x")`},
	hooks.Disconnect: {`return disconnect("x")`}, hooks.Discard: {`return discard("x")`}, hooks.Quarantine: {`return quarantine("x")`},
	hooks.Hold: {`return hold("x")`}, hooks.Schedule: {`return schedule(2e9)`}, hooks.Keep: {`return keep()`},
	hooks.FileInto: {`return fileinto("Junk")`},
	hooks.Redirect: {`return redirect("x@out.example")`}, hooks.RouteTo: {`return route { hosts = { "mx.x.example" } }`},
	hooks.Reroute: {`return reroute { hosts = { "mx.x.example" } }`}, hooks.Retry: {`return retry("5m")`}, hooks.Fail: {`return fail("x")`},
	hooks.NoDSN: {`return nodsn()`}, hooks.Respond: {`return response { body = "x" }`},
}

// tableEvent is an event of a hook, with what its arguments name.
func tableEvent(s hooks.Spec) *hooks.Event {
	e := &hooks.Event{Point: s.Point, Now: time.Unix(1_764_000_000, 0), Pending: &hooks.Pending{}}
	for _, a := range s.Args {
		switch a {
		case "session":
			e.Session = hookstest.Session("192.0.2.7")
		case "name":
			e.Name = "client.example"
		case "cred":
			e.Cred = &hooks.Cred{Credentials: &envelope.Credentials{Mechanism: "PLAIN", User: "bob@our.example"}}
		case "tx":
			e.Tx = hookstest.Tx("a@a.example", "bob@our.example")
		case "msg":
			e.Msg = hookstest.Message("a@a.example", "From: a@a.example\r\nSubject: x\r\n\r\nhello\r\n")
		case "rcpt":
			e.Rcpt = hookstest.Rcpt("bob@our.example")
		case "rcpts":
			e.Rcpts = []*hooks.Rcpt{hookstest.Rcpt("x@x.example")}
		case "group":
			e.Group = &envelope.Group{Kind: envelope.Remote, Key: "x.example", Domain: "x.example"}
		case "attempt":
			e.Attempt = &hooks.Attempt{Number: 1}
		case "result":
			e.Result = &hooks.Result{Class: "deferred"}
		case "box":
			e.Box = &hookstest.Box{Owner: "bob@our.example"}
		case "dsn":
			e.DSN = &hooks.DSN{Action: "failed"}
		case "domain":
			e.Domain = "our.example"
		case "key":
			e.Key = "x.example"
		case "event":
			e.Observed = &hooks.Observed{Name: "login", Data: map[string]any{}}
		case "req":
			e.Req = &hooks.Request{Method: "GET", Path: "/x"}
		case "cmd":
			e.Command = &hooks.Command{Name: "x"}
		}
	}
	if s.Point == hooks.ReceiveConnect || s.Point == hooks.ReceiveHelo {
		e.Tx = nil
	}
	return e
}

// onHook registers a body at a hook.
func onHook(s hooks.Spec, body string) string {
	name, options := string(s.Point), ""
	switch s.Point {
	case hooks.ReceiveAfter:
		name, options = string(hooks.ReceiveData), "{ async = true }, "
	case hooks.TimerTick:
		options = `{ every = "1h" }, `
	case hooks.WebRequest:
		options = `{ path = "/x" }, `
	case hooks.AdminCommand:
		options = `{ command = "x" }, `
	}
	return fmt.Sprintf("on(%q, %sfunction(%s) %s end)", name, options, strings.Join(s.Args, ", "), body)
}

// usesOnlyArguments reports whether a body names only what the hook gives.
func usesOnlyArguments(s hooks.Spec, body string) bool {
	for _, name := range []string{"session", "tx", "msg", "rcpt", "rcpts", "group", "dsn"} {
		for _, sep := range []string{".", ":", "[", ","} {
			for _, before := range []string{" ", "(", ""} {
				at := before + name + sep
				if (before == "" && strings.HasPrefix(body, at) || before != "" && strings.Contains(body, at)) &&
					!slices.Contains(s.Args, name) {
					return false
				}
			}
		}
	}
	return true
}

// runBody runs a body at a hook; it returns how the handler failed, or "", and
// what was changed.
func runBody(t *testing.T, s hooks.Spec, body string) (failure string, changes []string) {
	t.Helper()
	src := hookstest.Scripts(map[string]string{"a.lua": onHook(s, body)})
	g, err := lua.New(lua.Options{}).Load(t.Context(), []hooks.Source{src})
	if err != nil {
		return err.Error(), nil
	}
	_ = g
	w := hookstest.New(t).Load(src)
	w.Accounts.Set("bob@our.example", "x", 1)
	e := tableEvent(s)
	_, trail := w.Generation.Chain.RunOne(t.Context(), withApply(e), 0)
	for _, one := range trail {
		if one.Err != "" {
			return one.Err, nil
		}
		changes = append(changes, one.Changes...)
	}
	return "", changes
}

func withApply(e *hooks.Event) *hooks.Event {
	e.Apply = func([]envelope.Effect, []hooks.Submit) error { return nil }
	return e
}

// TestTable: every cell of the hooks table is true. What a row says that may be
// changed can be, in each way; what it does not say fails; and the same for
// verdicts.
func TestTable(t *testing.T) {
	n := 0
	for _, s := range hooks.Specs() {
		cell := func(what, body string, allowed bool) {
			if !usesOnlyArguments(s, body) {
				return
			}
			n++
			failure, changes := runBody(t, s, body)
			switch {
			case allowed && failure != "":
				t.Errorf("%s: the table has %s, but %s fails: %s", s.Point, what, body, failure)
			case allowed && changes == nil && !strings.HasPrefix(body, "return") && !strings.Contains(body, "delete"):
				t.Errorf("%s: the table has %s, but %s changes nothing", s.Point, what, body)
			case !allowed && failure == "":
				t.Errorf("%s: the table does not have %s, but %s works: %v", s.Point, what, body, changes)
			}
		}
		// Of one body that several words allow, any will do.
		bodies := map[string]bool{}
		words := map[string][]string{}
		for _, c := range changes {
			for _, body := range does[c.may] {
				bodies[body] = bodies[body] || s.Changes&c.may != 0
				words[body] = append(words[body], c.name)
			}
		}
		for body, allowed := range bodies {
			cell(strings.Join(words[body], " or "), body, allowed)
		}
		for _, body := range forwardings {
			cell(forwarding, body, forwards(s))
		}
		for action, list := range returns {
			for _, body := range list {
				cell(action.String(), body, s.Allows(action))
			}
		}
	}
	if n < 500 {
		t.Errorf("only %d cells", n)
	}
	for _, c := range changes {
		if does[c.may] == nil && c.may != hooks.ChangeIdentity {
			t.Errorf("nothing tries %s", c.name)
		}
	}
}

// TestTableIdentity: who logged in is for receive.auth to say.
func TestTableIdentity(t *testing.T) {
	s, _ := hooks.SpecOf(hooks.ReceiveAuth)
	w := hookstest.New(t).Load(hookstest.Scripts(map[string]string{"a.lua": onHook(s,
		`return accept { user = "ann@our.example", role = "x" }`)}))
	if v, trail := w.Generation.Chain.Run(t.Context(), withApply(tableEvent(s))); v.Action != hooks.Accept ||
		v.Identity["user"] != "ann@our.example" || v.Identity["role"] != "x" {
		t.Errorf("%+v %v", v, trail)
	}
}
