package receive

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// senders checks which senders and authors users may put into their mail.
type senders struct{ dir Rights }

// Rights says which senders a user may use.
type Rights interface {
	MaySendAs(ctx context.Context, user, a envelope.Address) string
	Owns(ctx context.Context, user, a envelope.Address) bool
	AccountOf(ctx context.Context, a envelope.Address) envelope.Address
}

// maySend checks whether the user may use the return path that MAIL gave. Each step
// of a transaction checks again, because a right can be revoked at any time.
func (d senders) maySend(ctx context.Context, s *envelope.Session, sender envelope.Address) *envelope.Status {
	if s.Identity == nil || sender == "" || d.dir.MaySendAs(ctx, s.Identity.User, sender) != "" {
		return nil
	}
	return envelope.Reject(550, "5.7.1", "sender address is not yours to use")
}

// defaultAuthor returns the address for the From field of a message without one.
func (c *content) defaultAuthor() envelope.Address {
	if c.tx.Sender == "" && c.s.Identity != nil {
		return c.s.Identity.User
	}
	return c.tx.Sender
}

// mayBeFrom checks every address of From, Sender and their Resent forms. It writes
// a Sender field if the user sends on behalf of an owner, or if there are several
// authors (RFC 5322 3.6.2). A second call gives the same result, unless a right
// was granted or revoked in between.
func (d senders) mayBeFrom(ctx context.Context, c *content) *envelope.Status {
	for _, prefix := range []string{"", "Resent-"} {
		used, st := d.checkAuthors(ctx, c, prefix+"From")
		if st != nil {
			return st
		}
		d.setSender(ctx, c, prefix+"Sender", used)
	}
	return nil
}

// authorUse says how a user uses the addresses of a message's authors.
type authorUse struct {
	onBehalf bool // for an owner, or with other authors
	asOwner  bool // as the owner, who is not the user
}

// checkAuthors checks the addresses of From or Resent-From. It refuses the groups
// and routes of RFC 5322: a mail program that reads them differently would show
// another author.
func (d senders) checkAuthors(ctx context.Context, c *content, field string) (authorUse, *envelope.Status) {
	var u authorUse
	user := c.s.Identity.User
	for _, value := range c.header.All(field) {
		list, ok := mime.ParseAuthors(value)
		if !ok {
			return u, envelope.Reject(550, "5.6.0", field+" is not a plain list of addresses")
		}
		u.onBehalf = u.onBehalf || len(list) > 1
		for _, m := range list {
			switch d.dir.MaySendAs(ctx, user, m.Address) {
			case "":
				return u, envelope.Reject(550, "5.7.1", "an address in "+field+" is not yours to use")
			case "behalf":
				u.onBehalf = true
			case "as":
				u.asOwner = u.asOwner || !d.dir.Owns(ctx, user, m.Address)
			}
		}
	}
	return u, nil
}

// setSender keeps a Sender field only if it names the user, and adds one if it is
// required. A user who sends as the owner is not named.
func (d senders) setSender(ctx context.Context, c *content, field string, u authorUse) {
	h, user := c.header, c.s.Identity.User
	for _, value := range h.All(field) {
		list, ok := mime.ParseAuthors(value)
		own := ok && len(list) == 1 &&
			(d.dir.AccountOf(ctx, list[0].Address) == user.Base() || list[0].Address.Base() == user.Base())
		if !own || u.asOwner && !u.onBehalf {
			h.Remove(field)
			break
		}
	}
	switch {
	case !u.onBehalf || h.Has(field):
	case field == "Sender":
		h.Append(field, string(user))
	default:
		h.Prepend(field, string(user)) // before the block of Resent fields that it belongs to (RFC 5322 3.6.6)
	}
}
