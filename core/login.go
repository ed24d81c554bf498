package core

import (
	"context"

	"carteiro/core/mail"
	"carteiro/hooks"
)

// Scram begins a SCRAM-SHA-256 login; Auth judges what comes out of it.
func (p *Pipeline) Scram(ctx context.Context, plus bool, bind func(kind string) []byte) mail.Exchange {
	return p.dir.Scram(ctx, plus, bind)
}

// Tokens tells whether bearer tokens are taken: only policies can judge them.
func (p *Pipeline) Tokens() bool { return p.gen.Get().Chain.Has(hooks.ReceiveAuth) }
