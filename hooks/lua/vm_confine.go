package lua

import (
	"slices"
	"strings"
	"sync"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/dns"
	"carteiro/hooks"
)

// A policy for single domains, be it a bundle or a domain's own scripts, may
// name what belongs to those domains and to other people, and nothing of the
// other domains of this server. The declaration of a function says which of
// its arguments are meant (function.bounds), by the names that they have in
// its signature; the check runs before the function does. TestBounds fails for
// an argument of which nobody said what it is.

// bound is how one argument is confined.
type bound struct {
	// check raises for a value that the source may not name. nil: the function
	// checks the argument where it reads it, for the value may come later.
	check func(r *boundCheck, v glua.LValue)
}

// bounds are those of a function, by the name of the argument.
type bounds map[string]bound

var (
	// inForce is an address, an account, a mailbox or a domain, or a list of
	// them: one of this server has to be of a domain in force.
	inForce = bound{(*boundCheck).checkAddress}
	// inForceList is the name of a list: it has to be of a domain in force.
	inForceList = bound{(*boundCheck).checkList}
	// inForceKeys is a domain whose keys sign: it has to be in force.
	inForceKeys = bound{(*boundCheck).checkKeyDomain}
	// asUser is an address, or a table with one as user.
	asUser = bound{(*boundCheck).checkUser}
	// asSender is an envelope sender of the current message: who sent it may stay.
	asSender = bound{(*boundCheck).checkSender}
	// asAuthor is the value of a From field.
	asAuthor = bound{func(r *boundCheck, v glua.LValue) { r.checkAuthor("From", v, nil) }}
	// asFields is a table of header fields of a new message, keepFields one of
	// the current message, whose authors may stay.
	asFields   = bound{func(r *boundCheck, v glua.LValue) { r.checkFields(v, nil) }}
	keepFields = bound{func(r *boundCheck, v glua.LValue) { r.checkFields(v, r.currentMessage()) }}
	// asMessage is a whole message.
	asMessage = bound{(*boundCheck).checkMessage}
	// whereRead is checked by the function itself.
	whereRead = bound{}
)

// boundCheck is one check of one argument.
type boundCheck struct {
	st   *state
	L    *glua.LState
	what string
}

// isConfined reports whether the source serves only some domains.
func (u *loadedSource) isConfined() bool { return len(u.src.Domains)+len(u.src.Except) > 0 }

// serves reports whether the source serves a domain of this server.
func (u *loadedSource) serves(e *Engine, domain string) bool {
	if u.ownDomain != nil {
		return u.ownDomain(domain)
	}
	return e.Local(domain) && (len(u.src.Domains) == 0 || slices.Contains(u.src.Domains, domain))
}

// ownerName returns who runs, as errors name it.
func (u *loadedSource) ownerName() string {
	if u.src.Bundle == "" {
		return u.src.Name
	}
	return u.bundleName()
}

// boundCheckFor returns what checks values for the code that runs, or nil where it may
// name everything.
func boundCheckFor(L *glua.LState, what string) *boundCheck {
	st := stateOf(L)
	if st.source == nil || !st.source.isConfined() {
		return nil
	}
	return &boundCheck{st, L, what}
}

// guards are the functions that withChecks made, by owner and name: each interpreter
// asks for all of them.
var guards struct {
	sync.Mutex
	made map[[2]string]glua.LGFunction
}

// withChecks returns the function as scripts call it: its bounds are kept to before it
// runs. owner is what errors put before its name, as "list." or "rcpt:".
func (f *function) withChecks(owner string) glua.LGFunction {
	if len(f.bounds) == 0 {
		return f.call
	}
	guards.Lock()
	defer guards.Unlock()
	key := [2]string{owner, f.name}
	g, ok := guards.made[key]
	if !ok {
		g = f.withBounds(owner)
		if guards.made == nil {
			guards.made = map[[2]string]glua.LGFunction{}
		}
		guards.made[key] = g
	}
	return g
}

// withBounds makes what withChecks returns.
func (f *function) withBounds(owner string) glua.LGFunction {
	var checks []guardedArgument
	for _, p := range argumentsOf(f.sig) {
		if b, ok := f.bounds[p.name]; ok && b.check != nil {
			checks = append(checks, guardedArgument{p, b})
		}
	}
	if len(checks) == 0 {
		return f.call
	}
	call, what, receiver := f.call, owner+f.name, 0
	if strings.HasSuffix(owner, ":") {
		receiver = 1
	}
	return func(L *glua.LState) int {
		if r := boundCheckFor(L, what); r != nil {
			for _, c := range checks {
				if v := c.in(L, receiver); v != glua.LNil {
					c.check(r, v)
				}
			}
		}
		return call(L)
	}
}

type guardedArgument struct {
	bounded
	bound
}

