package verify

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"carteiro/core/message/mime"
)

// split makes a Message of a text.
func split(text string) Message {
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	return Message{
		Header: mime.ParseHeader([]byte(head + "\r\n\r\n")),
		Body:   func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
	}
}

// Our canonical forms are those of another implementation, which signs here, with many
// bodies and fields.
func TestCanonicalForms(t *testing.T) {
	w := newWorld(t)
	bodies := []string{
		"", "\r\n", "\r\n\r\n", "one line\r\n", "no end", "two\r\n\r\n\r\n", " lead \t and  trail \t \r\n\r\n  \r\n \r\n", "a\r\n\r\nb\r\n",
		"\r\n\r\nx", "tab\tand space \r\n.\r\n", "x \r\n \t\r\n",
	}
	for i, body := range bodies {
		for _, c := range []struct{ head, body dkim.Canonicalization }{
			{"relaxed", "relaxed"}, {"simple", "simple"}, {"relaxed", "simple"}, {"simple", "relaxed"},
		} {
			text := "From: Ann  <ann@a.example>\r\nSubject:\tfolded \r\n  and\twide  \r\nX-Two: a\r\nX-Two: b\r\nTO : bob@our.example\r\n\r\n" + body
			for _, selector := range []string{"rsa", "ed"} {
				var out bytes.Buffer
				if err := dkim.Sign(&out, strings.NewReader(text), &dkim.SignOptions{Domain: "a.example", Selector: selector, Signer: w.keys[selector],
					HeaderCanonicalization: c.head, BodyCanonicalization: c.body,
					HeaderKeys: []string{"From", "Subject", "X-Two", "X-Two", "X-None"}}); err != nil {
					t.Fatal(err)
				}
				m := split(out.String())
				field := m.Header.Fields()[0].Raw
				verified := func(m Message) error {
					s, err := readSignature(field)
					if err == nil {
						s.record, err = keys{ctx: t.Context(), r: w.r}.get(s.tags)
					}
					if err != nil {
						return err
					}
					if err := hashBodies(m, []*signature{s}); err != nil {
						return err
					}
					return s.verify(m.Header)
				}
				if err := verified(m); err != nil {
					t.Errorf("body %d, %s/%s, %s: %v", i, c.head, c.body, selector, err)
				}
				if err := verified(split(strings.Replace(out.String(), "X-Two: b", "X-Two: c", 1))); err == nil {
					t.Errorf("body %d, %s/%s, %s: a change is not noticed", i, c.head, c.body, selector)
				}
			}
		}
	}
}

