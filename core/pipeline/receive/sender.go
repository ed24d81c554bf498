package receive

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// senders checks the senders and authors of users' mail.
type senders struct{ dir Rights }

// Rights says which senders a user may use.
type Rights interface {
	MaySendAs(ctx context.Context, user, a envelope.Address) string
	Owns(ctx context.Context, user, a envelope.Address) bool
	AccountOf(ctx context.Context, a envelope.Address) envelope.Address
}

// maySend reports whether a user may use the envelope sender that MAIL gave. It
// is asked again with each step of a transaction: a right can be taken back at any time.
func (d senders) maySend(ctx context.Context, s *envelope.Session, sender envelope.Address) *envelope.Status {
	if s.Identity == nil || sender == "" || d.dir.MaySendAs(ctx, s.Identity.User, sender) != "" {
		return nil
	}
	return envelope.Reject(550, "5.7.1", "sender address is not yours to use")
}

// author is whom a message without From is from.
func (c *content) author() envelope.Address {
	if c.tx.Sender == "" && c.s.Identity != nil {
		return c.s.Identity.User
	}
	return c.tx.Sender
}

// mayBeFrom checks every address of From, Sender and their Resent forms, and
// writes Sender where an address is used on behalf of its owner, or beside
// others (RFC 5322 3.6.2). It says the same when it is asked again, unless a
// right was given or taken back meanwhile.
func (d senders) mayBeFrom(ctx context.Context, c *content) *envelope.Status {
	for _, prefix := range []string{"", "Resent-"} {
		used, st := d.authors(ctx, c, prefix+"From")
		if st != nil {
			return st
		}
		d.setSender(ctx, c, prefix+"Sender", used)
	}
	return nil
}

// authorUse is how a message's authors are used.
type authorUse struct {
	behalf bool // of an owner, or beside other authors
	as     bool // as an owner, who is not the user
}

// authors checks the addresses of From or Resent-From. The RFC's groups and
// routes are refused: who reads them otherwise would see another author.
func (d senders) authors(ctx context.Context, c *content, field string) (authorUse, *envelope.Status) {
	var u authorUse
	user := c.s.Identity.User
	for _, value := range c.header.All(field) {
		list, ok := mime.ParseAuthors(value)
		if !ok {
			return u, envelope.Reject(550, "5.6.0", field+" is not a plain list of addresses")
		}
		u.behalf = u.behalf || len(list) > 1
		for _, m := range list {
			switch d.dir.MaySendAs(ctx, user, m.Address) {
			case "":
				return u, envelope.Reject(550, "5.7.1", "an address in "+field+" is not yours to use")
			case "behalf":
				u.behalf = true
			case "as":
				u.as = u.as || !d.dir.Owns(ctx, user, m.Address)
			}
		}
	}
	return u, nil
}

// setSender leaves a Sender field of the user's own where one may be, and
// writes it where one must be. Who sends as the owner is not named.
func (d senders) setSender(ctx context.Context, c *content, field string, u authorUse) {
	h, user := c.header, c.s.Identity.User
	for _, value := range h.All(field) {
		list, ok := mime.ParseAuthors(value)
		own := ok && len(list) == 1 &&
			(d.dir.AccountOf(ctx, list[0].Address) == user.Base() || list[0].Address.Base() == user.Base())
		if !own || u.as && !u.behalf {
			h.Remove(field)
			break
		}
	}
	switch {
	case !u.behalf || h.Has(field):
	case field == "Sender":
		h.Append(field, string(user))
	default:
		h.Prepend(field, string(user)) // in front of the block that it belongs to (RFC 5322 3.6.6)
	}
}
