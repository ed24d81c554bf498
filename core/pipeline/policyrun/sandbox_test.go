package policyrun

import (
	"testing"

	"carteiro/hooks"
)

// TestRealmWithName: each challenge for Basic has a realm that names the bundle; the
// rest of the field is unchanged.
func TestRealmWithName(t *testing.T) {
	for value, want := range map[string]string{
		`Basic realm="mail", charset="UTF-8"`:                     `Basic realm="mail (acme/x)", charset="UTF-8"`,
		`basic  charset="UTF-8" , realm = "mail"`:                 `basic  charset="UTF-8" , realm="mail (acme/x)"`,
		`BASIC realm=mail`:                                        `BASIC realm="mail (acme/x)"`,
		`Basic realm="a \" b, Basic realm=c"`:                     `Basic realm="a \" b, Basic realm=c (acme/x)"`,
		`Basic`:                                                   `Basic realm="acme/x"`,
		`Basic charset="UTF-8"`:                                   `Basic charset="UTF-8", realm="acme/x"`,
		`Basic realm=""`:                                          `Basic realm="(acme/x)"`,
		`Bearer realm="mail"`:                                     `Bearer realm="mail"`,
		`Digest realm="mail", nonce="1", Basic realm="mail"`:      `Digest realm="mail", nonce="1", Basic realm="mail (acme/x)"`,
		`Basic realm="mail", Digest realm="mail", nonce="basic "`: `Basic realm="mail (acme/x)", Digest realm="mail", nonce="basic "`,
		`Negotiate, Basic`:                                        `Negotiate, Basic realm="acme/x"`,
		"":                                                        "",
	} {
		if got := realmWithName(value, "acme/x"); got != want {
			t.Errorf("%s: got %s, want %s", value, got, want)
		}
	}
}

// TestConfinePages checks which responses have the sandbox.
func TestConfinePages(t *testing.T) {
	const own = "default-src 'none'"
	for _, c := range []struct {
		info    hooks.Info
		headers map[string]string
		want    string
	}{
		{hooks.Info{Bundle: "acme/x", Tier: hooks.Bundle}, nil, sandbox},
		{hooks.Info{Bundle: "acme/x", Tier: hooks.Bundle}, map[string]string{"content-security-POLICY": own}, sandbox + ", " + own},
		{hooks.Info{Bundle: "acme/x", Tier: hooks.Bundle}, map[string]string{"Content-Security-Policy": "a", "content-security-policy": "b"},
			sandbox + ", a, b"},
		{hooks.Info{Bundle: "acme/x", Tier: hooks.Bundle, PlainWeb: true}, map[string]string{"Content-Security-Policy": own}, own},
		{hooks.Info{Bundle: "acme/x", Tier: hooks.Bundle, PlainWeb: true}, nil, ""},
		{hooks.Info{Tier: hooks.Domain, Domains: []string{"a.example"}}, nil, sandbox},
		{hooks.Info{Tier: hooks.Admin}, map[string]string{"Content-Security-Policy": own}, own},
		{hooks.Info{Tier: hooks.After}, nil, ""},
	} {
		r := &hooks.Response{Headers: c.headers}
		confine(&c.info, r)
		if got := r.Headers["Content-Security-Policy"]; got != c.want {
			t.Errorf("%+v with %v: got %q, want %q", c.info, c.headers, got, c.want)
		}
	}
	r := &hooks.Response{Headers: map[string]string{"www-authenticate": `Basic realm="mail"`}}
	confine(&hooks.Info{Bundle: "acme/x", Tier: hooks.Bundle, PlainWeb: true}, r)
	if got := r.Headers["Www-Authenticate"]; got != `Basic realm="mail (acme/x)"` {
		t.Errorf("WWW-Authenticate of plain pages: got %s, want the realm with the name of the bundle", got)
	}
}
