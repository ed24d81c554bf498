package verify

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
)

// exampleKeys are the public keys of RFC 6376 appendix C and RFC 8463 A.2.
const exampleKeys = `
brisbane._domainkey.example.com. TXT (
	"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od"
	"+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB" )
brisbane._domainkey.football.example.com. TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
test._domainkey.football.example.com. TXT (
	"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
	"DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB" )
`

const exampleLetter = `From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`

// TestExamplesDKIM: the signed messages of RFC 6376 A.2 and RFC 8463 A.3, and
// neither once a word is another. The body is read once for both signatures.
func TestExamplesDKIM(t *testing.T) {
	w := newWorld(t)
	if err := w.dns.Add(exampleKeys); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"RFC 6376": `DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
` + exampleLetter,
		"RFC 8463": `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
` + exampleLetter,
	} {
		text = strings.ReplaceAll(text, "\n", "\r\n")
		for want, text := range map[string]string{"pass": text, "fail": strings.Replace(text, "dinner", "supper", 1)} {
			m := split(text)
			opened, body := 0, m.Body
			m.Body = func() (io.ReadCloser, error) { opened++; return body() }
			results, err := checkDKIM(t.Context(), w.r, m)
			if n := strings.Count(text, "DKIM-Signature:"); err != nil || len(results) != n || opened != 1 {
				t.Errorf("%s: %d results, the body was read %d times, %v", name, len(results), opened, err)
			}
			for _, r := range results {
				if r.Result != want {
					t.Errorf("%s: %+v, want %s", name, r, want)
				}
			}
		}
	}
}

// TestExamplesCanonical: RFC 6376 3.4.5.
func TestExamplesCanonical(t *testing.T) {
	fields := []string{"A: X\r\n", "B : Y\t\r\n\tZ  \r\n"}
	const body = " C \r\nD \t E\r\n\r\n\r\n"
	for relaxed, want := range map[bool][2]string{
		true:  {"a:X\r\nb:Y Z\r\n", " C\r\nD E\r\n"},
		false: {"A: X\r\nB : Y\t\r\n\tZ  \r\n", " C \r\nD \t E\r\n"},
	} {
		var head, text bytes.Buffer
		for _, f := range fields {
			head.WriteString(canonicalField(f, relaxed))
		}
		b := newBodyHash(&text, relaxed, -1)
		b.Write([]byte(body))
		b.end()
		if head.String() != want[0] || text.String() != want[1] {
			t.Errorf("relaxed %v: %q %q, want %q", relaxed, head.String(), text.String(), want)
		}
	}
}

// TestExamplesMacros: RFC 7208 7.4.
func TestExamplesMacros(t *testing.T) {
	for _, c := range []struct{ ip, spec, want string }{
		{"192.0.2.3", "%{s}", "strong-bad@email.example.com"}, {"192.0.2.3", "%{o}", "email.example.com"},
		{"192.0.2.3", "%{d}", "email.example.com"},
		{"192.0.2.3", "%{d4}", "email.example.com"}, {"192.0.2.3", "%{d3}", "email.example.com"}, {"192.0.2.3", "%{d2}", "example.com"},
		{"192.0.2.3", "%{d1}", "com"},
		{"192.0.2.3", "%{dr}", "com.example.email"}, {"192.0.2.3", "%{d2r}", "example.email"}, {"192.0.2.3", "%{l}", "strong-bad"},
		{"192.0.2.3", "%{l-}", "strong.bad"},
		{"192.0.2.3", "%{lr}", "strong-bad"}, {"192.0.2.3", "%{lr-}", "bad.strong"}, {"192.0.2.3", "%{l1r-}", "strong"},
		{"192.0.2.3", "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{"192.0.2.3", "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{"192.0.2.3", "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{"192.0.2.3", "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{"192.0.2.3", "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{"2001:db8::cb01", "%{ir}.%{v}._spf.%{d2}", "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"},
	} {
		s := &spfCheck{ip: netip.MustParseAddr(c.ip), local: "strong-bad", origin: "email.example.com", helo: "mx.example.org"}
		if got, err := s.expand(c.spec, "email.example.com"); got != c.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", c.spec, got, err, c.want)
		}
	}
}

// TestExamplesSPF: the zone and the simple records of RFC 7208 A.1, each with
// whom it lets send.
func TestExamplesSPF(t *testing.T) {
	for _, c := range []struct{ record, pass, fail string }{
		{"+all", "192.0.2.65 203.0.113.1", ""}, {"a -all", "192.0.2.10 192.0.2.11", "192.0.2.65"},
		{"a:example.org -all", "", "192.0.2.10 192.0.2.140"},
		{"mx -all", "192.0.2.129 192.0.2.130", "192.0.2.10"}, {"mx:example.org -all", "192.0.2.140", "192.0.2.129"},
		{"mx mx:example.org -all", "192.0.2.129 192.0.2.130 192.0.2.140", "192.0.2.10"},
		{"mx/30 mx:example.org/30 -all", "192.0.2.131 192.0.2.143", "192.0.2.132 192.0.2.139"},
		{"ptr -all", "192.0.2.65", "192.0.2.140 10.0.0.4"}, {"ip4:192.0.2.128/28 -all", "192.0.2.129", "192.0.2.65"},
	} {
		w := newWorld(t)
		if err := w.dns.Add(`example.com. MX 10 mail-a.example.com.
example.com. MX 20 mail-b.example.com.
example.com. A 192.0.2.10
example.com. A 192.0.2.11
amy.example.com. A 192.0.2.65
bob.example.com. A 192.0.2.66
mail-a.example.com. A 192.0.2.129
mail-b.example.com. A 192.0.2.130
www.example.com. CNAME example.com.
example.org. MX 10 mail-c.example.org.
mail-c.example.org. A 192.0.2.140
65.2.0.192.in-addr.arpa. PTR amy.example.com.
66.2.0.192.in-addr.arpa. PTR bob.example.com.
140.2.0.192.in-addr.arpa. PTR mail-c.example.org.
4.0.0.10.in-addr.arpa. PTR bob.example.com.
example.com. TXT "v=spf1 ` + c.record + `"
`); err != nil {
			t.Fatal(err)
		}
		for want, ips := range map[string]string{"pass": c.pass, "fail": c.fail} {
			for ip := range strings.FieldsSeq(ips) {
				m := Message{IP: netip.MustParseAddr(ip), Helo: "client.example.net", Sender: envelope.Address("ann@example.com")}
				if got := checkSPF(t.Context(), w.r, m); got.Result != want {
					t.Errorf("%s from %s: %+v, want %s", c.record, ip, got, want)
				}
			}
		}
	}
}
