package core

import (
	"context"
	"fmt"
	"io"

	"carteiro/core/mail"
	"carteiro/core/mime"
	"carteiro/hooks"
)

// Signer makes DKIM signatures; *verify.Keyring is one.
type Signer interface {
	// Sign returns the fields for a domain's keys, those of selectors if there
	// are any; "" for a domain without keys.
	Sign(domain string, selectors []string, h *mime.Header, open func() (io.ReadCloser, error)) (string, error)
}

// sign puts DKIM signatures on top of a message: for mail of our users, of who
// may relay and of policies one of the author's domain, if it is ours and has
// keys, and those that policies asked for. What was asked for and cannot be
// made defers the message: unsigned, it would look forged.
func (p *Pipeline) sign(ctx context.Context, in *intake) *mail.Status {
	if p.signer == nil {
		return nil
	}
	var fields string
	wanted := in.sign
	if in.ours || in.env.Auto == "policy" {
		if value, ok := in.header.Get("From"); ok {
			if list, _ := mime.ParseAddressList(value); len(list) > 0 && p.dir.Local(list[0].Address.Domain()) {
				wanted = append(wanted[:len(wanted):len(wanted)], hooks.Signature{Domain: list[0].Address.Domain()})
			}
		}
	}
	done := map[string]bool{}
	for _, w := range wanted {
		key := fmt.Sprint(w.Domain, w.Selectors)
		if done[key] {
			continue
		}
		done[key] = true
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
