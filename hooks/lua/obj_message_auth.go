package lua

import (
	"context"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
)

// msgAuth gives the results as tables. It counts as one DNS question of the
// call, however many it takes, and is cut off at the call's deadline.
func msgAuth(L *glua.LState) int {
	st, o := readableSelf(L, "auth")
	none := envelope.AuthResult{Result: "none"}
	res := &envelope.AuthResults{SPF: none, DMARC: none, ARC: none}
	if verify := msgOf(o).Auth; verify != nil {
		st.budget.spendOne(L, &st.budget.dns, "dns questions")
		ctx, cancel := context.WithDeadline(o.call.ctx, st.budget.deadline())
		defer cancel()
		found, err := verify(ctx)
		raiseIf(L, err)
		st.budget.checkLimits()
		res = found
	}
	best := authTable(res.BestDKIM())
	signatures := make([]any, len(res.DKIM))
	for i, s := range res.DKIM {
		signatures[i] = authTable(s)
	}
	best["signatures"] = signatures
	L.Push(st.toLua(L, map[string]any{"spf": authTable(res.SPF), "dkim": best, "dmarc": authTable(res.DMARC), "arc": authTable(res.ARC)}))
	return 1
}

// authTable is one result; what is empty is absent.
func authTable(r envelope.AuthResult) map[string]any {
	t := map[string]any{"result": r.Result}
	for name, v := range map[string]string{"domain": r.Domain, "selector": r.Selector, "policy": r.Policy, "reason": r.Reason} {
		if v != "" {
			t[name] = v
		}
	}
	return t
}
