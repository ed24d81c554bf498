package verify

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// TestVerdicts02 is the second of the ten tests of the spam filter: the results of SPF,
// DKIM and DMARC that the RFCs require, for our zone files and messages. It logs how many
// results it checked.
func TestVerdicts02(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"spf", "dmarc"} {
		zone, err := os.ReadFile("testdata/" + name + ".zone")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.dns.Add(string(zone)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for name, part := range map[string]func(*testing.T, *world) int{"SPF": verdictsSPF, "DKIM": verdictsDKIM, "DMARC": verdictsDMARC} {
		t.Run(name, func(t *testing.T) {
			checked := part(t, w)
			t.Logf("%d verdicts of %s", checked, name)
			n += checked
		})
	}
	t.Logf("%d verdicts", n)
}

// send returns all results for a message from a client.
func (w *world) send(t *testing.T, ip, helo, sender, text string) *envelope.AuthResults {
	t.Helper()
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	a, err := Check(t.Context(), w.r, Message{IP: netip.MustParseAddr(ip), Helo: helo, Sender: envelope.Address(sender),
		Header: mime.ParseHeader(
			[]byte(head + "\r\n\r\n"),
		), Body: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func verdictsSPF(t *testing.T, w *world) (n int) {
	w.dns.Fail("down.example", "SERVFAIL")
	w.dns.Fail("66.2.0.192.in-addr.arpa", "SERVFAIL")
	// Five labels of 60 octets are too long a name: two of them go.
	x := strings.Repeat("x", 60) + "."
	if err := w.dns.Add(strings.Repeat(x, 3) + "cut.ok.example. A 127.0.0.2\n"); err != nil {
		t.Fatal(err)
	}
	rows, err := os.ReadFile("testdata/spf.txt")
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(rows)) {
		f := strings.Fields(row)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		ip, local := "192.0.2.7", "ann"
		if len(f) > 2 {
			ip = f[2]
		}
		if len(f) > 3 {
			local = f[3]
		}
		got := w.send(t, ip, "helo.client.example", local+"@"+f[0], letter).SPF
		if n++; got.Result != f[1] {
			t.Errorf("%s: %+v", strings.TrimSpace(row), got)
		}
	}
	// For the null sender the name in HELO is checked (2.4), which may be no domain name.
	for helo, want := range map[string]string{
		"helo.client.example": "pass", "minus.example": "fail", "[192.0.2.7]": "none", "localhost": "none", "ml.example": "fail",
	} {
		got := w.send(t, "192.0.2.7", helo, "", letter).SPF
		if n++; got.Result != want || !got.Helo {
			t.Errorf("HELO %s: %+v, want %s", helo, got, want)
		}
	}
	return n
}

// record publishes a key record of a.example.
func (w *world) record(t *testing.T, selector, text string) {
	t.Helper()
	var quoted strings.Builder
	for text != "" {
		part := text[:min(200, len(text))]
		fmt.Fprintf(&quoted, "%q ", part)
		text = text[len(part):]
	}
	if err := w.dns.Add(selector + "._domainkey.a.example. TXT " + quoted.String() + "\n"); err != nil {
		t.Fatal(err)
	}
}

// craft signs a text with the given tags, with the key of a selector; it adds bh and b if
// they are missing.
func (w *world) craft(t *testing.T, text, tags, key string) string {
	t.Helper()
	given, _ := parseTags(tags)
	head, form, _ := strings.Cut(given["c"], "/")
	m := split(text)
	field := "DKIM-Signature: " + tags
	if _, ok := given["bh"]; !ok {
		body, err := m.Body()
		if err != nil {
			t.Fatal(err)
		}
		limit := int64(-1)
		if l, ok := given["l"]; ok {
			fmt.Sscan(l, &limit)
		}
		sum := sha256.New()
		b := newBodyHash(sum, form == "relaxed", limit)
		if _, err := io.Copy(b, body); err != nil {
			t.Fatal(err)
		}
		b.end()
		field += " bh=" + base64.StdEncoding.EncodeToString(sum.Sum(nil)) + ";"
	}
	if _, ok := given["b"]; ok {
		return field + "\r\n" + text
	}
	field += " b="
	var signed []byte
	for _, raw := range signedFields(m.Header, strings.Split(strings.ToLower(given["h"]), ":")) {
		signed = append(signed, canonicalField(raw, head == "relaxed")...)
	}
	signed = append(signed, strings.TrimSuffix(canonicalField(field+"\r\n", head == "relaxed"), "\r\n")...)
	return field + w.value(key, signed) + "\r\n" + text
}

// keyRecords publishes the key of "rsa" in records with different other tags.
func (w *world) keyRecords(t *testing.T) {
	t.Helper()
	public := w.keys["rsa"].Public().(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	short, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(7), 1022, 1), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	p := "p=" + base64.StdEncoding.EncodeToString(der)
	for selector, text := range map[string]string{
		"plain": p, "pkcs1": "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(public)),
		"spaces": "v=DKIM1;k=rsa; " + p[:60] + "  " + p[60:], "note": "v=DKIM1; n=whatever; x=y; " + p,
		"revoked": "v=DKIM1; p=", "nokey": "v=DKIM1; k=rsa", "broken": "v=DKIM1; p=!", "nonsense": "v=DKIM1; p=AAAA",
		"dkim2": "v=DKIM2; " + p, "late": p + "; v=DKIM1", "doubled": p + "; " + p,
		"sha1": "h=sha1; " + p, "hashes": "h=sha1:sha256; " + p, "tls": "s=tlsrpt; " + p, "any": "s=tlsrpt:*; " + p, "email": "s=email; " + p,
		"dsa": "k=dsa; " + p, "ed-rsa": "k=ed25519; " + p, "test": "t=y; " + p, "own": "t=s; " + p, "both": "t=y:s; " + p,
		"short": "p=" + base64.StdEncoding.EncodeToString(short),
	} {
		w.record(t, selector, text)
	}
	w.record(t, "several", p)
	w.record(t, "several", "v=DKIM1; p=")
	w.dns.Fail("silent._domainkey.a.example", "SERVFAIL")
}

const tags = "v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.example; s=rsa; h=From:To:Subject:Date;"

func verdictsDKIM(t *testing.T, w *world) (n int) {
	w.keyRecords(t)
	want := func(what, text, result string) {
		t.Helper()
		got := w.send(t, "203.0.113.1", "x.example", "x@nothing.example", text).DKIM
		if n++; len(got) != 1 || got[0].Result != result {
			t.Errorf("%s: %+v, want %s", what, got, result)
		}
	}
	verdictsOfForms(t, w, want)
	with := func(old, new string) string { return strings.Replace(tags, old, new, 1) }
	for _, c := range []struct{ tags, want string }{
		{tags, "pass"}, {with("v=1", "v=2"), "permerror"}, {with("v=1; ", ""), "permerror"}, {with("v=1;", "v=1; v=1;"), "permerror"},
		{with("v=1;", "v=1; junk;"), "permerror"},
		{with("v=1;", "v=1; unknown=x;"), "pass"}, {with("c=relaxed/relaxed; ", ""), "pass"}, {with("relaxed/relaxed", "relaxed"), "pass"},
		{with("relaxed/relaxed", "odd/simple"), "permerror"},
		{with("a=rsa-sha256; ", ""), "permerror"}, {with("rsa-sha256", "rsa-sha1"), "permerror"},
		{with("rsa-sha256", "ed25519-sha256"), "permerror"}, {with("rsa-sha256", "new-sha512"), "permerror"},
		{with("d=a.example; ", ""), "permerror"}, {with("d=a.example", "d=A.Example"), "pass"}, {with("s=rsa; ", ""), "permerror"},
		{with("d=a.example", "d=.."), "permerror"},
		{with("h=From:To:Subject:Date;", "h=To:Subject;"), "permerror"}, {with(" h=From:To:Subject:Date;", ""), "permerror"},
		{with("h=From:To", "h=From:X-None:To"), "pass"}, {with("h=From:", "h=from :\r\n\t"), "pass"},
		{tags + " i=@a.example;", "pass"}, {tags + " i=ann@sub.A.example;", "pass"}, {tags + " i=@b.example;", "permerror"},
		{tags + " i=@xa.example;", "permerror"}, {tags + " i=a.example;", "permerror"},
		{tags + " q=dns/txt;", "pass"}, {tags + " q=new:dns/txt;", "pass"}, {tags + " q=new;", "permerror"},
		{tags + " t=1600000000;", "pass"}, {tags + " t=soon;", "permerror"}, {tags + " x=99999999999;", "pass"},
		{tags + " x=1600000000;", "permerror"}, {tags + " x=never;", "permerror"},
		{tags + " t=99999999999; x=99999999998;", "permerror"}, {tags + " z=From:x;", "pass"},
		{tags + " l=5;", "policy"}, {tags + " l=14;", "policy"}, {tags + " l=0;", "policy"}, {tags + " l=15;", "fail"},
		{tags + " l=-1;", "permerror"},
		{tags + " bh=!;", "permerror"}, {tags + " bh=;", "permerror"}, {tags + " bh=AAAA;", "fail"}, {tags + " b=;", "permerror"},
		{tags + " b=AAAA;", "fail"}, {tags + " b=!;", "permerror"},
		{with("s=rsa", "s=weak"), "fail"}, {with("s=rsa", "s=gone"), "permerror"}, {with("s=rsa", "s=silent"), "temperror"},
		{with("s=rsa", "s=short"), "permerror"},
		{with("s=rsa", "s=plain"), "pass"}, {with("s=rsa", "s=pkcs1"), "pass"}, {with("s=rsa", "s=spaces"), "pass"},
		{with("s=rsa", "s=note"), "pass"}, {with("s=rsa", "s=revoked"), "permerror"},
		{with("s=rsa", "s=nokey"), "permerror"}, {with("s=rsa", "s=broken"), "permerror"}, {with("s=rsa", "s=nonsense"), "permerror"},
		{with("s=rsa", "s=dkim2"), "permerror"}, {with("s=rsa", "s=late"), "permerror"},
		{with("s=rsa", "s=doubled"), "permerror"}, {with("s=rsa", "s=several"), "permerror"}, {with("s=rsa", "s=sha1"), "permerror"},
		{with("s=rsa", "s=hashes"), "pass"}, {with("s=rsa", "s=tls"), "permerror"},
		{with("s=rsa", "s=any"), "pass"}, {with("s=rsa", "s=email"), "pass"}, {with("s=rsa", "s=dsa"), "permerror"},
		{with("s=rsa", "s=ed-rsa"), "permerror"},
		{with("s=rsa", "s=own"), "pass"}, {with("s=rsa", "s=own") + " i=@a.example;", "pass"},
		{with("s=rsa", "s=own") + " i=@sub.a.example;", "permerror"},
		{with("s=rsa", "s=test"), "pass"}, {with("s=rsa", "s=test") + " bh=AAAA;", "neutral"},
		{with("s=rsa", "s=both") + " i=@sub.a.example;", "permerror"},
	} {
		want(c.tags, w.craft(t, letter, c.tags, "rsa"), c.want)
	}
	sealed := w.craft(t, letter, with("h=From:", "h=From:From:Subject:Subject:"), "rsa")
	open := w.craft(t, letter, tags, "rsa")
	for what, c := range map[string][2]string{
		"a From more, sealed":     {"From: eve@evil.example\r\n" + sealed, "fail"},
		"a Subject more, sealed":  {"Subject: x\r\n" + sealed, "fail"},
		"a Subject more on top":   {"Subject: x\r\n" + open, "pass"},
		"a Subject more below":    {strings.Replace(open, "\r\n\r\n", "\r\nSubject: x\r\n\r\n", 1), "fail"},
		"a field that is gone":    {strings.Replace(open, "Subject: Hello\r\n", "", 1), "fail"},
		"a field not signed":      {"X-New: x\r\n" + open, "pass"},
		"body changed":            {strings.Replace(open, "How", "Who", 1), "fail"},
		"From changed":            {strings.Replace(open, "<ann@", "<eve@", 1), "fail"},
		"the signature's own tag": {strings.Replace(open, "c=relaxed/relaxed", "c=relaxed/simple", 1), "fail"},
		"no tags":                 {"DKIM-Signature: \r\n" + letter, "permerror"},
	} {
		want(what, c[0], c[1])
	}
	got := w.send(t, "203.0.113.1", "x.example", "x@nothing.example", strings.Repeat("DKIM-Signature: v=1\r\n", 12)+letter).DKIM
	if n++; len(got) != maxSignatures {
		t.Errorf("%d signatures are looked at, want %d", len(got), maxSignatures)
	}
	return n
}

// verdictsOfForms checks which changes each canonical form allows (RFC 6376 3.4), with
// both kinds of keys and with signatures of another implementation.
func verdictsOfForms(t *testing.T, w *world, want func(what, text, result string)) {
	text := "From: Ann  <ann@a.example>\r\nTo: bob@our.example\r\nSubject: wide   and\r\n\tfolded\r\n" +
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\nOne  line \r\nand another\r\n"
	changes := map[string]struct {
		old, new     string
		head, inBody bool // whose simple form notices
	}{
		"nothing": {}, "an empty line at the end": {"another\r\n", "another\r\n\r\n\r\n", false, false},
		"a field folded": {
			"wide   and\r\n\tfolded",
			"wide\r\n and folded",
			true,
			false,
		}, "a name in capitals": {"Subject:", "SUBJECT:", true, false},
		"a space at the end of a line": {"line \r\n", "line\r\n", false, true}, "spaces in a line": {"One  line", "One \t line", false, true},
	}
	for _, selector := range []string{"rsa", "ed"} {
		for _, head := range []string{"simple", "relaxed"} {
			for _, body := range []string{"simple", "relaxed"} {
				var out bytes.Buffer
				err := dkim.Sign(
					&out,
					strings.NewReader(text),
					&dkim.SignOptions{Domain: "a.example", Selector: selector, Signer: w.keys[selector], HeaderKeys: []string{"From", "To", "Subject"},
						HeaderCanonicalization: dkim.Canonicalization(head), BodyCanonicalization: dkim.Canonicalization(body)},
				)
				if err != nil {
					t.Fatal(err)
				}
				for what, c := range changes {
					result := "pass"
					if c.head && head == "simple" || c.inBody && body == "simple" {
						result = "fail"
					}
					want(fmt.Sprintf("%s/%s by %s, %s", head, body, selector, what), strings.Replace(out.String(), c.old, c.new, 1), result)
				}
				want(head+"/"+body+" a word changed", strings.Replace(out.String(), "another", "others", 1), "fail")
			}
		}
	}
}

func verdictsDMARC(t *testing.T, w *world) (n int) {
	w.dns.Fail("_dmarc.down.example", "SERVFAIL")
	w.dns.Fail("lost.example", "SERVFAIL")
	w.dns.Fail("_dmarc.walk.example", "SERVFAIL")
	key := w.keys["rsa"].Public()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := base64.StdEncoding.EncodeToString(der)
	seen := map[string]bool{}
	// sender lets a domain send by SPF, or sign.
	sender := func(domain string) {
		if domain == "" || seen[domain] {
			return
		}
		seen[domain] = true
		if err := w.dns.Add(fmt.Sprintf("%s. TXT \"v=spf1 ip4:192.0.2.7 -all\"\nk._domainkey.%s. TXT \"v=DKIM1; p=%s\" \"%s\"\n", domain,
			domain, p[:200], p[200:])); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ from, spf, dkim, want string }{
		// Alignment
		{"plain.example", "plain.example", "", "pass reject"}, {"plain.example", "", "plain.example", "pass reject"},
		{"Plain.Example", "", "plain.example", "pass reject"},
		{"plain.example", "", "", "fail reject"}, {"plain.example", "other.example", "other.example", "fail reject"},
		{"plain.example", "sub.plain.example", "", "pass reject"},
		{"plain.example", "", "sub.plain.example", "pass reject"}, {"mail.plain.example", "plain.example", "", "pass reject"},
		{"mail.plain.example", "", "sub.plain.example", "pass reject"},
		{"plain.example", "notplain.example", "", "fail reject"}, {"bücher.example", "", "xn--bcher-kva.example", "pass reject"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", "", "pass reject"},
		{"strictspf.example", "sub.strictspf.example", "", "fail reject"}, {"strictspf.example", "strictspf.example", "", "pass reject"},
		{"strictspf.example", "", "sub.strictspf.example", "pass reject"},
		{"strictdkim.example", "", "sub.strictdkim.example", "fail reject"}, {"strictdkim.example", "", "strictdkim.example", "pass reject"},
		{"strictdkim.example", "sub.strictdkim.example", "", "pass reject"},
		// Which policy
		{"here.subs.example", "", "", "fail quarantine"}, {"gone.subs.example", "", "", "fail none"}, {"subs.example", "", "", "fail reject"},
		{"own.subs.example", "", "", "fail none"},
		{"below.own.subs.example", "", "", "fail none"}, {"here.nponly.example", "", "", "fail quarantine"},
		{"gone.nponly.example", "", "", "fail reject"},
		{"testing.example", "", "", "fail quarantine"}, {"testq.example", "", "", "fail none"}, {"pct.example", "", "", "fail reject"},
		// Records
		{"none.example", "none.example", "", "none "}, {"two.example", "", "", "none "}, {"stray.example", "", "", "fail reject"},
		{"loose.example", "", "", "fail reject"},
		{"lower.example", "", "", "none "}, {"second.example", "", "", "none "}, {"two1.example", "", "", "none "},
		{"nop.example", "", "", "fail none"},
		{"badp.example", "", "", "none "}, {"badrua.example", "", "", "fail none"}, {"badsp.example", "", "", "none "},
		// The walk up the tree
		{"real.suffix.example", "", "", "fail quarantine"}, {"new.suffix.example", "", "", "fail reject"},
		{"www.real.suffix.example", "", "", "fail quarantine"}, {"suffix.example", "", "", "fail reject"},
		{"real.suffix.example", "fake.suffix.example", "", "fail quarantine"},
		{"real.suffix.example", "www.real.suffix.example", "", "pass quarantine"}, {"mine.suffix.example", "", "", "fail none"},
		{"real.suffix.example", "suffix.example", "", "fail quarantine"},
		{"unit.big.example", "big.example", "", "fail quarantine"}, {"x.unit.big.example", "", "", "fail quarantine"},
		{"x.unit.big.example", "unit.big.example", "", "pass quarantine"},
		{"mid.big.example", "big.example", "", "pass none"}, {"x.mid.big.example", "", "", "fail reject"},
		{"unit.big.example", "mid.big.example", "", "fail quarantine"},
		{"a.b.c.d.e.f.g.deep.example", "", "", "fail reject"}, {"z.a.b.c.d.e.f.g.deep.example", "deep.example", "", "pass reject"},
		{"b.c.d.e.f.g.deep.example", "", "", "fail none"},
		// What cannot be looked up
		{"down.example", "", "", "temperror "}, {"plain.example", "lost.example", "", "temperror reject"},
		{"plain.example", "walk.example", "", "temperror reject"}, {"plain.example", "lost.example", "plain.example", "pass reject"},
	} {
		sender(c.spf)
		sender(c.dkim)
		text := strings.Replace(letter, "ann@a.example", "ann@"+c.from, 1)
		if c.dkim != "" {
			text = w.craft(t, text, "v=1; a=rsa-sha256; c=relaxed/relaxed; d="+c.dkim+"; s=k; h=From;", "rsa")
		}
		from := ""
		if c.spf != "" {
			from = "x@" + c.spf
		}
		got := w.send(t, "192.0.2.7", "helo.nothing.example", from, text).DMARC
		if n++; got.Result+" "+got.Policy != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	for field, want := range map[string]string{
		"From: a@plain.example, b@plain.example\r\n": "pass", "From: a@plain.example, b@other.example\r\n": "permerror", "": "permerror",
		"From: a@plain.example\r\nFrom: a@plain.example\r\n": "permerror",
		"From: nobody:;\r\n": "permerror", "From: plain.example\r\n": "permerror",
		"From: =?utf-8?q?a=40plain.example?= <a@other.example>\r\n": "none",
	} {
		got := w.send(t, "192.0.2.7", "helo.nothing.example", "x@plain.example", field+"Subject: x\r\n\r\nx\r\n").DMARC
		if n++; got.Result != want {
			t.Errorf("%q: %+v, want %s", field, got, want)
		}
	}
	return n
}

// FuzzSPF: any record is parsed or refused, and a parsed record can be evaluated.
func FuzzSPF(f *testing.F) {
	f.Add("v=spf1 a:%{d2r.-}.example/24//64 mx ptr:x.example exists:%{ir}.%{v}.%%.x.example -all exp=%{l}.x.example")
	f.Add("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 redirect=%{P}.example")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseSPF(text)
		if err != nil {
			return
		}
		c := &spfCheck{ip: netip.MustParseAddr("2001:db8::7"), helo: "h.example", local: "a..b", origin: "o.example", asked: true}
		for _, term := range append(r.terms, spfTerm{spec: r.redirect}) {
			name, err := c.expand(term.spec, "d.example")
			if err != nil && c.terms <= maxTerms || term.bits4 > 32 || term.bits6 > 128 {
				t.Errorf("%q: %+v, %q, %v", text, term, name, err)
			}
		}
	})
}
