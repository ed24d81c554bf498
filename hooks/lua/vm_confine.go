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
	// check raises for a value that the unit may not name. nil: the function
	// checks the argument where it reads it, for the value may come later.
	check func(r *reach, v glua.LValue)
}

// bounds are those of a function, by the name of the argument.
type bounds map[string]bound

var (
	// inForce is an address, an account, a mailbox or a domain, or a list of
	// them: one of this server has to be of a domain in force.
	inForce = bound{(*reach).named}
	// inForceList is the name of a list: it has to be of a domain in force.
	inForceList = bound{(*reach).list}
	// inForceKeys is a domain whose keys sign: it has to be in force.
	inForceKeys = bound{(*reach).keys}
	// asUser is an address, or a table with one as user.
	asUser = bound{(*reach).user}
	// asSender is an envelope sender of the message at hand: who sent it may stay.
	asSender = bound{(*reach).sender}
	// asAuthor is the value of a From field.
	asAuthor = bound{func(r *reach, v glua.LValue) { r.author("From", v, nil) }}
	// asFields is a table of header fields of a new message, keepFields one of
	// the message at hand, whose authors may stay.
	asFields   = bound{func(r *reach, v glua.LValue) { r.fields(v, nil) }}
	keepFields = bound{func(r *reach, v glua.LValue) { r.fields(v, r.atHand()) }}
	// asMessage is a whole message.
	asMessage = bound{(*reach).message}
	// whereRead is checked by the function itself.
	whereRead = bound{}
)

// reach is one check of one argument.
type reach struct {
	st   *state
	L    *glua.LState
	what string
}

// confined reports whether the unit is in force for single domains alone.
func (u *unit) confined() bool { return len(u.source.Domains)+len(u.source.Except) > 0 }

// serves reports whether the unit is in force for a domain of this server.
func (u *unit) serves(e *Engine, domain string) bool {
	if u.ours != nil {
		return u.ours(domain)
	}
	return e.Local(domain) && (len(u.source.Domains) == 0 || slices.Contains(u.source.Domains, domain))
}

// author is who runs, as errors name it.
func (u *unit) author() string {
	if u.source.Bundle == "" {
		return u.source.Name
	}
	return u.who()
}

// confining is what checks values for the code that runs, or nil where it may
// name everything.
func (st *state) confining(L *glua.LState, what string) *reach {
	if st.source == nil || !st.source.confined() {
		return nil
	}
	return &reach{st, L, what}
}

// guards are the functions that guard made, by owner and name: each interpreter
// asks for all of them.
var guards struct {
	sync.Mutex
	made map[[2]string]glua.LGFunction
}

// guard is the function as scripts call it: its bounds are kept to before it
// runs. owner is what errors put before its name, as "list." or "rcpt:".
func (f *function) guard(owner string) glua.LGFunction {
	if len(f.bounds) == 0 {
		return f.call
	}
	guards.Lock()
	defer guards.Unlock()
	key := [2]string{owner, f.name}
	g, ok := guards.made[key]
	if !ok {
		g = f.confined(owner)
		if guards.made == nil {
			guards.made = map[[2]string]glua.LGFunction{}
		}
		guards.made[key] = g
	}
	return g
}

// confined makes what guard returns.
func (f *function) confined(owner string) glua.LGFunction {
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
		if r := stateOf(L).confining(L, what); r != nil {
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

// in is the argument's value in a call.
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

// fieldsOf are the names before each "=" of "{ a =, b = 1 }".
func fieldsOf(table string, position int) (out []bounded) {
	for part := range strings.SplitSeq(strings.Trim(table, " {}[]"), ",") {
		name, _, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "or ")); ok && name != "" {
			out = append(out, bounded{name, position, name})
		}
	}
	return out
}

// domainOf is the domain that a text names: what follows its last "@", or all
// of it.
func domainOf(s string) string {
	s = s[strings.LastIndexByte(s, '@')+1:]
	return strings.ToLower(strings.Trim(s, " \t\r\n<>."))
}

// refuse raises for a value that names a domain out of reach.
func (r *reach) refuse(domain, value string) {
	r.L.RaiseError("%s: %s: %s is not in force for %s", r.what, cut(value), r.st.source.author(), cut(domain))
}

