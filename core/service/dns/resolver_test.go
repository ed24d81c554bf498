package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"carteiro/core/ops/clock"
	"carteiro/core/service/dns/dnsserver"
)

const zoneText = `
example.com.        60 IN MX 20 mx2.example.com.
example.com.        60 IN MX 10 MX1.example.com.
mx1.example.com.    60 IN A 192.0.2.1
mx1.example.com.    60 IN AAAA 2001:db8::1
null.example.       60 IN MX 0 .
only-a.example.     60 IN A 192.0.2.2
alias.example.      60 IN CNAME mx1.example.com.
txt.example.        60 IN TXT "v=spf1 " "-all"
escaped.example.    60 IN TXT "a \"b\" \\ \195\188"
1.2.0.192.in-addr.arpa. 60 IN PTR mx1.example.com.
2.2.0.192.in-addr.arpa. 60 IN PTR liar.example.
liar.example.       60 IN A 192.0.2.99
`

func start(t *testing.T, c *clock.Clock) (*dnsserver.Server, *Resolver) {
	t.Helper()
	s, err := dnsserver.Start(zoneText)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, New(Options{Servers: []string{s.Addr}, Timeout: 200 * time.Millisecond, Now: c.Now})
}

func TestLookups(t *testing.T) {
	_, r := start(t, nil)
	ctx := t.Context()
	ask := func(v any, err error) string {
		switch {
		case errors.Is(err, ErrNXDomain):
			return "nxdomain"
		case err != nil:
			return err.Error()
		}
		return fmt.Sprint(v)
	}
	mx := func(n string) string { v, err := r.MX(ctx, n); return ask(v, err) }
	a := func(n string) string { v, err := r.A(ctx, n); return ask(v, err) }
	tests := []struct{ what, got, want string }{
		{"mx", mx("Example.COM"), "[{mx2.example.com 20} {mx1.example.com 10}]"},
		{"null mx", mx("null.example"), "[{ 0}]"},
		{"no mx", mx("only-a.example"), "[]"},
		{"nxdomain", mx("nowhere.example"), "nxdomain"},
		{"a", a("mx1.example.com."), "[192.0.2.1]"},
		{"cname", a("alias.example"), "[192.0.2.1]"},
		{"too long", a(strings.Repeat("a.", 200)), "nxdomain"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, tt.got, tt.want)
		}
	}
	if v, err := r.AAAA(ctx, "mx1.example.com"); err != nil || fmt.Sprint(v) != "[2001:db8::1]" {
		t.Errorf("AAAA: %v %v", v, err)
	}
	if v, err := r.TXT(ctx, "escaped.example"); err != nil || v[0] != "a \"b\" \\ ü" {
		t.Errorf("TXT: %q %v", v, err)
	}
	if v, err := r.TXT(ctx, "txt.example"); err != nil || v[0] != "v=spf1 -all" {
		t.Errorf("TXT: %v %v", v, err)
	}
	if name := r.Verified(ctx, netip.MustParseAddr("192.0.2.1")); name != "mx1.example.com" {
		t.Errorf("verified name %q", name)
	}
	if name := r.Verified(ctx, netip.MustParseAddr("192.0.2.2")); name != "" {
		t.Errorf("a name that does not lead back was believed: %q", name)
	}
}

func TestTruncatedAnswersComeByTCP(t *testing.T) {
	s, r := start(t, nil)
	var big strings.Builder
	for i := range 60 {
		fmt.Fprintf(&big, "big.example. 60 IN TXT \"%d %s\"\n", i, strings.Repeat("x", 200))
	}
	if err := s.Add(big.String()); err != nil {
		t.Fatal(err)
	}
	v, err := r.TXT(t.Context(), "big.example")
	if err != nil || len(v) != 60 {
		t.Errorf("%d records, %v", len(v), err)
	}
}

func TestCacheHonoursTTL(t *testing.T) {
	var c clock.Clock
	s, r := start(t, &c)
	for range 3 {
		r.MX(t.Context(), "example.com")
		r.MX(t.Context(), "nowhere.example")
	}
	if s.Asked("example.com") != 1 || s.Asked("nowhere.example") != 1 {
		t.Errorf("asked %d and %d times", s.Asked("example.com"), s.Asked("nowhere.example"))
	}
	c.Advance(61 * time.Second)
	r.MX(t.Context(), "example.com")
	if s.Asked("example.com") != 2 {
		t.Error("an expired answer was used")
	}
}

func TestFailuresAreTemporaryAndNotCached(t *testing.T) {
	s, r := start(t, nil)
	s.Fail("example.com", "SERVFAIL")
	if _, err := r.MX(t.Context(), "example.com"); !errors.Is(err, ErrServFail) {
		t.Errorf("servfail: %v", err)
	}
	s.Fail("txt.example", "")
	if _, err := r.TXT(t.Context(), "txt.example"); !errors.Is(err, ErrTimeout) {
		t.Errorf("silence: %v", err)
	}
	n := s.Asked("example.com")
	r.MX(t.Context(), "example.com")
	if s.Asked("example.com") == n {
		t.Error("a failure was cached")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.A(ctx, "mx1.example.com"); !errors.Is(err, ErrTimeout) {
		t.Errorf("cancelled: %v", err)
	}
}
