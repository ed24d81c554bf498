package hooks

import (
	"slices"
	"strings"

	"carteiro/core/message/envelope"
)

// Applies reports whether the handler is to be called for an event, considering
// its options listener and login and the domains that it serves. All ways of
// calling a handler use it. At a hook with two sides it is about the current
// side, see Event.Direction.
func (i *Info) Applies(e *Event) bool {
	return (i.Listener == "" || i.Listener == listenerOf(e)) && (!i.Login || userOf(e) != "") && i.isAbout(e)
}

// listenerOf returns the listener that the client or the message came in by, or "".
func listenerOf(e *Event) string {
	switch {
	case e.Session != nil:
		return e.Session.Listener
	case e.Msg != nil:
		return e.Msg.Listener
	}
	return ""
}

// userOf returns the user who logged in or submitted the message, or "".
func userOf(e *Event) envelope.Address {
	switch {
	case e.Session != nil && e.Session.Identity != nil:
		return e.Session.Identity.User
	case e.Session == nil && e.Msg != nil:
		return e.Msg.Identity
	}
	return ""
}

// isAbout reports whether the event is about one of the domains that the handler
// serves; at a hook with two sides, on the current side.
func (i *Info) isAbout(e *Event) bool {
	if e.side == sideSender {
		return !i.NoOutgoing && i.serves(e.Outgoing)
	}
	if len(i.Domains)+len(i.Except) == 0 {
		return true
	}
	spec, _ := SpecOf(e.Point)
	about := domainsOf(e)
	if len(about) == 0 && spec.NoMail {
		return true
	}
	if i.Domains == nil {
		return len(about) == 0 || slices.ContainsFunc(about, i.serves)
	}
	return slices.ContainsFunc(about, i.serves)
}

// serves reports whether the handler serves a domain.
func (i *Info) serves(domain string) bool {
	return (len(i.Domains) == 0 || slices.Contains(i.Domains, domain)) && !slices.Contains(i.Except, domain)
}

