package lua_test

import (
	"testing"

	"carteiro/hooks/hookstest"
)

// TestArguments: objects that a function never names are not made for it; in
// whatever way a function names one, it is there.
func TestArguments(t *testing.T) {
	files := map[string]string{"a.lua": "", "other.lua": `return { handler = function(session, tx, msg) return reject(msg.sender) end }`}
	for _, script := range []string{
		`on("receive.data", function(session, tx, msg) return reject(msg.sender) end)`,
		`on("receive.data", function(_, _, msg) return reject(msg.sender) end)`,
		`on("receive.data", function(_, tx) return reject(tx.sender) end)`,
		`on("receive.data", function(...) local _, tx = ... return reject(tx.sender) end)`,
		`on("receive.data", function(session, ...) local _, msg = ... return reject(msg.sender) end)`,
		`on("receive.data", function(session, tx, msg) local function sender() return msg.sender end return reject(sender()) end)`,
		`on("receive.data", function(session, tx, msg) local msg = msg return reject(msg.sender) end)`,
		`on("receive.data", function(session, tx, msg) tx, msg = msg, tx return reject(tx.sender) end)`,
		`on("receive.data", function(session, tx, msg) pcall(error) local t = { msg } return reject(t[1].sender) end)`,
		`local f = function(session, tx, msg) end local g = function(session, tx, msg) return reject(msg.sender) end on("receive.data", f)
on("receive.data", g)`,
		`local t = {} function t.f(session, tx, msg) return reject(tx.sender) end on("receive.data", t.f)`,
		`local t = {} function t:f(tx, msg) return reject(tostring(self.id ~= nil) == "true" and msg.sender or "no self") end on("receive.data",
t.f)`,
		`on("receive.data", require("other").handler)`,
		`local function made(f) return function(session, tx, msg) return f(msg) end end on("receive.data", made(function(m) return
reject(m.sender) end))`,
	} {
		files["a.lua"] = script
		src := hookstest.Scripts(files)
		src.Main = []string{"a.lua"}
		a := hookstest.New(t).Load(src).Ask(dataEvent(plainMail))
		if a.Verdict.Status.Text != "a@a.example" {
			t.Errorf("%s: %+v %s", script, a.Verdict, a.Err())
		}
	}
}
