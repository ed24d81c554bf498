package receive

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/core/protocol/sasl"
	"carteiro/core/service/auth"
	"carteiro/hooks"
)

// Auth verifies a login at SMTP or POP3. Policies may accept users without an
// account here, and refuse users who have one.
func (r *Receiver) Auth(ctx context.Context, s *envelope.Session, cred *envelope.Credentials) (*envelope.Identity, *envelope.Status) {
	known, err := r.login(ctx, s, cred)
	if err != nil && !errors.Is(err, auth.ErrCredentials) {
		r.log.ErrorContext(ctx, "login impossible", "id", s.ID, "err", err)
		return nil, envelope.Defer(454, "4.7.0", "temporary authentication failure", nil)
	}
	c := &hooks.Cred{Credentials: cred, Verified: err == nil, Account: known.User, Delegate: known.Delegate}
	e := &hooks.Event{Point: hooks.ReceiveAuth, Cred: c}
	v := r.runSessionHook(ctx, s, e)
	id, status := identity(known, err == nil, cred, v)
	result, event := "ok", "login"
	if id == nil {
		result, event = "refused", "login_failed"
	}
	if r.events.Wanted(event) {
		r.events.Notice(event, map[string]any{"user": trail.Clean(cred.User), "mechanism": cred.Mechanism,
			"client": s.Remote.Addr().String(), "listener": s.Listener, "protocol": s.Protocol})
	}
	r.log.Metrics.Logins.WithLabelValues(s.Protocol, result).Inc()
	r.log.Step(ctx, "login", s.ID,
		"user", trail.Clean(cred.User), "mechanism", cred.Mechanism, "ip", s.Remote.Addr().String(), "result", result)
	return id, status
}

func identity(known envelope.Identity, verified bool, cred *envelope.Credentials, v hooks.Verdict) (*envelope.Identity, *envelope.Status) {
	if st := v.Refusal(); st != nil {
		return nil, st
	}
	if v.Action == hooks.Accept && !verified {
		a, err := envelope.ParseAddress(cred.User)
		if name, ok := v.Identity["user"].(string); ok {
			a, err = envelope.ParseAddress(name)
		}
		if err == nil {
			return &envelope.Identity{User: a.Base(), Extra: v.Identity}, nil
		}
	}
	if !verified {
		return nil, envelope.Reject(535, "5.7.8", "authentication credentials invalid")
	}
	extra := maps.Clone(v.Identity)
	if extra == nil {
		extra = known.Extra
	} else {
		maps.Copy(extra, known.Extra) // no policy can lift the limits of a delegate
	}
	return &envelope.Identity{User: known.User, Delegate: known.Delegate, Extra: extra}, nil
}

// Scram begins a SCRAM-SHA-256 login; Auth decides about its result.
func (r *Receiver) Scram(ctx context.Context, plus bool, bind func(kind string) []byte) sasl.Exchange {
	return r.dir.Scram(ctx, plus, bind)
}

// Tokens reports whether bearer tokens are accepted: only policies can verify them.
func (r *Receiver) Tokens() bool { return r.current.Get().Chain.Has(hooks.ReceiveAuth) }

// login verifies credentials and returns their user. At POP3 a delegate may open
// the mailbox of an owner who granted that, with the user name "owner*delegate":
// the identity is the owner's then, and names the delegate. With other protocols
// delegates log in only under their own names.
func (r *Receiver) login(ctx context.Context, s *envelope.Session, cred *envelope.Credentials) (id envelope.Identity, err error) {
	if s.Protocol != "pop3" {
		id.User, err = r.dir.Login(ctx, cred)
		return id, err
	}
	owner, own := r.dir.SplitDelegated(ctx, cred)
	user, err := r.dir.Login(ctx, own)
	if err != nil || owner == "" || owner == user {
		return envelope.Identity{User: user}, err
	}
	right := r.dir.Access(ctx, user, owner)
	if right == "" {
		return id, fmt.Errorf("login of %s to the mailbox of %s: %w", user, owner, auth.ErrCredentials)
	}
	return envelope.Identity{User: owner, Delegate: user, Extra: map[string]any{"readonly": right == auth.Read}}, nil
}

// Overstays reports whether a delegate's session has lost its right to the mailbox,
// or the right to change it.
func (r *Receiver) Overstays(ctx context.Context, id *envelope.Identity) bool {
	if id == nil || id.Delegate == "" {
		return false
	}
	right := r.dir.Access(ctx, id.Delegate, id.User)
	return right == "" || right == auth.Read && id.Extra["readonly"] == false
}
