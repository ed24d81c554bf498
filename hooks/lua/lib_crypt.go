package lua

import (
	"context"
	"errors"
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// Keys are the keys of addresses that scripts encrypt to.
type Keys interface {
	// Of is the key of an address, of one kind or with "" the best that there
	// is; crypt.ErrNoKey.
	Of(ctx context.Context, a envelope.Address, kind string) (crypt.Key, error)
}

const cryptReasons = "\"encrypted\" (it is already; it stays as it is), \"report\" (a delivery status notification stays readable), " +
	"\"no key\", \"expired\", \"revoked\", \"unusable\", \"unreadable\", \"too large\""

var cryptModule = module{
	name: "crypt",
	doc:  "signs messages, and encrypts them to the keys of addresses (`carteiro key add`)",
	functions: []function{
		{
			name:   "openpgp",
			call:   func(L *glua.LState) int { return cryptTo(L, crypt.OpenPGP) },
			sig:    "openpgp(msg, account, [{ hide_subject = true }])",
			bounds: bounds{"account": inForce},
			doc: "at receive.data, or of a fork or variant: when all handlers have run, the message is encrypted to the OpenPGP key of " +
				"that address (RFC 3156). true, or nil and why it will not be: " + cryptReasons,
		},
		{
			name:   "smime",
			call:   func(L *glua.LState) int { return cryptTo(L, crypt.SMIME) },
			sig:    "smime(msg, account, [{ hide_subject = true }])",
			bounds: bounds{"account": inForce},
			doc:    "like openpgp, with the S/MIME certificate of that address (RFC 8551), for messages of up to 32 MiB",
		},
		{name: "has_key", call: cryptHasKey, sig: "has_key(account)", bounds: bounds{"account": inForce},
			doc: `"openpgp" or "smime": what a message to that address can be encrypted with, or nil; if the key cannot be used now, the ` +
				"second result is the reason"},
		{name: "sign_dkim", call: cryptSignDKIM, sig: "sign_dkim(msg, { domain =, selector = })", bounds: bounds{"domain": inForceKeys},
			doc: "at receive.data, or for a fork: adds a DKIM signature (RFC 6376) with the keys of that domain after all handlers have run. " +
				"Mail of users and policies gets a signature of its author's domain anyway"},
	},
}

// What encrypting costs in instructions: cryptSteps for the key, and one for
// each so many octets. The work itself is done when the handlers have run.
const (
	cryptSteps  = 5000
	cryptOctets = 256
)

// requireKeys returns the server's keys; looking one up counts as an operation of kv.
func requireKeys(L *glua.LState, what string) (*call, Keys) {
	st := stateOf(L)
	c := st.currentCall(L, what)
	if st.generation.engine.Keys == nil {
		L.RaiseError("%s: the server has no keys", what)
	}
	st.budget.spendOne(L, &st.budget.kv, "kv and account operations")
	st.budget.chargeSteps(L, cryptSteps)
	return c, st.generation.engine.Keys
}

func cryptTo(L *glua.LState, kind string) int {
	what := "crypt." + kind
	st := stateOf(L)
	st.currentCall(L, what)
	m := msgOf(msgArgument(L, L.Get(1), what+":"))
	a := addressArgument(L, L.Get(2), what)
	hide := hideArgument(L, what)
	st.source.requireRight(L, hooks.BodyWrite, what)
	c, keys := requireKeys(L, what)
	raiseIf(L, c.event.Editable(m))
	st.budget.chargeSteps(L, m.Size/cryptOctets)
	err := checkEncryptable(L, m, kind)
	var e envelope.Encryption
	if err == nil {
		e, err = encryptionOf(c.ctx, keys, a, kind)
	}
	if reason := crypt.Reason(err); reason != "" {
		L.Push(glua.LNil)
		L.Push(glua.LString(reason))
		return 2
	}
	raiseIf(L, err)
	e.HideSubject = hide
	st.budget.chargeMemory(L, int64(len(e.Key)))
	raiseIf(L, c.event.SetEncryption(m, e))
	L.Push(glua.LTrue)
	return 1
}

func encryptionOf(ctx context.Context, keys Keys, a envelope.Address, kind string) (envelope.Encryption, error) {
	k, err := keys.Of(ctx, a, kind)
	if err != nil {
		return envelope.Encryption{}, err
	}
	return k.Encryption()
}

// checkEncryptable returns the reason why a message must not or cannot be encrypted.
func checkEncryptable(L *glua.LState, m *hooks.Message, kind string) error {
	if m.Encrypt != nil {
		return crypt.ErrEncrypted
	}
	if err := crypt.Examine(bodyIndex(L, m), m.Body); err != nil {
		return err
	}
	size := m.Size
	for _, t := range m.Footer {
		size += 3 * int64(len(t.Text)) // quoted-printable
	}
	if kind == crypt.SMIME && size > crypt.MaxSMIME {
		return crypt.ErrTooLarge
	}
	return nil
}

// hideArgument reads { hide_subject = true }.
func hideArgument(L *glua.LState, what string) (hide bool) {
	if L.Get(3) == glua.LNil {
		return false
	}
	t, ok := L.Get(3).(*glua.LTable)
	if !ok {
		L.RaiseError("%s: { hide_subject = true } expected, got %s", what, typeOf(L.Get(3)))
	}
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		if key := tostringPlain(k); key != "hide_subject" {
			L.RaiseError("%s: unknown option %s%s", what, key, hooks.Suggestion(key, []string{"hide_subject"}))
		}
		hide = glua.LVAsBool(v)
	}
	return hide
}

func cryptHasKey(L *glua.LState) int {
	const what = "crypt.has_key"
	c, keys := requireKeys(L, what)
	k, err := keys.Of(c.ctx, addressArgument(L, L.Get(1), what), "")
	if errors.Is(err, crypt.ErrNoKey) {
		L.Push(glua.LNil)
		return 1
	}
	raiseIf(L, err)
	_, err = k.Encryption()
	L.Push(glua.LString(k.Kind))
	L.Push(optional(crypt.Reason(err)))
	return 2
}

func cryptSignDKIM(L *glua.LState) int {
	const what = "crypt.sign_dkim"
	st := stateOf(L)
	c := st.currentCall(L, what)
	m := msgOf(msgArgument(L, L.Get(1), what+":"))
	t, ok := L.Get(2).(*glua.LTable)
	if !ok {
		L.RaiseError("%s: { domain = } expected, got %s", what, typeOf(L.Get(2)))
	}
	var s envelope.Signature
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
	bad := func(x string) bool { return x == "" || strings.ContainsAny(x, "/\\. \t") || controlIndex(x) >= 0 }
	if err := envelope.CheckDomain(s.Domain); err != nil || slices.ContainsFunc(s.Selectors, bad) {
		L.RaiseError("%s: domain and selector must be names", what)
	}
	raiseIf(L, c.event.AddSignature(m, s))
	return 0
}
