package mime

import (
	"bytes"
	"strings"
	"testing"
)

// appended puts a footer at the end of a message and reads it again.
func appended(t *testing.T, raw string) (*Header, string, *Index) {
	t.Helper()
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	h := ParseHeader([]byte(head + "\r\n"))
	index, err := ReadIndex(h, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	h, err = AppendText(h, index, "-- \nthe foot: ü\n", strings.NewReader(body), &out)
	if err != nil {
		t.Fatal(err)
	}
	index, err = ReadIndex(h, bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return h, out.String(), index
}

func TestAppendText(t *testing.T) {
	text := func(index *Index, body string, n int) string {
		s, err := index.Parts[n].Text(strings.NewReader(body), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(s, "\r\n", "\n")
	}
	_, body, index := appended(t, "Subject: x\r\n\r\nhello\r\n")
	if got := text(index, body, 0); got != "hello\n-- \nthe foot: ü\n" {
		t.Errorf("plain: %q", got)
	}
	h, body, index := appended(t, "Subject: x\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9")
	if got := text(index, body, 0); got != "café\n-- \nthe foot: ü\n" || h.Count("Content-Type") != 1 {
		t.Errorf("latin-1: %q", got)
	}
	const html = "<p>hi</p>"
	h, body, index = appended(t, "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n"+html)
	if h.Count("MIME-Version") != 1 || len(index.Parts) != 3 || index.Parts[0].Type != "multipart/mixed" || text(index, body, 1) != html || text(index, body, 2) != "-- \nthe foot: ü\n" {
		t.Errorf("html: %q", body)
	}
	const nested = "--b\r\nContent-Type: text/plain\r\n\r\none\r\n--b--\r\n"
	_, body, index = appended(t, "Content-Type: multipart/alternative; boundary=b\r\n\r\n"+nested)
	if !strings.Contains(body, nested) || len(index.Parts) != 4 || index.Parts[1].Type != "multipart/alternative" {
		t.Errorf("multipart: %q", body)
	}
	for _, kept := range []string{
		"Content-Type: multipart/signed; boundary=b; micalg=pgp-sha256\r\n\r\n" + nested,
		"Content-Type: multipart/encrypted; boundary=b\r\n\r\n" + nested,
		"Content-Type: application/pkcs7-mime\r\n\r\nMIIB\r\n",
		"Subject: x\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\nx\r\n",
	} {
		head, want, _ := strings.Cut(kept, "\r\n\r\n")
		if h, body, _ := appended(t, kept); body != want || string(h.Bytes()) != head+"\r\n\r\n" {
			t.Errorf("%q became %q", want, body)
		}
	}
}
