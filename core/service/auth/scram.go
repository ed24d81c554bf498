package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"

	"github.com/xdg-go/scram"

	"carteiro/core/message/envelope"
)

// scramRounds is the iteration count of PBKDF2. RFC 7677 asks for 4096 at
// least; the client has the work at each login, a thief of the store at each
// guess. About 20 ms.
const scramRounds = 65536

// Scram is what SCRAM-SHA-256 verifies a password by (RFC 5802 section 3).
// The password cannot be read from it, but guessed at with less work than
// from the argon2id hash.
type Scram struct {
	Salt      []byte `json:"salt"`
	Rounds    int    `json:"rounds"`
	StoredKey []byte `json:"stored"`
	ServerKey []byte `json:"server"`
}

// scramOf makes what verifies a password; nil for one that SASLprep (RFC
// 4013) refuses, which SCRAM clients could not send.
func (d *Directory) scramOf(password string) *Scram {
	c, err := scram.SHA256.NewClient("", password, "")
	if err != nil {
		return nil
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	keys, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: d.rounds()})
	if err != nil {
		return nil
	}
	return &Scram{Salt: salt, Rounds: keys.Iters, StoredKey: keys.StoredKey, ServerKey: keys.ServerKey}
}

func (d *Directory) rounds() int {
	if d.o.Cheap {
		return 4096
	}
	return scramRounds
}

// Scram begins a SCRAM-SHA-256 login. bind gives the connection's channel
// binding of a kind, nil where there is none; it is nil itself where PLUS is
// not offered. The credentials that come out are for Login, proven or not.
// Names without account, and accounts whose password was set before there was
// SCRAM, get a salt that stays the same, so that they look like all others.
func (d *Directory) Scram(ctx context.Context, plus bool, bind func(kind string) []byte) envelope.Exchange {
	name := "SCRAM-SHA-256"
	if plus {
		name += "-PLUS"
	}
	return &scramExchange{d: d, ctx: ctx, name: name, plus: plus, bind: bind}
}

// scramExchange lives as long as one AUTH command, and so does its ctx.
type scramExchange struct {
	d    *Directory
	ctx  context.Context
	name string
	plus bool
	bind func(string) []byte
	conv *scram.ServerConversation
	done bool
	err  error // of the store
}

// Next is envelope.Exchange.
func (x *scramExchange) Next(resp []byte) ([]byte, *envelope.Credentials, error) {
	switch {
	case resp == nil && x.conv == nil:
		return []byte{}, nil, nil
	case x.done && len(resp) > 0:
		return nil, nil, envelope.ErrExchange
	case x.done:
		return nil, x.credentials(true), nil
	case x.conv == nil:
		return x.first(string(resp))
	}
	challenge, err := x.conv.Step(string(resp))
	if err != nil {
		return nil, x.credentials(false), nil
	}
	x.done = true
	return []byte(challenge), nil, nil
}

func (x *scramExchange) first(resp string) ([]byte, *envelope.Credentials, error) {
	kind, binds := strings.CutPrefix(resp, "p=")
	if binds != x.plus {
		return nil, nil, envelope.ErrExchange
	}
	srv, err := scram.SHA256.NewServer(x.lookup)
	if err != nil {
		return nil, nil, err
	}
	// Where PLUS is offered, a client that binds but did not see the offer
	// ("y") has somebody in between: the conversation refuses it.
	binding := scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter}
	if x.plus {
		kind, _, _ = strings.Cut(kind, ",")
		binding.Type = scram.ChannelBindingType(kind)
	}
	if x.bind != nil {
		binding.Data = x.bind(string(binding.Type))
	}
	if x.conv = srv.NewConversation(); binding.Data != nil {
		x.conv = srv.NewConversationWithChannelBinding(binding)
	}
	challenge, err := x.conv.Step(resp)
	switch {
	case x.err != nil:
		return nil, nil, x.err
	case err != nil && x.conv.Username() == "":
		return nil, nil, envelope.ErrExchange
	case err != nil:
		return nil, x.credentials(false), nil
	}
	return []byte(challenge), nil, nil
}

func (x *scramExchange) credentials(proven bool) *envelope.Credentials {
	return &envelope.Credentials{Mechanism: x.name, User: x.conv.Username(), Authzid: x.conv.AuthzID(), Proven: proven}
}

func (x *scramExchange) lookup(user string) (scram.StoredCredentials, error) {
	if _, delegate, ok := x.d.splitLogin(x.ctx, user); ok {
		user = delegate // proves who it is; Login tells whether that is enough
	}
	a, err := x.d.loginName(user)
	if err != nil {
		a = envelope.Address(strings.ToLower(user))
	}
	acc, err := x.d.account(x.ctx, a)
	if err != nil && !errors.Is(err, ErrUnknown) {
		x.err = err
		return scram.StoredCredentials{}, err
	}
	v := acc.Scram
	if err != nil || v == nil {
		v = x.d.noScram(a)
	}
	return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(v.Salt), Iters: v.Rounds},
		StoredKey: v.StoredKey, ServerKey: v.ServerKey}, nil
}

// noScram is what nobody can prove, the same for a name each time.
func (d *Directory) noScram(a envelope.Address) *Scram {
	derive := func(what string) []byte {
		m := hmac.New(sha256.New, d.decoy)
		m.Write([]byte(what + "\x00" + string(a)))
		return m.Sum(nil)
	}
	return &Scram{Salt: derive("salt")[:16], Rounds: d.rounds(), StoredKey: derive("stored"), ServerKey: derive("server")}
}

// decoyKey is the key of what names without account get: from the key file,
// or a new one in each process.
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
