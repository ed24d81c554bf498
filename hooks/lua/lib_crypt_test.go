package lua_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/policytest/keys"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua/source"
)

// keyring has an OpenPGP key of bob, a certificate of ann@far.example, and one
// of eve that expires within the hour.
func keyring(t *testing.T) *crypt.Keys {
	t.Helper()
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	ring := &crypt.Keys{Data: st, Clock: &clock.Clock{}}
	for a, kind := range map[envelope.Address]string{"bob@our.example": crypt.OpenPGP, "ann@far.example": crypt.SMIME,
		"eve@our.example": crypt.OpenPGP} {
		life := 48 * time.Hour
		if a == "eve@our.example" {
			life = time.Hour
		}
		k, err := keys.New(kind, a, ring.Clock.Now(), life)
		if err == nil {
			_, err = ring.Add(t.Context(), a, k.Public)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ring.Clock.Advance(2 * time.Hour)
	return ring
}

// What the functions of crypt answer, and what misuse raises.
func TestCryptInLua(t *testing.T) {
	dsn := "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nx\n--b--\n"
	sealed := "Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nx\n--b--\n"
	for _, tt := range []struct{ hook, raw, body string }{
		{"receive.data", plainMail,
			`is(crypt.has_key("Bob+x@our.example"), "openpgp") is(select(2, crypt.has_key("bob@our.example")), nil)
is(crypt.has_key("ann@far.example"), "smime") is(crypt.has_key("x@far.example"), nil)
is(crypt.has_key("eve@our.example"), "openpgp") is(select(2, crypt.has_key("eve@our.example")), "expired")
local ok, why = crypt.openpgp(msg, "eve@our.example") is(ok, nil) is(why, "expired") ok, why = crypt.openpgp(msg, "ann@far.example")
is(ok, nil) is(why, "no key")
is(pcall(crypt.openpgp, msg, "nobody"), false) is(pcall(crypt.openpgp, tx, "bob@our.example"), false) is(pcall(crypt.openpgp, msg), false)
is(pcall(crypt.openpgp, msg, "bob@our.example", { hide = true }), false) is(pcall(crypt.openpgp, msg, "bob@our.example", 1), false)
is(crypt.openpgp(msg, "bob@our.example", { hide_subject = true }), true) is(select(2, crypt.smime(msg, "ann@far.example")), "encrypted")`},
		{"receive.data", dsn, `is(select(2, crypt.openpgp(msg, "bob@our.example")), "report")`},
		{"receive.data", sealed, `is(select(2, crypt.smime(msg, "ann@far.example")), "encrypted")`},
		{"queue.expand", plainMail, `local seal = crypt.openpgp is(pcall(seal, msg, "bob@our.example"), false)
is(crypt.openpgp(rcpt:fork(), "bob@our.example"), true) local v, w = rcpt:variant(), rcpt:variant()
is(crypt.smime(v, "ann@far.example"), true) is(crypt.openpgp(w, "bob@our.example"), true)
is(pcall(rcpt.copy_to, rcpt, "x@x.example", { msg = msg }), false) is(pcall(rcpt.copy_to, rcpt, "x@x.example", { msg = 1 }), false)
rcpt:copy_to("ann@far.example", { msg = v })`},
		{"deliver.local", plainMail,
			`local seal = crypt.openpgp is(pcall(seal, msg, "bob@our.example"), false) is(pcall(rcpt.variant, rcpt), false)`},
	} {
		w := hookstest.NewWith(t, hookstest.Options{Keys: keyring(t)})
		spec, _ := hooks.SpecOf(hooks.Point(tt.hook))
		w.Script(is + "on(\"" + tt.hook + "\", function(" + strings.Join(spec.Args, ", ") + ")\n" + tt.body + "\nend)")
		a := w.Ask(&hooks.Event{Point: spec.Point, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example", "bob@our.example"),
			Msg:  hookstest.Message("a@a.example", tt.raw),
			Rcpt: hookstest.Rcpt("bob@our.example"), Box: &hookstest.Box{}})
		if a.Err() != "" {
			t.Errorf("%s: %s\n%s", tt.hook, tt.body, a.Err())
		}
		switch e := a.Event; {
		case tt.hook == "queue.expand":
			if c := e.Rcpt.Copies; e.Msg.Encrypt != nil || e.Rcpt.Fork.Encrypt.Kind != "openpgp" || len(c) != 1 ||
				c[0].Msg.Encrypt.Kind != "smime" || c[0].Msg.Encrypt.HideSubject {
				t.Errorf("%+v, %+v", e.Msg.Encrypt, c)
			}
		case tt.raw == plainMail && tt.hook == "receive.data":
			if x := e.Msg.Encrypt; x == nil || x.Kind != "openpgp" || x.Address != "bob@our.example" || !x.HideSubject {
				t.Errorf("%+v", x)
			}
		case e.Msg.Encrypt != nil:
			t.Errorf("%s: %q is to be encrypted", tt.hook, tt.raw)
		}
	}
}

// A handler that fails encrypts nothing; one without the right cannot; the
// price is paid for large messages.
func TestCryptIsAnEdit(t *testing.T) {
	o := hookstest.Options{Keys: keyring(t)}
	handler := func(rest string) map[string]string {
		return map[string]string{"init.lua": `on("receive.data", function(session, tx, msg) crypt.openpgp(msg, "bob@our.example") ` + rest +
			` end)`}
	}
	w := hookstest.NewWith(t, o).Load(hookstest.Scripts(handler(`error("no")`)))
	if a := w.Ask(dataEvent(plainMail)); a.Action != hooks.Defer || a.Event.Msg.Encrypt != nil {
		t.Errorf("%v %+v", a.Verdict, a.Event.Msg.Encrypt)
	}
	for _, rights := range [][]hooks.Right{{hooks.HeadersWrite, hooks.BodyRead}, {hooks.BodyWrite}} {
		src := hookstest.Bundle("acme/seal", handler(""))
		src.Grants = &hooks.Grants{Modules: []string{"crypt"}, Message: rights, Hooks: []hooks.Point{hooks.ReceiveData}}
		a := hookstest.NewWith(t, o).Load(src).Ask(dataEvent(plainMail))
		if may := rights[0] == hooks.BodyWrite; may != (a.Event.Msg.Encrypt != nil) || may == strings.Contains(a.Err(), `no "body:write"`) {
			t.Errorf("%v: %s", rights, a.Err())
		}
	}
	e := dataEvent(plainMail)
	e.Msg.Size = 4 << 30
	if a := hookstest.NewWith(t, o).Load(hookstest.Scripts(handler(""))).Ask(e); !strings.Contains(a.Err(), "instructions") {
		t.Errorf("4 GiB: %v %s", a.Verdict, a.Err())
	}
	if a := hookstest.New(t).Load(hookstest.Scripts(handler(""))).Ask(dataEvent(plainMail)); !strings.Contains(a.Err(),
		"the server has no keys") {
		t.Error(a.Err())
	}
}

// broken is a store that fails.
type broken struct{}

func (broken) Of(context.Context, envelope.Address, string) (crypt.Key, error) {
	return crypt.Key{}, errors.New("disk")
}

// A store that cannot be read is a failure of the handler, not "no key".
func TestKeysThatCannotBeRead(t *testing.T) {
	for _, call := range []string{`crypt.has_key("bob@our.example")`, `crypt.openpgp(msg, "bob@our.example")`} {
		w := hookstest.NewWith(t, hookstest.Options{Keys: broken{}}).Script(`on("receive.data", function(session, tx, msg) ` + call + ` end)`)
		if a := w.Ask(dataEvent(plainMail)); a.Action != hooks.Defer || !strings.Contains(a.Err(), "disk") {
			t.Errorf("%s: %v %s", call, a.Verdict, a.Err())
		}
	}
}

// Where no message can be changed, the check of scripts says so.
func TestCryptIsChecked(t *testing.T) {
	for _, tt := range []struct{ script, want string }{
		{`on("deliver.local", function(msg, rcpt, box) if box then crypt.openpgp(msg, rcpt.address) end end)`,
			"crypt.openpgp: the message cannot be changed at deliver.local"},
		{`on("receive.data", { async = true }, function(session, tx, msg) crypt.smime(msg, "a@x.example") end)`,
			"crypt.smime: the message cannot be changed at receive.data async"},
		{`on("queue.expand", function(msg, rcpt) crypt.smime(msg, rcpt.address) end)`,
			"crypt.smime: the current message cannot be changed at queue.expand"},
		{`on("queue.expand", function(msg, rcpt) crypt.smime(rcpt:fork(), rcpt.address) end) on("receive.data", function(s, t, msg)
crypt.openpgp(msg, "a@x.example") end)`, ""},
		{`local crypt = {} on("deliver.local", function(msg) crypt.openpgp(msg, "a@x.example") end)`, ""},
	} {
		_, err := hookstest.New(t).Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"policy.lua": tt.script})})
		var source *source.Error
		if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &source) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s\n%v", tt.script, err)
		}
	}
}
