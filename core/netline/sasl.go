package netline

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"carteiro/core/mail"
)

// ErrExchange: what the client sent does not fit its mechanism.
var ErrExchange = errors.New("malformed SASL response")

// Exchange is the server's side of one SASL login (RFC 4422).
type Exchange interface {
	// Next takes the client's response, nil when it sent none yet, and
	// returns either the next challenge or, at the end, the credentials.
	// An error that is ErrExchange ends the exchange.
	Next(response []byte) (challenge []byte, cred *mail.Credentials, err error)
}

// Mechanisms makes an Exchange by the mechanism's name in upper case.
type Mechanisms map[string]func() Exchange

// Plaintext are the mechanisms that send the password as it is, and that are
// fit for encrypted connections only: PLAIN (RFC 4616) and LOGIN.
func Plaintext() Mechanisms {
	return Mechanisms{
		"PLAIN": func() Exchange { return plainExchange{} },
		"LOGIN": func() Exchange { return &loginExchange{} },
	}
}

type plainExchange struct{}

func (plainExchange) Next(resp []byte) ([]byte, *mail.Credentials, error) {
	if resp == nil {
		return []byte{}, nil, nil
	}
	parts := bytes.Split(resp, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 || !utf8.Valid(resp) {
		return nil, nil, ErrExchange
	}
	return nil, &mail.Credentials{Mechanism: "PLAIN", Authzid: string(parts[0]),
		User: string(parts[1]), Password: string(parts[2])}, nil
}

// loginExchange is LOGIN, which no RFC defines: user, then password. An
// initial response is the user.
type loginExchange struct {
	user string
	step int
}

func (l *loginExchange) Next(resp []byte) ([]byte, *mail.Credentials, error) {
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
	return nil, &mail.Credentials{Mechanism: "LOGIN", User: l.user, Password: string(resp)}, nil
}
