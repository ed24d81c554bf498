package intake

import (
	"fmt"
	"io"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// Signer makes DKIM signatures and ARC sets; *verify.Keyring is one.
type Signer interface {
	// Sign reads a body once and returns the function that makes the fields for a
	// header section; they are "" for a domain without keys.
	Sign(s envelope.Signature, body OpenBody) (SignFunc, error)
	// Seal does the same for an ARC set, which goes on top of signatures.
	Seal(domain string, arrived *envelope.AuthResults, body OpenBody) (SignFunc, error)
}

// OpenBody opens a body for reading from its beginning.
type OpenBody = func() (io.ReadCloser, error)

// SignFunc returns the fields that sign a header section.
type SignFunc = func(h *mime.Header) (string, error)

// sign puts DKIM signatures on top of a message: those that policies asked for, and
// the signature of the author's domain for mail of our users, of clients that may
// relay and of policies, if the domain is ours and has keys. If a signature cannot
// be made, the message is deferred.
func (b *builder) sign(in *Incoming) *envelope.Status {
	if b.signer == nil || in.forked { // each copy of a fork is signed at its delivery
		return nil
	}
	var all string
	for _, w := range b.signatures(in) {
		sign, err := b.signer.Sign(w, in.Body.Open)
		if err != nil {
			return Unsigned(err)
		}
		fields, err := sign(in.Header)
		if err != nil {
			return Unsigned(err)
		}
		all = fields + all
	}
	if all != "" {
		in.Header.PrependRaw(all)
	}
	return nil
}

// Unsigned returns the status that defers a message that cannot be signed: without
// its signature it would look forged.
func Unsigned(err error) *envelope.Status {
	return envelope.Defer(451, "4.7.5", "message cannot be signed", err)
}

// signatures returns the signatures to make for a message, each once.
func (k *Intake) signatures(in *Incoming) []envelope.Signature {
	wanted := in.Sign
	if in.Ours {
		if d := k.ourDomain(author(in.Header)); d != "" && (in.maySign == nil || in.maySign(d)) {
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
