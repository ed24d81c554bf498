package envelope

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseAddress(t *testing.T) {
	good := map[string]Address{
		"a@b":                     "a@b",
		"User.Name+x@EXAMPLE.Com": "User.Name+x@example.com",
		`"a"@b`:                   "a@b",
		`"a b"@b`:                 `"a b"@b`,
		`"a\"b"@b`:                `"a\"b"@b`,
		`"a@c"@b`:                 `"a@c"@b`,
		"a@[192.0.2.1]":           "a@[192.0.2.1]",
		"a@[IPv6:2001:db8::1]":    "a@[ipv6:2001:db8::1]",
		"dé@exámple.example":      "dé@exámple.example",
	}
	for in, want := range good {
		if got, err := ParseAddress(in); err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "a", "@b", "a@", ".a@b", "a.@b", "a..b@c", "a b@c", "a@b c", "a@-b", "a@b-", "a@b..c", "a@[1.2.3]",
		"a@[IPv6:1.2.3.4]", "a@[::1]", `"a@b`, `""@b`, "a@b\r\nRCPT TO:<c@d>", "a\x00@b", "<a@b>",
		strings.Repeat("a", 65) + "@b", "a@" + strings.Repeat("b", 64),
		"a\xff@b"} {
		if got, err := ParseAddress(in); !errors.Is(err, ErrAddress) {
			t.Errorf("ParseAddress(%q) = %q, %v; want ErrAddress", in, got, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b", `"a b"@c`, "a@[IPv6:::1]", "é@é", `"\a"@b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		again, err := ParseAddress(string(a))
		if err != nil || again != a {
			t.Errorf("%q -> %q -> %q, %v", s, a, again, err)
		}
		if strings.ContainsAny(string(a), "\r\n\x00") || a.Domain() == "" || a.Local() == "" {
			t.Errorf("%q was let through", a)
		}
	})
}

func TestAddressParts(t *testing.T) {
	a := Address("User+Tag+x@example.com")
	if a.Local() != "User+Tag+x" || a.Domain() != "example.com" || a.Tag() != "Tag+x" || a.Base() != "user@example.com" ||
		a.Path() != "<User+Tag+x@example.com>" {
		t.Errorf("parts of %s: %q %q %q %q", a, a.Local(), a.Domain(), a.Tag(), a.Base())
	}
	if Address("").Path() != "<>" || Address("").Domain() != "" || !Address("").ASCII() || Address("é@b").ASCII() {
		t.Error("null sender or ASCII")
	}
}

func TestIDsSortByTimeAndReadBack(t *testing.T) {
	now := time.UnixMilli(1_764_000_000_123)
	a, b := NewID(now), NewID(now.Add(time.Millisecond))
	if a.String() >= b.String() || !a.Time().Equal(now) {
		t.Errorf("%s and %s, %v", a, b, a.Time())
	}
	got, err := ParseID(a.String())
	if err != nil || got != a || a.IsZero() {
		t.Errorf("ParseID: %v %v", got, err)
	}
	for _, bad := range []string{"", "x", a.String() + "0", "!" + a.String()[1:], strings.ToUpper(a.String())} {
		if _, err := ParseID(bad); !errors.Is(err, ErrID) {
			t.Errorf("ParseID(%q): %v", bad, err)
		}
	}
}

func TestPriority(t *testing.T) {
	for s, want := range map[string]Class{
		"9": Urgent, "5": Urgent, "4": High, "1": High, "0": Normal, "-0": Normal, "-1": Low, "-4": Low, "-5": Bulk, "-9": Bulk,
	} {
		p, err := ParsePriority(s)
		if err != nil || p.Class() != want {
			t.Errorf("%q: %v %v, want %v", s, p.Class(), err, want)
		}
	}
	for _, s := range []string{"", "10", "-10", "x", "+1", "1.0", " 1"} {
		if _, err := ParsePriority(s); !errors.Is(err, ErrPriority) {
			t.Errorf("%q accepted", s)
		}
	}
}

func TestNotify(t *testing.T) {
	tests := []struct {
		n    Notify
		want string
	}{{0, "FD"}, {NotifyNever, ""}, {NotifySuccess, "S"}, {NotifyFailure | NotifySuccess, "SF"}, {NotifyDelay, "D"}}
	for _, tt := range tests {
		got := ""
		for _, e := range []struct {
			n Notify
			s string
		}{{NotifySuccess, "S"}, {NotifyFailure, "F"}, {NotifyDelay, "D"}} {
			if tt.n.Wants(e.n) {
				got += e.s
			}
		}
		if got != tt.want {
			t.Errorf("%d wants %q, not %q", tt.n, tt.want, got)
		}
	}
}

func TestStatus(t *testing.T) {
	if st := ParseStatus(550, "5.1.1 no\n such user"); st.Enhanced != "5.1.1" || st.Text != "no such user" || !Permanent(st) {
		t.Errorf("%+v", st)
	}
	if st := ParseStatus(450, "5.1.1 odd"); st.Enhanced != "" || st.Text != "5.1.1 odd" || Permanent(st) {
		t.Errorf("an enhanced code of another class: %+v", st)
	}
	cause := errors.New("disk")
	st := StatusOf(cause)
	if st.Code != 451 || strings.Contains(st.Reply(), "disk") || !errors.Is(st, cause) {
		t.Errorf("%v", st)
	}
	for s, want := range map[string]bool{
		"2.0.0": true, "5.123.999": true, "3.0.0": false, "5.0": false, "5.0.0.0": false, "5.1234.0": false, "5..1": false,
	} {
		if ValidEnhanced(s) != want {
			t.Errorf("ValidEnhanced(%q) = %v", s, !want)
		}
	}
}

func TestWith(t *testing.T) {
	tests := []struct {
		s    *Session
		utf8 bool
		want string
	}{
		{&Session{Protocol: "smtp"}, false, "SMTP"},
		{&Session{Protocol: "smtp", ESMTP: true}, false, "ESMTP"},
		{&Session{Protocol: "submission", ESMTP: true, TLS: &TLSInfo{}, Identity: &Identity{}}, false, "ESMTPSA"},
		{&Session{Protocol: "smtp", ESMTP: true, TLS: &TLSInfo{}}, true, "UTF8SMTPS"},
		{&Session{Protocol: "lmtp", ESMTP: true}, true, "UTF8LMTP"},
	}
	for _, tt := range tests {
		if got := tt.s.With(tt.utf8); got != tt.want {
			t.Errorf("With = %q, want %q", got, tt.want)
		}
	}
}
