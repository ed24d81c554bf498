package lua

import (
	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// str makes a string value of what the message or session owns already, so
// nothing is charged.
func str(s string) glua.LValue { return glua.LString(s) }

// optional is nil for "".
func optional(s string) glua.LValue {
	if s == "" {
		return glua.LNil
	}
	return glua.LString(s)
}

func sessionOf(o *object) *envelope.Session { return o.v.(*envelope.Session) }

var sessionClass = class{name: "session", doc: "one connection of a client; it can be read after the client has gone",
	fields: []field{
		textField("id", "its id", func(o *object) string { return sessionOf(o).ID }),
		textField("listener", "name of the listener", func(o *object) string { return sessionOf(o).Listener }),
		textField("ip", "address of the client", func(o *object) string { return clientIP(sessionOf(o)) }),
		textField("ip_net", "its /24 or /64", func(o *object) string { return clientNet(sessionOf(o)) }),
		optionalField("rdns", "verified host name of the client, or nil", func(o *object) string { return sessionOf(o).RDNS }),
		optionalField("helo", "what HELO, EHLO or LHLO gave, or nil", func(o *object) string { return sessionOf(o).Helo }),
		{name: "tls", doc: "nil, or version, cipher, sni and subject", get: sessionTLS},
		{name: "identity", doc: "nil, or user and what accept(identity) gave", get: sessionIdentity},
		textField("protocol", "\"smtp\", \"submission\", \"lmtp\" or \"pop3\"", func(o *object) string { return sessionOf(o).Protocol }),
		boolField("trusted", "true for clients that may relay without AUTH", func(o *object) bool { return sessionOf(o).Trusted }),
		boolField("closed", "true if the client has gone", func(o *object) bool { return sessionOf(o).Closed.Load() }),
		metaField("data of policies, kept for this session", func(o *object) *metaTable { return &metaTable{meta: &sessionOf(o).Meta} }),
	}}

// sessionValue returns the session or nil where the message came without one.
func sessionValue(st *state, e *hooks.Event) glua.LValue {
	if e.Session == nil {
		return glua.LNil
	}
	return st.newObject(&sessionClass, e.Session)
}

func clientIP(s *envelope.Session) string {
	if !s.Remote.IsValid() {
		return ""
	}
	return s.Remote.Addr().Unmap().WithZone("").String()
}

// clientNet groups addresses that one client can easily choose among.
func clientNet(s *envelope.Session) string {
	return hooks.ClientNet(s.Remote.Addr())
}

var tlsClass = class{name: "tls", doc: "the encrypted connection", fields: []field{
	textField("version", "\"TLS1.3\"", func(o *object) string { return o.v.(*envelope.TLSInfo).Version }),
	textField("cipher", "cipher suite", func(o *object) string { return o.v.(*envelope.TLSInfo).Cipher }),
	optionalField("sni", "the name the client asked for, or nil", func(o *object) string { return o.v.(*envelope.TLSInfo).SNI }),
	optionalField("subject", "subject of the verified client certificate, or nil",
		func(o *object) string { return o.v.(*envelope.TLSInfo).Subject }),
}}

func sessionTLS(st *state, _ *glua.LState, o *object) glua.LValue {
	if t := sessionOf(o).TLS; t != nil {
		return st.newObject(&tlsClass, t)
	}
	return glua.LNil
}

func sessionIdentity(st *state, _ *glua.LState, o *object) glua.LValue {
	if id := sessionOf(o).Identity; id != nil {
		return st.newObject(&identityClass, id)
	}
	return glua.LNil
}

var identityClass = class{name: "identity", doc: "the user who logged in: user, and every key that accept(identity) gave",
	index: func(st *state, L *glua.LState, o *object, key string) glua.LValue {
		id := o.v.(*envelope.Identity)
		if key == "user" {
			return str(string(id.User))
		}
		return st.toLua(L, id.Extra[key])
	},
	assign: readOnly}

func readOnly(_ *state, L *glua.LState, o *object, _, _ glua.LValue) {
	L.RaiseError("%s is read only", o.class.name)
}

var credClass = class{name: "cred", doc: "a login attempt, after the server checked its own accounts", fields: []field{
	textField("mechanism", "\"PLAIN\", \"LOGIN\", \"USER\", \"APOP\", ...", func(o *object) string { return o.v.(*hooks.Cred).Mechanism }),
	textField("user", "the name given", func(o *object) string { return o.v.(*hooks.Cred).User }),
	boolField("verified", "whether name and password are those of an account here",
		func(o *object) bool { return o.v.(*hooks.Cred).Verified }),
	optionalField("account", "the account whose mailbox or identity the login is for, or nil if none matched",
		func(o *object) string { return string(o.v.(*hooks.Cred).Account) }),
	optionalField("delegate", "the account that really logs in, if it is another one (owner*delegate at POP3); else nil",
		func(o *object) string { return string(o.v.(*hooks.Cred).Delegate) }),
	{
		name: "token",
		doc:  "the token of OAUTHBEARER and XOAUTH2, else nil; nil for bundles without the right passwords",
		get:  secretOf(func(c *hooks.Cred) string { return c.Token }),
	},
	{name: "password", doc: "nil if the mechanism does not show it, and for bundles without the right passwords",
		get: secretOf(func(c *hooks.Cred) string { return c.Password })},
}}

// hookTarpit only notes the delay: the session waits when the handlers have
// run, so that no state of the pool waits with it.
func hookTarpit(L *glua.LState) int {
	st := stateOf(L)
	c := st.currentCall(L, "tarpit")
	raiseIf(L, c.event.Tarpit(durationArgument(L, L.Get(1), "tarpit")))
	return 0
}
