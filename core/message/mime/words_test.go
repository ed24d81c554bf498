package mime

import (
	"strings"
	"testing"
	"unicode/utf8"

	"carteiro/core/message/printable"
)

func TestDecodeWords(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                   "plain",
		"=?iso-8859-1?Q?caf=E9?=":                 "café",
		"=?UTF-8?B?w6k=?= =?utf-8?q?=C3=A9?=":     "éé",
		"=?utf-8?q?a?=   \t =?utf-8?q?b?= c":      "ab c",
		"a =?utf-8?q?b?= c":                       "a b c",
		"=?utf-8?q?a_b?=":                         "a b",
		"=?utf-8*en?q?a?=":                        "=?utf-8*en?q?a?=",
		"=?windows-1252?q?=93x=94?=":              "“x”",
		"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=":      "日本",
		"=?unknown?q?a?= =?utf-8?q?b?=":           "=?unknown?q?a?= b",
		"=?utf-8?x?a?=":                           "=?utf-8?x?a?=",
		"=?utf-8?b?!!!?=":                         "=?utf-8?b?!!!?=",
		"=?utf-8?q?open":                          "=?utf-8?q?open",
		"=?utf-8?q??=":                            "",
		"=?":                                      "=?",
		"=?=?utf-8?q?a?=":                         "=?a",
		"x=?utf-8?q?a?=y":                         "xay",
		"=?utf-8?q?a=0D=0AB:_c=00=7F=C2=85d?=":    "a  B: c   d",
		"bare \r\n control \x1b[31m":              "bare    control  [31m",
		"caf\xe9":                                 "caf\uFFFD",
		"=?us-ascii?q?a=FFb?=":                    "a\uFFFDb",
		"=?" + strings.Repeat("c", 70) + "?q?a?=": "=?" + strings.Repeat("c", 70) + "?q?a?=",
	} {
		if got := DecodeWords(in); got != want {
			t.Errorf("DecodeWords(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestEncodedWordsAreWhole: RFC 2047 2 and 5: at most 75 octets, each word
// decodes by itself.
func TestEncodedWordsAreWhole(t *testing.T) {
	for _, text := range []string{strings.Repeat("é", 300), strings.Repeat("ação ", 80), strings.Repeat("日本語", 100), strings.Repeat("😀", 90),
		"a" + strings.Repeat("x", 400) + "é", strings.Repeat("\x01", 100), "caf\xe9"} {
		got := EncodeWords(text)
		for word := range strings.SplitSeq(got, " ") {
			if len(word) > 75 {
				t.Errorf("a word of %d octets: %s", len(word), word)
			}
			if d := DecodeWords(word); d == word || !utf8.ValidString(d) || strings.ContainsRune(d, utf8.RuneError) {
				t.Errorf("word %s does not stand alone: %q", word, d)
			}
		}
		want := printable.FieldText(fromLatin1(text))
		if d := DecodeWords(got); d != want {
			t.Errorf("decodes to %q, want %q", d, want)
		}
	}
}

func TestFormatFieldKeepsLinesShort(t *testing.T) {
	if _, err := FormatField("References", strings.Repeat("x", 2000)); err == nil {
		t.Error("a line of more than 998 octets was written")
	}
	if _, err := FormatField("Subject", "a"+strings.Repeat(" ", 2000)+"b"); err == nil {
		t.Error("a line of more than 998 octets was written")
	}
	got, err := FormatField("References", strings.Repeat("<0123456789@x.example> ", 500))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(got, "\r\n") {
		if len(line) > foldAt {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	if v, _ := ParseHeader([]byte(got)).Get("References"); v != strings.TrimSpace(strings.Repeat("<0123456789@x.example> ", 500)) {
		t.Error("folding changed the value")
	}
}
