package verify

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/dns"
	"carteiro/core/service/dns/dnsserver"
)

const zone = `
a.example.            60 IN TXT "v=spf1 ip4:192.0.2.0/24 include:spf.other.example -all"
spf.other.example.    60 IN TXT "v=spf1 ip4:198.51.100.7 ?all"
soft.example.         60 IN TXT "v=spf1 ~all"
broken.example.       60 IN TXT "v=spf1 nonsense"
loop.example.         60 IN TXT "v=spf1 include:loop.example -all"
mxs.example.          60 IN TXT "v=spf1 mx -all"
mxs.example.          60 IN MX 10 mail.mxs.example.
mail.mxs.example.     60 IN A 192.0.2.9
macro.example.        60 IN TXT "v=spf1 exists:%{i}.%{l}.allow.macro.example -all"
192.0.2.7.ann.allow.macro.example. 60 IN A 127.0.0.1

_dmarc.a.example.     60 IN TXT "v=DMARC1; p=reject; sp=quarantine; np=reject"
_dmarc.strict.example. 60 IN TXT "v=DMARC1; p=reject; adkim=s; aspf=s"
_dmarc.test.example.  60 IN TXT "v=DMARC1; p=reject; t=y"
_dmarc.twice.example. 60 IN TXT "v=DMARC1; p=reject"
_dmarc.twice.example. 60 IN TXT "v=DMARC1; p=none"
_dmarc.bank.example.  60 IN TXT "v=DMARC1; p=reject; psd=y"
_dmarc.one.bank.example. 60 IN TXT "v=DMARC1; p=quarantine"
sub.a.example.        60 IN A 192.0.2.80
sub.strict.example.   60 IN TXT "v=spf1 ip4:192.0.2.7 -all"
one.bank.example.     60 IN TXT "v=spf1 ip4:192.0.2.7 -all"
two.bank.example.     60 IN TXT "v=spf1 ip4:192.0.2.7 -all"
`

// world is a DNS server with the zone and keys for a.example.
type world struct {
	t    *testing.T
	dns  *dnsserver.Server
	r    *dns.Resolver
	keys map[string]crypto.Signer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := dnsserver.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w := &world{t: t, dns: s, keys: map[string]crypto.Signer{},
		r: dns.New(dns.Options{Servers: []string{s.Addr}, Timeout: 300 * time.Millisecond})}
	for selector, bits := range map[string]int{"rsa": 2048, "weak": 1024} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		w.publish(selector, "rsa", pub, key)
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.publish("ed", "ed25519", pub, key)
	return w
}

func (w *world) publish(selector, kind string, public []byte, key crypto.Signer) {
	w.keys[selector] = key
	text := "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(public)
	var quoted strings.Builder
	for text != "" {
		n := min(200, len(text))
		fmt.Fprintf(&quoted, "%q ", text[:n])
		text = text[n:]
	}
	for _, domain := range []string{"a.example", "sub.strict.example"} {
		if err := w.dns.Add(selector + "._domainkey." + domain + ". 60 IN TXT " + quoted.String() + "\n"); err != nil {
			w.t.Fatal(err)
		}
	}
}

const letter = "From: Ann <ann@a.example>\r\nTo: bob@our.example\r\nSubject: Hello\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\n" +
	"How are you?\r\n"

func (w *world) sign(text, domain, selector string) string {
	w.t.Helper()
	var out bytes.Buffer
	err := dkim.Sign(&out, strings.NewReader(text), &dkim.SignOptions{Domain: domain, Selector: selector, Signer: w.keys[selector],
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed, HeaderKeys: []string{
			"From", "To", "Subject", "Date",
		}})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.String()
}

