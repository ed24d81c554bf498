package lua

import (
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/mail"
	"carteiro/hooks"
)

var cryptModule = module{name: "crypt", doc: "signatures", functions: []function{
	{name: "sign_dkim", call: cryptSignDKIM, sig: "sign_dkim(msg, { domain =, selector = })",
		doc: "at receive.data, or of a fork: a DKIM signature (RFC 6376) of that domain's keys, made when all handlers have run; mail of users and policies gets one of its author's domain anyhow"},
}}

func cryptSignDKIM(L *glua.LState) int {
	const what = "crypt.sign_dkim"
	st := stateOf(L)
	c := st.running(L, what)
	m := msgOf(st.msgArgument(L, L.Get(1), what+":"))
	t, ok := L.Get(2).(*glua.LTable)
	if !ok {
		L.RaiseError("%s: { domain = } expected, got %s", what, typeOf(L.Get(2)))
	}
	var s mail.Signature
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		switch key := tostringPlain(k); key {
		case "domain":
			s.Domain = strings.ToLower(tostringPlain(v))
		case "selector":
			s.Selectors = []string{tostringPlain(v)}
		default:
			L.RaiseError("%s: unknown option %s%s", what, key, hooks.Suggestion(key, []string{"domain", "selector"}))
		}
	}
	if err := mail.CheckDomain(s.Domain); err != nil || slices.ContainsFunc(s.Selectors, func(x string) bool { return x == "" || strings.ContainsAny(x, "/\\. ") }) {
		L.RaiseError("%s: domain and selector must be names", what)
	}
	st.must(L, c.event.AddSignature(m, s))
	return 0
}
