package policytest_test

import (
	"testing"

	"carteiro/core/ops/policytest"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// TestSmall: cases in worlds that take little memory come out the same, those
// that need more are run again with more, and a file whose top does something
// is listed like any other.
func TestSmall(t *testing.T) {
	src := hookstest.Scripts(map[string]string{"p.lua": `on("receive.data", function(session, tx, msg)
  if msg:subject() ~= "large" then return end
  for i = 1, 100 do kv.set("k" .. i, string.rep("x", 15000)) end
end)`})
	tests := map[string][]byte{"tests/a.lua": []byte(`local t = require "carteiro.test"
t.account("bob@our.example", {})
t.account("ann@our.example", {})
t.case("large", function()
  t.eq(t.deliver { sender = "a@a.example", to = "bob@our.example", subject = "large", text = "x" }.code, 250)
end)
t.case("a long body", function()
  local r = t.deliver { sender = "a@a.example", to = "bob@our.example", subject = "x",
    text = string.rep(string.rep("x", 76) .. "\n", 30000) }
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
end)
t.case("fails", function() t.eq(1, 2) end)`), "tests/b.lua": []byte(`local t = require "carteiro.test"
t.alias("team@our.example", { "bob@our.example" })
t.case("its own world", function() t.eq(t.deliver { sender = "a@a.example", to = "team@our.example" }.code, 250) end)`)}
	tests["tests/c.lua"] = tests["tests/b.lua"]
	r, err := policytest.Test(t.Context(), policytest.Options{Sources: []hooks.Source{src}, Tests: tests, Small: true})
	if err != nil || len(r.Cases) != 5 {
		t.Fatalf("%v %+v", err, r)
	}
	for _, c := range r.Cases {
		if (c.Err != "") != (c.Name == "fails") {
			t.Errorf("%s, %s: %s", c.File, c.Name, c.Err)
		}
	}
}
