package sasl

import (
	"crypto/rand"
	"strings"

	"github.com/xdg-go/scram"

	"carteiro/core/message/envelope"
)

// Verifier is what SCRAM-SHA-256 verifies a password with (RFC 5802 section 3).
// The password cannot be read from it, but guessing it takes less work than from
// an argon2id hash.
type Verifier struct {
	Salt      []byte `json:"salt"`
	Rounds    int    `json:"rounds"`
	StoredKey []byte `json:"stored"`
	ServerKey []byte `json:"server"`
}

// NewVerifier makes the verifier of a password with a new salt; nil if SASLprep
// (RFC 4013) refuses the password, which SCRAM clients could not send.
func NewVerifier(password string, rounds int) *Verifier {
	c, err := scram.SHA256.NewClient("", password, "")
	if err != nil {
		return nil
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	keys, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: rounds})
	if err != nil {
		return nil
	}
	return &Verifier{Salt: salt, Rounds: keys.Iters, StoredKey: keys.StoredKey, ServerKey: keys.ServerKey}
}

// Scram begins a SCRAM-SHA-256 login. bind returns the connection's channel
// binding of a kind, nil if there is none; bind is nil if PLUS is not offered.
// lookup returns the verifier of a user name, and one that nobody can prove for
// names without account; its error ends the exchange.
func Scram(plus bool, bind func(kind string) []byte, lookup func(user string) (*Verifier, error)) Exchange {
	name := "SCRAM-SHA-256"
	if plus {
		name += "-PLUS"
	}
	return &scramExchange{name: name, plus: plus, bind: bind, lookup: lookup}
}

// scramExchange lives as long as one AUTH command.
type scramExchange struct {
	name   string
	plus   bool
	bind   func(string) []byte
	lookup func(user string) (*Verifier, error)
	conv   *scram.ServerConversation
	done   bool
	err    error // of lookup
}

// Next implements Exchange.
func (x *scramExchange) Next(resp []byte) ([]byte, *envelope.Credentials, error) {
	switch {
	case resp == nil && x.conv == nil:
		return []byte{}, nil, nil
	case x.done && len(resp) > 0:
		return nil, nil, ErrExchange
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
		return nil, nil, ErrExchange
	}
	srv, err := scram.SHA256.NewServer(x.stored)
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
		return nil, nil, ErrExchange
	case err != nil:
		return nil, x.credentials(false), nil
	}
	return []byte(challenge), nil, nil
}

func (x *scramExchange) credentials(proven bool) *envelope.Credentials {
	return &envelope.Credentials{Mechanism: x.name, User: x.conv.Username(), Authzid: x.conv.AuthzID(), Proven: proven}
}

// stored calls lookup in the library's terms and keeps its error.
func (x *scramExchange) stored(user string) (scram.StoredCredentials, error) {
	v, err := x.lookup(user)
	if err != nil {
		x.err = err
		return scram.StoredCredentials{}, err
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(v.Salt), Iters: v.Rounds},
		StoredKey:  v.StoredKey,
		ServerKey:  v.ServerKey,
	}, nil
}
