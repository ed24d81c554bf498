// Package sasl is the server's side of SASL logins (RFC 4422): the mechanisms
// PLAIN, LOGIN, SCRAM-SHA-256 with and without channel binding, OAUTHBEARER and
// XOAUTH2. An exchange ends with credentials; it does not judge them, except
// that SCRAM proves the password.
package sasl

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"carteiro/core/message/envelope"
)

// ErrExchange reports that what the client sent does not fit its mechanism.
var ErrExchange = errors.New("malformed SASL response")

// Exchange is the server's side of one login.
type Exchange interface {
	// Next takes the client's response, nil if it has sent none yet, and
	// returns either the next challenge or, at the end, the credentials. An
	// error that is ErrExchange ends the exchange.
	Next(response []byte) (challenge []byte, cred *envelope.Credentials, err error)
}

// Logins begins exchanges that need more than the client's words.
type Logins interface {
	// Scram begins a SCRAM-SHA-256 login (RFC 5802, RFC 7677); nil if SCRAM is
	// not offered. bind returns the channel binding of a kind or nil; bind is
	// nil without encryption. plus: the client chose SCRAM-SHA-256-PLUS.
	Scram(ctx context.Context, plus bool, bind func(kind string) []byte) Exchange
	// Tokens reports whether bearer tokens can be judged now.
	Tokens() bool
}

// mechanisms lists all in the order in which they are offered: first the ones
// that old clients know.
var mechanisms = [...]string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2"}

// Mechanisms returns the mechanisms that Begin knows for a connection, for
// EHLO and CAPA.
func Mechanisms(logins Logins, c Channel) []string {
	var out []string
	for _, name := range mechanisms {
		if Begin(context.Background(), logins, c, name) != nil {
			out = append(out, name)
		}
	}
	return out
}

// Begin starts the exchange of a mechanism, named in upper case; nil if it is
// not offered. The caller sees to it that the connection is encrypted.
func Begin(ctx context.Context, logins Logins, c Channel, name string) Exchange {
	bind := func(kind string) []byte { return binding(c, kind) }
	switch name {
	case "PLAIN":
		return plainExchange{}
	case "LOGIN":
		return &loginExchange{}
	case "SCRAM-SHA-256":
		if !isEncrypted(c) {
			bind = nil
		}
		return logins.Scram(ctx, false, bind)
	case "SCRAM-SHA-256-PLUS":
		if isEncrypted(c) {
			return logins.Scram(ctx, true, bind)
		}
	case "OAUTHBEARER", "XOAUTH2":
		if logins.Tokens() {
			return tokenExchange{name}
		}
	}
	return nil
}

// plainExchange is PLAIN (RFC 4616).
type plainExchange struct{}

func (plainExchange) Next(resp []byte) ([]byte, *envelope.Credentials, error) {
	if resp == nil {
		return []byte{}, nil, nil
	}
	parts := bytes.Split(resp, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 || !utf8.Valid(resp) {
		return nil, nil, ErrExchange
	}
	return nil, &envelope.Credentials{
		Mechanism: "PLAIN",
		Authzid:   string(parts[0]),
		User:      string(parts[1]),
		Password:  string(parts[2]),
	}, nil
}

// loginExchange is LOGIN, which no RFC defines: first the user, then the
// password. An initial response is the user.
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
		return nil, nil, ErrExchange
	}
	if l.step < 2 {
		if len(resp) == 0 {
			return nil, nil, ErrExchange
		}
		l.user, l.step = string(resp), 2
		return []byte("Password:"), nil, nil
	}
	return nil, &envelope.Credentials{Mechanism: "LOGIN", User: l.user, Password: string(resp)}, nil
}
