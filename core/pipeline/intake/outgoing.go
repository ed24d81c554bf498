package intake

import (
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/hooks"
)

// Outgoing returns the domain of ours that mail for some recipients is outgoing
// mail of, or "": that of the sender which a policy gave their copies, such as a
// list's, else that of the policy or of the user who sent the message. What the
// client claimed as sender does not count.
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

// OutgoingGroup is Outgoing for all recipients of a group.
func (k *Intake) OutgoingGroup(env *envelope.Envelope, g *envelope.Group) string {
	rcpts := make([]*envelope.Recipient, len(g.Recipients))
	for i := range g.Recipients {
		rcpts[i] = &g.Recipients[i]
	}
	return k.Outgoing(env, rcpts...)
}

// ourDomain is the domain of an address if it is ours, else "".
func (k *Intake) ourDomain(a envelope.Address) string {
	if d := a.Domain(); d != "" && k.dir.Local(d) {
		return d
	}
	return ""
}

// outgoingSubmit is the domain of ours that a policy's message is outgoing mail
// of: the one at hand of the policy, else that of the sender, else of the author.
func (k *Intake) outgoingSubmit(s *hooks.Submit, author envelope.Address) string {
	if s.Domain != "" {
		return s.Domain
	}
	if d := k.ourDomain(s.Sender); d != "" {
		return d
	}
	return k.ourDomain(author)
}

// author is the first address of From, or "".
func author(h *mime.Header) envelope.Address {
	value, _ := h.Get("From")
	if list, _ := mime.ParseAddressList(value); len(list) > 0 {
		return list[0].Address
	}
	return ""
}
