package core

import (
	"context"
	"io"
	"net/netip"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/verify"
)

// verified are the results of SPF, DKIM and DMARC of one message, made when a
// policy first asks for them, or for reports (feedback.go): most mail needs no
// look-ups.
type verified struct{ results *envelope.AuthResults }

// once is what msg:auth() calls. An attempt that failed is made again.
func (v *verified) once(r verify.Resolver, m verify.Message) func(context.Context) (*envelope.AuthResults, error) {
	return func(ctx context.Context) (*envelope.AuthResults, error) {
		if v.results != nil {
			return v.results, nil
		}
		res, err := verify.Check(ctx, r, m)
		if err == nil {
			v.results = res
		}
		return res, err
	}
}

// auth is msg:auth() of a message that was accepted before: what was verified
// then, or now from what the envelope remembers. Our own mail has no client.
func (p *Pipeline) auth(env *envelope.Envelope, header *mime.Header, body func() (io.ReadCloser, error)) func(context.Context) (*envelope.AuthResults, error) {
	ip, err := netip.ParseAddr(env.Client)
	if env.Auth == nil && err != nil {
		return nil
	}
	v := &verified{results: env.Auth}
	check := v.once(p.dns, verify.Message{IP: ip, Helo: env.Helo, Sender: env.Sender, Header: header, Body: body,
		Now: p.clock.Now()})
	return func(ctx context.Context) (*envelope.AuthResults, error) {
		res, err := check(ctx)
		if err == nil {
			env.Auth = res // forks are told how this message arrived, not how they would
		}
		return res, err
	}
}
