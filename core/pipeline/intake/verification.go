package intake

import (
	"context"
	"net/netip"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/verify"
)

// Verified holds the results of SPF, DKIM and DMARC of one message. They are made
// when a policy first asks for them, or for aggregate reports: most mail needs no look-ups.
type Verified struct{ Results *envelope.AuthResults }

// AuthCheck returns the results of SPF, DKIM and DMARC of a message.
type AuthCheck = func(context.Context) (*envelope.AuthResults, error)

// Once returns the function that msg:auth() calls. It verifies once; a verification that
// failed is made again.
func (v *Verified) Once(r verify.Resolver, m verify.Message) AuthCheck {
	return func(ctx context.Context) (*envelope.AuthResults, error) {
		if v.Results != nil {
			return v.Results, nil
		}
		res, err := verify.Check(ctx, r, m)
		if err == nil {
			v.Results = res
		}
		return res, err
	}
}

// Verification returns msg:auth() of a message that was accepted before: what was
// found then, or what is found now from what the envelope remembers. It is nil for mail of our own, which has
// no client.
func (k *Intake) Verification(env *envelope.Envelope, header *mime.Header, body OpenBody) AuthCheck {
	ip, err := netip.ParseAddr(env.Client)
	if env.Auth == nil && err != nil {
		return nil
	}
	v := &Verified{Results: env.Auth}
	check := v.Once(k.resolver, verify.Message{IP: ip, Helo: env.Helo, Sender: env.Sender, Header: header, Body: body,
		Now: k.clock.Now()})
	return func(ctx context.Context) (*envelope.AuthResults, error) {
		res, err := check(ctx)
		if err == nil {
			env.Auth = res // forks are told how this message arrived, not how they would
		}
		return res, err
	}
}