// domainsOf returns the domains that the event is about: that of the login, the
// recipient, the group, the route or the timer if there is one; else of the user, the
// recipients of a report, of the transaction or of what observe.event tells.
func domainsOf(e *Event) []string {
	var out []string
	add := func(a envelope.Address) {
		if d := a.Domain(); d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	switch {
	case e.Cred != nil:
		add(envelope.Address(strings.ToLower(e.Cred.User)))
		return out
	case e.Rcpt != nil:
		add(e.Rcpt.Address)
		if e.Point != DeliverLocal { // who led mail to a mailbox has no say in it
			add(e.Rcpt.Orig)
		}
		return out
	case e.Group != nil:
		return []string{e.Group.Domain}
	case e.Domain != "":
		return []string{e.Domain}
	}
	if e.Observed != nil {
		rcpts, user := e.Observed.addresses()
		for _, a := range append(rcpts, user) {
			add(a)
		}
		return out
	}
	if e.Session != nil && e.Session.Identity != nil {
		add(e.Session.Identity.User)
	}
	for _, r := range e.Rcpts {
		add(r.Address)
	}
	if e.Tx != nil {
		for _, r := range e.Tx.Recipients {
			add(r.Address)
			add(r.Orig)
		}
	}
	return out
}

// speaksFor reports whether a handler may log in this user: a handler of a domain
// can only log in users of that domain.
func (i *Info) speaksFor(user string) bool {
	return i.isFor(envelope.Address(strings.ToLower(user)))
}

func (i *Info) isFor(a envelope.Address) bool { return i.serves(a.Domain()) }

// IsForRecipient reports whether the handler applies to a recipient of the
// transaction: always if the handler is not limited to domains or serves the
// domain of the user who sends, otherwise if it serves the domain of the
// recipient's current or original address.
func (e *Event) IsForRecipient(i *Info, r *envelope.Recipient) bool {
	return len(i.Domains)+len(i.Except) == 0 || e.Session != nil && e.Session.Identity != nil && i.isFor(e.Session.Identity.User) ||
		i.isFor(r.Address) ||
		i.isFor(r.Orig)
}

// limitToDomain limits a verdict about a message to the handler's recipients if
// the message has others: the chain continues for those. A refusal is for all
// recipients: the client still has the message and learns of it.
func (e *Event) limitToDomain(i *Info, v Verdict) Verdict {
	if e.Tx == nil || e.Msg == nil || v.Action != Accept && v.Action != Discard && v.Action != Quarantine {
		return v
	}
	others := func(r *envelope.Recipient) bool { return !e.IsForRecipient(i, r) }
	if !slices.ContainsFunc(e.Tx.Recipients, others) {
		return v
	}
	for _, r := range e.Tx.Recipients {
		switch {
		case others(r):
		case v.Action == Discard:
			r.Discard = true
		case v.Action == Quarantine:
			r.State = envelope.Quarantine
		}
	}
	return Verdict{}
}

// DomainAtHand returns the domain whose settings and kv a bundle has at this
// event, or "" for the server as a whole. Only domains that ours says yes to
// count. The first of these decides:
//
//  1. where a hook has two sides and the sender's is at hand, the domain that
//     the mail is outgoing mail of; the login, at receive.auth; the recipient,
//     where the hook has one, as it is now, else as it was given; the group's,
//     the route's or the timer's domain;
//  2. the recipients of the transaction, the report or what observe.event
//     tells, if all those that are ours are of one domain; if they are of
//     several, the server as a whole;
//  3. the user who logged in;
//  4. at hooks without a session, the domain that the mail is outgoing mail of.
func (e *Event) DomainAtHand(ours func(string) bool) string {
	pick := func(a envelope.Address) string {
		if d := a.Domain(); d != "" && ours(d) {
			return d
		}
		return ""
	}
	found := ""
	switch {
	case e.side == sideSender:
		return pick(envelope.Address("x@" + e.Outgoing))
	case e.Cred != nil:
		return pick(envelope.Address(strings.ToLower(e.Cred.User)))
	case e.Rcpt != nil:
		if found = pick(e.Rcpt.Address); found == "" {
			found = pick(e.Rcpt.Orig)
		}
	case e.Group != nil:
		found = pick(envelope.Address("x@" + e.Group.Domain))
	case e.Domain != "":
		found = pick(envelope.Address("x@" + e.Domain))
	default:
		var one bool
		if found, one = e.commonDomain(pick); !one {
			return ""
		}
	}
	if found == "" && e.Session != nil && e.Session.Identity != nil {
		found = pick(e.Session.Identity.User)
	}
	if found == "" && e.Observed != nil {
		_, user := e.Observed.addresses()
		found = pick(user)
	}
	if found == "" && e.Session == nil && e.Outgoing != "" {
		found = pick(envelope.Address("x@" + e.Outgoing))
	}
	return found
}

// commonDomain returns the domain of all recipients that pick takes; false if they
// are of several.
func (e *Event) commonDomain(pick func(envelope.Address) string) (string, bool) {
	found := ""
	see := func(a envelope.Address) bool {
		d := pick(a)
		if d != "" && found != "" && d != found {
			return false
		}
		if d != "" {
			found = d
		}
		return true
	}
	if e.Observed != nil {
		rcpts, _ := e.Observed.addresses()
		for _, a := range rcpts {
			if !see(a) {
				return "", false
			}
		}
	}
	for _, r := range e.Rcpts {
		if !see(r.Address) {
			return "", false
		}
	}
	if e.Tx != nil {
		for _, r := range e.Tx.Recipients {
			if !see(r.Address) {
				return "", false
			}
		}
	}
	return found, true
}

// addresses returns those that an event tells of: recipients as they were given,
// and who logged in.
func (o *Observed) addresses() (rcpts []envelope.Address, user envelope.Address) {
	text := func(key string) envelope.Address {
		s, _ := o.Data[key].(string)
		return envelope.Address(strings.ToLower(s))
	}
	if a := text("orig"); a != "" {
		rcpts = append(rcpts, a)
	} else if a := text("to"); a != "" {
		rcpts = append(rcpts, a)
	}
	list, _ := o.Data["to"].([]any)
	for _, v := range list {
		if s, ok := v.(string); ok {
			rcpts = append(rcpts, envelope.Address(strings.ToLower(s)))
		}
	}
	return rcpts, text("user")
}
