package lua

import (
	"context"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/service/audit"
	"carteiro/hooks"
)

func accountOwns(L *glua.LState) int {
	c, accounts := requireAccounts(L)
	L.Push(glua.LBool(accounts.Owns(c.ctx, envelope.Address(text(L, 1)), envelope.Address(text(L, 2)))))
	return 1
}

func accountOf(L *glua.LState) int {
	c, accounts := requireAccounts(L)
	L.Push(optional(string(accounts.AccountOf(c.ctx, envelope.Address(text(L, 1))))))
	return 1
}

// loginWithin bounds one login by a policy: the delays after wrong guesses
// are longer than a handler may run.
const loginWithin = 3 * time.Second

func accountLogin(L *glua.LState) int {
	st := stateOf(L)
	c, accounts := requireAccounts(L)
	ctx, cancel := context.WithTimeout(c.ctx, loginWithin)
	defer cancel()
	a, err := accounts.Login(ctx, &envelope.Credentials{Mechanism: "PLAIN", User: text(L, 1), Password: text(L, 2)})
	st.budget.checkLimits()
	if r := boundCheckFor(L, "account.login"); err != nil || r != nil && r.isForeign(a.Domain()) { // a name without a domain may be of any
		a = ""
	}
	L.Push(optional(string(a)))
	return 1
}

// maxAuditText bounds each text of an entry.
const maxAuditText = 1000

func accountAudit(L *glua.LState) int {
	const what = "account.audit"
	st := stateOf(L)
	c, _ := requireAccounts(L)
	e := audit.Entry{Time: st.now(), Owner: addressArgument(L, L.Get(1), what), By: c.source.src.Bundle}
	t, ok := L.Get(2).(*glua.LTable)
	if !ok {
		L.RaiseError("%s: a table expected, got %s", what, typeOf(L.Get(2)))
	}
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		s, ok := v.(glua.LString)
		if !ok || len(s) > maxAuditText {
			L.RaiseError("%s: %s must be a text of up to %d octets, got %s", what, tostringPlain(k), maxAuditText, typeOf(v))
		}
		value := cleanField(strings.ToValidUTF8(string(s), "\uFFFD"))
		switch key := tostringPlain(k); key {
		case "who":
			e.Who = envelope.Address(value)
		case "as":
			e.As = envelope.Address(value)
		case "action":
			e.Action = value
		case "right":
			e.Right = value
		case "message_id":
			e.MessageID = value
		case "message":
			e.Message = value
		case "ip":
			e.IP = value
		default:
			L.RaiseError("%s: unknown field %s%s", what, key, hooks.Suggestion(key, []string{"who", "action", "as", "right", "message_id", "message",
				"ip"}))
		}
	}
	f, err := audit.Add(e)
	raiseIf(L, err)
	st.budget.chargeMemory(L, int64(len(f.Value)))
	raiseIf(L, c.event.AddEffect(f))
	return 0
}

func accountAudited(L *glua.LState) int {
	const what = "account.audited"
	st := stateOf(L)
	c, _ := requireAccounts(L)
	limit := optInteger(L, 2, 100)
	if limit < 1 || limit > maxScanned {
		L.RaiseError("%s: limit must be 1..%d, got %d", what, maxScanned, limit)
	}
	if st.generation.engine.KV == nil {
		L.RaiseError("%s: the server has no kv", what)
	}
	entries, err := audit.List(c.ctx, st.generation.engine.KV, addressArgument(L, L.Get(1), what), limit)
	raiseIf(L, err)
	list := make([]any, len(entries))
	for i, e := range entries {
		m := map[string]any{"time": float64(e.Time.Unix())}
		for k, v := range map[string]string{"owner": string(e.Owner), "who": string(e.Who), "action": e.Action, "as": string(e.As),
			"right":      e.Right,
			"message_id": e.MessageID, "message": e.Message, "ip": e.IP, "by": e.By} {
			if v != "" {
				m[k] = v
			}
		}
		list[i] = m
	}
	L.Push(st.toLua(L, list))
	return 1
}

// maxAliasesAsked is how many of a message's addresses addressed_to looks up.
const maxAliasesAsked = 50

// namesAccount reports whether one of the addresses is want, or an alias that leads
// to it. Only names of domains of ours are looked up, each once.
func namesAccount(L *glua.LState, list []envelope.Address, want envelope.Address) bool {
	st := stateOf(L)
	for _, a := range list {
		if a.Base() == want {
			return true
		}
	}
	e := st.generation.engine
	if r := boundCheckFor(L, "msg:addressed_to"); e.Accounts == nil || r != nil && r.isForeign(want.Domain()) {
		return false // what the message says is all that may be told of others' addresses
	}
	asked := map[envelope.Address]bool{}
	for _, a := range list {
		if !e.Local(a.Domain()) || asked[a] || len(asked) >= maxAliasesAsked {
			continue
		}
		asked[a] = true
		c, accounts := requireAccounts(L)
		if accounts.Owns(c.ctx, want, a) {
			return true
		}
	}
	return false
}
