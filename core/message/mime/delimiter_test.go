package mime

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// TestUndelimited: a text that is put in the place of a part cannot end the
// part, however its lines are broken, and reads as it was given.
func TestUndelimited(t *testing.T) {
	const head = "Content-Type: multipart/mixed; boundary=abc\r\n\r\n"
	const body = "--abc\r\nContent-Type: text/plain\r\n\r\none\r\n--abc\r\nContent-Type: text/plain\r\n\r\ntwo\r\n--abc--\r\n"
	for _, text := range []string{"x\n--abc\nContent-Type: text/html\n\n<b>new</b>\n", "--abc--\n", strings.Repeat("-", 300) + "abc\n",
		"a\r--abc\rb",
		strings.Repeat("x", 75) + "--abc\n", "--" + strings.Repeat("y", 74) + "\n--abc", "-- \nsignature\n", ""} {
		h := ParseHeader([]byte(head))
		index, err := ReadIndex(h, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := Edit(h, index, []PartEdit{{Part: 1, Text: text}}, strings.NewReader(body), &out); err != nil {
			t.Fatal(err)
		}
		again, err := ReadIndex(h, bytes.NewReader(out.Bytes()))
		if err != nil || len(again.Parts) != len(index.Parts) {
			t.Errorf("%.40q: %v, %d parts of %d\n%s", text, err, len(again.Parts), len(index.Parts), out.Bytes())
			continue
		}
		r, err := again.Parts[1].Open(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if want := lineEnds.Replace(text); err != nil || string(got) != want {
			t.Errorf("%.40q reads %.80q, %v", text, got, err)
		}
		for line := range strings.SplitSeq(out.String(), "\r\n") {
			if len(line) > 76 {
				t.Errorf("a line of %d octets: %s", len(line), line)
			}
		}
	}
}
