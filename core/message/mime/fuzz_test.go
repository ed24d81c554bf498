package mime

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

// FuzzHeader: fields that are not edited are printed as they came; an edit changes only
// its field.
func FuzzHeader(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("a:b"))
	f.Add([]byte(" x\r\n\r\n:\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		raw, err := ReadHeader(bufio.NewReaderSize(bytes.NewReader(b), 16), 1<<16)
		if err != nil || !bytes.HasPrefix(b, raw) {
			t.Fatalf("%q, %v is not the beginning of %q", raw, err, b)
		}
		h := ParseHeader(raw)
		var joined []byte
		for _, field := range h.Fields() {
			joined = append(joined, field.Raw...)
			if v := field.Value(); strings.ContainsAny(v, "\r\n") {
				t.Errorf("value %q of %q is not unfolded", v, field.Raw)
			}
		}
		if rest := raw[len(joined):]; !bytes.HasPrefix(raw, joined) || len(rest) > 2 || strings.Trim(string(rest), "\r\n") != "" {
			t.Fatalf("fields %q of %q", joined, raw)
		}
		if again := ParseHeader(h.Bytes()).Bytes(); !bytes.Equal(again, h.Bytes()) {
			t.Errorf("print of a parse of a print differs: %q %q", h.Bytes(), again)
		}
		others := h.Clone()
		n := others.Remove("Subject")
		if err := h.Set("Subject", "x"); err != nil {
			t.Fatal(err)
		}
		if n == 0 && !bytes.HasPrefix(h.Bytes(), joined) {
			t.Errorf("an appended field changed %q to %q", joined, h.Bytes())
		}
		if v, _ := h.Get("subject"); v != "x" || h.Count("Subject") != 1 || h.Remove("SUBJECT") != 1 || !bytes.Equal(h.Bytes(), others.Bytes()) {
			t.Errorf("set and removed: %q, want %q", h.Bytes(), others.Bytes())
		}
	})
}

// FuzzFormatField: what is written is one field with the value that was
// given, in lines that SMTP can carry.
func FuzzFormatField(f *testing.F) {
	f.Add("Subject", "hello")
	f.Add("To", "José <a@x.example>")
	f.Add("X", strings.Repeat("é ", 100))
	f.Add("Subject", "a\r\nBcc: b")
	f.Fuzz(func(t *testing.T, name, value string) {
		line, err := FormatField(name, value)
		if err != nil {
			return
		}
		if strings.ContainsAny(name+value, "\r\n") {
			t.Fatalf("%q: %q was accepted", name, value)
		}
		for l := range strings.SplitSeq(strings.TrimSuffix(line, "\r\n"), "\r\n") {
			if len(l) > maxLine || strings.ContainsAny(l, "\r\n\x00") || strings.TrimSpace(l) == "" {
				t.Errorf("line %q", l)
			}
		}
		h := ParseHeader([]byte(line))
		if len(h.Fields()) != 1 || h.Fields()[0].Name() != name {
			t.Fatalf("%q: %q became %d fields: %q", name, value, len(h.Fields()), line)
		}
		if addressField(name) {
			got, _ := ParseAddressList(h.Fields()[0].Value())
			if want, complete := ParseAddressList(value); complete && !slices.Equal(got, want) {
				t.Errorf("addresses %q became %q", want, got)
			}
			return
		}
		got, want := DecodeWords(h.Fields()[0].Value()), DecodeWords(fromLatin1(strings.TrimSpace(value)))
		if !strings.Contains(value, "=?") && strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%q reads back as %q, written as %q", want, got, line)
		}
	})
}

// FuzzWords: encoded words are short, are separated by spaces and decode to the original
// text; decoding gives one line of UTF-8.
func FuzzWords(f *testing.F) {
	f.Add("=?utf-8?q?a?= =?utf-8?q?b?=")
	f.Add("ação 日本語 😀")
	f.Add("caf\xe9 \x00")
	f.Fuzz(func(t *testing.T, s string) {
		d := DecodeWords(s)
		if !utf8.ValidString(d) || strings.ContainsFunc(d, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			t.Errorf("%q decodes to %q", s, d)
		}
		for _, safe := range []func(byte) bool{inText, inPhrase} {
			e := encodeWords(s, safe)
			if s == "" {
				continue
			}
			for w := range strings.SplitSeq(e, " ") {
				if len(w) > 75 || wordLength(w) != len(w) ||
					strings.ContainsRune(DecodeWords(w), utf8.RuneError) != strings.ContainsRune(w, utf8.RuneError) &&
						!strings.ContainsRune(s, utf8.RuneError) {
					t.Errorf("word %q of %q", w, s)
				}
			}
			if got, want := DecodeWords(e), printable.FieldText(fromLatin1(s)); got != want {
				t.Errorf("%q encodes to %q and decodes to %q", want, e, got)
			}
		}
	})
}

