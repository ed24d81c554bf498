package sasl

import (
	"errors"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

func TestTokens(t *testing.T) {
	tests := []struct{ name, in, user, token string }{
		{
			"OAUTHBEARER", "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmT==\x01\x01",
			"user@example.com", "vF9dft4qmT==",
		},
		{"OAUTHBEARER", "n,,\x01auth=bearer x\x01\x01", "", "x"},
		{"OAUTHBEARER", "y,a=a=2Cb=3D,\x01auth=Bearer x\x01\x01", "a,b=", "x"},
		{"XOAUTH2", "user=someuser@example.com\x01auth=Bearer ya29.vF9\x01\x01", "someuser@example.com", "ya29.vF9"},
		{name: "OAUTHBEARER", in: ""},
		{name: "OAUTHBEARER", in: "\x01"},
		{name: "OAUTHBEARER", in: "p=tls-exporter,,\x01auth=Bearer x\x01\x01"},
		{name: "OAUTHBEARER", in: "n,a=,\x01auth=Bearer x\x01\x01"},
		{name: "OAUTHBEARER", in: "n,a=u,\x01auth=Bearer x\x01"},
		{name: "OAUTHBEARER", in: "n,a=u,\x01host=x\x01\x01"},
		{name: "OAUTHBEARER", in: "n,a=u,\x01auth=Basic x\x01\x01"},
		{name: "OAUTHBEARER", in: "n,a=u,\x01auth=Bearer \x01\x01"},
		{name: "OAUTHBEARER", in: "n,a=u,\x01auth=Bearer a b\x01\x01"},
		{name: "OAUTHBEARER", in: "n,a=u,\x01auth=Bearer a\x01auth=Bearer b\x01\x01"},
		{name: "OAUTHBEARER", in: "n,a=u\n,\x01auth=Bearer a\x01\x01"},
		{name: "XOAUTH2", in: "n,a=u,\x01auth=Bearer a\x01\x01"},
	}
	for _, tt := range tests {
		_, cred, err := tokenExchange{tt.name}.Next([]byte(tt.in))
		if tt.token == "" {
			if !errors.Is(err, ErrExchange) {
				t.Errorf("%q: %+v, %v", tt.in, cred, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
		} else if want := (envelope.Credentials{Mechanism: tt.name, User: tt.user, Token: tt.token}); *cred != want {
			t.Errorf("%q: got %+v, want %+v", tt.in, *cred, want)
		}
	}
}

// FuzzToken: credentials that come out can be logged, hold a token, and read
// the same when they are written again.
func FuzzToken(f *testing.F) {
	f.Add("n,a=user@example.com,\x01host=h\x01auth=Bearer x\x01\x01", false)
	f.Add("user=u\x01auth=Bearer x\x01\x01", true)
	f.Add("n,,\x01auth=Bearer\x01\x01", false)
	f.Fuzz(func(t *testing.T, in string, x bool) {
		name := map[bool]string{true: "XOAUTH2", false: "OAUTHBEARER"}[x]
		_, cred, err := tokenExchange{name}.Next([]byte(in))
		if err != nil {
			return
		}
		if cred.Token == "" || !printable.IsASCII(cred.User+cred.Token) {
			t.Fatalf("%q: %+v", in, cred)
		}
		head := "user=" + cred.User
		if !x {
			head = "n,,"
			if cred.User != "" {
				head = "n,a=" + strings.NewReplacer(",", "=2C", "=", "=3D").Replace(cred.User) + ","
			}
		}
		_, again, err := tokenExchange{name}.Next([]byte(head + "\x01auth=Bearer " + cred.Token + "\x01\x01"))
		if err != nil || *again != *cred {
			t.Errorf("%q: %+v, again %+v, %v", in, cred, again, err)
		}
	})
}
