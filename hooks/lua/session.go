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

var sessionClass = class{name: "session", doc: "one client connection; it outlives the socket",
	fields: []field{
		{name: "id", doc: "its id", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(sessionOf(o).ID) }},
		{name: "listener", doc: "name of the listener", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(sessionOf(o).Listener) }},
		{name: "ip", doc: "address of the client", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(clientIP(sessionOf(o))) }},
		{name: "ip_net", doc: "its /24 or /64", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(clientNet(sessionOf(o))) }},
		{name: "rdns", doc: "verified name of the client, or nil", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return optional(sessionOf(o).RDNS) }},
		{name: "helo", doc: "what HELO, EHLO or LHLO gave, or nil", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return optional(sessionOf(o).Helo) }},
		{name: "tls", doc: "nil, or version, cipher, sni and subject", get: sessionTLS},
		{name: "identity", doc: "nil, or user and what accept(identity) gave", get: sessionIdentity},
		{name: "protocol", doc: "\"smtp\", \"submission\", \"lmtp\" or \"pop3\"", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(sessionOf(o).Protocol) }},
		{name: "trusted", doc: "true for clients that may relay without AUTH", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return glua.LBool(sessionOf(o).Trusted) }},
		{name: "closed", doc: "true when the client has gone", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return glua.LBool(sessionOf(o).Closed.Load()) }},
		{name: "meta", doc: "notes of policies, for this session", get: func(st *state, _ *glua.LState, o *object) glua.LValue {
			return st.wrap(&metaClass, &notes{meta: &sessionOf(o).Meta})
		}},
	}}

// sessionValue is the session or nil where the message came without one.
func (st *state) sessionValue(e *hooks.Event) glua.LValue {
	if e.Session == nil {
		return glua.LNil
	}
	return st.wrap(&sessionClass, e.Session)
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
	{name: "version", doc: "\"TLS1.3\"", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(o.v.(*envelope.TLSInfo).Version) }},
	{name: "cipher", doc: "cipher suite", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(o.v.(*envelope.TLSInfo).Cipher) }},
	{name: "sni", doc: "the name the client asked for, or nil", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return optional(o.v.(*envelope.TLSInfo).SNI) }},
	{name: "subject", doc: "of a verified client certificate, or nil", get: func(_ *state, _ *glua.LState, o *object) glua.LValue {
		return optional(o.v.(*envelope.TLSInfo).Subject)
	}},
}}

func sessionTLS(st *state, _ *glua.LState, o *object) glua.LValue {
	if t := sessionOf(o).TLS; t != nil {
		return st.wrap(&tlsClass, t)
	}
	return glua.LNil
}

func sessionIdentity(st *state, _ *glua.LState, o *object) glua.LValue {
	if id := sessionOf(o).Identity; id != nil {
		return st.wrap(&identityClass, id)
	}
	return glua.LNil
}

var identityClass = class{name: "identity", doc: "who logged in: user, and every key that accept(identity) gave",
	index: func(st *state, L *glua.LState, o *object, key string) glua.LValue {
		id := o.v.(*envelope.Identity)
		if key == "user" {
			return str(string(id.User))
		}
		return st.lift(L, id.Extra[key])
	},
	assign: readOnly}

func readOnly(_ *state, L *glua.LState, o *object, _, _ glua.LValue) {
	L.RaiseError("%s is read only", o.class.name)
}

var credClass = class{name: "cred", doc: "a login attempt, after the server looked at its own accounts", fields: []field{
	{name: "mechanism", doc: "\"PLAIN\", \"LOGIN\", \"USER\", \"APOP\", ...", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(o.v.(*hooks.Cred).Mechanism) }},
	{name: "user", doc: "the name given", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(o.v.(*hooks.Cred).User) }},
	{name: "verified", doc: "whether the server's own account matched", get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return glua.LBool(o.v.(*hooks.Cred).Verified) }},
	{name: "account", doc: "the account whose mailbox or identity this is for, or nil where nothing matched", get: func(_ *state, _ *glua.LState, o *object) glua.LValue {
		return optional(string(o.v.(*hooks.Cred).Account))
	}},
	{name: "delegate", doc: "the account that really logs in, where it is not that one, as owner*delegate at POP3; else nil", get: func(_ *state, _ *glua.LState, o *object) glua.LValue {
		return optional(string(o.v.(*hooks.Cred).Delegate))
	}},
	{name: "token", doc: "of OAUTHBEARER and XOAUTH2, else nil; nil for bundles without the right passwords", get: secretOf(func(c *hooks.Cred) string { return c.Token })},
	{name: "password", doc: "nil where the mechanism does not show it, and for bundles without the right passwords",
		get: secretOf(func(c *hooks.Cred) string { return c.Password })},
}}
