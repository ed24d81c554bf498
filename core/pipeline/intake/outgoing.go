package intake

import (
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/hooks"
)

// Outgoing returns the domain of ours whose outgoing mail a message for some
// recipients is, or "". It is the domain of the return path that a policy gave to
// their copies, such as a mailing list's; otherwise the domain of the policy or of
// the user who sent the message. The sender that the client claimed does not count.
func (k *Intake) Outgoing(env *envelope.Envelope, rcpts ...*envelope.Recipient) string {
	domain := env.Outgoing
	if domain == "" {
		domain = k.ourDomain(env.Identity)
	}
	own := ""
	for i, r := range rcpts {
		d := ""
		if r.Sender != nil {
			d = k.ourDomain(*r.Sender)
		}
		if i > 0 && d != own {
			return domain
		}
		own = d
	}
	if own != "" {
		return own
	}
	return domain
}

// OutgoingGroup returns Outgoing for all recipients of a group.
func (k *Intake) OutgoingGroup(env *envelope.Envelope, g *envelope.Group) string {
	rcpts := make([]*envelope.Recipient, len(g.Recipients))
	for i := range g.Recipients {
		rcpts[i] = &g.Recipients[i]
	}
	return k.Outgoing(env, rcpts...)
}

// ourDomain returns the domain of an address if it is ours, else "".
func (k *Intake) ourDomain(a envelope.Address) string {
	if d := a.Domain(); d != "" && k.dir.Local(d) {
		return d
	}
	return ""
}

// outgoingSubmit returns the domain of ours whose outgoing mail a policy's message is:
// the domain that the policy runs for, else that of the sender, else of the author.
func (k *Intake) outgoingSubmit(s *hooks.Submit, author envelope.Address) string {
	if s.Domain != "" {
		return s.Domain
	}
	if d := k.ourDomain(s.Sender); d != "" {
		return d
	}
	return k.ourDomain(author)
}

// author returns the first address of From, or "".
func author(h *mime.Header) envelope.Address {
	value, _ := h.Get("From")
	if list, _ := mime.ParseAddressList(value); len(list) > 0 {
		return list[0].Address
	}
	return ""
}
