package intake

import (
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/service/srs"
)

// ReverseReturnPath returns where mail to one of our return paths goes: to the
// sender of the message that was forwarded. It returns "" for every other
// address, and a status for one that is not ours or too old. This is the only way in
// which a stranger's mail leaves without a policy, so no policy decides about it:
// only reports, which have the null sender, only with our signature, only for
// srs.Days days. It is asked at RCPT, for the answer, and again when recipients
// are expanded, where the address is replaced.
func (k *Intake) ReverseReturnPath(a, sender envelope.Address) (envelope.Address, *envelope.Status) {
	back := a
	for k.isReturnPath(back) { // each turn takes a layer off
		if back = k.returnPaths.Reverse(back, k.clock.Now()); back == "" {
			return "", envelope.Reject(550, "5.7.1", "this return address is not ours, or too old")
		}
		if sender != "" {
			return "", envelope.Reject(550, "5.7.1", "this return address takes reports alone, which have the null sender")
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

// reverseReturnPath replaces a return path of ours by the sender behind it. A
// status says why it is refused.
func (x *expansion) reverseReturnPath(r *envelope.Recipient) *envelope.Status {
	sender := x.in.Envelope.Sender
	if r.Sender != nil {
		sender = *r.Sender
	}
	back, st := x.b.ReverseReturnPath(r.Address, sender)
	if back == "" {
		return st
	}
	x.trace(r, "return address of "+string(back))
	r.From = append(r.From[:len(r.From):len(r.From)], envelope.Change{Address: r.Address, Hook: "return address"})
	r.Address, r.IsLocal = back, x.b.dir.Local(back.Domain())
	return nil
}
