package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/sasl"
)

// defaultRounds is the iteration count of PBKDF2. RFC 7677 asks for at least 4096.
// The client does this work at each login, somebody who stole the store at each
// guess. It takes about 20 ms.
const defaultRounds = 65536

func (d *AccountTable) scramRounds() int {
	if d.o.WeakHash {
		return 4096
	}
	return defaultRounds
}

// Scram begins a SCRAM-SHA-256 login. bind returns the connection's channel
// binding of a kind, nil if there is none; bind is nil if PLUS is not offered.
// Login judges the credentials that come out, proven or not. Names without
// account, and accounts whose password was set before there was SCRAM, get a
// salt that stays the same, so that they look like all others.
func (d *Directory) Scram(ctx context.Context, plus bool, bind func(kind string) []byte) sasl.Exchange {
	return sasl.Scram(plus, bind, func(user string) (*sasl.Verifier, error) { return d.verifier(ctx, user) })
}

// verifier returns the data to verify a user's password with.
func (d *Directory) verifier(ctx context.Context, user string) (*sasl.Verifier, error) {
	if _, delegate, ok := d.splitLogin(ctx, user); ok {
		user = delegate // the exchange proves who it is; Login judges whether that is enough
	}
	a, err := d.loginName(user)
	if err != nil {
		a = envelope.Address(strings.ToLower(user))
	}
	acc, err := d.account(ctx, a)
	switch {
	case err != nil && !errors.Is(err, ErrUnknown):
		return nil, err
	case err != nil || acc.Scram == nil:
		return d.decoyVerifier(a), nil
	}
	return acc.Scram, nil
}

// decoyVerifier returns a verifier that nobody can prove, the same for a name
// each time.
func (d *Directory) decoyVerifier(a envelope.Address) *sasl.Verifier {
	derive := func(what string) []byte {
		m := hmac.New(sha256.New, d.decoy)
		m.Write([]byte(what + "\x00" + string(a)))
		return m.Sum(nil)
	}
	return &sasl.Verifier{Salt: derive("salt")[:16], Rounds: d.scramRounds(), StoredKey: derive("stored"), ServerKey: derive("server")}
}

// decoyKey returns the key for decoyVerifier: derived from the key file, or a new
// one in each process.
func decoyKey(key []byte) []byte {
	if len(key) == 0 {
		out := make([]byte, 32)
		rand.Read(out)
		return out
	}
	m := hmac.New(sha256.New, key)
	m.Write([]byte("carteiro scram decoys"))
	return m.Sum(nil)
}
