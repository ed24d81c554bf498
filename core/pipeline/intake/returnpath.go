package intake

import (
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/service/srs"
)

// ReverseReturnPath returns where mail to one of our return paths goes: to the
// sender of the message that we forwarded. It returns "" for every other address,
// and a status for a return path with a bad signature or one that is too old. In
// this way strangers' mail is relayed without any policy, so policies cannot open it
// further: the message must have the null sender, the address our signature, and it
// must not be older than srs.Days days. It is called at RCPT, for the reply, and
// again when recipients are expanded, to replace the address.
func (k *Intake) ReverseReturnPath(a, sender envelope.Address) (envelope.Address, *envelope.Status) {
	back := a
	for k.isReturnPath(back) { // a message may have been forwarded several times
		if back = k.returnPaths.Reverse(back, k.clock.Now()); back == "" {
			return "", envelope.Reject(550, "5.7.1", "this return path is not ours, or too old")
		}
		if sender != "" {
			return "", envelope.Reject(550, "5.7.1", "this return path accepts only bounces, which have the null sender")
		}
	}
	if back == a {
		return "", nil
	}
	return back, nil
}

// isReturnPath reports whether an address looks like one of ours.
func (k *Intake) isReturnPath(a envelope.Address) bool {
	return k.returnPaths.Ready() && srs.Is(a) && (k.dir.Local(a.Domain()) || strings.EqualFold(a.Domain(), k.hostname))
}

// reverseReturnPath replaces a return path of ours by the original sender. A status
// says why it is refused.
func (x *expansion) reverseReturnPath(r *envelope.Recipient) *envelope.Status {
	sender := x.in.Envelope.Sender
	if r.Sender != nil {
		sender = *r.Sender
	}
	back, st := x.b.ReverseReturnPath(r.Address, sender)
	if back == "" {
		return st
	}
	x.addTrail(r, "return address of "+string(back))
	r.From = append(r.From[:len(r.From):len(r.From)], envelope.Change{Address: r.Address, Hook: "return address"})
	r.Address, r.IsLocal = back, x.b.dir.Local(back.Domain())
	return nil
}
