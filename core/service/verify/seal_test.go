package verify

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
)

// sealed returns a text with one more ARC set of ours, after it arrived here.
func (w *world) sealed(ring *Keyring, domain, text string) string {
	w.t.Helper()
	m := split(text)
	fields, err := ring.set(domain, w.check("192.0.2.7", "ann@a.example", text), m)
	if err != nil {
		w.t.Fatal(err)
	}
	return fields + text
}

// set returns what Seal makes for one message.
func (k *Keyring) set(domain string, arrived *envelope.AuthResults, m Message) (string, error) {
	seal, err := k.Seal(domain, arrived, m.Body)
	if err != nil {
		return "", err
	}
	return seal(m.Header)
}

// Chains of sets verify, over changes of those that seal again, and say what
// each host found.
func TestSeal(t *testing.T) {
	w := newWorld(t)
	ring := NewKeyring("mx.a.example", t.TempDir(), nil)
	for _, kind := range []string{"ed25519", "rsa"} {
		k, err := ring.Generate("a.example", "arc-"+kind, kind, true)
		if err != nil {
			t.Fatal(err)
		}
		w.publishKey(k)
	}
	chain := func(text string) string {
		r := w.check("192.0.2.7", "ann@a.example", text).ARC
		return strings.TrimSpace(r.Result + " " + r.Selector + " " + r.Reason)
	}
	one := w.sealed(ring, "a.example", letter)
	if got := chain(one); got != "pass arc-rsa" {
		t.Fatalf("one set: %s\n%s", got, one)
	}
	if head, _, _ := strings.Cut(one, "\r\nFrom:"); strings.Count(head, "ARC-") != 3 ||
		!strings.HasPrefix(head, "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.example;") ||
		!strings.Contains(head, "i=1; mx.a.example;\r\n\tspf=") {
		t.Errorf("the set is\n%s", head)
	}
	two := w.sealed(ring, "a.example", "Received: by list.example\r\n"+one)
	if got := chain(two); got != "pass arc-rsa" || !strings.Contains(two, "cv=pass") || !strings.Contains(two, "arc=pass") {
		t.Errorf("two sets: %s\n%s", got, two)
	}
	changed := strings.Replace(one, "Subject: ", "Subject: [list] ", 1)
	if got := chain(changed); !strings.HasPrefix(got, "fail") {
		t.Errorf("changed: %s", got)
	}
	arrived := w.check("192.0.2.7", "ann@a.example", one)
	m := split(changed + "-- \r\na footer\r\n")
	fields, err := ring.set("a.example", arrived, m)
	if err != nil {
		t.Fatal(err)
	}
	if got := chain(fields + changed + "-- \r\na footer\r\n"); got != "pass arc-rsa" {
		t.Errorf("changed and sealed: %s", got)
	}

	broken := w.sealed(ring, "a.example", changed) // it arrived broken
	if got := chain(broken); got != "fail arc-rsa seal 2 says cv=fail" {
		t.Errorf("broken and sealed: %s", got)
	}
	for name, text := range map[string]string{"broken and said so": broken, "not whole": "ARC-Seal: i=2; cv=pass\r\n" + one} {
		if again := w.sealed(ring, "a.example", text); again != text {
			t.Errorf("%s: sealed once more\n%s", name, again)
		}
	}
	unknown := *arrived
	unknown.ARC.Result = "temperror"
	if fields, err := ring.set("a.example", &unknown, split(one)); fields != "" || err != nil {
		t.Errorf("not known whether it holds: %q, %v", fields, err)
	}
	if fields, err := ring.set("other.example", arrived, split(one)); fields != "" || err != nil {
		t.Errorf("without a key: %q, %v", fields, err)
	}
}

// arcverify is dkimpy's: what we seal, others can verify.
const arcverify = `
import sys, dkim
records = dict(line.split(" ", 1) for line in open(sys.argv[1]).read().splitlines())
def lookup(name, timeout=5):
    text = name.decode() if isinstance(name, bytes) else name
    return records.get(text.rstrip("."), "").encode() or None
cv, results, reason = dkim.arc_verify(sys.stdin.buffer.read(), dnsfunc=lookup)
print(cv.decode() if isinstance(cv, bytes) else cv, len(results), reason)
`

func TestInteropSeal(t *testing.T) {
	pythons := []string{"python3", "/usr/bin/python3"} // another one may stand in front of Debian's
	n := slices.IndexFunc(pythons, func(p string) bool { return exec.Command(p, "-c", "import dkim").Run() == nil })
	if n < 0 {
		t.Skip("dkimpy is not installed (Debian: python3-dkim)")
	}
	w := newWorld(t)
	ring := NewKeyring("mx.a.example", t.TempDir(), nil)
	k, err := ring.Generate("a.example", "arc", "rsa", true)
	if err != nil {
		t.Fatal(err)
	}
	w.publishKey(k)
	records := t.TempDir() + "/records"
	if err := os.WriteFile(records, []byte(k.Name+" "+k.Record+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := func(text string) string {
		cmd := exec.Command(pythons[n], "-c", arcverify, records)
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	text := letter
	for n, want := range []string{"pass 1 success", "pass 2 success", "pass 3 success"} {
		text = w.sealed(ring, "a.example", "Received: by hop\r\n"+text)
		if got := verify(text); got != want {
			t.Errorf("%d sets: %s, want %s", n+1, got, want)
		}
	}
	if got := verify(strings.Replace(text, "How are", "Who are", 1)); !strings.HasPrefix(got, "fail") {
		t.Errorf("changed: %s", got)
	}
}
