package core

import (
	"fmt"
	"io"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// Signer makes DKIM signatures and ARC sets; *verify.Keyring is one.
type Signer interface {
	// Sign reads a body once and returns what makes the fields for a header
	// section above it; they are "" for a domain without keys.
	Sign(s envelope.Signature, body func() (io.ReadCloser, error)) (sign func(h *mime.Header) (string, error), err error)
	// Seal is Sign for an ARC set, which goes on top of signatures.
	Seal(domain string, arrived *envelope.AuthResults, body func() (io.ReadCloser, error)) (seal func(h *mime.Header) (string, error), err error)
}

// sign puts DKIM signatures on top of a message: for mail of our users, of who
// may relay and of policies one of the author's domain, if it is ours and has
// keys, and those that policies asked for. What was asked for and cannot be
// made defers the message: unsigned, it would look forged.
func (p *Pipeline) sign(in *intake) *envelope.Status {
	if p.signer == nil || in.forked { // copies of forks are signed each for itself
		return nil
	}
	var all string
	for _, w := range p.signatures(in) {
		sign, err := p.signer.Sign(w, in.body)
		if err != nil {
			return unsigned(err)
		}
		fields, err := sign(in.header)
		if err != nil {
			return unsigned(err)
		}
		all = fields + all
	}
	if all != "" {
		in.header.PrependRaw(all)
	}
	return nil
}

func unsigned(err error) *envelope.Status {
	return envelope.Defer(451, "4.7.5", "message cannot be signed", err)
}

// signatures are those that a message is to get, each once.
func (p *Pipeline) signatures(in *intake) []envelope.Signature {
	wanted := in.sign
	if in.ours {
		if d := p.ourDomain(author(in.header)); d != "" && (in.maySign == nil || in.maySign(d)) {
			wanted = append(wanted[:len(wanted):len(wanted)], envelope.Signature{Domain: d})
		}
	}
	var out []envelope.Signature
	done := map[string]bool{}
	for _, w := range wanted {
		if key := fmt.Sprint(w.Domain, w.Selectors); !done[key] {
			done[key] = true
			out = append(out, w)
		}
	}
	return out
}
