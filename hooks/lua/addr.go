package lua

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"
	"golang.org/x/net/publicsuffix"

	"carteiro/core/mail"
	"carteiro/core/mime"
)

var addrModule = module{name: "addr", doc: "addresses", functions: []function{
	{name: "parse", call: addrParse, sig: "parse(text)", doc: "address and display name of the first mailbox in a header value, or nil"},
	{name: "user", call: addrUser, sig: "user(a)", doc: "local part without its tag"},
	{name: "domain", call: addrDomain, sig: "domain(a)", doc: "domain in lower case"},
	{name: "tag", call: addrTag, sig: "tag(a)", doc: "what follows the \"+\", or nil"},
	{name: "normalize", call: addrNormalize, sig: "normalize(a)", doc: "canonical form without tag, in lower case, or nil"},
	{name: "org_domain", call: addrOrgDomain, sig: "org_domain(domain)", doc: "organizational domain by the public suffix list"},
	{name: "srs", call: addrSRS, sig: "srs(sender)", doc: "signed sender of ours for a forwarded message; own and null senders, and those too long for it, stay"},
	{name: "srs_reverse", call: addrSRSReverse, sig: "srs_reverse(a)", doc: "the sender behind a signed one, or nil when forged or older than 21 days"},
	{name: "verp", call: addrVERP, sig: "verp(bounces, address)", doc: "signed bounce address that names its recipient"},
	{name: "verp_reverse", call: addrVERPReverse, sig: "verp_reverse(a)", doc: "the recipient that a bounce address names, or nil when forged"},
}}

