package lua

import (
	glua "github.com/yuin/gopher-lua"

	"carteiro/core/mail"
)

func accountOwns(L *glua.LState) int {
	c, accounts := stateOf(L).accounts(L)
	L.Push(glua.LBool(accounts.Owns(c.ctx, mail.Address(text(L, 1)), mail.Address(text(L, 2)))))
	return 1
}

func accountOf(L *glua.LState) int {
	c, accounts := stateOf(L).accounts(L)
	L.Push(optional(string(accounts.AccountOf(c.ctx, mail.Address(text(L, 1))))))
	return 1
}

// maxAliasesAsked is how many of a message's addresses addressed_to looks up.
const maxAliasesAsked = 50

// named reports whether one of the addresses is want, or an alias that leads
// to it. Only names of domains of ours are looked up, each once.
func (st *state) named(L *glua.LState, list []mail.Address, want mail.Address) bool {
	for _, a := range list {
		if a.Base() == want {
			return true
		}
	}
	e := st.set.engine
	if e.Accounts == nil {
		return false
	}
	asked := map[mail.Address]bool{}
	for _, a := range list {
		if !e.Local(a.Domain()) || asked[a] || len(asked) >= maxAliasesAsked {
			continue
		}
		asked[a] = true
		c, accounts := st.accounts(L)
		if accounts.Owns(c.ctx, want, a) {
			return true
		}
	}
	return false
}