// in returns the value of the argument in a call.
func (a *guardedArgument) in(L *glua.LState, receiver int) glua.LValue {
	v := L.Get(a.position + receiver)
	if a.field == "" {
		return v
	}
	if t, ok := v.(*glua.LTable); ok {
		return t.RawGetString(a.field)
	}
	return glua.LNil
}

// bounded is an argument as a signature names it.
type bounded struct {
	name     string
	position int    // from 1
	field    string // of the table that stands there, or ""
}

// parameters reads a signature, "srs(sender, [domain])" or "submit{ from =, to = }".
func argumentsOf(sig string) (out []bounded) {
	i := strings.IndexAny(sig, "({")
	if i < 0 {
		return nil
	}
	inner := sig[i+1:]
	if sig[i] == '{' {
		return fieldsOf(sig[i:], 1)
	}
	for n, part := range splitParameters(strings.TrimSuffix(inner, ")")) {
		if j := strings.IndexByte(part, '{'); j >= 0 {
			out = append(out, fieldsOf(part[j:], n+1)...)
			continue
		}
		out = append(out, bounded{name: strings.Trim(part, " []"), position: n + 1})
	}
	return out
}

// splitParameters cuts at commas outside of braces.
func splitParameters(s string) (out []string) {
	depth, from := 0, 0
	for i, c := range s {
		switch c {
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, s[from:i])
				from = i + 1
			}
		}
	}
	if strings.TrimSpace(s[from:]) != "" {
		out = append(out, s[from:])
	}
	return out
}

// fieldsOf returns the names before each "=" of "{ a =, b = 1 }".
func fieldsOf(table string, position int) (out []bounded) {
	for part := range strings.SplitSeq(strings.Trim(table, " {}[]"), ",") {
		name, _, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "or ")); ok && name != "" {
			out = append(out, bounded{name, position, name})
		}
	}
	return out
}

// domainOf returns the domain that a text names: what follows its last "@", or all
// of it.
func domainOf(s string) string {
	s = s[strings.LastIndexByte(s, '@')+1:]
	return strings.ToLower(strings.Trim(s, " \t\r\n<>."))
}

// refuse raises for a value that names a domain out of reach.
func (r *boundCheck) refuse(domain, value string) {
	r.L.RaiseError("%s: %s: %s does not serve %s", r.what, cut(value), r.st.source.ownerName(), cut(domain))
}

