package hooks

import (
	"context"
	"slices"

	"carteiro/core/message/envelope"
)

// Some hooks ask about mail from two sides: that of the recipient's domain and
// that of the domain of ours that the mail is outgoing mail of, see
// Event.Outgoing. Bundles and domains' own scripts are asked for each side that
// they serve, with that domain's settings; the admin's scripts are asked once.
type side uint8

const (
	sideRecipient side = iota
	sideSender
)

// Directions of a message, as in msg.direction.
const (
	In     = "in"     // to a domain of ours
	Out    = "out"    // outgoing mail of a domain of ours, or other mail that leaves
	Within = "within" // outgoing mail of a domain of ours to it, or to another one of ours
)

// Direction returns the direction of the mail for the current call of a handler.
func (e *Event) Direction() string { return e.direction }

// directionFor returns the direction of the mail for a call of the handler now.
func directionFor(e *Event, i *Info) string {
	outgoing := e.Outgoing
	if outgoing == "" {
		outgoing = userOf(e).Domain()
	}
	switch {
	case e.side == sideSender || !isToOurs(e):
		return Out
	case outgoing == "" || e.twoSided && i.isOfDomains() && !i.isWithin(e):
		return In
	}
	return Within
}

// isOfDomains reports whether the handler is asked for each side.
func (i *Info) isOfDomains() bool { return i.Tier == Bundle || i.Tier == Domain }

// isToOurs reports whether a recipient is at a domain of ours.
func isToOurs(e *Event) bool {
	switch {
	case e.Rcpt != nil:
		return e.Rcpt.IsLocal
	case e.Group != nil:
		return e.Group.Kind == envelope.Mailbox
	case len(e.Rcpts) > 0:
		return slices.ContainsFunc(e.Rcpts, func(r *Rcpt) bool { return r.IsLocal })
	case e.Tx != nil:
		return slices.ContainsFunc(e.Tx.Recipients, func(r *envelope.Recipient) bool { return r.IsLocal })
	}
	return false
}

// isWithin reports whether the recipient's side is, for the handler, about the
// domain that the mail is outgoing mail of, and no other one.
func (i *Info) isWithin(e *Event) bool {
	if e.Outgoing == "" || !i.serves(e.Outgoing) {
		return false
	}
	restricted := len(i.Domains) > 0
	switch {
	case e.Rcpt != nil:
		if d := e.Rcpt.Address.Domain(); e.Rcpt.IsLocal && i.serves(d) || restricted && i.serves(d) {
			return d == e.Outgoing
		}
		return e.Rcpt.Orig.Domain() == e.Outgoing
	case e.Group != nil:
		return e.Group.Domain == e.Outgoing
	}
	other := func(r *Rcpt) bool { return r.Address.Domain() != e.Outgoing && (r.IsLocal || restricted) }
	return len(e.Rcpts) > 0 && !slices.ContainsFunc(e.Rcpts, other) && isToOurs(e)
}

// isAskedForSide reports whether the handler is asked for the current side: once where
// both sides are one domain, and about mail to elsewhere from the recipient's
// side only if it is for that domain, or nobody of ours sends it.
func (i *Info) isAskedForSide(e *Event) bool {
	if !i.isOfDomains() || e.Outgoing == "" {
		return true
	}
	if e.side == sideSender {
		return !i.isWithin(e)
	}
	return i.isWithin(e) || len(i.Domains) > 0 || isToOurs(e)
}

// askBothSides asks the handlers at a hook with two sides: the admin's, then
// bundles and domains' scripts from the sender's side, then those from the
// recipient's, and at last the admin's with tier "after". A verdict that ends
// the sender's side does not end the recipient's; the stricter one of both
// counts.
func (r *run) askBothSides(ctx context.Context) {
	r.e.twoSided = true
	r.askTiers(ctx, Admin, Admin)
	if r.ended {
		return
	}
	if r.e.Outgoing != "" {
		r.e.side = sideSender
		r.askTiers(ctx, Bundle, Domain)
		r.e.side = sideRecipient
	}
	sender, ended := r.final, r.ended
	r.ended = false
	r.askTiers(ctx, Bundle, Domain)
	if ended && strictness(sender.Action) > strictness(r.final.Action) {
		r.final = sender
	}
	if r.ended = r.ended || ended; !r.ended {
		r.askTiers(ctx, After, After)
	}
}

// strictness orders verdicts: of two that end a chain the higher one counts.
func strictness(a Action) int {
	return slices.Index([]Action{Continue, NoDSN, Accept, Keep, Redirect, Reroute, Schedule, Retry, Hold, Quarantine, Discard, Fail, Defer,
		Reject}, a)
}
