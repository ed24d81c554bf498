package lua

import (
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"
	"golang.org/x/net/publicsuffix"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

var addrModule = module{name: "addr", doc: "addresses", functions: []function{
	{name: "parse", call: addrParse, sig: "parse(text)", doc: "the address and display name of the first mailbox in a header value, or " +
		"nil"},
	{name: "list", call: addrList, sig: "list(text)", doc: "all mailboxes of a header value: a list of { address, display }"},
	{name: "user", call: addrUser, sig: "user(a)", doc: "local part without its tag"},
	{name: "domain", call: addrDomain, sig: "domain(a)", doc: "domain in lower case"},
	{name: "tag", call: addrTag, sig: "tag(a)", doc: "what follows the \"+\", or nil"},
	{name: "normalize", call: addrNormalize, sig: "normalize(a)", doc: "the address without its tag and in lower case, or nil"},
	{name: "org_domain", call: addrOrgDomain, sig: "org_domain(domain)", doc: "the organizational domain, by the public suffix list"},
	{
		name: "srs",
		call: addrSRS,
		sig:  "srs(sender, [domain])",
		doc: "a signed sender (SRS) for a forwarded message, at one of our domains or at the server's name. For 21 days, bounces sent to " +
			"it reach the original sender. A sender of ours, the null sender, and one that is too long are returned unchanged",
		bounds: bounds{"sender": asSender, "domain": inForce},
	},
	{
		name: "srs_reverse",
		call: addrSRSReverse,
		sig:  "srs_reverse(a)",
		doc:  "the original sender of a signed one, or nil if it is forged or older than 21 days",
	},
	{
		name:   "verp",
		call:   addrVERP,
		sig:    "verp(bounces, address)",
		doc:    "a signed bounce address that names its recipient: BOUNCES+user=domain=SIGN",
		bounds: bounds{"bounces": inForce},
	},
	{
		name: "verp_reverse",
		call: addrVERPReverse,
		sig:  "verp_reverse(a)",
		doc:  "the recipient that a bounce address names, or nil if it is forged",
	},
}}

func addrParse(L *glua.LState) int {
	st := stateOf(L)
	s := text(L, 1)
	st.budget.chargeMemory(L, int64(len(s)))
	list, _ := mime.ParseAddressList(s)
	if len(list) == 0 {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(glua.LString(list[0].Address))
	L.Push(optional(list[0].Display))
	return 2
}

func addrList(L *glua.LState) int {
	st := stateOf(L)
	s := text(L, 1)
	st.budget.chargeMemory(L, 4*int64(len(s)))
	list, _ := mime.ParseAddressList(s)
	out := []any{}
	for _, m := range list {
		out = append(out, map[string]any{"address": string(m.Address), "display": m.Display})
	}
	L.Push(st.toLua(L, out))
	return 1
}

func addrUser(L *glua.LState) int {
	user, _, _ := strings.Cut(envelope.Address(text(L, 1)).Local(), "+")
	L.Push(glua.LString(user))
	return 1
}

func addrDomain(L *glua.LState) int {
	L.Push(glua.LString(strings.ToLower(envelope.Address(text(L, 1)).Domain())))
	return 1
}

func addrTag(L *glua.LState) int {
	L.Push(optional(envelope.Address(text(L, 1)).Tag()))
	return 1
}

func addrNormalize(L *glua.LState) int {
	a, err := envelope.ParseAddress(text(L, 1))
	if err != nil {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(glua.LString(a.Base()))
	return 1
}

func addrOrgDomain(L *glua.LState) int {
	d := strings.ToLower(strings.TrimSuffix(text(L, 1), "."))
	if len(d) > envelope.MaxDomain {
		L.Push(glua.LNil)
		return 1
	}
	if org, err := publicsuffix.EffectiveTLDPlusOne(d); err == nil {
		d = org
	}
	L.Push(glua.LString(d))
	return 1
}

// requireSigningKey raises where the server has no key to sign with.
func requireSigningKey(L *glua.LState, what string) *Engine {
	st := stateOf(L)
	if !st.generation.engine.Ring.Ready() || st.generation.engine.Hostname == "" {
		L.RaiseError("%s: the server has no key to sign addresses with", what)
	}
	return st.generation.engine
}

func addrSRS(L *glua.LState) int {
	const what = "addr.srs"
	st := stateOf(L)
	e := requireSigningKey(L, what)
	from, domain := senderArgument(L, L.Get(1), what), e.Hostname
	if L.Get(2) != glua.LNil {
		if domain = strings.ToLower(text(L, 2)); !e.Local(domain) {
			L.RaiseError("%s: %s is not a domain of this server", what, domain)
		}
	}
	L.Push(glua.LString(e.srs(from, domain, st.now())))
	return 1
}

// srs rewrites a foreign sender so that its bounces come back to us.
func (e *Engine) srs(a envelope.Address, domain string, now time.Time) envelope.Address {
	if e.Local(a.Domain()) {
		return a
	}
	return e.Ring.Rewrite(a, domain, now)
}

func addrSRSReverse(L *glua.LState) int {
	st := stateOf(L)
	e := requireSigningKey(L, "addr.srs_reverse")
	L.Push(optional(string(e.Ring.Reverse(envelope.Address(text(L, 1)), st.now()))))
	return 1
}

// addressOrEmpty is s as an address, or "".
func addressOrEmpty(s string) envelope.Address {
	a, err := envelope.ParseAddress(s)
	if err != nil {
		return ""
	}
	return a
}

func addrVERP(L *glua.LState) int {
	e := requireSigningKey(L, "addr.verp")
	bounces := addressArgument(L, L.Get(1), "addr.verp")
	rcpt := addressArgument(L, L.Get(2), "addr.verp")
	local := bounces.Local() + "+" + rcpt.Local() + "=" + rcpt.Domain() + "=" + e.Ring.Sign("verp", string(bounces), string(rcpt))
	if len(local) > envelope.MaxLocal || strings.HasPrefix(rcpt.Local(), `"`) {
		L.Push(glua.LString(bounces)) // too long to name its recipient
		return 1
	}
	L.Push(glua.LString(local + "@" + bounces.Domain()))
	return 1
}

func addrVERPReverse(L *glua.LState) int {
	e := requireSigningKey(L, "addr.verp_reverse")
	L.Push(optional(string(e.verpReverse(envelope.Address(text(L, 1))))))
	return 1
}

// verpReverse tries each "+", for the bounce address may have one itself.
func (e *Engine) verpReverse(a envelope.Address) envelope.Address {
	local := a.Local()
	for i := range len(local) {
		if local[i] != '+' {
			continue
		}
		rest, sign, ok := cutLast(local[i+1:], "=")
		user, domain, ok2 := cutLast(rest, "=")
		if ok && ok2 && e.Ring.Verify(sign, "verp", local[:i]+"@"+a.Domain(), user+"@"+domain) {
			return addressOrEmpty(user + "@" + domain)
		}
	}
	return ""
}

// cutLast is strings.Cut at the last place.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

var accountModule = module{name: "account", doc: "accounts of this server", functions: []function{
	{name: "exists", call: accountExists, sig: "exists(a)", doc: "whether there is such an account",
		bounds: bounds{"a": inForce}},
	{name: "setting", call: accountSetting, sig: "setting(a, name)", doc: "what `carteiro account set` stored, or nil",
		bounds: bounds{"a": inForce}},
	{
		name:   "confirmed",
		call:   accountConfirmed,
		sig:    "confirmed(a, name)",
		doc:    "whether the admin set that setting with --confirmed: the people that it names have agreed",
		bounds: bounds{"a": inForce},
	},
	{
		name: "resolve",
		call: accountResolve,
		sig:  "resolve(a)",
		doc: `resolves one step: "mailbox" and its address, "alias" and the list of its targets, "foreign" for other domains, or nil if ` +
			"nobody has the address",
		bounds: bounds{"a": inForce},
	},
	{name: "may_send_as", call: accountMaySendAs, sig: "may_send_as(identity, a)", doc: "nil, \"as\" or \"behalf\"",
		bounds: bounds{"a": inForce}},
	{
		name:   "login",
		call:   accountLogin,
		blocks: true,
		sig:    "login(name, password)",
		doc:    "the account that has this name and password, or nil; after wrong guesses the next ones take longer",
		bounds: bounds{"name": inForce},
	},
	{
		name: "grant",
		call: accountGrant,
		sig:  "grant(owner, delegate, right, [until])",
		doc: "gives a right until a time, or without end. It counts at once, even if the handler fails later. Returns true, or nil and " +
			"what is wrong",
		bounds: bounds{"owner": inForce, "delegate": inForce},
	},
	{name: "revoke", call: accountRevoke, sig: "revoke(owner, delegate, [right])", doc: "takes back a right, or all of them, in the " +
		"same way",
		bounds: bounds{"owner": inForce}},
	{name: "granted", call: accountGranted, sig: "granted(owner)", doc: "a list of the rights that an owner gave: { delegate, right, " +
		"until }",
		bounds: bounds{"owner": inForce}},
	{
		name:   "audit",
		call:   accountAudit,
		sig:    "audit(owner, { who =, action =, as =, right =, message_id =, message =, ip = })",
		doc:    "adds an entry to the delegation log: what others did in the owner's name. `carteiro account audit` prints it",
		bounds: bounds{"owner": inForce},
	},
	{
		name: "audited",
		call: accountAudited,
		sig:  "audited(owner, [limit])",
		doc: "a list of the entries of the delegation log with their time and the bundle that wrote them (by), the newest first; 100 by " +
			"default, 1000 at most",
		bounds: bounds{"owner": inForce},
	},
	{
		name: "owns",
		call: accountOwns,
		sig:  "owns(a, address)",
		doc: "whether the address belongs to the account: its name, with any tag, or an alias that leads to it; a catch-all does not " +
			"count",
		bounds: bounds{"a": inForce, "address": inForce},
	},
	{
		name:   "of",
		call:   accountOf,
		sig:    "of(address)",
		doc:    "the account that an address leads to, with a tag or as an alias of that account alone, or nil",
		bounds: bounds{"address": inForce},
	},
}}

// requireAccounts opens the accounts for one look-up.
func requireAccounts(L *glua.LState) (*call, Accounts) {
	st := stateOf(L)
	c := st.currentCall(L, "account")
	if st.generation.engine.Accounts == nil {
		L.RaiseError("account: the server has no accounts")
	}
	st.budget.spendOne(L, &st.budget.kv, "kv and account operations")
	return c, st.generation.engine.Accounts
}

func accountExists(L *glua.LState) int {
	c, accounts := requireAccounts(L)
	L.Push(glua.LBool(accounts.Exists(c.ctx, envelope.Address(text(L, 1)))))
	return 1
}

func accountSetting(L *glua.LState) int {
	st := stateOf(L)
	c, accounts := requireAccounts(L)
	v, err := accounts.Setting(c.ctx, envelope.Address(text(L, 1)), text(L, 2))
	raiseIf(L, err)
	L.Push(st.toLua(L, v))
	return 1
}

func accountConfirmed(L *glua.LState) int {
	c, accounts := requireAccounts(L)
	ok, err := accounts.Confirmed(c.ctx, envelope.Address(text(L, 1)), text(L, 2))
	raiseIf(L, err)
	L.Push(glua.LBool(ok))
	return 1
}

func accountResolve(L *glua.LState) int {
	st := stateOf(L)
	c, accounts := requireAccounts(L)
	a := addressArgument(L, L.Get(1), "account.resolve")
	if !st.generation.engine.Local(a.Domain()) {
		L.Push(glua.LString("foreign"))
		return 1
	}
	mailbox, targets, err := accounts.ResolveForPolicy(c.ctx, a)
	raiseIf(L, err)
	switch {
	case mailbox != "":
		L.Push(glua.LString("mailbox"))
		L.Push(glua.LString(mailbox))
	case targets != nil:
		list := make([]string, len(targets))
		for i, t := range targets {
			list[i] = string(t)
		}
		L.Push(glua.LString("alias"))
		L.Push(st.strings(L, list))
	default:
		L.Push(glua.LNil)
		return 1
	}
	return 2
}

func accountMaySendAs(L *glua.LState) int {
	c, accounts := requireAccounts(L)
	L.Push(optional(accounts.MaySendAs(c.ctx, envelope.Address(text(L, 1)), envelope.Address(text(L, 2)))))
	return 1
}
