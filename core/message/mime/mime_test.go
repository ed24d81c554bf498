package mime

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

const sample = "Received: from a\r\n\tby b; today\r\nSubject: =?iso-8859-1?Q?caf=E9?=\r\nTo:\r\n a@x.example,\r\n b@x.example\r\n" +
	"X-Odd :  spaced \r\n\r\n"

func TestHeaderKeepsOctets(t *testing.T) {
	h := ParseHeader([]byte(sample))
	if got := string(h.Bytes()); got != sample {
		t.Errorf("parse then print:\n%q\nwant\n%q", got, sample)
	}
	if err := h.Prepend("X-Top", "1"); err != nil {
		t.Fatal(err)
	}
	if got := string(h.Bytes()); got != "X-Top: 1\r\n"+sample {
		t.Errorf("prepend changed other fields: %q", got)
	}
}

func TestHeaderGet(t *testing.T) {
	h := ParseHeader([]byte(sample))
	for name, want := range map[string]string{"TO": "a@x.example, b@x.example", "x-odd": "spaced", "subject": "=?iso-8859-1?Q?caf=E9?="} {
		if got, ok := h.Get(name); !ok || got != want {
			t.Errorf("Get(%q) = %q, %v; want %q", name, got, ok, want)
		}
	}
	if DecodeWords("=?iso-8859-1?Q?caf=E9?=") != "café" {
		t.Error("encoded word not decoded")
	}
	if _, ok := h.Get("Cc"); ok {
		t.Error("found a field that is not there")
	}
}

func TestHeaderSetAndRemove(t *testing.T) {
	h := ParseHeader([]byte("A: 1\r\nB: 2\r\na: 3\r\n\r\n"))
	h.Set("A", "9")
	if got := string(h.Bytes()); got != "A: 9\r\nB: 2\r\n\r\n" {
		t.Errorf("Set: %q", got)
	}
	if h.Remove("b") != 1 || h.Has("B") {
		t.Error("Remove left a field")
	}
}

func TestFormatFieldRefusesInjection(t *testing.T) {
	for _, value := range []string{"a\r\nBcc: v@x", "a\nb", "a\rb", "a\x00b"} {
		if _, err := FormatField("Subject", value); err == nil {
			t.Errorf("value %q accepted", value)
		}
	}
	for _, name := range []string{"", "a b", "a:b", "é"} {
		if _, err := FormatField(name, "x"); err == nil {
			t.Errorf("name %q accepted", name)
		}
	}
}

func TestFormatFieldFoldsAndDecodesBack(t *testing.T) {
	long := strings.Repeat("palavra ação ", 20)
	f, err := FormatField("Subject", long)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(f, "\r\n"), "\r\n") {
		if len(line) > 78 {
			t.Errorf("line of %d octets", len(line))
		}
	}
	v, _ := ParseHeader([]byte(f)).Get("Subject")
	if got := DecodeWords(v); got != strings.TrimSpace(long) {
		t.Errorf("decoded %q", got)
	}
}

func TestReadHeader(t *testing.T) {
	r := bufio.NewReaderSize(strings.NewReader(sample+"body\r\n"), 16)
	b, err := ReadHeader(r, MaxHeader)
	if err != nil || string(b) != sample {
		t.Fatalf("ReadHeader = %q, %v", b, err)
	}
	rest, _ := io.ReadAll(r)
	if string(rest) != "body\r\n" {
		t.Errorf("rest %q", rest)
	}
	if _, err := ReadHeader(bufio.NewReader(strings.NewReader(strings.Repeat("a", 100))), 50); err != ErrHeaderTooLarge {
		t.Errorf("large header: %v", err)
	}
}

const multi = "preamble\r\n--b1\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n" +
	"\r\ncaf=E9\r\n" +
	"--b1\r\nContent-Type: multipart/mixed; boundary=b2\r\n\r\n--b2\r\nContent-Type: image/png; name=\"../p.png\"\r\n" +
	"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename*=utf-8''a%C3%A7.png\r\n\r\naGVs\r\nbG8\r\n" +
	"--b2--\r\nepi\r\n" +
	"--b1--\r\nepilogue\r\n"

func index(t *testing.T, head, body string) *Index {
	t.Helper()
	x, err := ReadIndex(ParseHeader([]byte(head)), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestIndexParts(t *testing.T) {
	x := index(t, "Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\n", multi)
	if len(x.Parts) != 4 {
		t.Fatalf("%d parts: %+v", len(x.Parts), x.Parts)
	}
	text, err := x.Parts[1].Text(strings.NewReader(multi), 100)
	if err != nil || text != "café" {
		t.Errorf("text = %q, %v", text, err)
	}
	png := x.Parts[3]
	r, _ := png.Open(strings.NewReader(multi))
	content, err := io.ReadAll(r)
	if string(content) != "hello" || err != nil || png.Filename != "aç.png" || png.Disposition != "attachment" {
		t.Errorf("attachment = %q %v %+v", content, err, png)
	}
}

func TestEditReplacesOnePart(t *testing.T) {
	head := ParseHeader([]byte("Content-Type: multipart/mixed; boundary=b1\r\n\r\n"))
	x := index(t, string(head.Bytes()), multi)
	var out bytes.Buffer
	h, err := Edit(head, x, []PartEdit{{Part: 1, Text: "olá\n"}}, strings.NewReader(multi), &out)
	if err != nil || h != head {
		t.Fatal(err)
	}
	y := index(t, string(head.Bytes()), out.String())
	text, _ := y.Parts[1].Text(strings.NewReader(out.String()), 100)
	if text != "olá\r\n" || len(y.Parts) != 4 {
		t.Errorf("edited text %q in %q", text, out.String())
	}
	before, after := x.Parts[2], y.Parts[2]
	if multi[before.HeaderStart:before.End] != out.String()[after.HeaderStart:after.End] {
		t.Error("the other part changed")
	}
}

func TestIndexIsBounded(t *testing.T) {
	var deep strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&deep, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	x := index(t, "Content-Type: multipart/mixed; boundary=b0\r\n\r\n", deep.String())
	if !x.TooComplex || len(x.Parts) > MaxParts {
		t.Errorf("deep: %d parts, too complex %v", len(x.Parts), x.TooComplex)
	}
	x = index(t, "Content-Type: multipart/mixed; boundary=b\r\n\r\n", strings.Repeat("--b\r\n\r\nx\r\n", 100_000))
	if !x.TooComplex || len(x.Parts) > MaxParts {
		t.Errorf("wide: %d parts, too complex %v", len(x.Parts), x.TooComplex)
	}
}
