package core

import (
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/service/srs"
)

// home is where mail to one of our return addresses goes: the sender of the
// message that was forwarded. It is "" for every other address. This is the
// one way in which a stranger's mail leaves without a policy, so it is no
// policy's to decide: only reports, which have the null sender, only with our
// signature, only for srs.Days days. It is asked at RCPT, for the answer, and
// again when recipients are expanded, where the address is exchanged; what
// policies do between them gets past neither.
func (p *Pipeline) home(a, sender envelope.Address) (envelope.Address, *envelope.Status) {
	back := a
	for p.returnAddress(back) { // each turn takes a layer off
		if back = p.returns.Reverse(back, p.clock.Now()); back == "" {
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

// returnAddress reports whether an address looks like one of ours.
func (p *Pipeline) returnAddress(a envelope.Address) bool {
	return p.returns.Ready() && srs.Is(a) && (p.dir.Local(a.Domain()) || strings.EqualFold(a.Domain(), p.cfg.Hostname))
}

// goHome exchanges a return address of ours for the sender behind it; a status
// says why it is refused.
func (x *expansion) goHome(r *envelope.Recipient) *envelope.Status {
	sender := x.in.env.Sender
	if r.Sender != nil {
		sender = *r.Sender
	}
	back, st := x.p.home(r.Address, sender)
	if back == "" {
		return st
	}
	x.tell(r, "return address of "+string(back))
	r.From = append(r.From[:len(r.From):len(r.From)], envelope.Change{Address: r.Address, Hook: "return address"})
	r.Address, r.IsLocal = back, x.p.dir.Local(back.Domain())
	return nil
}
