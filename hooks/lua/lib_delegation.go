package lua

import (
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// pushResult pushes true, or nil and what is wrong.
func pushResult(L *glua.LState, err error) int {
	if err == nil {
		L.Push(glua.LTrue)
		return 1
	}
	L.Push(glua.LNil)
	L.Push(glua.LString(err.Error()))
	return 2
}

func accountGrant(L *glua.LState) int {
	const what = "account.grant"
	st := stateOf(L)
	st.source.requireBundleRight(L, hooks.RightGrants, what)
	c, accounts := requireAccounts(L)
	owner, delegate := addressArgument(L, L.Get(1), what), addressArgument(L, L.Get(2), what)
	var until time.Time
	if L.Get(4) != glua.LNil {
		n, ok := wholeNumber(L.Get(4))
		if !ok || n < 1 || n > 1e11 {
			L.RaiseError("%s: until must be a time in Unix seconds, got %s", what, tostringPlain(L.Get(4)))
		}
		until = time.Unix(n, 0).UTC()
	}
	return pushResult(L, accounts.Grant(c.ctx, owner, delegate, stringArgument(L, 3, what, "right"), until))
}

func accountRevoke(L *glua.LState) int {
	const what = "account.revoke"
	st := stateOf(L)
	st.source.requireBundleRight(L, hooks.RightGrants, what)
	c, accounts := requireAccounts(L)
	right := ""
	if L.Get(3) != glua.LNil {
		right = stringArgument(L, 3, what, "right")
	}
	return pushResult(L, accounts.Revoke(c.ctx, addressArgument(L, L.Get(1), what), addressArgument(L, L.Get(2), what), right))
}

func accountGranted(L *glua.LState) int {
	st := stateOf(L)
	c, accounts := requireAccounts(L)
	list := []any{}
	for _, g := range accounts.Grants(c.ctx, envelope.Address(text(L, 1))) {
		m := map[string]any{"delegate": string(g.Delegate), "right": g.Right}
		if !g.Until.IsZero() {
			m["until"] = float64(g.Until.Unix())
		}
		list = append(list, m)
	}
	L.Push(st.toLua(L, list))
	return 1
}
