package printable

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"hello, wörld 日本":          "hello, wörld 日本",
		"a\r\nb\tc\x00\x1b[31m":    `a\r\nb\tc\x00\x1b[31m`,
		"\x7f\u0085\u202e\u2028":   `\x7f\u0085\u202e\u2028`,
		"a\xffb\uFFFD":             "a\\xffb\uFFFD",
		strings.Repeat("x", 50):    strings.Repeat("x", 40) + "...",
		strings.Repeat("é", 20):    strings.Repeat("é", 20),
		strings.Repeat("\x01", 20): strings.Repeat(`\x01`, 10) + "...",
	} {
		if got := Line(in, 40); got != want {
			t.Errorf("Line(%q, 40) = %q, want %q", in, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"one\n\ttwo\r\n":        "one\n\ttwo\\r\n",
		"\x1b[31m":              `\x1b[31m`,
		strings.Repeat("x", 50): strings.Repeat("x", 40) + "...",
	} {
		if got := Lines(in, 40); got != want {
			t.Errorf("Lines(%q, 40) = %q, want %q", in, got, want)
		}
	}
}

func TestTraceback(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "",
		"a.lua:1: bad\n\t[G]: in \x1b[31m\r\n": "a.lua:1: bad\n    [G]: in \\x1b[31m\\r\n",
		strings.Repeat("x", 50):                strings.Repeat("x", 40) + "...",
		strings.Repeat("y\n", 50):              strings.Repeat("y\n", 40),
	} {
		if got := Traceback(in, 40); got != want {
			t.Errorf("Traceback(%q, 40) = %q, want %q", in, got, want)
		}
	}
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"wörld 日本":              "wörld 日本",
		"a\r\nb\x00\x1b\u202e":  "a??b???",
		"a\xff\xfeb":            "a?b",
		strings.Repeat("x", 50): strings.Repeat("x", 40),
		strings.Repeat("é", 30): strings.Repeat("é", 20),
		strings.Repeat("日", 30): strings.Repeat("日", 13) + "?",
	} {
		if got := Mask(in, 40); got != want {
			t.Errorf("Mask(%q, 40) = %q, want %q", in, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", `"plain"`},
		{"a\r\nb\x00\x1b", `"a\r\nb\x00\x1b"`},
		{"ü", `"\u00fc"`},
		{strings.Repeat("x", 201), `"` + strings.Repeat("x", 200) + `"...`},
	}
	for _, tt := range tests {
		if got := Quote(tt.in); got != tt.want {
			t.Errorf("Quote(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
	if got := Quote(strings.Repeat("\x00", 200)); len(got) > 206 {
		t.Errorf("Quote of 200 NULs has %d octets, want at most 206", len(got))
	}
}

func TestReply(t *testing.T) {
	tests := []struct {
		in     string
		utf8ok bool
		want   string
	}{
		{"plain", false, "plain"},
		{"a\r\n250 b", false, "a  250 b"},
		{"a\x00\x7fb", true, "a??b"},
		{"ü\u0085", false, "??"},
		{"ü\u0085", true, "ü?"},
		{"\xff", true, "?"},
		{strings.Repeat("ü", 300), true, strings.Repeat("ü", 240)},
	}
	for _, tt := range tests {
		if got := Reply(tt.in, tt.utf8ok); got != tt.want {
			t.Errorf("Reply(%q, %v) = %q, want %q", tt.in, tt.utf8ok, got, tt.want)
		}
	}
}

func TestFieldText(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"wörld 日本":              "wörld 日本",
		"a\r\n b\x00\x7f\u0085": "a   b   ",
		"a\xffb":                "a\uFFFDb",
	} {
		if got := FieldText(in); got != want {
			t.Errorf("FieldText(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestIsASCII(t *testing.T) {
	for in, want := range map[string]bool{"": true, " ~": true, "\t": false, "\x7f": false, "é": false} {
		if got := IsASCII(in); got != want {
			t.Errorf("IsASCII(%q) = %v, want %v", in, got, want)
		}
	}
}

// FuzzPrintable: for any input the output is printable, valid UTF-8 and within the
// limits.
func FuzzPrintable(f *testing.F) {
	f.Add("a\r\nb\tc\x00\x1b[31m", uint16(40))
	f.Add("日本\xff\u202e\uFFFD", uint16(3))
	f.Fuzz(func(t *testing.T, s string, limit uint16) {
		most := int(limit)
		for name, out := range map[string]struct {
			text string
			keep string
			most int
		}{
			"Line":      {Line(s, most), "", most + 3},
			"Lines":     {Lines(s, most), "\n\t", most + 3},
			"Traceback": {Traceback(s, most), "\n", len(s) * (most + 4)},
			"Mask":      {Mask(s, most), "", 3 * most},
			"Quote":     {Quote(s), "", maxQuote + 6},
			"Reply":     {Reply(s, true), "", maxReply},
		} {
			bad := func(r rune) bool { return !unicode.IsGraphic(r) && !strings.ContainsRune(out.keep, r) }
			if name == "Reply" { // keeps all of UTF-8 but control characters
				bad = unicode.IsControl
			}
			if !utf8.ValidString(out.text) || strings.ContainsFunc(out.text, bad) || len(out.text) > out.most {
				t.Errorf("%s(%q, %d) = %q", name, s, most, out.text)
			}
		}
		if got := FieldText(s); !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("FieldText(%q) = %q", s, got)
		}
	})
}
