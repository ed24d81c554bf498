package core

import (
	"context"
	"io"
	"net/netip"

	"carteiro/core/mail"
	"carteiro/core/mime"
	"carteiro/core/verify"
)

// verified are the results of SPF, DKIM and DMARC of one message, made when a
// policy first asks for them, or for reports (feedback.go): most mail needs no
// look-ups.
type verified struct{ results *mail.AuthResults }

// once is what msg:auth() calls. An attempt that failed is made again.
func (v *verified) once(r verify.Resolver, m verify.Message) func(context.Context) (*mail.AuthResults, error) {
	return func(ctx context.Context) (*mail.AuthResults, error) {
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
func (p *Pipeline) auth(env *mail.Envelope, header *mime.Header, body func() (io.ReadCloser, error)) func(context.Context) (*mail.AuthResults, error) {
	ip, err := netip.ParseAddr(env.Client)
	if env.Auth == nil && err != nil {
		return nil
	}
	v := &verified{results: env.Auth}
	check := v.once(p.dns, verify.Message{IP: ip, Helo: env.Helo, Sender: env.Sender, Header: header, Body: body,
		Now: p.clock.Now()})
	return func(ctx context.Context) (*mail.AuthResults, error) {
		res, err := check(ctx)
		if err == nil {
			env.Auth = res // forks are told how this message arrived, not how they would
		}
		return res, err
	}
}
