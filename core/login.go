package core

import (
	"context"
	"fmt"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/sasl"
	"carteiro/core/service/auth"
	"carteiro/hooks"
)

// Scram begins a SCRAM-SHA-256 login; Auth judges what comes out of it.
func (p *Pipeline) Scram(ctx context.Context, plus bool, bind func(kind string) []byte) sasl.Exchange {
	return p.dir.Scram(ctx, plus, bind)
}

// Tokens tells whether bearer tokens are taken: only policies can judge them.
func (p *Pipeline) Tokens() bool { return p.gen.Get().Chain.Has(hooks.ReceiveAuth) }

// login verifies credentials and returns whose they are. At POP3 they may ask
// for the mailbox of somebody who granted that ("owner*delegate"): then the
// identity is the owner's and names the delegate. All other protocols know
// delegates under their own names alone.
func (p *Pipeline) login(ctx context.Context, s *envelope.Session, cred *envelope.Credentials) (id envelope.Identity, err error) {
	if s.Protocol != "pop3" {
		id.User, err = p.dir.Login(ctx, cred)
		return id, err
	}
	owner, own := p.dir.Delegated(ctx, cred)
	user, err := p.dir.Login(ctx, own)
	if err != nil || owner == "" || owner == user {
		return envelope.Identity{User: user}, err
	}
	right := p.dir.Access(ctx, user, owner)
	if right == "" {
		return id, fmt.Errorf("login of %s to the mailbox of %s: %w", user, owner, auth.ErrCredentials)
	}
	return envelope.Identity{User: owner, Delegate: user, Extra: map[string]any{"readonly": right == auth.Read}}, nil
}

// Overstays tells of a session at somebody else's mailbox whose right to it
// is over, or less than it was.
func (p *Pipeline) Overstays(ctx context.Context, id *envelope.Identity) bool {
	if id == nil || id.Delegate == "" {
		return false
	}
	right := p.dir.Access(ctx, id.Delegate, id.User)
	return right == "" || right == auth.Read && id.Extra["readonly"] == false
}