func (w *world) check(ip, sender, text string) *envelope.AuthResults {
	w.t.Helper()
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	a, err := Check(w.t.Context(), w.r, Message{IP: netip.MustParseAddr(ip), Helo: "mail.mxs.example", Sender: envelope.Address(sender),
		Header: mime.ParseHeader(
			[]byte(head + "\r\n\r\n"),
		), Body: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func TestSPF(t *testing.T) {
	w := newWorld(t)
	w.dns.Fail("slow.example", "SERVFAIL")
	tests := []struct{ ip, sender, want string }{
		{"192.0.2.7", "ann@a.example", "pass"},
		{"198.51.100.7", "ann@a.example", "pass"},
		{"203.0.113.1", "ann@a.example", "fail"},
		{"203.0.113.1", "x@soft.example", "softfail"},
		{"203.0.113.1", "x@nothing.example", "none"},
		{"203.0.113.1", "x@broken.example", "permerror"},
		{"203.0.113.1", "x@loop.example", "permerror"},
		{"203.0.113.1", "x@slow.example", "temperror"},
		{"192.0.2.9", "x@mxs.example", "pass"},
		{"192.0.2.7", "ann@macro.example", "pass"},
		{"192.0.2.7", "eve@macro.example", "fail"},
		{"192.0.2.7", "x@[192.0.2.7]", "none"},
		{"192.0.2.9", "", "none"}, // mail.mxs.example has no record
	}
	for _, tt := range tests {
		if got := w.check(tt.ip, tt.sender, letter).SPF; got.Result != tt.want {
			t.Errorf("%s from %s: %+v, want %s", tt.ip, tt.sender, got, tt.want)
		}
	}
}

func TestDKIM(t *testing.T) {
	w := newWorld(t)
	good := w.sign(letter, "a.example", "rsa")
	limited := strings.Replace(good, "DKIM-Signature:", "X:", 1)
	tests := map[string]struct{ text, want string }{
		"rsa":          {good, "pass"},
		"ed25519":      {w.sign(letter, "a.example", "ed"), "pass"},
		"unsigned":     {limited, ""},
		"body changed": {strings.Replace(good, "How are you?", "Send money", 1), "fail"},
		"field changed": {strings.Replace(good, "Subject: Hello", "Subject: Help", 1),
			"fail"},
		"no key":      {strings.Replace(good, "s=rsa", "s=gone", 1), "permerror"},
		"garbage":     {"DKIM-Signature: nonsense\r\n" + letter, "permerror"},
		"added first": {"Received: from x\r\n" + good, "pass"},
	}
	for name, tt := range tests {
		a := w.check("203.0.113.1", "x@nothing.example", tt.text)
		got := ""
		if len(a.DKIM) > 0 {
			got = a.DKIM[0].Result
		}
		if got != tt.want && !(tt.want == "fail" && got == "permerror") {
			t.Errorf("%s: %q (%+v), want %q", name, got, a.DKIM, tt.want)
		}
	}
	both := w.check("203.0.113.1", "x@nothing.example", w.sign(w.sign(letter, "sub.strict.example", "ed"), "a.example", "rsa"))
	if len(both.DKIM) != 2 || both.BestDKIM().Domain != "a.example" || both.BestDKIM().Selector != "rsa" {
		t.Errorf("two signatures: %+v", both.DKIM)
	}
}

func TestDMARC(t *testing.T) {
	w := newWorld(t)
	w.dns.Fail("_dmarc.down.example", "SERVFAIL")
	from := func(a string) string { return strings.Replace(letter, "ann@a.example", a, 1) }
	tests := map[string]struct{ ip, sender, text, want string }{
		"spf aligned":             {"192.0.2.7", "x@a.example", letter, "pass reject"},
		"spf of another":          {"192.0.2.7", "x@one.bank.example", letter, "fail reject"},
		"dkim aligned":            {"203.0.113.1", "x@b.example", w.sign(letter, "a.example", "rsa"), "pass reject"},
		"neither":                 {"203.0.113.1", "x@a.example", letter, "fail reject"},
		"subdomain relaxed":       {"192.0.2.7", "x@a.example", from("x@sub.a.example"), "pass quarantine"},
		"missing subdomain":       {"203.0.113.1", "x@b.example", from("x@gone.a.example"), "fail reject"},
		"strict":                  {"192.0.2.7", "x@sub.strict.example", from("x@strict.example"), "fail reject"},
		"strict dkim":             {"203.0.113.1", "", w.sign(from("x@strict.example"), "sub.strict.example", "rsa"), "fail reject"},
		"testing":                 {"203.0.113.1", "x@b.example", from("x@test.example"), "fail quarantine"},
		"no record":               {"203.0.113.1", "x@b.example", from("x@nothing.example"), "none "},
		"two records are none":    {"203.0.113.1", "x@b.example", from("x@twice.example"), "none "},
		"below a public suffix":   {"192.0.2.7", "x@two.bank.example", from("x@one.bank.example"), "fail quarantine"},
		"own suffix domain":       {"192.0.2.7", "x@one.bank.example", from("x@one.bank.example"), "pass quarantine"},
		"resolver down":           {"203.0.113.1", "x@b.example", from("x@down.example"), "temperror "},
		"two authors, one domain": {"192.0.2.7", "x@a.example", from("x@a.example>, <y@a.example"), "pass reject"},
		"two domains":             {"192.0.2.7", "x@a.example", from("x@a.example>, <y@b.example"), "permerror "},
		"two From":                {"192.0.2.7", "x@a.example", "From: x@b.example\r\n" + letter, "permerror "},
		"no From":                 {"192.0.2.7", "x@a.example", "Subject: x\r\n\r\n", "permerror "},
	}
	for name, tt := range tests {
		got := w.check(tt.ip, tt.sender, tt.text).DMARC
		if got.Result+" "+got.Policy != tt.want {
			t.Errorf("%s: %+v, want %s", name, got, tt.want)
		}
	}
}

func TestFieldAndStrip(t *testing.T) {
	w := newWorld(t)
	a := w.check("192.0.2.7", "ann@a.example", w.sign(letter, "a.example", "rsa"))
	want := "mx.our.example; spf=pass smtp.mailfrom=a.example; dkim=pass header.d=a.example header.s=rsa; dmarc=pass " +
		"header.from=a.example policy.dmarc=reject"
	if got := Field("mx.our.example", a); got != want {
		t.Errorf("field %q\nwant %q", got, want)
	}
	h := mime.ParseHeader(
		[]byte("Authentication-Results: MX.our.example; dmarc=pass\r\nAuthentication-Results: other.example; spf=pass\r\nSubject: x\r\n\r\n"),
	)
	if n := Strip(h, "mx.our.example"); n != 1 || h.Count("Authentication-Results") != 1 {
		t.Errorf("stripped %d: %q", n, h.Bytes())
	}
}

func FuzzTags(f *testing.F) {
	f.Add("v=1; a=rsa-sha256; d=a.example;\r\n\tb=x y")
	f.Add(";;=;a=;=b")
	f.Fuzz(func(t *testing.T, s string) {
		tags, _ := parseTags(s)
		for name, value := range tags {
			if name == "" || strings.ContainsAny(value, " \t\r\n") {
				t.Errorf("tag %q=%q of %q", name, value, s)
			}
		}
	})
}
