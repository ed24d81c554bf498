package sasl

import (
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

// tokenExchange is OAUTHBEARER (RFC 7628) and XOAUTH2, which no RFC defines:
// one message with a bearer token.
type tokenExchange struct{ name string }

func (t tokenExchange) Next(resp []byte) ([]byte, *envelope.Credentials, error) {
	if resp == nil {
		return []byte{}, nil, nil
	}
	head, rest, _ := strings.Cut(string(resp), "\x01")
	pairs, complete := strings.CutSuffix(rest, "\x01\x01")
	if !complete {
		return nil, nil, ErrExchange
	}
	cred := &envelope.Credentials{Mechanism: t.name}
	var ok bool
	if t.name == "XOAUTH2" {
		cred.User, ok = strings.CutPrefix(head, "user=")
	} else {
		cred.User, ok = gs2User(head)
	}
	if !ok || !printable.IsASCII(cred.User) {
		return nil, nil, ErrExchange
	}
	for pair := range strings.SplitSeq(pairs, "\x01") {
		key, value, found := strings.Cut(pair, "=")
		if !found || !printable.IsASCII(value) || key == "auth" && cred.Token != "" {
			return nil, nil, ErrExchange
		}
		if key == "auth" {
			cred.Token = bearer(value)
		}
	}
	if cred.Token == "" {
		return nil, nil, ErrExchange
	}
	return nil, cred, nil
}

// bearer returns the token of "Bearer TOKEN" (RFC 6750 2.1), "" for anything
// else.
func bearer(value string) string {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.ContainsAny(token, " \t") {
		return ""
	}
	return token
}

// gs2User reads the header of RFC 5801 without channel binding: "n,a=user,".
func gs2User(head string) (string, bool) {
	f := strings.Split(head, ",")
	if len(f) != 3 || f[0] != "n" && f[0] != "y" || f[2] != "" {
		return "", false
	}
	if f[1] == "" {
		return "", true
	}
	name, ok := strings.CutPrefix(f[1], "a=")
	name = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name)
	return name, ok && name != ""
}

// TokenRefused returns the challenge that says why a token is refused. The client
// answers it, and only then gets the reply that the login failed.
func TokenRefused(mechanism string) []byte {
	if mechanism == "XOAUTH2" {
		return []byte(`{"status":"401","schemes":"bearer","scope":""}`)
	}
	return []byte(`{"status":"invalid_token"}`)
}
