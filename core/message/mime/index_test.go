package mime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// shape returns an index as a list of "type: content".
func shape(x *Index, body string) []string {
	var out []string
	for _, p := range x.Parts[1:] {
		if p.Multipart {
			out = append(out, p.Type)
			continue
		}
		out = append(out, p.Type+": "+body[p.Start:p.End])
	}
	return out
}

// TestBoundaries: boundaries of RFC 2046 5.1.1, and those in real mail.
func TestBoundaries(t *testing.T) {
	tests := []struct {
		name, boundary, body string
		want                 []string
	}{
		{"plain", "b", "--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", []string{"text/plain: one", "text/plain: two"}},
		{"preamble and epilogue", "b", "pre\r\n--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\nepilogue\r\n", []string{"text/plain: one"}},
		{"LF alone", "b", "--b\n\none\n--b--\n", []string{"text/plain: one"}},
		{"padding", "b", "--b \t \r\n\r\none\r\n--b-- \r\nx", []string{"text/plain: one"}},
		{"one is a prefix of a line", "b", "--b\r\n\r\none\r\n--bb\r\n--b--\r\n", []string{"text/plain: one\r\n--bb"}},
		{"not at the start of a line", "b", "--b\r\n\r\none --b\r\n --b\r\n--b--", []string{"text/plain: one --b\r\n --b"}},
		{"no close", "b", "--b\r\n\r\none\r\n", []string{"text/plain: one\r\n"}},
		{"no close, no line end", "b", "--b\r\n\r\none", []string{"text/plain: one"}},
		{"no content", "b", "--b\r\n\r\n--b\r\n\r\n\r\n--b--", []string{"text/plain: ", "text/plain: "}},
		{"no blank line", "b", "--b\r\nX: 1\r\n--b--", []string{"text/plain: "}},
		{"header cut", "b", "--b\r\nX: 1", []string{"text/plain: "}},
		{"delimiter only", "b", "--b", []string{"text/plain: "}},
		{"blank at the boundary's end", "b ", "--b\r\n\r\none\r\n--b--", []string{"text/plain: one"}},
		{"blanks inside", "a b'()+_,-./:=?", "--a b'()+_,-./:=?\r\n\r\none\r\n--a b'()+_,-./:=?--", []string{"text/plain: one"}},
		{
			"message stays a leaf",
			"b",
			"--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--",
			[]string{"message/rfc822: Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--"},
		},
		{"nested, prefix", "b", "--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\none\r\n--bb--\r\n--b\r\n\r\ntwo\r\n--b--",
			[]string{"multipart/mixed", "text/plain: one", "text/plain: two"}},
		{"nested, ends with dashes", "b--", "--b--\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\nx\r\n--b----",
			[]string{"multipart/mixed", "text/plain: one"}},
		{"inner not closed", "b", "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--c\r\n--b--",
			[]string{"multipart/mixed", "text/plain: one", "text/plain: two\r\n--c"}},
		{"same boundary twice", "b", "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--",
			[]string{"multipart/mixed", "text/plain: one", "text/plain: two"}},
		{
			"longer than RFC 2046 allows",
			strings.Repeat("x", 100),
			"--" + strings.Repeat("x", 100) + "\r\n\r\none\r\n--" + strings.Repeat("x", 100) + "--",
			[]string{"text/plain: one"},
		},
	}
	for _, tt := range tests {
		x := index(t, "Content-Type: multipart/mixed; boundary=\""+tt.boundary+"\"\r\n\r\n", tt.body)
		if got := shape(x, tt.body); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	tests := []struct{ field, kind, charset, filename string }{
		{"text/html; charset=\"UTF-8\"", "text/html", "UTF-8", ""},
		{"TEXT/Plain (c;d) ; (e) charset (f) = us-ascii (g)", "text/plain", "us-ascii", ""},
		{"text/plain; charset=utf-8; charset=utf-7", "text/plain", "utf-8", ""},
		{"text/plain; charset=utf-8;;; name", "text/plain", "utf-8", ""},
		{"text/plain charset=utf-8", "text/plain", "", ""},
		{"application/x; name=my file.txt", "application/x", "", "my file.txt"},
		{`application/x; name="a\"b.txt"`, "application/x", "", `a"b.txt`},
		{`application/x; name="open`, "application/x", "", "open"},
		{"application/x; name=\"=?utf-8?q?=C3=A9.txt?=\"", "application/x", "", "é.txt"},
		{"application/x; name*=utf-8'en'%C3%A9.txt; name=e.txt", "application/x", "", "é.txt"},
		{"application/x; name*=iso-8859-1''%E9.txt", "application/x", "", "é.txt"},
		{"application/x; name*1=b.txt; name*0=a", "application/x", "", "ab.txt"},
		{"application/x; name*0*=utf-8''a%20; name*1=%20b; name*2*=%20c.txt", "application/x", "", "a %20b c.txt"},
		{"application/x; name*=broken%", "application/x", "", "broken%"},
		{"application/x; name=\"..\\\\x/../y.exe\"", "application/x", "", "y.exe"},
		{"text", "application/octet-stream", "", ""},
		{"", "application/octet-stream", "", ""},
		{"a/b/c", "application/octet-stream", "", ""},
		{"; charset=x", "application/octet-stream", "", ""},
	}
	for _, tt := range tests {
		p := newPart(ParseHeader([]byte("Content-Type: "+tt.field+"\r\n\r\n")), 0)
		if p.Type != tt.kind || p.Charset != tt.charset || p.Filename != tt.filename {
			t.Errorf("%s: %q %q %q", tt.field, p.Type, p.Charset, p.Filename)
		}
	}
}

// TestBrokenEncodings: what could be decoded is there, without an error.
func TestBrokenEncodings(t *testing.T) {
	tests := []struct{ name, encoding, charset, raw, want string }{
		{"base64", "base64", "", "aGVs\r\nbG8=", "hello"},
		{"base64 with a comment", "BASE64 (x)", "", "aGVsbG8=", "hello"},
		{"base64 unpadded", "base64", "", "aGVsbG8", "hello"},
		{"base64 one octet more", "base64", "", "aGVsbG8hX", "hello!"},
		{"base64 of one octet", "base64", "", "A", ""},
		{"base64 with rubbish", "base64", "", "a G\x00V!s\r\n\r\nbG8", "hello"},
		{"base64 is none", "base64", "", "\r\n\r\n", ""},
		{"qp", "quoted-printable", "iso-8859-1", "caf=E9=\r\n au =\t \r\nlait=3d=3D", "café au lait=="},
		{"qp broken", "quoted-printable", "", "a=b=XY=4=\r\n=", "a=b=XY=4"},
		{"qp lower case and LF", "quoted-printable", "", "a=0ab=\nc", "a\nbc"},
		{"qp long line", "quoted-printable", "", strings.Repeat("x", 100_000) + "=41", strings.Repeat("x", 100_000) + "A"},
		{"unknown encoding", "x-rot13", "", "uryyb", "uryyb"},
		{"unknown charset", "", "x-none", "a\xe9", "a\uFFFD"},
		{"charset lies", "", "utf-8", "a\xe9\xff", "a\uFFFD"},
		{"utf-16", "base64", "utf-16be", "AGEA6Q==", "aé"},
	}
	for _, tt := range tests {
		x := index(t, "Content-Type: text/plain; charset=\""+tt.charset+"\"\r\nContent-Transfer-Encoding: "+tt.encoding+"\r\n\r\n", tt.raw)
		got, err := x.Parts[0].Text(strings.NewReader(tt.raw), 1<<20)
		if err != nil || got != tt.want {
			t.Errorf("%s: %.60q, %v; want %.60q", tt.name, got, err, tt.want)
		}
	}
}

var errDisk = errors.New("disk")

// TestFaultsOfStorageAreTold: they are not taken for a broken encoding.
func TestFaultsOfStorageAreTold(t *testing.T) {
	for _, encoding := range []string{"base64", "quoted-printable", "8bit"} {
		p := newPart(ParseHeader([]byte("Content-Transfer-Encoding: "+encoding+"\r\n\r\n")), 0)
		p.End = 1000
		body := func() io.Reader { return io.MultiReader(strings.NewReader("aGVsbG8h"), failing{}) }
		if _, err := p.Text(body(), 100); !errors.Is(err, errDisk) {
			t.Errorf("%s: Text gave %v", encoding, err)
		}
		if _, err := ReadIndex(&Header{}, body()); !errors.Is(err, errDisk) {
			t.Errorf("%s: ReadIndex gave %v", encoding, err)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errDisk }

// TestEditEverywhere: each leaf of each message replaced and removed; it reads
// back, and every octet outside of it stays.
func TestEditEverywhere(t *testing.T) {
	bodies := map[string]string{
		"mixed":         multi,
		"no content":    "--b1\r\n\r\n--b1\r\nX: 1\r\n--b1\r\n\r\n\r\n--b1--\r\n",
		"no close":      "--b1\r\n\r\none\r\n--b1\r\nContent-Type: text/html\r\n\r\n<p>",
		"header cut":    "--b1\r\nX: 1",
		"LF":            "--b1\nX: 1\n\none\n--b1--\n",
		"nested to end": "--b1\r\nContent-Type: multipart/x; boundary=b2\r\n\r\n--b2\r\n\r\none\r\n--b2\r\nY: 1\r\n--b1\r\n\r\nlast",
	}
	head := ParseHeader([]byte("Content-Type: multipart/mixed; boundary=b1\r\n\r\n"))
	for name, body := range bodies {
		x := index(t, string(head.Bytes()), body)
		for i, p := range x.Parts {
			if p.Multipart {
				continue
			}
			for _, text := range []string{"olá\r\n", "x", ""} {
				checkEdit(t, name, head, x, body, PartEdit{Part: i, Text: text})
			}
			checkEdit(t, name, head, x, body, PartEdit{Part: i, Remove: true, Text: "not used"})
		}
	}
}

func checkEdit(t *testing.T, name string, head *Header, x *Index, body string, e PartEdit) {
	t.Helper()
	var out bytes.Buffer
	h, err := Edit(head, x, []PartEdit{e}, strings.NewReader(body), &out)
	if err != nil || h != head {
		t.Fatalf("%s: %v", name, err)
	}
	y := index(t, string(h.Bytes()), out.String())
	if len(y.Parts) != len(x.Parts) {
		t.Errorf("%s, %+v: %d parts became %d: %q", name, e, len(x.Parts), len(y.Parts), out.String())
		return
	}
	want := e.Text
	if e.Remove {
		want = ""
	}
	got, err := y.Parts[e.Part].Text(strings.NewReader(out.String()), 1000)
	if err != nil || got != want {
		t.Errorf("%s, %+v: reads back %q, %v in %q", name, e, got, err, out.String())
	}
	p, q := x.Parts[e.Part], y.Parts[e.Part]
	if body[:p.HeaderStart] != out.String()[:q.HeaderStart] ||
		strings.TrimPrefix(out.String()[q.End:], "\r\n") != strings.TrimPrefix(body[p.End:], "\r\n") {
		t.Errorf("%s, %+v: octets outside changed: %q", name, e, out.String())
	}
}

func TestEditRoot(t *testing.T) {
	head := ParseHeader([]byte("From: a@x.example\r\nContent-Type: text/html; charset=x\r\nContent-Transfer-Encoding: base64\r\n\r\n"))
	x := index(t, string(head.Bytes()), "aGVsbG8=")
	var out bytes.Buffer
	h, err := Edit(head, x, []PartEdit{{Text: "no"}, {Text: "olá"}}, strings.NewReader("aGVsbG8="), &out)
	if err != nil {
		t.Fatal(err)
	}
	want := "From: a@x.example\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
	if string(h.Bytes()) != want || out.String() != "ol=C3=A1" {
		t.Errorf("%q %q", h.Bytes(), out.String())
	}
	for _, bad := range []int{-1, 1} {
		if _, err := Edit(head, x, []PartEdit{{Part: bad}}, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("part %d was edited", bad)
		}
	}
}

func TestHeaderOddities(t *testing.T) {
	tests := []struct {
		raw   string
		names []string
	}{
		{"A: 1\nB: 2\r\n\r\nC: 3\r\n", []string{"A", "B"}},
		{"Bcc : x\r\nBCC\t:\r\n y\r\n\r\n", []string{"Bcc", "BCC"}},
		{"Subject: a\r\n \r\n\tb\r\nBcc: c\r\n\r\n", []string{"Subject", "Bcc"}},
		{"no field\r\nA: 1\r\n\r\n", []string{"", "A"}},
		{" x\r\nA: 1\r\n\r\n", []string{"", "A"}},
		{"A\x00: 1\r\n: 2\r\nB\xe9: 3\r\nC d: 4\r\n\r\n", []string{"", "", "", ""}},
		{"\r\r\nA: 1\r\n", []string{"", "A"}},
		{"A:\x00\xff\r\nB:", []string{"A", "B"}},
	}
	for _, tt := range tests {
		h := ParseHeader([]byte(tt.raw))
		var names []string
		for _, f := range h.Fields() {
			names = append(names, f.Name())
		}
		if !slices.Equal(names, tt.names) {
			t.Errorf("%q: fields %q, want %q", tt.raw, names, tt.names)
		}
	}
	for raw, want := range map[string]string{
		"From a@x.example Mon Nov  2 10:00:00 2026\r\nA: 1\r\n\r\n": "A: 1\r\n\r\n",
		">From a Mon\nA: 1\n\n":         "A: 1\n\n",
		"From a Mon\r\n\r\n":            "From a Mon\r\n\r\n",
		"From a Mon\r\ntext: is\r\n":    "text: is\r\n",
		"From: a@x.example\r\nA: 1\r\n": "From: a@x.example\r\nA: 1\r\n",
		"From a":                        "From a",
	} {
		if got := string(SkipFromLine([]byte(raw))); got != want {
			t.Errorf("%q became %q", raw, got)
		}
	}
}

// TestHeadersOfPartsAreBounded: 1000 parts with a header section of 60 KiB
// each are not all held.
func TestHeadersOfPartsAreBounded(t *testing.T) {
	part := "--b\r\nX: " + strings.Repeat("x", 60<<10) + "\r\n\r\ntext\r\n"
	x, err := ReadIndex(ParseHeader([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n")), &repeated{text: part, n: 900})
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for _, p := range x.Parts {
		held += len(p.Header.Bytes())
	}
	if !x.TooComplex || held > maxHeaders+2*maxPartHeader {
		t.Errorf("%d octets held, too complex %v", held, x.TooComplex)
	}
}

// repeated is a text n times over.
type repeated struct {
	text string
	n    int
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.text[r.at:])
	if r.at += n; r.at == len(r.text) {
		r.at = 0
		r.n--
	}
	return n, nil
}

func ExampleReadIndex() {
	body := "--b\r\n\r\nhello\r\n--b\r\nContent-Type: image/png\r\n\r\n...\r\n--b--\r\n"
	h := ParseHeader([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n"))
	x, err := ReadIndex(h, strings.NewReader(body))
	if err != nil {
		return
	}
	for _, p := range x.Parts {
		fmt.Println(p.Depth, p.Type)
	}
	// Output:
	// 0 multipart/mixed
	// 1 text/plain
	// 1 image/png
}
