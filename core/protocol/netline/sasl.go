package netline

import (
	"bytes"
	"context"
	"strings"
	"unicode/utf8"

	"carteiro/core/message/envelope"
)

// Logins is what a backend may know besides judging passwords.
type Logins interface {
	// Scram begins a SCRAM-SHA-256 login (RFC 5802, RFC 7677). bind gives the
	// channel binding of a kind or nil; it is nil without encryption. plus
	// tells that the client chose SCRAM-SHA-256-PLUS.
	Scram(ctx context.Context, plus bool, bind func(kind string) []byte) envelope.Exchange
	// Tokens tells whether somebody judges bearer tokens now.
	Tokens() bool
}

// names of all mechanisms in the order in which they are offered: the ones
// that old clients know first.
var names = [...]string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2"}

// Mechanisms lists what a backend takes over a connection, for EHLO and CAPA:
// PLAIN and LOGIN always, the others where it is a Logins.
func Mechanisms(backend any, c *Conn) []string {
	var out []string
	for _, name := range names {
		if Begin(context.Background(), backend, c, name) != nil {
			out = append(out, name)
		}
	}
	return out
}

// Begin starts the exchange of a mechanism, named in upper case; nil where it
// is not offered. All of them are for encrypted connections.
func Begin(ctx context.Context, backend any, c *Conn, name string) envelope.Exchange {
	logins, able := backend.(Logins)
	switch {
	case name == "PLAIN":
		return plainExchange{}
	case name == "LOGIN":
		return &loginExchange{}
	case !able:
		return nil
	case name == "SCRAM-SHA-256" && c.TLS() == nil:
		return logins.Scram(ctx, false, nil)
	case name == "SCRAM-SHA-256":
		return logins.Scram(ctx, false, c.Binding)
	case name == "SCRAM-SHA-256-PLUS" && c.TLS() != nil:
		return logins.Scram(ctx, true, c.Binding)
	case (name == "OAUTHBEARER" || name == "XOAUTH2") && logins.Tokens():
		return tokenExchange{name}
	}
	return nil
}

type plainExchange struct{}

func (plainExchange) Next(resp []byte) ([]byte, *envelope.Credentials, error) {
	if resp == nil {
		return []byte{}, nil, nil
	}
	parts := bytes.Split(resp, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 || !utf8.Valid(resp) {
		return nil, nil, envelope.ErrExchange
	}
	return nil, &envelope.Credentials{Mechanism: "PLAIN", Authzid: string(parts[0]),
		User: string(parts[1]), Password: string(parts[2])}, nil
}

// loginExchange is LOGIN, which no RFC defines: user, then password. An
// initial response is the user.
type loginExchange struct {
	user string
	step int
}

func (l *loginExchange) Next(resp []byte) ([]byte, *envelope.Credentials, error) {
	if resp == nil && l.step == 0 {
		l.step = 1
		return []byte("Username:"), nil, nil
	}
	if !utf8.Valid(resp) || strings.ContainsRune(string(resp), 0) {
		return nil, nil, envelope.ErrExchange
	}
	if l.step < 2 {
		if len(resp) == 0 {
			return nil, nil, envelope.ErrExchange
		}
		l.user, l.step = string(resp), 2
		return []byte("Password:"), nil, nil
	}
	return nil, &envelope.Credentials{Mechanism: "LOGIN", User: l.user, Password: string(resp)}, nil
}
