package auth

import (
	"errors"
	"strings"
	"testing"

	"carteiro/core/internal/dialogtest"
	"carteiro/core/message/envelope"
	"carteiro/core/protocol/sasl"
)

var errRefused = errors.New("refused")

// attempt goes through an exchange and Login.
func attempt(t *testing.T, d *Directory, c dialogtest.Scram, plus bool, bind func(string) []byte) (envelope.Address, string, error) {
	t.Helper()
	x := d.Scram(t.Context(), plus, bind)
	if hello, _, err := x.Next(nil); err != nil || len(hello) != 0 {
		t.Fatalf("without initial response: %q, %v", hello, err)
	}
	var cred *envelope.Credentials
	var salt string
	err := c.Run("clientnonce", func(resp string) (string, error) {
		challenge, done, err := x.Next([]byte(resp))
		cred = done
		if err == nil && done != nil {
			err = errRefused
		}
		if _, after, found := strings.Cut(string(challenge), ",s="); found {
			salt, _, _ = strings.Cut(after, ",")
		}
		return string(challenge), err
	})
	if err != nil && !errors.Is(err, errRefused) {
		return "", salt, err
	}
	if err == nil {
		if _, cred, err = x.Next([]byte{}); err != nil || cred == nil || !cred.Proven {
			t.Fatalf("at the end: %+v, %v", cred, err)
		}
	}
	if cred.Proven != (err == nil) {
		t.Fatalf("%v, and %+v", err, cred)
	}
	a, lerr := d.Login(t.Context(), cred)
	return a, salt, lerr
}

func TestScram(t *testing.T) {
	d := open(t, nil)
	bind := func(kind string) []byte {
		if kind == "tls-unique" {
			return nil
		}
		return []byte("binding of " + kind)
	}
	exporter, endpoint := bind("tls-exporter"), bind("tls-server-end-point")
	tests := []struct {
		name string
		c    dialogtest.Scram
		plus bool
		bind func(string) []byte
		good bool
	}{
		{"right", dialogtest.Scram{User: "ann@our.example", Password: "pass word"}, false, nil, true},
		{"right, name alone", dialogtest.Scram{User: "ann", Password: "pass word"}, false, bind, true},
		{"as herself", dialogtest.Scram{User: "ann@our.example", Password: "pass word", GS2: "n,a=ann@our.example,"}, false, nil, true},
		{"as another", dialogtest.Scram{User: "ann@our.example", Password: "pass word", GS2: "n,a=bob@our.example,"}, false, nil, false},
		{"wrong", dialogtest.Scram{User: "ann", Password: "pass words"}, false, nil, false},
		{"unknown", dialogtest.Scram{User: "eve", Password: "pass word"}, false, nil, false},
		{"exporter", dialogtest.Scram{User: "ann", Password: "pass word", GS2: "p=tls-exporter,,", Binding: exporter}, true, bind, true},
		{"end point", dialogtest.Scram{User: "ann", Password: "pass word", GS2: "p=tls-server-end-point,,", Binding: endpoint}, true, bind, true},
		{"other data", dialogtest.Scram{User: "ann", Password: "pass word", GS2: "p=tls-exporter,,", Binding: endpoint}, true, bind, false},
		{"kind that we lack", dialogtest.Scram{User: "ann", Password: "pass word", GS2: "p=tls-unique,,", Binding: exporter}, true, bind, false},
		{"somebody took PLUS away", dialogtest.Scram{User: "ann", Password: "pass word", GS2: "y,,"}, false, bind, false},
		{"PLUS is not offered", dialogtest.Scram{User: "ann", Password: "pass word", GS2: "y,,"}, false, nil, true},
	}
	for _, tt := range tests {
		a, _, err := attempt(t, d, tt.c, tt.plus, tt.bind)
		if tt.good && (err != nil || a != "ann@our.example") || !tt.good && !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %s, %v", tt.name, a, err)
		}
	}
}

