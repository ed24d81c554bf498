package lua

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

var serverModule = module{name: "server", doc: "this server as others see it", functions: []function{
	{name: "hostname", call: serverHostname, sig: "hostname()", doc: "its name"},
	{
		name: "url",
		call: serverURL,
		sig:  "url([path])",
		doc:  "the public URL of this bundle's web.request: that of /b/BUNDLE, and the path",
	},
	{
		name: "is_local",
		call: serverIsLocal,
		sig:  "is_local(domain)",
		doc: "two results: whether mail for the domain ends here and this bundle serves the domain, and whether mail for it ends here at " +
			"all. account, list and crypt answer only about domains for which the first is true",
		bounds: bounds{"domain": whereRead},
	},
	{
		name: "sign",
		call: serverSign,
		sig:  "sign(text)",
		doc:  "a signature of a text: 32 hexadecimal digits that only this server can make, different for each bundle",
	},
}}

func serverHostname(L *glua.LState) int {
	L.Push(glua.LString(stateOf(L).generation.engine.Hostname))
	return 1
}

func serverURL(L *glua.LState) int {
	st := stateOf(L)
	bundle := "scripts"
	if name := st.source.src.Bundle; name != "" {
		bundle = name[strings.LastIndexByte(name, '/')+1:]
	}
	path := ""
	if L.Get(1) != glua.LNil {
		path = stringArgument(L, 1, "server.url", "path")
	}
	L.Push(st.budget.newString(L, strings.TrimSuffix(st.generation.engine.WebURL, "/")+"/b/"+bundle+path))
	return 1
}

func serverIsLocal(L *glua.LState) int {
	st := stateOf(L)
	domain := strings.ToLower(text(L, 1))
	L.Push(glua.LBool(st.source.serves(st.generation.engine, domain)))
	L.Push(glua.LBool(st.generation.engine.Local(domain)))
	return 2
}

func serverSign(L *glua.LState) int {
	st := stateOf(L)
	secret := st.generation.engine.Secret
	if len(secret) == 0 {
		L.RaiseError("server.sign: the server has no key to sign with")
	}
	s := text(L, 1)
	st.budget.chargeSteps(L, int64(len(s))/64)
	mac := hmac.New(sha256.New, secret)
	for _, part := range []string{"bundle", "\x00", st.source.space, "\x00", s} {
		mac.Write([]byte(part))
	}
	L.Push(glua.LString(hex.EncodeToString(mac.Sum(nil))[:32]))
	return 1
}

// forDomain runs a function with another domain at hand.
func forDomain(L *glua.LState) int {
	st := stateOf(L)
	c := st.currentCall(L, "for_domain")
	domain := strings.ToLower(text(L, 1))
	fn, ok := L.Get(2).(*glua.LFunction)
	if !ok {
		L.RaiseError("for_domain: expected for_domain(domain, function)")
	}
	if domain != "" && !st.source.serves(st.generation.engine, domain) {
		L.RaiseError("for_domain: %s is not a domain of this server that %s serves", domain, st.source.ownerName())
	}
	before, top := c.domain, L.GetTop()
	if c.source.ownDomain != nil {
		c.domain = domain
	}
	defer func() { c.domain = before }()
	L.Push(fn)
	L.Call(0, glua.MultRet)
	return L.GetTop() - top
}