// cut shortens what a script gave for an error.
func cut(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// foreign reports whether a domain is one of this server for which the code
// that runs is not in force.
func (r *reach) foreign(domain string) bool { return r.st.source.foreign(r.st.set.engine, domain) }

// foreign compares the other ways to write the domain too: what leaves for a
// server without SMTPUTF8 is written with A-labels, and "a\uff0eexample" is then
// "a.example" (RFC 5890).
func (u *unit) foreign(e *Engine, domain string) bool {
	for _, d := range []string{domain, dns.ASCII(domain), dns.Unicode(domain)} {
		if e.Local(d) && !u.serves(e, d) {
			return true
		}
	}
	return false
}

// each calls f with a text, or with those of a list.
func each(v glua.LValue, f func(s string)) {
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

func (r *reach) named(v glua.LValue) {
	each(v, func(s string) {
		if d := domainOf(s); r.foreign(d) {
			r.refuse(d, s)
		}
	})
}

func (r *reach) list(v glua.LValue) {
	each(v, func(s string) {
		if !strings.Contains(s, "@") {
			r.L.RaiseError("%s: the list %s is of no domain, and %s is in force for single domains alone", r.what, cut(s), r.st.source.author())
		}
		if d := domainOf(s); !r.st.source.serves(r.st.set.engine, d) {
			r.refuse(d, s)
		}
	})
}

func (r *reach) keys(v glua.LValue) {
	each(v, func(s string) {
		if d := domainOf(s); !r.st.source.serves(r.st.set.engine, d) {
			r.refuse(d, s)
		}
	})
}

func (r *reach) user(v glua.LValue) {
	if t, ok := v.(*glua.LTable); ok {
		v = t.RawGetString("user")
	}
	r.named(v)
}

func (r *reach) sender(v glua.LValue) {
	each(v, func(s string) {
		if d := domainOf(s); r.foreign(d) && !r.stays(s) {
			r.refuse(d, s)
		}
	})
}

// stays reports whether an address is the sender of the message at hand, or the
// user who logged in to send it.
func (r *reach) stays(s string) bool {
	if r.st.call == nil {
		return false
	}
	a, e := checked(s), r.st.call.event
	if a == "" {
		return false
	}
	return e.Session != nil && e.Session.Identity != nil && e.Session.Identity.User == a || e.Msg != nil && e.Msg.Sender == a ||
		e.Tx != nil && e.Tx.Sender == a || e.Rcpt != nil && e.Rcpt.Sender != nil && *e.Rcpt.Sender == a
}

// atHand is the header section of the message at hand, or nil.
func (r *reach) atHand() *mime.Header {
	if r.st.call == nil || r.st.call.event.Msg == nil {
		return nil
	}
	return r.st.call.event.Msg.Header
}

// speaks reports whether a header field says who a message is from (RFC 5322
// 3.6.2, 3.6.6).
func speaks(name string) bool {
	name = strings.TrimPrefix(strings.ToLower(name), "resent-")
	return name == "from" || name == "sender"
}

// author checks the value of a field that speaks. Who stands in the same field
// of before may stay.
func (r *reach) author(name string, v glua.LValue, before *mime.Header) {
	each(v, func(s string) {
		list, complete := mime.ParseAddressList(s)
		if !complete { // what cannot be read has no author that could be signed for, but may look so
			r.unread(name, s)
		}
		for _, m := range list {
			if d := domainOf(string(m.Address)); r.foreign(d) && !kept(before, name, m.Address) {
				r.refuse(d, name+": "+s)
			}
		}
	})
}

// unread refuses a text in which a domain out of reach stands behind an "@",
// where its addresses cannot be told.
func (r *reach) unread(name, s string) {
	for rest := s; ; {
		_, after, ok := strings.Cut(rest, "@")
		if !ok {
			return
		}
		end := strings.IndexAny(after, " \t\r\n<>,;:\"()@")
		if end < 0 {
			end = len(after)
		}
		if d := domainOf(after[:end]); r.foreign(d) {
			r.refuse(d, name+": "+s)
		}
		rest = after
	}
}

func kept(before *mime.Header, name string, a envelope.Address) bool {
	return before != nil && slices.ContainsFunc(before.Addresses(name), func(m mime.Mailbox) bool { return m.Address == a })
}

// fields checks a table of header fields.
func (r *reach) fields(v glua.LValue, before *mime.Header) {
	t, ok := v.(*glua.LTable)
	if !ok {
		return
	}
	t.ForEach(func(name, value glua.LValue) {
		if s, ok := name.(glua.LString); ok && speaks(string(s)) {
			r.author(string(s), value, before)
		}
	})
}

// message checks the header section of a whole message.
func (r *reach) message(v glua.LValue) {
	raw, ok := v.(glua.LString)
	if !ok {
		return
	}
	head, _, _ := strings.Cut(crlf(string(raw)), "\r\n\r\n")
	for _, f := range mime.ParseHeader([]byte(head + "\r\n")).Fields() {
		if speaks(f.Name()) {
			r.author(f.Name(), glua.LString(f.Value()), nil)
		}
	}
}

// confineField raises where a changed field says that somebody of another
// domain wrote the message.
func (st *state) confineField(L *glua.LState, what, name, value string, before *mime.Header) {
	if r := st.confining(L, what); r != nil && speaks(name) {
		r.author(name, glua.LString(value), before)
	}
}

// confineFork keeps a message that a policy for single domains can change from
// being signed as mail of a user of another domain.
func (st *state) confineFork(L *glua.LState, m *hooks.Message) {
	if r := st.confining(L, "rcpt:fork"); r != nil {
		u, e := st.source, st.set.engine
		st.call.event.Confine(m, func(domain string) bool { return !u.foreign(e, domain) })
	}
}

// confineHow is the bound of what a policy says of a copy: its sender, fields
// and seal, and, with mailbox, whose mailbox it is filed in.
func (st *state) confineHow(L *glua.LState, what string, how *glua.LTable, t *hooks.Target) {
	r := st.confining(L, what)
	if r == nil {
		return
	}
	r.sender(how.RawGetString("sender"))
	r.fields(how.RawGetString("headers"), r.atHand())
	if v := how.RawGetString("arc"); v != glua.LNil {
		r.keys(v)
	}
	if t.Mailbox {
		r.named(glua.LString(t.Address))
	}
}
