package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/scripts"
)

// The tests TestInteropEncrypt* are the acceptance tests of encryption, as far
// as the example policy and the forward bundle go: GnuPG and OpenSSL of others
// decrypt what a server made.

// keeper is GnuPG and OpenSSL with separate keys.
type keeper struct {
	t    *testing.T
	home string
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	need(t, "gpg")
	need(t, "openssl")
	home, err := os.MkdirTemp("", "gpg") // the path of the agent's socket must be short
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{t, home}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	return k
}

func (k *keeper) run(in string, name string, args ...string) string {
	k.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("%s %v: %v\n%s\n%s", name, args, err, &stderr, in)
	}
	return string(out)
}

func (k *keeper) gpg(in string, args ...string) string {
	k.t.Helper()
	return k.run(in, "gpg", append([]string{"--homedir", k.home, "--faked-system-time", strconv.FormatInt(time.Now().Unix(), 10),
		"--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
}

// pgp makes an OpenPGP key and returns the file for `key add`.
func (k *keeper) pgp(address, life string) string {
	k.t.Helper()
	k.gpg("", "--quick-generate-key", address, "future-default", "default", life)
	file := filepath.Join(k.home, address+".asc")
	k.gpg("", "--armor", "--output", file, "--export", address)
	return file
}

// certificate makes a certificate and returns the file for `key add`.
func (k *keeper) certificate(address string) string {
	k.t.Helper()
	file := filepath.Join(k.home, address)
	k.run("", "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=x/emailAddress="+address, "-keyout",
		file+".key", "-out", file+".pem")
	return file + ".pem"
}

// opened is what GnuPG finds in a message in PGP/MIME.
func (k *keeper) opened(message string) string {
	k.t.Helper()
	from, to := strings.Index(message, "-----BEGIN PGP MESSAGE-----"), strings.Index(message, "-----END PGP MESSAGE-----")
	if from < 0 || to < 0 {
		k.t.Fatalf("no PGP/MIME:\n%s", message)
	}
	return k.gpg(message[from:to]+"-----END PGP MESSAGE-----\n", "--decrypt")
}

// unwrapped is what OpenSSL finds in a message.
func (k *keeper) unwrapped(address, message string) string {
	k.t.Helper()
	file := filepath.Join(k.home, address)
	return k.run(message, "openssl", "cms", "-decrypt", "-recip", file+".pem", "-inkey", file+".key")
}

// encryptExample is the policy of scripts/examples.
func encryptExample(t *testing.T) map[string]string {
	t.Helper()
	text, err := fs.ReadFile(scripts.Examples(), "examples/encrypt.lua")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"encrypt.lua": string(text)}
}

const secretLetter = "From: Sam <s@s.test>\nTo: alice@example.com\nSubject: plans\nDate: Wed, 25 Nov 2026 12:00:00 +0000\n" +
	"Message-ID: <1@s.test>\nX-Mailer: Pen\n" +
	"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nwe meet at the harbour, olá\n" +
	".a line with a dot\n\n"

// inside is what comes out of it.
var inside = strings.ReplaceAll("X-Mailer: Pen\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"+
	"we meet at the harbour, olá\n.a line with a dot\n\n", "\n", "\r\n")

func fieldNames(message string) string {
	head, _, _ := strings.Cut(strings.ReplaceAll(message, "\r\n", "\n"), "\n\n")
	var names []string
	for line := range strings.SplitSeq(head, "\n") {
		if name, _, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

func bodyOf(message string) string {
	_, body, _ := strings.Cut(strings.ReplaceAll(message, "\r\n", "\n"), "\n\n")
	return body
}

// TestInteropEncryptDelivery: points 1 to 3 and 6. Mail for who has a key is
// kept encrypted, and opens to the octets that were sent; what is encrypted
// already stays; reports stay readable, and the envelope is as it was.
func TestInteropEncryptDelivery(t *testing.T) {
	k := newKeeper(t)
	l := newForwardRig(t, "", encryptExample(t))
	l.Ctl(t, "key", "add", "alice@example.com", k.pgp("alice@example.com", "1y"))
	l.Ctl(t, "key", "add", "bob@example.com", k.certificate("bob@example.com"))
	l.Deliver(t, "s@s.test", "alice@example.com bob@example.com", secretLetter)
	pgp, smime := l.Mail(t, "alice"), l.Mail(t, "bob")
	for who, m := range map[string]string{"alice": pgp, "bob": smime} {
		if strings.Contains(m, "harbour") || strings.Contains(m, "Pen") {
			t.Errorf("%s can be read without a key:\n%s", who, m)
		}
		testserver.Contains(t, strings.ReplaceAll(m, "\r\n", "\n"), "Return-Path: <s@s.test>\n", "Subject: plans\n", "Message-ID: <1@s.test>\n")
	}
	if got, want := fieldNames(pgp),
		"Return-Path Delivered-To Received From To Subject Date Message-ID MIME-Version Content-Type"; got != want {
		t.Errorf("outside are %s, want %s", got, want)
	}
	if got := k.opened(pgp); got != inside {
		t.Errorf("gpg opens\n%q, want\n%q", got, inside)
	}
	if got := k.unwrapped("bob@example.com", smime); got != inside {
		t.Errorf("openssl opens\n%q, want\n%q", got, inside)
	}
	// Once more the same messages, and one with GnuPG's armour in its text.
	_, again, _ := strings.Cut(pgp, "Message-ID: ")
	inline := "From: s@s.test\nSubject: inline\nMessage-ID: <2@s.test>\n\n" + k.gpg("hello\n", "--armor", "--trust-model", "always",
		"--recipient", "alice@example.com", "--encrypt")
	for _, m := range []string{"Message-ID: " + again, inline, "Message-ID: " + strings.SplitN(smime, "Message-ID: ", 2)[1]} {
		l.Deliver(t, "s@s.test", "alice@example.com", strings.ReplaceAll(m, "\r\n", "\n"))
		if got := l.Mail(t, "alice"); bodyOf(got) != bodyOf(m) {
			t.Errorf("it was touched: %q, want %q", bodyOf(got), bodyOf(m))
		}
	}
	// The report about her own message.
	l.out.SetReply(func(string) string { return "550 5.1.1 nobody" })
	l.Sendmail(t, "x@out.test", "From: alice@example.com\nTo: x@out.test\nSubject: hi\n\nhi\n")
	testserver.Contains(t, l.Mail(t, "alice"), "multipart/report", "550 5.1.1 nobody")
}

// TestInteropEncryptExpired: point 4. With a key that has expired the message
// is quarantined, and owner and postmaster get one notice.
func TestInteropEncryptExpired(t *testing.T) {
	k := newKeeper(t)
	l := newForwardRig(t, "", encryptExample(t))
	l.Ctl(t, "key", "add", "bob@example.com", k.pgp("bob@example.com", "1d"))
	l.Ctl(t, "clock", "advance", "25h")
	if out := l.Ctl(t, "key", "list", "bob@example.com"); !strings.Contains(out, "expired") {
		t.Errorf("key list: %s", out)
	}
	for _, id := range []string{"<1@s.test>", "<2@s.test>"} {
		l.Deliver(t, "s@s.test", "bob@example.com", strings.Replace(secretLetter, "<1@s.test>", id, 1))
	}
	testserver.Contains(t, l.Mail(t, "bob"), "Subject: Your key cannot be used", "its key is expired")
	testserver.Contains(t, l.Mail(t, "alice"), "Subject: Your key cannot be used") // the postmaster
	out := l.Ctl(t, "queue", "list", "--json")
	if n := strings.Count(out, `"quarantine"`); n < 2 || strings.Contains(out, "harbour") {
		t.Errorf("%d in quarantine:\n%s", n, out)
	}
	if got := append(l.Mailbox(t, "bob"), l.Mailbox(t, "alice")...); len(got) != 0 {
		t.Errorf("further mail: %q", got)
	}
}

// TestInteropEncryptForward: point 5. The copy is encrypted to the target's key,
// the one in the mailbox as it came; without a key none leaves.
func TestInteropEncryptForward(t *testing.T) {
	k := newKeeper(t)
	l := newForwardRig(t, "", nil)
	setForward(t, l.Server, "alice@example.com", `{"to": ["x@out.test"], "keep": true, "encrypt": true}`)
	l.Deliver(t, "s@s.test", "alice@example.com", secretLetter)
	testserver.Contains(t, l.Mail(t, "alice"), "X-Carteiro-Forward-Kept: it cannot be encrypted: no key", "harbour")
	l.Ctl(t, "key", "add", "x@out.test", k.pgp("x@out.test", "1y"))
	l.Deliver(t, "s@s.test", "alice@example.com", strings.Replace(secretLetter, "<1@s.test>", "<2@s.test>", 1))
	got := l.out.Wait(1)
	if got.Text == "" || strings.Contains(got.Text, "harbour") || !strings.HasPrefix(got.Sender, "SRS0=") || got.To[0] != "x@out.test" {
		t.Errorf("%+v", got)
	}
	if text := k.opened(got.Text); text != inside {
		t.Errorf("gpg opens\n%q, want\n%q", text, inside)
	}
	local := l.Mail(t, "alice")
	testserver.Contains(t, local, "harbour")
	if strings.Contains(local, "X-Carteiro-Forward-Kept") {
		t.Errorf("it says that it was kept:\n%s", local)
	}
	l.WaitQueueEmpty(t)
	if n := len(l.out.All()); n != 1 {
		t.Errorf("%d left", n)
	}
}