// FuzzAddressList: a list that is parsed and written parses to the same again.
func FuzzAddressList(f *testing.F) {
	for _, s := range []string{"a@x.example", "Ann <a@x.example>, \"B, C\" <b@y.example>", "G: a@b.c;", "<@r,@s:a@b.c>",
		"(c (d)) a@b.c (e)", "=?utf-8?q?=C3=A9?= <\"a b\"@[192.0.2.1]>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, _ := ParseAddressList(s)
		out := make([]string, len(list))
		for i, m := range list {
			if a, err := envelope.ParseAddress(string(m.Address)); err != nil || a != m.Address {
				t.Errorf("address %q, %v", m.Address, err)
			}
			if strings.ContainsFunc(m.Display, func(c rune) bool { return c < ' ' || c == 0x7f }) || !utf8.ValidString(m.Display) {
				t.Errorf("display %q", m.Display)
			}
			out[i] = FormatMailbox(m)
		}
		again, complete := ParseAddressList(strings.Join(out, ", "))
		if !complete || !slices.Equal(again, list) {
			t.Errorf("%q\nread  %q\nagain %q, complete %v", s, list, again, complete)
		}
	})
}

// FuzzIndex: the index agrees with the reference and stays inside of the body.
func FuzzIndex(f *testing.F) {
	f.Add("b1", []byte(multi))
	f.Add("b", []byte("--b\n--b--\n"))
	f.Add("b--", []byte("--b--\nContent-Type: multipart/x; boundary=b\n\n--b\n\nx\n--b--\n"))
	f.Fuzz(func(t *testing.T, boundary string, body []byte) {
		if len(body) > 32<<10 {
			return
		}
		h := ParseHeader([]byte("Content-Type: multipart/mixed; boundary=\"" + boundary + "\"\r\n\r\n"))
		x, err := ReadIndex(h, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range x.Parts {
			if p.Start > p.End || p.HeaderStart > p.Start || p.End > int64(len(body)) || p.Start < 0 {
				t.Fatalf("part %d at %d-%d-%d of %d", i, p.HeaderStart, p.Start, p.End, len(body))
			}
			if text, err := p.Text(bytes.NewReader(body), 100); err != nil || !utf8.ValidString(text) {
				t.Errorf("part %d: %q, %v", i, text, err)
			}
		}
		if x.TooComplex {
			return
		}
		var got []span
		for _, p := range x.Parts {
			got = append(got, span{p.Type, int(p.Start), int(p.End), p.Depth})
		}
		if want := refer(h, body); !slices.Equal(got, want) {
			t.Errorf("boundary %q, body %q\n got %+v\nwant %+v", boundary, body, got, want)
		}
	})
}

// FuzzEdit: an edited part reads back, and all other octets are the same.
func FuzzEdit(f *testing.F) {
	f.Add([]byte(multi), uint8(1), "olá", false)
	f.Add([]byte("--b1\r\n\r\n--b1\r\nX: 1\r\n--b1--"), uint8(0), "x", true)
	f.Fuzz(func(t *testing.T, body []byte, n uint8, text string, remove bool) {
		head := ParseHeader([]byte("Content-Type: multipart/mixed; boundary=b1\r\n\r\n"))
		x, err := ReadIndex(head, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var leaves []int
		for i, p := range x.Parts {
			if p.Leaf() {
				leaves = append(leaves, i)
			}
		}
		if len(leaves) == 0 || x.TooComplex || len(text) > 10_000 {
			return
		}
		e := PartEdit{Part: leaves[int(n)%len(leaves)], Remove: remove, Text: text}
		var out bytes.Buffer
		h, err := Edit(head, x, []PartEdit{e}, bytes.NewReader(body), &out)
		if err != nil {
			t.Fatal(err)
		}
		p := x.Parts[e.Part]
		if !bytes.HasPrefix(out.Bytes(), body[:p.HeaderStart]) || !bytes.HasSuffix(out.Bytes(), body[p.End:]) {
			t.Fatalf("octets outside changed: %q", out.Bytes())
		}
		y, err := ReadIndex(h, bytes.NewReader(out.Bytes()))
		if err != nil || len(y.Parts) != len(x.Parts) {
			t.Fatalf("%d parts became %d in %q", len(x.Parts), len(y.Parts), out.Bytes())
		}
		got, err := y.Parts[e.Part].Text(bytes.NewReader(out.Bytes()), 1<<20)
		if want := strings.ToValidUTF8(canonical(e), "\uFFFD"); err != nil || got != want {
			t.Errorf("%q reads back %q, %v in %q", want, got, err, out.Bytes())
		}
	})
}

// canonical returns the text of an edit with its line ends as CRLF.
func canonical(e PartEdit) string {
	if e.Remove {
		return ""
	}
	return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(e.Text, "\r\n", "\n"), "\r", "\n"), "\n", "\r\n")
}

// FuzzDecoders: no encoding gives an error, and all of the input is read.
func FuzzDecoders(f *testing.F) {
	f.Add([]byte("aGVs\r\nbG8"))
	f.Add([]byte("a=\r\n=41= \n=4"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, encoding := range []string{"base64", "quoted-printable", ""} {
			got, err := io.ReadAll(decoder(encoding, bytes.NewReader(raw)))
			if err != nil || len(got) > len(raw) {
				t.Errorf("%s: %q gave %q, %v", encoding, raw, got, err)
			}
		}
		back, err := io.ReadAll(decoder("quoted-printable", bytes.NewReader(QuotedPrintable(string(raw)))))
		if want := canonical(PartEdit{Text: string(raw)}); err != nil || string(back) != want {
			t.Errorf("%q came back as %q, %v", want, back, err)
		}
	})
}
