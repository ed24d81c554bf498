package forward_test

import (
	"slices"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/core/service/forward"
)

func TestParseFile(t *testing.T) {
	for _, c := range []struct {
		text string
		want []envelope.Address
		bad  string
	}{
		{"", nil, ""},
		{"bob@x.example", []envelope.Address{"bob@x.example"}, ""},
		{"# to the office\n\\ann, \"|/bin/vacation\"\nbob, c@x.example\n",
			[]envelope.Address{"ann@our.example", "bob@our.example", "c@x.example"}, ""},
		{"/var/mail/ann, :include:/etc/list", nil, ""},
		{"Bob B. <bob@X.example>", []envelope.Address{"bob@x.example"}, ""},
		{"bob@x.example\nno address@", nil, "no address@"},
	} {
		got, bad := forward.ParseFile("ann@our.example", c.text)
		if !slices.Equal(got, c.want) || bad != c.bad {
			t.Errorf("%q: got %v and %q, want %v and %q", c.text, got, bad, c.want, c.bad)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]envelope.Address{
		"bob@X.example": "bob@x.example", "Bob <bob@x.example>": "bob@x.example", "a@x.example, b@x.example": "", "bob": "", "": "",
	} {
		if got, ok := forward.ParseAddress(text); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", text, got, ok, want)
		}
	}
}