// PLUS without a binding, and a binding without PLUS, are no exchange; nor is
// garbage, or a word after the end.
func TestScramMalformed(t *testing.T) {
	d := open(t, nil)
	for _, tt := range []struct {
		plus bool
		in   []string
	}{
		{true, []string{"n,,n=ann,r=x"}}, {false, []string{"p=tls-exporter,,n=ann,r=x"}},
		{false, []string{""}}, {false, []string{"n,,"}}, {false, []string{"n,,n=ann"}}, {false, []string{"\x00\xff"}},
		{false, []string{"n,,n=a=zz,r=x"}},
	} {
		x := d.Scram(t.Context(), tt.plus, func(string) []byte { return []byte("b") })
		var err error
		for _, in := range tt.in {
			_, _, err = x.Next([]byte(in))
		}
		if !errors.Is(err, sasl.ErrExchange) {
			t.Errorf("%q: %v", tt.in, err)
		}
	}
	x := d.Scram(t.Context(), false, nil)
	err := dialogtest.Scram{User: "ann", Password: "pass word"}.Run("n", func(resp string) (string, error) {
		challenge, _, err := x.Next([]byte(resp))
		return string(challenge), err
	})
	if _, _, after := x.Next([]byte("more")); err != nil || !errors.Is(after, sasl.ErrExchange) {
		t.Errorf("%v, %v", err, after)
	}
}

// A name without account has a salt like any other, the same each time, in
// each case, and after a restart.
func TestScramUnknownLooksKnown(t *testing.T) {
	d := open(t, nil)
	old, err := New(t.Context(), d.o)
	if err != nil {
		t.Fatal(err)
	}
	salts := map[string]string{}
	for _, user := range []string{"eve", "EVE@our.example", "ann", "no address"} {
		for _, dir := range []*Directory{d, old} {
			_, salt, _ := attempt(t, dir, dialogtest.Scram{User: user, Password: "x"}, false, nil)
			key := strings.ToLower(strings.TrimSuffix(user, "@our.example"))
			if len(salt) != 24 || salts[key] != "" && salts[key] != salt {
				t.Errorf("%s: salt %q, before %q", user, salt, salts[key])
			}
			salts[key] = salt
		}
	}
	if salts["eve"] == salts["ann"] || salts["eve"] == salts["no address"] {
		t.Error("names share salts")
	}
}

// SCRAM accepts a changed password; accounts from before SCRAM cannot use it.
func TestScramFollowsThePassword(t *testing.T) {
	d := open(t, nil)
	if err := d.SetPassword(t.Context(), "ann@our.example", "new"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := attempt(t, d, dialogtest.Scram{User: "ann", Password: "pass word"}, false, nil); !errors.Is(err, ErrCredentials) {
		t.Errorf("the old password: %v", err)
	}
	if a, _, err := attempt(t, d, dialogtest.Scram{User: "ann", Password: "new"}, false, nil); err != nil || a != "ann@our.example" {
		t.Errorf("the new one: %s, %v", a, err)
	}
	if err := d.change(t.Context(), "bob@our.example", func(acc *Account) error { acc.Scram = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := attempt(t, d, dialogtest.Scram{User: "bob", Password: "pass word"}, false, nil); !errors.Is(err, ErrCredentials) {
		t.Errorf("without verifier: %v", err)
	}
	if _, err := d.Login(t.Context(), &envelope.Credentials{Mechanism: "OAUTHBEARER", User: "ann", Token: "t", Password: "new"}); !errors.Is(
		err,
		ErrCredentials,
	) {
		t.Errorf("a token: %v", err)
	}
}

// FuzzScram: without the password no two responses prove anything, and what is
// wrong is either no exchange or credentials that Login refuses.
func FuzzScram(f *testing.F) {
	f.Add("n,,n=ann,r=x", "c=biws,r=x,p=AAAA", false)
	f.Add("p=tls-exporter,,n=ann,r=x", "c=cD10bHMtZXhwb3J0ZXIsLGI=,r=x,p=AAAA", true)
	f.Add("y,a=bob,n=a=2Cb,r=,", "", false)
	d := open(f, nil)
	f.Fuzz(func(t *testing.T, one, two string, plus bool) {
		x := d.Scram(t.Context(), plus, func(string) []byte { return []byte("b") })
		for _, in := range []string{one, two, ""} {
			_, cred, err := x.Next([]byte(in))
			if err != nil && !errors.Is(err, sasl.ErrExchange) {
				t.Fatalf("%q, %q: %v", one, two, err)
			}
			if cred != nil && (cred.Proven || cred.Password != "" || cred.Mechanism == "") {
				t.Fatalf("%q, %q: %+v", one, two, cred)
			}
			if err != nil || cred != nil {
				return
			}
		}
		t.Fatalf("%q, %q: no end", one, two)
	})
}
