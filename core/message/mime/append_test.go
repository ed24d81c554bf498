package mime

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
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
	h, _, err = AppendText(h, index, []Text{{Text: "-- \nthe foot: ü\n"}}, strings.NewReader(body), &out)
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
	h, body, index := appended(t,
		"Subject: x\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9")
	if got := text(index, body, 0); got != "café\n-- \nthe foot: ü\n" || h.Count("Content-Type") != 1 {
		t.Errorf("latin-1: %q", got)
	}
	const html = "<p>hi</p>"
	h, body, index = appended(t, "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n"+html)
	if h.Count("MIME-Version") != 1 || len(index.Parts) != 3 || index.Parts[0].Type != "multipart/mixed" || text(index, body, 1) != html ||
		text(index, body, 2) != "-- \nthe foot: ü\n" {
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

// Placeholders in appended text can be filled in for each copy, and the rest of the body
// does not change.
func TestMarks(t *testing.T) {
	text := []Text{
		{Text: "-- \nto "},
		{Name: "who", Text: "everybody"},
		{Text: " with a line that is long enough to be broken before it ends in "},
		{Name: "url", Text: ""},
		{Text: "\n"},
	}
	for _, raw := range []string{
		"Subject: x\r\n\r\nhello\r\n",
		"Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>every \xC3\xBC</p>\r\n",
	} {
		head, body, _ := strings.Cut(raw, "\r\n\r\n")
		h := ParseHeader([]byte(head + "\r\n"))
		index, err := ReadIndex(h, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		h, marks, err := AppendText(h, index, text, strings.NewReader(body), &out)
		if err != nil || len(marks) != 2 {
			t.Fatalf("%v, %v", marks, err)
		}
		last := func(body string) string {
			for line := range strings.SplitSeq(body, "\r\n") {
				if len(line) > 76 && !strings.HasPrefix(line, "<p>") {
					t.Errorf("a line of %d octets: %q", len(line), line)
				}
			}
			index, err := ReadIndex(h, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			s, err := index.Parts[len(index.Parts)-1].Text(strings.NewReader(body), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			_, s, _ = strings.Cut(strings.ReplaceAll(s, "\r\n", "\n"), "-- \n")
			return s
		}
		if got := last(out.String()); got != "to everybody with a line that is long enough to be broken before it ends in \n" {
			t.Errorf("for those without: %q", got)
		}
		url := "https://mx.example/" + strings.Repeat("=é", 60)
		for _, fill := range []envelope.Values{{"who": "Zoë\r\n.\r\nand ", "url": url}, {"url": url}, {"who": ""}, {}, {"other": "x"}} {
			want := text[3].Text
			if v, ok := fill["url"]; ok {
				want = v
			}
			who := "everybody"
			if v, ok := fill["who"]; ok {
				who = strings.ReplaceAll(v, "\r\n", "\n")
			}
			r, more := Filled(bytes.NewReader(out.Bytes()), marks, fill)
			filled, err := io.ReadAll(r)
			if err != nil || int64(len(filled)) != int64(out.Len())+more {
				t.Fatalf("%d octets and %d more: %d, %v", out.Len(), more, len(filled), err)
			}
			if got := last(string(filled)); got != "to "+who+text[2].Text+want+"\n" {
				t.Errorf("%v: %q", fill, got)
			}
			if before, _, _ := bytes.Cut(out.Bytes(), []byte("everybody")); !bytes.HasPrefix(filled, before) {
				t.Errorf("%v: what is before the marks changed", fill)
			}
		}
	}
}