// value signs octets.
func (w *world) value(selector string, octets []byte) string {
	w.t.Helper()
	sum := sha256.Sum256(octets)
	var opts crypto.SignerOpts = crypto.SHA256
	if _, ok := w.keys[selector].(ed25519.PrivateKey); ok {
		opts = crypto.Hash(0)
	}
	b, err := w.keys[selector].Sign(rand.Reader, sum[:], opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// seal adds a set to a message, as a host on the way does.
func (w *world) seal(text string, i int, cv, selector string) string {
	w.t.Helper()
	algorithm := map[string]string{"ed": "ed25519-sha256"}[selector]
	if algorithm == "" {
		algorithm = "rsa-sha256"
	}
	m := split(text)
	body, _ := m.Body()
	sum, err := hashBody(sha256.New(), true, body)
	if err != nil {
		w.t.Fatal(err)
	}
	results := fmt.Sprintf("ARC-Authentication-Results: i=%d; mx.a.example; spf=pass\r\n", i)
	signature := fmt.Sprintf("ARC-Message-Signature: i=%d; a=%s; c=relaxed/relaxed; d=a.example; s=%s;\r\n\th=from:to:subject; bh=%s;\r\n\tb=",
		i, algorithm, selector, base64.StdEncoding.EncodeToString(sum))
	var signed []byte
	for _, raw := range signedFields(m.Header, []string{"from", "to", "subject"}) {
		signed = append(signed, canonicalField(raw, true)...)
	}
	signed = append(signed, strings.TrimSuffix(canonicalField(signature+"\r\n", true), "\r\n")...)
	signature += w.value(selector, signed) + "\r\n"

	sets, err := arcSets(m.Header)
	if err != nil {
		w.t.Fatal(err)
	}
	var sealed []byte
	for _, s := range sets {
		for _, raw := range []string{s.results, s.signature, s.seal} {
			sealed = append(sealed, canonicalField(raw, true)...)
		}
	}
	sealed = append(append(sealed, canonicalField(results, true)...), canonicalField(signature, true)...)
	own := fmt.Sprintf("ARC-Seal: i=%d; a=%s; cv=%s; d=a.example; s=%s;\r\n\tt=1; b=", i, algorithm, cv, selector)
	sealed = append(sealed, strings.TrimSuffix(canonicalField(own+"\r\n", true), "\r\n")...)
	return own + w.value(selector, sealed) + "\r\n" + signature + results + text
}

func TestARC(t *testing.T) {
	w := newWorld(t)
	one := w.seal(letter, 1, "none", "rsa")
	two := w.seal("Received: by list.example\r\n"+one, 2, "pass", "ed")
	three := w.seal(two, 3, "pass", "weak")
	for name, c := range map[string]struct{ text, want, reason string }{
		"none":               {letter, "none", ""},
		"one":                {one, "pass", ""},
		"two":                {two, "pass", ""},
		"three":              {three, "pass", ""},
		"a trace field more": {"Received: by us\r\n" + three, "pass", ""},
		"body changed":       {strings.Replace(two, "How are", "Who are", 1), "fail", "the body was changed"},
		"subject changed":    {strings.Replace(two, "Subject: Hello", "Subject: Hallo", 1), "fail", "the signature does not fit"},
		"results of before": {strings.Replace(two, "i=1; mx.a.example; spf=pass", "i=1; mx.a.example; spf=fail", 1), "fail",
			"seal 2: the signature does not fit"},
		"a seal is gone":           {strings.Replace(two, "ARC-Seal: i=1", "X-Seal: i=1", 1), "fail", "set 1 is incomplete"},
		"a set is gone":            {strings.ReplaceAll(w.seal(one, 3, "pass", "rsa"), "\x00", ""), "fail", "set 2 is incomplete"},
		"twice":                    {"ARC-Seal: i=1; cv=none\r\n" + one, "fail", "two fields of one kind"},
		"cv of the first":          {w.seal(letter, 1, "pass", "rsa"), "fail", "seal 1 says cv=pass"},
		"cv of the second":         {w.seal(one, 2, "none", "rsa"), "fail", "seal 2 says cv=none"},
		"said to fail":             {w.seal(one, 2, "fail", "rsa"), "fail", "seal 2 says cv=fail"},
		"no instance":              {"ARC-Seal: cv=none\r\n" + letter, "fail", "no instance"},
		"instance of 51":           {"ARC-Seal: i=51; cv=none\r\n" + letter, "fail", "no instance"},
		"without a key":            {strings.ReplaceAll(one, "s=rsa", "s=gone"), "fail", "there is no key"},
		"a seal with h":            {strings.Replace(one, "t=1;", "h=from;", 1), "fail", "has a tag h"},
		"part of the body":         {strings.Replace(one, "c=relaxed/relaxed;", "c=relaxed/relaxed; l=3;", 1), "fail", "a part of the body"},
		"algorithm of another key": {strings.ReplaceAll(one, "rsa-sha256", "ed25519-sha256"), "fail", "the algorithm is not known"},
	} {
		got := w.check("192.0.2.7", "ann@a.example", c.text).ARC
		if got.Result != c.want || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %+v, want %s: %s", name, got, c.want, c.reason)
		}
	}
	if got := w.check("192.0.2.7", "ann@a.example", two).ARC; got.Domain != "a.example" || got.Selector != "ed" {
		t.Errorf("sealed by %+v", got)
	}
	w.dns.Fail("rsa._domainkey.a.example", "SERVFAIL")
	if got := w.check("192.0.2.7", "ann@a.example", strings.ReplaceAll(one, "d=a.example", "d=A.example")).ARC; got.Result == "pass" {
		t.Errorf("without an answer: %+v", got)
	}
}

// FuzzARC: whatever the fields say, the answer is one of the known words.
func FuzzARC(f *testing.F) {
	for _, s := range []string{"ARC-Seal: i=1; cv=none\r\n", "ARC-Authentication-Results: i=1; x\r\n" +
		"ARC-Message-Signature: i=1; h=from; bh=; b=\r\nARC-Seal: i=1; cv=none; b=;\r\n", "arc-seal:i=2\r\n",
		"ARC-Seal: i = 1 ;cv = none ; d=a;s=b;b=AA\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, fields string) {
		m := split(fields + letter)
		sets, err := arcSets(m.Header)
		if err != nil {
			return
		}
		for i, s := range sets {
			for _, raw := range []string{s.results, s.signature, s.seal} {
				if !strings.HasSuffix(canonicalField(raw, true), "\r\n") || len(withoutSignature(raw)) > len(raw)+2 {
					t.Errorf("set %d: %q", i, raw)
				}
			}
			if again := withoutSignature(withoutSignature(s.seal)); again != withoutSignature(s.seal) {
				t.Errorf("a signature that was removed twice: %q", again)
			}
		}
	})
}
