package intake

import (
	"context"
	"net/netip"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/verify"
)

// Verified holds the results of SPF, DKIM and DMARC of one message. They are computed
// when a policy or the aggregate reports first need them, so that other mail needs no
// look-ups.
type Verified struct{ Results *envelope.AuthResults }

// AuthCheck returns the results of SPF, DKIM and DMARC of a message.
type AuthCheck = func(context.Context) (*envelope.AuthResults, error)

// Once returns the function that msg:auth() calls. It verifies the message at the
// first call, and again after an error.
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

// Verification returns the function of msg:auth() for a message that was accepted
// before. It returns the results from then, or verifies now, with the client address
// in the envelope. It is nil for mail without a client.
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
			env.Auth = res // forks keep the results of the message that arrived
		}
		return res, err
	}
}
