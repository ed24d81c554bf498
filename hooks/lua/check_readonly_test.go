package lua_test

import (
	"errors"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
	"carteiro/hooks/lua/source"
)

// TestMisplaced: a change at a hook that does not allow it is told by a check,
// with its place and where it is allowed; the same policy loads, and fails when
// it comes there.
func TestMisplaced(t *testing.T) {
	const (
		toMsg  = "it can be changed at receive.data, deliver.attempt"
		toRcpt = "it can be changed at queue.expand, deliver.local"
	)
	for _, c := range []struct {
		hook           hooks.Point
		args, body     string
		what, near, to string // "": nothing to tell
	}{
		{hooks.QueueExpand, "msg, rcpt", `msg:set_header("Subject", "x")`, "msg:set_header", ":set_header", toMsg},
		{hooks.QueueExpand, "m, r", `if m.size > 0 then m:add_header("X-A", "x") end`, "msg:add_header", ":add_header", toMsg},
		{hooks.QueueExpand, "msg, rcpt", `local function f() msg:remove_header("X-A") end f()`, "msg:remove_header", ":remove_header", toMsg},
		{hooks.QueueExpand, "msg, rcpt", `msg:score("A", 1)`, "msg:score", ":score", "it can be changed at receive.data"},
		{hooks.QueueExpand, "msg, rcpt", `msg:priority(3)`, "msg:priority", ":priority", "it can be changed at receive.data"},
		{hooks.QueueExpand, "msg, rcpt", `rcpt.address = "x@our.example"`, "rcpt.address", ".address", "it can be changed at receive.rcpt"},
		{hooks.ReceiveHeaders, "session, tx, msg", `msg:append_text("x")`, "msg:append_text", ":append_text",
			"it can be changed at receive.data"},
		{hooks.ReceiveHeaders, "session, tx, msg", `tx.sender = "x@x.example"`, "tx.sender", ".sender",
			"it can be changed at receive.mail, receive.data"},
		{hooks.ReceiveRcpt, "session, tx, rcpt", `rcpt:copy_to("x@our.example")`, "rcpt:copy_to", ":copy_to", toRcpt},
		{hooks.ReceiveRcpt, "session, tx, rcpt", `rcpt:set_header("X-A", "x")`, "rcpt:set_header", ":set_header", toRcpt},

		{hooks.QueueExpand, "msg, rcpt", `if msg:score() > 99 or msg:priority() > 9 then error("x") end`, "", "", ""},
		{hooks.QueueExpand, "msg, rcpt", `local msg = rcpt:fork() msg:set_header("X-A", "x")`, "", "", ""},
		{hooks.QueueExpand, "msg, rcpt", `msg = rcpt:fork() msg:set_header("X-A", "x")`, "", "", ""},
		{hooks.QueueExpand, "msg, rcpt", `rcpt:set_header("X-A", "x") rcpt:copy_to("x@our.example")`, "", "", ""},
		{hooks.ReceiveData, "session, tx, msg", `msg:set_header("X-A", "x") msg:score("A", 1) tx.sender = "x@x.example"`, "", "", ""},
		{hooks.ReceiveRcpt, "session, tx, rcpt", `rcpt.address = "x@our.example"`, "", "", ""},
	} {
		src := hookstest.Scripts(map[string]string{"a.lua": "on(\"" + string(c.hook) + "\", function(" + c.args + ")\n" + c.body + "\nend)"})
		_, err := lua.New(lua.Options{Strict: true}).Load(t.Context(), []hooks.Source{src})
		want := c.what + " changes what " + string(c.hook) + " only shows"
		var fault *source.Error
		switch {
		case c.what == "":
			if err != nil {
				t.Errorf("%s: %v", c.body, err)
			}
		case !errors.As(err, &fault) || fault.Line != 2 || fault.Text != want || fault.Hint != c.to ||
			!strings.HasPrefix(c.body[max(fault.Column-1, 0):], c.near[1:]):
			t.Errorf("%s: %+v", c.body, err)
		}
		e := dataEvent(plainMail)
		e.Point, e.Rcpt = c.hook, hookstest.Rcpt("bob@our.example")
		if got := hookstest.New(t).Load(src).Ask(e).Err(); strings.Contains(got, "cannot be changed at "+string(c.hook)) != (c.what != "") {
			t.Errorf("%s: when it runs: %q", c.body, got)
		}
	}
}
