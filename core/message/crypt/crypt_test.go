package crypt_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// letter is a message whose fields are of all sorts, folded and not ASCII.
const letter = "Received: from a.example by mx.our.example; Mon, 2 Nov 2026 10:00:00 +0000\r\n" +
	"From: Ann <ann@a.example>\r\nTo: bob@our.example\r\nSubject: the plan\r\nMessage-ID: <1@a.example>\r\nList-Id: <x.our.example>\r\n" +
	"X-Mailer: Pen\r\n 1.0\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b\"\r\n" +
	"DKIM-Signature: v=1; d=a.example\r\n"

const letterBody = "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nOl\xc3\xa1  \r\n\r\n.\r\nFrom here\t\r\n--b\r\n" +
	"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"

// entity is what has to come out.
const entity = "X-Mailer: Pen\r\n 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b\"\r\n" +
	"DKIM-Signature: v=1; d=a.example\r\n\r\n" + letterBody

func parse(t testing.TB, file []byte) envelope.Encryption {
	t.Helper()
	k, err := crypt.Parse(file, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	e, err := k.Encryption()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// encrypt returns the whole message, and what of it is readable.
func encrypt(t testing.TB, e envelope.Encryption, header, body string) (*mime.Header, string) {
	t.Helper()
	var out strings.Builder
	h, err := crypt.Encrypt(t.Context(), e, mime.ParseHeader([]byte(header+"\r\n")), strings.NewReader(body), &out, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return h, out.String()
}

// names returns those of a header section's fields.
func names(h *mime.Header) string {
	var out []string
	for _, f := range h.Fields() {
		out = append(out, f.Name())
	}
	return strings.Join(out, " ")
}

func index(t testing.TB, h *mime.Header, body string) *mime.Index {
	t.Helper()
	x, err := mime.ReadIndex(h, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func examine(t testing.TB, h *mime.Header, body string) error {
	t.Helper()
	return crypt.Examine(index(t, h, body), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil })
}

// mailLike fails for a body that a server could change on its way.
func mailLike(t *testing.T, body string) {
	t.Helper()
	for line := range strings.Lines(body) {
		if !strings.HasSuffix(line, "\r\n") || len(line) > 80 {
			t.Fatalf("%d octets: %.90q", len(line), line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r > 126 }) {
			t.Fatalf("not 7 bit: %q", line)
		}
	}
	if strings.Count(body, "\r") != strings.Count(body, "\n") {
		t.Error("bare CR")
	}
}

// TestOpenPGP: what GnuPG decrypts is the entity as it was, for keys of both
// sorts that people have.
func TestOpenPGP(t *testing.T) {
	for _, algorithm := range []string{"future-default", "rsa3072"} {
		t.Run(algorithm, func(t *testing.T) {
			g := newGPG(t)
			if algorithm == "future-default" {
				g.key("Bob <bob@our.example>", algorithm, "default", "1y")
			} else {
				g.key("Bob <bob@our.example>", algorithm, "default", "1y")
				fpr := strings.Split(string(g.run(nil, "--with-colons", "--list-keys")), "fpr:::::::::")[1]
				g.run(nil, "--quick-add-key", fpr[:strings.IndexByte(fpr, ':')], algorithm, "encr", "1y")
			}
			h, body := encrypt(t, parse(t, g.public("bob@our.example")), letter, letterBody)
			mailLike(t, body)
			if got, want := names(h), "Received From To Subject Message-ID List-Id MIME-Version Content-Type"; got != want {
				t.Errorf("outside are %s, want %s", got, want)
			}
			x := index(t, h, body)
			if len(x.Parts) != 3 || x.Parts[0].Type != "multipart/encrypted" || x.Parts[0].Param("protocol") != "application/pgp-encrypted" ||
				x.Parts[1].Type != "application/pgp-encrypted" || body[x.Parts[1].Start:x.Parts[1].End] != "Version: 1\r\n" ||
				x.Parts[2].Type != "application/octet-stream" {
				t.Fatalf("not RFC 3156: %+v", x.Parts)
			}
			if got := g.run([]byte(body[x.Parts[2].Start:x.Parts[2].End]), "--decrypt"); string(got) != entity {
				t.Errorf("gpg decrypts\n%q, want\n%q", got, entity)
			}
			if err := examine(t, h, body); !errors.Is(err, crypt.ErrEncrypted) {
				t.Errorf("our own is not recognised: %v", err)
			}
		})
	}
}

// TestSMIME: the same with OpenSSL's two programs.
func TestSMIME(t *testing.T) {
	c := newCertificate(t, certOptions{usage: x509.KeyUsageKeyEncipherment, extended: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}})
	h, body := encrypt(t, parse(t, c.pem), letter, letterBody)
	mailLike(t, body)
	for _, command := range []string{"cms", "smime"} {
		if got := c.openssl(t, command, []byte(string(h.Bytes())+body)); string(got) != entity {
			t.Errorf("openssl %s decrypts\n%q, want\n%q", command, got, entity)
		}
	}
	if err := examine(t, h, body); !errors.Is(err, crypt.ErrEncrypted) {
		t.Errorf("our own is not recognised: %v", err)
	}
}

// TestHiddenSubject: it is inside, and the type says so to who decrypts.
func TestHiddenSubject(t *testing.T) {
	c := newCertificate(t, certOptions{})
	e := parse(t, c.pem)
	e.HideSubject = true
	for _, tt := range []struct{ header, inside string }{
		{"From: a@a.example\r\nSubject: the\r\n plan\r\n", "Subject: the\r\n plan\r\nContent-Type: text/plain; protected-headers=\"v1\"\r\n\r\n"},
		{"Content-Type: text/html;\r\n charset=utf-8;\r\nSubject: the plan\r\n", "Content-Type: text/html;\r\n charset=utf-8;\r\n" +
			" protected-headers=\"v1\"\r\nSubject: the plan\r\n\r\n"},
	} {
		h, body := encrypt(t, e, tt.header, "hello\r\n")
		if v, _ := h.Get("Subject"); v != "..." || h.Count("Subject") != 1 {
			t.Errorf("subject %q", v)
		}
		if got := string(c.openssl(t, "cms", []byte(string(h.Bytes())+body))); got != tt.inside+"hello\r\n" {
			t.Errorf("%q, want %q", got, tt.inside)
		}
	}
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

var errDisk = errors.New("disk")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errDisk }

// TestFailures: every failure returns an error and no header section.
func TestFailures(t *testing.T) {
	c := parse(t, newCertificate(t, certOptions{}).pem)
	g := newGPG(t)
	p := parse(t, g.key("Bob <bob@our.example>", "future-default", "default", "1y"))
	late := time.Now().Add(2 * 365 * 24 * time.Hour)
	big := func() io.Reader { return io.LimitReader(zeros{}, crypt.MaxSMIME) } // with its header section too large
	for _, tt := range []struct {
		name string
		e    envelope.Encryption
		body io.Reader
		w    io.Writer
		now  time.Time
		want error
	}{
		{"certificate expired", c, strings.NewReader("x"), io.Discard, late, crypt.ErrExpired},
		{"key expired", p, strings.NewReader("x"), io.Discard, late, crypt.ErrExpired},
		{
			"certificate broken", envelope.Encryption{Kind: crypt.SMIME, Key: c.Key[1:]}, strings.NewReader("x"), io.Discard, time.Now(),
			crypt.ErrUnreadable,
		},
		{
			"key broken", envelope.Encryption{Kind: crypt.OpenPGP, Key: p.Key[1:]}, strings.NewReader("x"), io.Discard, time.Now(),
			crypt.ErrUnreadable,
		},
		{"kind unknown", envelope.Encryption{Kind: "rot13", Key: p.Key}, strings.NewReader("x"), io.Discard, time.Now(), crypt.ErrUnusable},
		{"S/MIME too large", c, big(), io.Discard, time.Now(), crypt.ErrTooLarge},
		{"OpenPGP is a stream", p, big(), io.Discard, time.Now(), nil},
		{"full disk", p, big(), full{}, time.Now(), errDisk},
		{"full disk", c, strings.NewReader("x"), full{}, time.Now(), errDisk},
	} {
		h, err := crypt.Encrypt(t.Context(), tt.e, mime.ParseHeader([]byte(letter+"\r\n")), tt.body, tt.w, tt.now)
		if !errors.Is(err, tt.want) || (err != nil) != (h == nil) {
			t.Errorf("%s: %v, header %v", tt.name, err, h != nil)
		}
	}
}

// TestSMIMEWaits: while two messages are held in memory a third one waits, and
// no longer than its context lasts.
func TestSMIMEWaits(t *testing.T) {
	e := parse(t, newCertificate(t, certOptions{}).pem)
	encrypt := func(ctx context.Context, body io.Reader) error {
		_, err := crypt.Encrypt(ctx, e, mime.ParseHeader([]byte(letter+"\r\n")), body, io.Discard, time.Now())
		return err
	}
	var wg sync.WaitGroup
	var held []*io.PipeWriter
	for range 2 {
		r, w := io.Pipe()
		wg.Go(func() {
			if err := encrypt(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
		w.Write([]byte("x")) // it has its place
		held = append(held, w)
	}
	defer wg.Wait()
	for _, w := range held {
		defer w.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := encrypt(ctx, strings.NewReader("x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the third one: %v", err)
	}
}

// TestExamine: messages that are encrypted already, and such that only look like it.
func TestExamine(t *testing.T) {
	armor := "-----BEGIN PGP MESSAGE-----\r\n\r\nhQE\r\n-----END PGP MESSAGE-----\r\n"
	enveloped := "MIAGCSqGSIb3DQEHA6CAMIACAQAxggFA\r\n"
	signed := "MIAGCSqGSIb3DQEHAqCAMIACAQExDzAN\r\n"
	two := func(a, b string) string { return "--b\r\n\r\n" + a + "\r\n--b\r\n\r\n" + b + "\r\n--b--\r\n" }
	for _, tt := range []struct {
		name, header, body string
		want               error
	}{
		{"plain", "Subject: x\r\n", "hello\r\n", nil},
		{"empty", "", "", nil},
		{"PGP/MIME", "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n", two("Version: 1", armor),
			crypt.ErrEncrypted},
		{"in capitals", "Content-Type: Multipart/Encrypted; boundary=b\r\n", "", crypt.ErrEncrypted},
		{"inline", "", "\r\n " + armor, crypt.ErrEncrypted},
		{
			"inline, quoted-printable", "Content-Transfer-Encoding: quoted-printable\r\n", "=2D----BEGIN PGP MESS=\r\nAGE-----\r\n",
			crypt.ErrEncrypted,
		},
		{"inline, base64", "Content-Transfer-Encoding: base64\r\n", "LS0tLS1CRUdJTiBQR1AgTUVTU0FHRS0tLS0tDQo=\r\n", crypt.ErrEncrypted},
		{"inline, each part", "Content-Type: multipart/mixed; boundary=b\r\n", two(armor, armor), crypt.ErrEncrypted},
		{"a plain part beside it", "Content-Type: multipart/mixed; boundary=b\r\n", two(armor, "hello"), nil},
		{"quoted", "", "Why do you send me this?\r\n> " + armor, nil},
		{"signed inline", "", "-----BEGIN PGP SIGNED MESSAGE-----\r\n", nil},
		{"a public key", "", "-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n", nil},
		{"more parts than are looked at", "Content-Type: multipart/mixed; boundary=b\r\n",
			strings.Repeat("--b\r\n\r\n"+armor, 30) + "--b--\r\n", nil},
		{"S/MIME", "Content-Type: application/pkcs7-mime; smime-type=Enveloped-Data\r\n", "", crypt.ErrEncrypted},
		{"S/MIME with AEAD", "Content-Type: application/pkcs7-mime; smime-type=authEnveloped-data\r\n", "", crypt.ErrEncrypted},
		{"S/MIME, old", "Content-Type: application/x-pkcs7-mime; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n", enveloped,
			crypt.ErrEncrypted},
		{"S/MIME, old, signed", "Content-Type: application/x-pkcs7-mime; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n", signed, nil},
		{"S/MIME signed", "Content-Type: application/pkcs7-mime; smime-type=signed-data\r\nContent-Transfer-Encoding: base64\r\n", enveloped,
			nil},
		{"S/MIME broken", "Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n", "!", nil},
		{"PGP/MIME signed", "Content-Type: multipart/signed; boundary=b\r\n", two("x", "y"), nil},
		{"DSN", "Content-Type: multipart/report; report-type=Delivery-Status; boundary=b\r\n", two("x", "y"), crypt.ErrReport},
		{"another report", "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n", two("x", "y"), nil},
	} {
		if err := examine(t, mime.ParseHeader([]byte(tt.header+"\r\n")), tt.body); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func FuzzExamine(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n\r\nVersion: 1\r\n--b--\r\n"))
	f.Add([]byte("Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\nMIAGCSqGSIb3DQEHA6CAMIACAQAxggFA\r\n"))
	f.Add([]byte("\r\n-----BEGIN PGP MESSAGE-----\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bufio.NewReader(bytes.NewReader(raw))
		head, err := mime.ReadHeader(r, mime.MaxHeader)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r)
		h := mime.ParseHeader(head)
		first, again := examine(t, h, string(body)), examine(t, h, string(body))
		if !errors.Is(again, first) || first != nil && !errors.Is(first, crypt.ErrEncrypted) && !errors.Is(first, crypt.ErrReport) {
			t.Fatalf("%v, then %v", first, again)
		}
	})
}
