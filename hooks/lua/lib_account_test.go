package lua_test

import (
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// TestAccountRecord: entries of the audit are written with the event's
// effects and read back, the newest first; one that fails leaves none.
func TestAccountRecord(t *testing.T) {
	w := hookstest.New(t).Load(hookstest.Bundle("acme/record", map[string]string{"init.lua": `
on("receive.mail", function(session, tx)
  account.audit("boss@our.example", { action = "send", who = "dan@our.example", as = "boss@our.example", right = "send-as", message_id =
"<1@x>\r\nX: y", ip = session.ip })
  if tx.sender == "bad@a.example" then account.audit("boss@our.example", { what = "x" }) end
end)
on("receive.helo", function(session, name)
  local list = account.audited("boss@our.example", 2)
  local e = list[1]
  log.info(table.concat({ #list, e.who, e.action, e.right, e.as, e.ip, e.by, e.message_id, e.time <= time.now() and "then" or "later",
#account.audited("dan@our.example"), #account.audited("boss@our.example") }, "|"))
end)`}))
	for _, sender := range []string{"a@a.example", "bad@a.example", "a@a.example", "a@a.example"} {
		if a := w.Ask(mailEvent(sender)); (a.Err() != "") != (sender == "bad@a.example") || a.Err() != "" && !strings.Contains(a.Err(),
			"unknown field what") {
			t.Fatalf("%s: %s", sender, a.Err())
		}
	}
	if a := w.Ask(&hooks.Event{Point: hooks.ReceiveHelo, Session: hookstest.Session("192.0.2.7"), Name: "x"}); a.Err() != "" {
		t.Fatal(a.Err())
	}
	if want := "2|dan@our.example|send|send-as|boss@our.example|192.0.2.7|acme/record|<1@x>  X: y|then|0|3"; !strings.Contains(w.Log.String(),
		want) {
		t.Errorf("%s\nwant %s", w.Log, want)
	}
}

// TestAccountRights: rights are given and taken at once; passwords are asked.
func TestAccountRights(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.helo", function(session, name)
  assert(account.grant("ann@our.example", "bob@our.example", "send-as", 4102444800))
  local ok, err = account.grant("ann@our.example", "bob@our.example", "all")
  assert(not ok and err == "no such right")
  local g = account.granted("ann@our.example")
  assert(#g == 1 and g[1].delegate == "bob@our.example" and g[1].right == "send-as" and g[1]["until"] == 4102444800)
  assert(account.revoke("ann@our.example", "bob@our.example", "send-as"))
  assert(not account.revoke("ann@our.example", "bob@our.example") and #account.granted("ann@our.example") == 0)
  assert(account.login("ann@our.example", "secret") == "ann@our.example" and account.login("ann@our.example", "x") == nil)
  assert(not pcall(account.grant, "ann@our.example", "bob@our.example", "send-as", "tomorrow"))
end)`)
	w.Accounts.Set("ann@our.example", "x", "y")
	if a := w.Ask(&hooks.Event{Point: hooks.ReceiveHelo, Session: hookstest.Session("192.0.2.7"), Name: "x"}); a.Err() != "" {
		t.Fatal(a.Err())
	}
}

// TestLoginOption: such a handler is asked about users who logged in alone.
func TestLoginOption(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.mail", { login = true }, function(session, tx) return reject("seen " .. session.identity.user)
end)`)
	if a := w.Ask(mailEvent("a@a.example")); a.Action != hooks.Continue || a.Err() != "" {
		t.Errorf("without a login: %v %s", a.Verdict, a.Err())
	}
	e := mailEvent("bob@our.example")
	e.Session.Identity = hookstest.Identity("bob@our.example")
	if a := w.Ask(e); a.Action != hooks.Reject || a.Status.Text != "seen bob@our.example" {
		t.Errorf("with one: %v %s", a.Verdict, a.Err())
	}
	script := `on("receive.mail", { login = false }, function() end)`
	if _, err := w.Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"p.lua": script})}); err == nil ||
		!strings.Contains(err.Error(), "login can only be true") {
		t.Errorf("%s: %v", script, err)
	}
}
