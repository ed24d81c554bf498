package verify

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"carteiro/core/mime"
)

// Copies that differ in their fields are each signed over their own, and the
// body is read once.
func TestCopies(t *testing.T) {
	w := newWorld(t)
	ring := NewKeyring(t.TempDir(), nil)
	for _, kind := range []string{"rsa", "ed25519"} {
		k, err := ring.Generate("a.example", "c-"+kind, kind, true)
		if err != nil {
			t.Fatal(err)
		}
		w.publishKey(k)
	}
	m := split(letter)
	opened := 0
	sign, err := ring.Copies("a.example", nil, func() (io.ReadCloser, error) { opened++; return m.Body() })
	if err != nil || opened != 1 {
		t.Fatalf("read %d times: %v", opened, err)
	}
	for _, own := range []string{
		"List-Unsubscribe: <https://mx.example/u/1>,\r\n\t <mailto:leave@a.example>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
		"In-Reply-To:  <x@y>\r\nReferences: <1@y>\r\n  <2@y>\r\nIn-Reply-To: <again@y>\r\n",
		"",
	} {
		text := own + letter
		fields, err := sign(split(text).Header)
		if err != nil || strings.Count(fields, "DKIM-Signature: ") != 2 || opened != 1 {
			t.Fatalf("%q: %q, read %d times, %v", own, fields, opened, err)
		}
		for line := range strings.SplitSeq(fields, "\r\n") {
			if len(line) > 998 {
				t.Errorf("a line of %d octets", len(line))
			}
		}
		results := func(text string) (out []string) {
			for _, r := range w.check("192.0.2.7", "ann@a.example", text).DKIM {
				out = append(out, r.Selector+" "+r.Result)
			}
			slices.Sort(out)
			return out
		}
		if got := results(fields + text); !slices.Equal(got, []string{"c-ed25519 pass", "c-rsa pass"}) {
			t.Errorf("%q: %q", own, got)
		}
		if own != "" {
			if got := results(fields + strings.Replace(text, "1", "3", 1)); slices.Contains(got, "c-rsa pass") {
				t.Errorf("%q changed, and %q", own, got)
			}
		}
	}
	if _, err := ring.Copies("a.example", []string{"none"}, m.Body); !errors.Is(err, ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	sign, err = ring.Copies("other.example", nil, m.Body)
	if err != nil {
		t.Fatal(err)
	}
	if fields, err := sign(mime.ParseHeader([]byte("From: x\r\n"))); fields != "" || err != nil {
		t.Errorf("without keys: %q, %v", fields, err)
	}
}
