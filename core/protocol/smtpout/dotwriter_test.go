package smtpout

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"carteiro/core/protocol/smtpin"
)

// slowDots does what dotWriter does, octet by octet: newlines first, then lines.
func slowDots(text string) string {
	var norm strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n':
			i++
			norm.WriteString("\r\n")
		case text[i] == '\r' || text[i] == '\n':
			norm.WriteString("\r\n")
		default:
			norm.WriteByte(text[i])
		}
	}
	s := norm.String()
	if s != "" && !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return strings.ReplaceAll("\n"+s, "\n.", "\n..")[1:]
}

// undot returns how a strict server reads content: lines end in CRLF, and the first dot of
// a line is removed. end is the position of a line with only a dot, -1: there is none.
func undot(s string) (text string, end int) {
	var b strings.Builder
	at := 0
	for line := range strings.SplitAfterSeq(s, "\r\n") {
		if line == ".\r\n" {
			return b.String(), at
		}
		at += len(line)
		b.WriteString(strings.TrimPrefix(line, "."))
	}
	return b.String(), -1
}

func FuzzDotter(f *testing.F) {
	for _, s := range []string{
		"", ".", "\r\n", ".\r\n", "a\r\n.\r\nb", "a\n.\nb\r\n", "a\r\r\n.", "\r", "a\r\n.\rb", "..\r\n...", "x\r\n.\n.\r.",
		strings.Repeat("x", chunkSize-1) + "\r\n.\r\n", strings.Repeat("x", chunkSize-2) + "\r\n.\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := slowDots(text)
		for _, r := range []io.Reader{
			strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.HalfReader(strings.NewReader(text)),
			iotest.DataErrReader(strings.NewReader(text)),
		} {
			var out bytes.Buffer
			d := dotWriter{w: bufio.NewWriterSize(&out, 16), bol: true}
			if err := errors.Join(d.copy(r), d.finish(), d.w.Flush()); err != nil || d.size != int64(len(text)) {
				t.Fatalf("%q: %d octets, %v", text, d.size, err)
			}
			if out.String() != want {
				t.Fatalf("%q: %q, want %q", text, out.String(), want)
			}
		}
		sent := want + ".\r\n"
		plain, end := undot(sent)
		if end != len(want) {
			t.Fatalf("%q: a server sees the end at %d of %q", text, end, sent)
		}
		if hasOnlyCRLF([]byte(text)) && plain != text && plain != text+"\r\n" {
			t.Fatalf("%q became %q", text, plain)
		}
		// A server to which any of CR and LF ends a line sees no earlier end.
		lenient := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace("\n" + sent)
		if i := strings.Index(lenient, "\n.\n"); i != len(lenient)-3 {
			t.Fatalf("%q: a lenient server sees the end at %d of %q", text, i, lenient)
		}
	})
}

// What dotWriter writes reaches the backend of a real server as it was.
func TestDotsThroughAServer(t *testing.T) {
	h, k := serve(t, smtpin.Config{})
	c := client(t, Config{})
	texts := []string{"", ".", "a\r\n.\r\nb\r\n", "..\r\n.", "a\n.\n\r\n.\rb", strings.Repeat(".\r\n", 20_000)}
	for _, text := range texts {
		tr := transfer("b@example.com")
		tr.Open = opens(text)
		if out := c.Send(t.Context(), hop(h), tr); codes(out) != "250" {
			t.Fatalf("%.20q: %+v", text, out)
		}
		m := k.messages()
		if want, _ := undot(slowDots(text) + ".\r\n"); m[len(m)-1].body != want {
			t.Errorf("%.20q arrived as %.40q", text, m[len(m)-1].body)
		}
	}
}

func BenchmarkDotter(b *testing.B) {
	text := strings.Repeat(strings.Repeat("y", 74)+"\r\n", 20_000) + ".\r\n"
	r := strings.NewReader(text)
	d := dotWriter{w: bufio.NewWriterSize(io.Discard, writeSize), bol: true}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.Reset(text)
		if err := d.copy(r); err != nil {
			b.Fatal(err)
		}
	}
}