func addrParse(L *glua.LState) int {
	st := stateOf(L)
	s := text(L, 1)
	st.budget.charge(L, int64(len(s)))
	list, _ := mime.ParseAddressList(s)
	if len(list) == 0 {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(glua.LString(list[0].Address))
	L.Push(optional(list[0].Display))
	return 2
}

func addrUser(L *glua.LState) int {
	user, _, _ := strings.Cut(mail.Address(text(L, 1)).Local(), "+")
	L.Push(glua.LString(user))
	return 1
}

func addrDomain(L *glua.LState) int {
	L.Push(glua.LString(strings.ToLower(mail.Address(text(L, 1)).Domain())))
	return 1
}

func addrTag(L *glua.LState) int {
	L.Push(optional(mail.Address(text(L, 1)).Tag()))
	return 1
}

func addrNormalize(L *glua.LState) int {
	a, err := mail.ParseAddress(text(L, 1))
	if err != nil {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(glua.LString(a.Base()))
	return 1
}

func addrOrgDomain(L *glua.LState) int {
	d := strings.ToLower(strings.TrimSuffix(text(L, 1), "."))
	if len(d) > mail.MaxDomain {
		L.Push(glua.LNil)
		return 1
	}
	if org, err := publicsuffix.EffectiveTLDPlusOne(d); err == nil {
		d = org
	}
	L.Push(glua.LString(d))
	return 1
}

// Form and life of signed addresses: SRS0=sign=day=domain=local@HOST. The
// sign has 30 bits, as much as fits beside names within 64 octets; guessing
// one that brings a bounce to a stranger takes millions of tries.
const (
	signLength = 6
	srsDays    = 21
	srsModulo  = 32 * 32
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// sign authenticates parts of an address; case does not matter, for mail
// systems change it.
func (e *Engine) sign(kind string, parts ...string) string {
	mac := hmac.New(sha256.New, e.Secret)
	mac.Write([]byte(kind))
	for _, p := range parts {
		mac.Write([]byte{0})
		mac.Write([]byte(strings.ToLower(p)))
	}
	return base32Lower.EncodeToString(mac.Sum(nil))[:signLength]
}

func (e *Engine) signed(sign, kind string, parts ...string) bool {
	return hmac.Equal([]byte(strings.ToLower(sign)), []byte(e.sign(kind, parts...)))
}

func dayOf(t time.Time) int { return int(t.Unix()/86400) % srsModulo }

func dayText(day int) string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	return string([]byte{digits[day/32], digits[day%32]})
}

func dayNumber(s string) int {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	s = strings.ToLower(s)
	if len(s) != 2 {
		return -1
	}
	hi, lo := strings.IndexByte(digits, s[0]), strings.IndexByte(digits, s[1])
	if hi < 0 || lo < 0 {
		return -1
	}
	return hi*32 + lo
}

// needsSecret raises where the server has no key to sign with.
func (st *state) needsSecret(L *glua.LState, what string) *Engine {
	if len(st.set.engine.Secret) == 0 || st.set.engine.Hostname == "" {
		L.RaiseError("%s: the server has no key to sign addresses with", what)
	}
	return st.set.engine
}

func addrSRS(L *glua.LState) int {
	st := stateOf(L)
	e := st.needsSecret(L, "addr.srs")
	L.Push(glua.LString(e.srs(sender(L, L.Get(1), "addr.srs"), st.now())))
	return 1
}

// srs rewrites a sender so that its bounces come back to us (SRS0, and SRS1
// for what another forwarder rewrote before).
func (e *Engine) srs(a mail.Address, now time.Time) mail.Address {
	if a == "" || e.Local(a.Domain()) || strings.HasPrefix(a.Local(), `"`) {
		return a
	}
	local, domain := a.Local(), a.Domain()
	out := ""
	upper := strings.ToUpper(local)
	switch {
	case strings.HasPrefix(upper, "SRS0=") || strings.HasPrefix(upper, "SRS0+") || strings.HasPrefix(upper, "SRS0-"):
		rest := local[4:]
		out = "SRS1=" + e.sign("srs1", domain, rest) + "=" + domain + "=" + rest
	case strings.HasPrefix(upper, "SRS1="):
		_, rest, ok := strings.Cut(local[5:], "=")
		first, rest, ok2 := strings.Cut(rest, "=")
		if !ok || !ok2 {
			return a
		}
		out = "SRS1=" + e.sign("srs1", first, rest) + "=" + first + "=" + rest
	default:
		day := dayText(dayOf(now))
		out = "SRS0=" + e.sign("srs0", day, domain, local) + "=" + day + "=" + domain + "=" + local
	}
	if len(out) > mail.MaxLocal {
		return a
	}
	return mail.Address(out + "@" + e.Hostname)
}

func addrSRSReverse(L *glua.LState) int {
	st := stateOf(L)
	e := st.needsSecret(L, "addr.srs_reverse")
	L.Push(optional(string(e.srsReverse(mail.Address(text(L, 1)), st.now()))))
	return 1
}

func (e *Engine) srsReverse(a mail.Address, now time.Time) mail.Address {
	local := a.Local()
	if len(local) < 5 {
		return ""
	}
	f := strings.SplitN(local[5:], "=", 4)
	switch strings.ToUpper(local[:5]) {
	case "SRS0=":
		if len(f) != 4 || !e.signed(f[0], "srs0", f[1], f[2], f[3]) {
			return ""
		}
		day := dayNumber(f[1])
		if age := (dayOf(now) - day + srsModulo) % srsModulo; day < 0 || age > srsDays {
			return ""
		}
		return checked(f[3] + "@" + f[2])
	case "SRS1=":
		sign, rest, _ := strings.Cut(local[5:], "=")
		domain, rest, ok := strings.Cut(rest, "=")
		if !ok || !e.signed(sign, "srs1", domain, rest) {
			return ""
		}
		return checked("SRS0" + rest + "@" + domain)
	}
	return ""
}

// checked is s as an address, or "".
func checked(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		return ""
	}
	return a
}

func addrVERP(L *glua.LState) int {
	st := stateOf(L)
	e := st.needsSecret(L, "addr.verp")
	bounces := address(L, L.Get(1), "addr.verp")
	rcpt := address(L, L.Get(2), "addr.verp")
	local := bounces.Local() + "+" + e.sign("verp", string(bounces), string(rcpt)) + "=" + rcpt.Domain() + "=" + rcpt.Local()
	if len(local) > mail.MaxLocal || strings.HasPrefix(rcpt.Local(), `"`) {
		L.Push(glua.LString(bounces)) // too long to name its recipient
		return 1
	}
	L.Push(glua.LString(local + "@" + bounces.Domain()))
	return 1
}

func addrVERPReverse(L *glua.LState) int {
	st := stateOf(L)
	e := st.needsSecret(L, "addr.verp_reverse")
	L.Push(optional(string(e.verpReverse(mail.Address(text(L, 1))))))
	return 1
}

// verpReverse tries each "+", for the bounce address may have one itself.
func (e *Engine) verpReverse(a mail.Address) mail.Address {
	local := a.Local()
	for i := range len(local) {
		if local[i] != '+' {
			continue
		}
		f := strings.SplitN(local[i+1:], "=", 3)
		if len(f) == 3 && e.signed(f[0], "verp", local[:i]+"@"+a.Domain(), f[2]+"@"+f[1]) {
			return checked(f[2] + "@" + f[1])
		}
	}
	return ""
}

var accountModule = module{name: "account", doc: "accounts of this server", functions: []function{
	{name: "exists", call: accountExists, sig: "exists(a)", doc: "whether there is an account"},
	{name: "setting", call: accountSetting, sig: "setting(a, name)", doc: "what `carteiro account set` stored, or nil"},
	{name: "may_send_as", call: accountMaySendAs, sig: "may_send_as(identity, a)", doc: "nil, \"as\" or \"behalf\""},
	{name: "login", call: accountLogin, blocks: true, sig: "login(name, password)", doc: "the account whose password this is, or nil; wrong guesses make the next ones wait"},
	{name: "audit", call: accountAudit, sig: "audit(owner, { who =, action =, as =, right =, message_id =, message =, ip = })", doc: "adds to the record of what others did in the owner's name, which `carteiro account audit` prints"},
	{name: "audited", call: accountAudited, sig: "audited(owner, [limit])", doc: "list of such entries with their time and the bundle that wrote them (by), the newest first; 100 by default, 1000 at most"},
	{name: "owns", call: accountOwns, sig: "owns(a, address)", doc: "whether the address is the account's own: its name, with any tag, or an alias that leads to it; a catch-all does not count"},
	{name: "of", call: accountOf, sig: "of(address)", doc: "the account that an address stands for, be it with a tag or an alias of that account alone, or nil"},
}}

func (st *state) accounts(L *glua.LState) (*call, Accounts) {
	c := st.running(L, "account")
	if st.set.engine.Accounts == nil {
		L.RaiseError("account: the server has no accounts")
	}
	st.budget.take(L, &st.budget.kv, "kv and account operations")
	return c, st.set.engine.Accounts
}

func accountExists(L *glua.LState) int {
	c, accounts := stateOf(L).accounts(L)
	L.Push(glua.LBool(accounts.Exists(c.ctx, mail.Address(text(L, 1)))))
	return 1
}

func accountSetting(L *glua.LState) int {
	st := stateOf(L)
	c, accounts := st.accounts(L)
	v, err := accounts.Setting(c.ctx, mail.Address(text(L, 1)), text(L, 2))
	st.must(L, err)
	L.Push(st.lift(L, v))
	return 1
}

func accountMaySendAs(L *glua.LState) int {
	c, accounts := stateOf(L).accounts(L)
	L.Push(optional(accounts.MaySendAs(c.ctx, mail.Address(text(L, 1)), mail.Address(text(L, 2)))))
	return 1
}
