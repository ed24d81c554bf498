package mime

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
)

func TestParseAddressList(t *testing.T) {
	one := func(display string, a envelope.Address) []Mailbox { return []Mailbox{{a, display}} }
	tests := []struct {
		value    string
		want     []Mailbox
		complete bool
	}{
		{"", nil, true},
		{" \t ", nil, true},
		{"a@x.example", one("", "a@x.example"), true},
		{"A@X.Example", one("", "A@x.example"), true},
		{"a@x.example, b@y.example", []Mailbox{{"a@x.example", ""}, {"b@y.example", ""}}, true},
		{", a@x.example ,, b@y.example,", []Mailbox{{"a@x.example", ""}, {"b@y.example", ""}}, true},
		{"Ann <a@x.example>", one("Ann", "a@x.example"), true},
		{"<a@x.example>", one("", "a@x.example"), true},
		{"Ann B. Clark <a@x.example>", one("Ann B. Clark", "a@x.example"), true},
		{`"Clark, Ann \"B\" \\" <a@x.example>`, one(`Clark, Ann "B" \`, "a@x.example"), true},
		{"=?utf-8?q?Jos=C3=A9?= =?utf-8?q?_Silva?= <a@x.example>", one("José Silva", "a@x.example"), true},
		{`"=?utf-8?q?x?=" <a@x.example>`, one("=?utf-8?q?x?=", "a@x.example"), true},
		{"=?utf-8?q?a=0D=0ABcc=3A_b?= <a@x.example>", one("a  Bcc: b", "a@x.example"), true},
		{"Jos\u00e9 <jos\u00e9@ex\u00e4mple.example>", one("José", "josé@exämple.example"), true},
		{"a@x.example (Ann (the boss) Clark)", one("Ann (the boss) Clark", "a@x.example"), true},
		{"(c1) a (c2) . (c3 \\) ) b (c4) @ (c5) x (c6) . (c7) example", one("c7", "a.b@x.example"), true},
		{"<@r1.example,@r2.example:a@x.example>", one("", "a@x.example"), true},
		{"<@r1.example:a@x.example>, b@y.example", []Mailbox{{"a@x.example", ""}, {"b@y.example", ""}}, true},
		{`"a b"@x.example`, one("", `"a b"@x.example`), true},
		{`"a".b@x.example`, one("", "a.b@x.example"), true},
		{"a@[192.0.2.1]", one("", "a@[192.0.2.1]"), true},
		{"a@[IPv6:2001:db8::1]", one("", "a@[ipv6:2001:db8::1]"), true},
		{"undisclosed-recipients:;", nil, true},
		{"Undisclosed recipients: ;", nil, true},
		{"Team: a@x.example, B <b@y.example>; , c@z.example", []Mailbox{{"a@x.example", ""}, {"b@y.example", "B"}, {"c@z.example", ""}}, true},
		// an invalid member does not affect the others
		{"broken, a@x.example", one("", "a@x.example"), false},
		{"a@x.example; b@y.example", []Mailbox{{"a@x.example", ""}, {"b@y.example", ""}}, false},
		{"a@x.example b@y.example, c@z.example", one("", "c@z.example"), false},
		{"b@y.example <a@x.example>", one("b@y.example", "a@x.example"), false},
		{"<a@x.example, b@y.example", []Mailbox{{"a@x.example", ""}, {"b@y.example", ""}}, false},
		{"a@x.example (open", one("", "a@x.example"), false},
		{`"open <a@x.example>`, nil, false},
		{"a@@x.example", nil, false},
		{"a..b@x.example", nil, false},
		{".a@x.example, a.@x.example, a@x..example, @x.example, a@, a", nil, false},
		{"Team: a@x.example", one("", "a@x.example"), false},
		{"A: B: a@x.example;;", nil, false},
		{"<a@x.example> <b@y.example>", nil, false},
		{"a@x.example>", nil, false},
		{"a\x00b@x.example", nil, false},
		{"\xff\xfe@x.example", nil, false},
	}
	for _, tt := range tests {
		got, complete := ParseAddressList(tt.value)
		if !slices.Equal(got, tt.want) || complete != tt.complete {
			t.Errorf("%q\n got %q, complete %v\nwant %q, %v", tt.value, got, complete, tt.want, tt.complete)
		}
	}
}

func TestFormatMailboxReadsBack(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, display := range []string{"", "Ann", "Ann B. Clark", "Clark, Ann", `"q" \b`, "two  spaces", " edge ", "José, o «chefe» (x) <y@z>",
		"=?utf-8?q?x?=",
		"日本語の長い名前がここにありますので折り返しが必要です", long, "(c)", "a@b", "[1] \\"} {
		m := Mailbox{Address: "a@x.example", Display: display}
		field, err := FormatField("To", FormatMailbox(m))
		if err != nil {
			t.Errorf("%.40q: %v", display, err)
			continue
		}
		for line := range strings.SplitSeq(field, "\r\n") {
			if len(line) > maxLine {
				t.Errorf("%.40q: a line of %d octets", display, len(line))
			}
		}
		got := ParseHeader([]byte(field)).Addresses("To")
		if len(got) != 1 || got[0] != m {
			t.Errorf("%.60q reads back as %.200q", m, got)
		}
	}
}

func TestAddressesStayUTF8(t *testing.T) {
	for value, want := range map[string]string{
		"josé@exämple.example":                 "To: josé@exämple.example\r\n",
		"José <a@x.example>, Bé <b@y.example>": "To: =?utf-8?q?Jos=C3=A9?= <a@x.example>, =?utf-8?b?QsOp?= <b@y.example>\r\n",
		"José Éé Éé Éé <josé@x.example>":       "To: =?utf-8?b?Sm9zw6kgw4nDqSDDicOpIMOJw6k=?= <josé@x.example>\r\n",
		"not an address é":                     "To: =?utf-8?q?not_an_address_=C3=A9?=\r\n",
		"\"Müller, Jörg Peter\" <a@x.example>": "To: =?utf-8?q?M=C3=BCller=2C_J=C3=B6rg_Peter?= <a@x.example>\r\n",
	} {
		if got, err := FormatField("To", value); err != nil || got != want {
			t.Errorf("%q\n got %q, %v\nwant %q", value, got, err, want)
		}
	}
}

func ExampleParseAddressList() {
	list, complete := ParseAddressList("Friends: Ann <ann@x.example>, nobody; bob@y.example (Bob)")
	fmt.Println(list, complete)
	// Output: [{ann@x.example Ann} {bob@y.example Bob}] false
}
