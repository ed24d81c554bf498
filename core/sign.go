package core

import (
	"context"
	"fmt"
	"io"

	"carteiro/core/mail"
	"carteiro/core/mime"
)

// Signer makes DKIM signatures; *verify.Keyring is one.
type Signer interface {
	// Sign returns the fields for a domain's keys, those of selectors if there
	// are any; "" for a domain without keys.
	Sign(domain string, selectors []string, h *mime.Header, open func() (io.ReadCloser, error)) (string, error)
	// Copies is Sign for many header sections over one body, which is read once.
	Copies(domain string, selectors []string, open func() (io.ReadCloser, error)) (sign func(h *mime.Header) (string, error), err error)
}

// sign puts DKIM signatures on top of a message: for mail of our users, of who
// may relay and of policies one of the author's domain, if it is ours and has
// keys, and those that policies asked for. What was asked for and cannot be
// made defers the message: unsigned, it would look forged.
func (p *Pipeline) sign(ctx context.Context, in *intake) *mail.Status {
	if p.signer == nil || in.forked { // copies of forks are signed each for itself
		return nil
	}
	var fields string
	for _, w := range p.signatures(in) {
		one, err := p.signer.Sign(w.Domain, w.Selectors, in.header, in.body)
		if err != nil {
			return mail.Defer(451, "4.7.5", "message cannot be signed", err)
		}
		fields = one + fields
	}
	if fields != "" {
		in.header.PrependRaw(fields)
	}
	return nil
}

// signatures are those that a message is to get, each once.
func (p *Pipeline) signatures(in *intake) []mail.Signature {
	wanted := in.sign
	if in.ours {
		if value, ok := in.header.Get("From"); ok {
			if list, _ := mime.ParseAddressList(value); len(list) > 0 && p.dir.Local(list[0].Address.Domain()) {
				wanted = append(wanted[:len(wanted):len(wanted)], mail.Signature{Domain: list[0].Address.Domain()})
			}
		}
	}
	var out []mail.Signature
	done := map[string]bool{}
	for _, w := range wanted {
		if key := fmt.Sprint(w.Domain, w.Selectors); !done[key] {
			done[key] = true
			out = append(out, w)
		}
	}
	return out
}

// signature is what a copy with this header section gets on its way out or
// into a mailbox; "" where the message was signed on its way in.
func (a *attempt) signature(ctx context.Context, section []byte) (string, *mail.Status) {
	if a.p.signer == nil || len(a.env.Sign) == 0 {
		return "", nil
	}
	if a.copies == nil {
		for _, s := range a.env.Sign {
			sign, err := a.p.signer.Copies(s.Domain, s.Selectors, func() (io.ReadCloser, error) { return a.p.store.Body(ctx, a.env) })
			if err != nil {
				return "", mail.Defer(451, "4.7.5", "message cannot be signed", err)
			}
			a.copies = append(a.copies, sign)
		}
	}
	h, fields := mime.ParseHeader(section), ""
	for _, sign := range a.copies {
		one, err := sign(h)
		if err != nil {
			return "", mail.Defer(451, "4.7.5", "message cannot be signed", err)
		}
		fields = one + fields
	}
	return fields, nil
}
