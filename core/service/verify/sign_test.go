package verify

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// publishKey puts a key's record into the zone.
func (w *world) publishKey(k Key) {
	w.t.Helper()
	text, quoted := k.Record, ""
	for text != "" {
		n := min(200, len(text))
		quoted += ` "` + text[:n] + `"`
		text = text[n:]
	}
	if err := w.dns.Add(k.Name + ". 60 IN TXT" + quoted + "\n"); err != nil {
		w.t.Fatal(err)
	}
}

// fields returns the signatures of one message.
func (k *Keyring) fields(s envelope.Signature, m Message) (string, error) {
	sign, err := k.Sign(s, m.Body)
	if err != nil {
		return "", err
	}
	return sign(m.Header)
}

func TestSign(t *testing.T) {
	w := newWorld(t)
	ring := NewKeyring("mx.a.example", t.TempDir(), nil)
	for _, kind := range []string{"rsa", "ed25519"} {
		k, err := ring.Generate("a.example", "new-"+kind, kind, true)
		if err != nil {
			t.Fatal(err)
		}
		w.publishKey(k)
	}
	m := split(letter)
	fields, err := ring.fields(envelope.Signature{Domain: "a.example"}, m)
	if err != nil || strings.Count(fields, "DKIM-Signature: ") != 2 || !strings.HasSuffix(fields, "\r\n") {
		t.Fatalf("%q, %v", fields, err)
	}
	results := func(text string) (out []string) {
		for _, r := range w.check("192.0.2.7", "ann@a.example", text).DKIM {
			out = append(out, r.Selector+" "+r.Result)
		}
		slices.Sort(out)
		return out
	}
	if got := results(fields + letter); !slices.Equal(got, []string{"new-ed25519 pass", "new-rsa pass"}) {
		t.Errorf("signed: %q", got)
	}
	for _, added := range []string{
		"From: Eve <eve@a.example>\r\n", "Subject: other\r\n", "Reply-To: eve@x.example\r\n", "Cc: x@x.example\r\n",
	} {
		if got := results(fields + added + letter); slices.Contains(got, "new-rsa pass") {
			t.Errorf("%q was added, and %q", added, got)
		}
	}
	one, err := ring.fields(envelope.Signature{Domain: "a.example", Selectors: []string{"new-rsa"}}, m)
	if err != nil || strings.Count(one, "DKIM-Signature: ") != 1 || !strings.Contains(one, "new-rsa") {
		t.Errorf("one selector: %q, %v", one, err)
	}
}

// Copies that differ in their fields are each signed over their own, and the
// body is read once.
func TestCopies(t *testing.T) {
	w := newWorld(t)
	ring := NewKeyring("mx.a.example", t.TempDir(), nil)
	for _, kind := range []string{"rsa", "ed25519"} {
		k, err := ring.Generate("a.example", "c-"+kind, kind, true)
		if err != nil {
			t.Fatal(err)
		}
		w.publishKey(k)
	}
	m := split(letter)
	opened := 0
	sign, err := ring.Sign(envelope.Signature{Domain: "a.example"}, func() (io.ReadCloser, error) { opened++; return m.Body() })
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
	if _, err := ring.Sign(envelope.Signature{Domain: "a.example", Selectors: []string{"none"}}, m.Body); !errors.Is(err, ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	sign, err = ring.Sign(envelope.Signature{Domain: "other.example"}, m.Body)
	if err != nil {
		t.Fatal(err)
	}
	if fields, err := sign(mime.ParseHeader([]byte("From: x\r\n"))); fields != "" || err != nil {
		t.Errorf("without keys: %q, %v", fields, err)
	}
}

func TestKeyring(t *testing.T) { synctest.Test(t, testKeyring) }

func testKeyring(t *testing.T) {
	dir := t.TempDir()
	ring := NewKeyring("mx.a.example", dir, nil)
	if _, err := ring.Generate("A.example", "one", "rsa", true); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Generate("a.example", "one", "rsa", true); !errors.Is(err, ErrKeyExists) {
		t.Errorf("twice: %v", err)
	}
	for _, bad := range [][3]string{
		{"a.example", "../x", "rsa"}, {"a.example", "", "rsa"}, {"../x", "s", "rsa"}, {"a.example", "s", "dsa"}, {"a.example", "a.b", "rsa"},
	} {
		if _, err := ring.Generate(bad[0], bad[1], bad[2], true); err == nil {
			t.Errorf("%q was made", bad)
		}
	}
	signing := func(r *Keyring) (out []string) {
		keys, err := r.signing("a.example", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			out = append(out, k.Selector)
		}
		return out
	}
	if got := signing(ring); !slices.Equal(got, []string{"one"}) {
		t.Errorf("signing %q", got)
	}
	if _, err := ring.Generate("a.example", "two", "ed25519", false); err != nil {
		t.Fatal(err)
	}
	time.Sleep(lookAgain) // what another process made is noticed
	if got := signing(ring); !slices.Equal(got, []string{"two"}) {
		t.Errorf("signing %q", got)
	}
	if got := signing(NewKeyring("mx.a.example", dir, map[string][]string{"a.example": {"one", "two"}})); !slices.Equal(got,
		[]string{"one", "two"}) {
		t.Errorf("as configured %q", got)
	}
	list, err := ring.List()
	if err != nil || len(list) != 2 || list[0].Active || !list[1].Active {
		t.Errorf("%+v, %v", list, err)
	}
	st, err := os.Stat(filepath.Join(dir, "a.example", "one.pem"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.example", "bad.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.List(); err == nil {
		t.Error("a key that is none is listed")
	}
}