// cut shortens what a script gave for an error.
func cut(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// isForeign reports whether a domain is one of this server for which the code
// that runs is not in force.
func (r *boundCheck) isForeign(domain string) bool {
	return r.st.source.isForeign(r.st.generation.engine, domain)
}

// isForeign compares the other ways to write the domain too: what leaves for a
// server without SMTPUTF8 is written with A-labels, and "a\uff0eexample" is then
// "a.example" (RFC 5890).
func (u *loadedSource) isForeign(e *Engine, domain string) bool {
	for _, d := range []string{domain, dns.ASCII(domain), dns.Unicode(domain)} {
		if e.Local(d) && !u.serves(e, d) {
			return true
		}
	}
	return false
}

// eachText calls f with a text, or with those of a list.
func eachText(v glua.LValue, f func(s string)) {
	if t, ok := v.(*glua.LTable); ok {
		t.ForEach(func(_, one glua.LValue) {
			if stringable(one) {
				f(tostringPlain(one))
			}
		})
	} else if stringable(v) {
		f(tostringPlain(v))
	}
}

func (r *boundCheck) checkAddress(v glua.LValue) {
	eachText(v, func(s string) {
		if d := domainOf(s); r.isForeign(d) {
			r.refuse(d, s)
		}
	})
}

func (r *boundCheck) checkList(v glua.LValue) {
	eachText(v, func(s string) {
		if !strings.Contains(s, "@") {
			r.L.RaiseError("%s: the list %s belongs to no domain, but %s serves only some domains", r.what, cut(s), r.st.source.ownerName())
		}
		if d := domainOf(s); !r.st.source.serves(r.st.generation.engine, d) {
			r.refuse(d, s)
		}
	})
}

func (r *boundCheck) checkKeyDomain(v glua.LValue) {
	eachText(v, func(s string) {
		if d := domainOf(s); !r.st.source.serves(r.st.generation.engine, d) {
			r.refuse(d, s)
		}
	})
}

func (r *boundCheck) checkUser(v glua.LValue) {
	if t, ok := v.(*glua.LTable); ok {
		v = t.RawGetString("user")
	}
	r.checkAddress(v)
}

func (r *boundCheck) checkSender(v glua.LValue) {
	eachText(v, func(s string) {
		if d := domainOf(s); r.isForeign(d) && !r.isCurrentSender(s) {
			r.refuse(d, s)
		}
	})
}

// isCurrentSender reports whether an address is the sender of the current message, or the
// user who logged in to send it.
func (r *boundCheck) isCurrentSender(s string) bool {
	if r.st.call == nil {
		return false
	}
	a, e := addressOrEmpty(s), r.st.call.event
	if a == "" {
		return false
	}
	return e.Session != nil && e.Session.Identity != nil && e.Session.Identity.User == a || e.Msg != nil && e.Msg.Sender == a ||
		e.Tx != nil && e.Tx.Sender == a || e.Rcpt != nil && e.Rcpt.Sender != nil && *e.Rcpt.Sender == a
}

// currentMessage returns the header section of the current message, or nil.
func (r *boundCheck) currentMessage() *mime.Header {
	if r.st.call == nil || r.st.call.event.Msg == nil {
		return nil
	}
	return r.st.call.event.Msg.Header
}

// namesAuthor reports whether a header field says who a message is from (RFC 5322
// 3.6.2, 3.6.6).
func namesAuthor(name string) bool {
	name = strings.TrimPrefix(strings.ToLower(name), "resent-")
	return name == "from" || name == "sender"
}

// checkAuthor checks the value of a field that speaks. Who stands in the same field
// of before may stay.
func (r *boundCheck) checkAuthor(name string, v glua.LValue, before *mime.Header) {
	eachText(v, func(s string) {
		list, complete := mime.ParseAddressList(s)
		if !complete { // what cannot be read has no author that could be signed for, but may look so
			r.refuseHiddenAddresses(name, s)
		}
		for _, m := range list {
			if d := domainOf(string(m.Address)); r.isForeign(d) && !hasAuthor(before, name, m.Address) {
				r.refuse(d, name+": "+s)
			}
		}
	})
}

// refuseHiddenAddresses refuses a text in which a domain out of reach stands after an "@",
// where its addresses cannot be told.
func (r *boundCheck) refuseHiddenAddresses(name, s string) {
	for rest := s; ; {
		_, after, ok := strings.Cut(rest, "@")
		if !ok {
			return
		}
		end := strings.IndexAny(after, " \t\r\n<>,;:\"()@")
		if end < 0 {
			end = len(after)
		}
		if d := domainOf(after[:end]); r.isForeign(d) {
			r.refuse(d, name+": "+s)
		}
		rest = after
	}
}

func hasAuthor(before *mime.Header, name string, a envelope.Address) bool {
	return before != nil && slices.ContainsFunc(before.Addresses(name), func(m mime.Mailbox) bool { return m.Address == a })
}

// checkFields checks a table of header fields.
func (r *boundCheck) checkFields(v glua.LValue, before *mime.Header) {
	t, ok := v.(*glua.LTable)
	if !ok {
		return
	}
	t.ForEach(func(name, value glua.LValue) {
		if s, ok := name.(glua.LString); ok && namesAuthor(string(s)) {
			r.checkAuthor(string(s), value, before)
		}
	})
}

// checkMessage checks the header section of a whole message.
func (r *boundCheck) checkMessage(v glua.LValue) {
	raw, ok := v.(glua.LString)
	if !ok {
		return
	}
	head, _, _ := strings.Cut(crlf(string(raw)), "\r\n\r\n")
	for _, f := range mime.ParseHeader([]byte(head + "\r\n")).Fields() {
		if namesAuthor(f.Name()) {
			r.checkAuthor(f.Name(), glua.LString(f.Value()), nil)
		}
	}
}

// confineField raises where a changed field says that somebody of another
// domain wrote the message.
func confineField(L *glua.LState, what, name, value string, before *mime.Header) {
	if r := boundCheckFor(L, what); r != nil && namesAuthor(name) {
		r.checkAuthor(name, glua.LString(value), before)
	}
}

// confineFork keeps a message that a policy for single domains can change from
// being signed as mail of a user of another domain.
func confineFork(L *glua.LState, m *hooks.Message) {
	st := stateOf(L)
	if r := boundCheckFor(L, "rcpt:fork"); r != nil {
		u, e := st.source, st.generation.engine
		st.call.event.Confine(m, func(domain string) bool { return !u.isForeign(e, domain) })
	}
}

// confineHow is the bound of what a policy says of a copy: its sender, fields
// and seal, and, with mailbox, whose mailbox it is filed in.
func confineHow(L *glua.LState, what string, how *glua.LTable, t *hooks.Target) {
	r := boundCheckFor(L, what)
	if r == nil {
		return
	}
	r.checkSender(how.RawGetString("sender"))
	r.checkFields(how.RawGetString("headers"), r.currentMessage())
	if v := how.RawGetString("arc"); v != glua.LNil {
		r.checkKeyDomain(v)
	}
	if t.Mailbox {
		r.checkAddress(glua.LString(t.Address))
	}
}
