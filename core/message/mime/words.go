package mime

import (
	"encoding/base64"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"

	"carteiro/core/message/printable"
)

func charsetReader(name string, r io.Reader) (io.Reader, error) { return charset.Reader(name, r) }

// DecodeWords decodes the encoded words of a value (RFC 2047) to UTF-8. Words
// that cannot be decoded stay as they are. Control characters, decoded or not,
// become spaces, so that the result is one line. Time is linear.
func DecodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return printable.FieldText(s)
	}
	d := mime.WordDecoder{CharsetReader: charsetReader}
	var b strings.Builder
	after := false // the last thing written is an encoded word
	for {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		n := wordLength(s[i:])
		text, err := "", error(nil)
		if n > 0 {
			text, err = d.Decode(s[i : i+n])
		}
		if n == 0 || err != nil {
			b.WriteString(s[:i+2])
			s, after = s[i+2:], false
			continue
		}
		if !after || strings.Trim(s[:i], " \t\r\n") != "" { // white space between two of them is not text
			b.WriteString(s[:i])
		}
		b.WriteString(text)
		s, after = s[i+n:], true
	}
	b.WriteString(s)
	return printable.FieldText(b.String())
}

// wordLength returns the length of the encoded word that s begins with, 0 when it
// is none: "=?", charset, "?", encoding, "?", text without "?", "?=". So no
// octet is looked at more often than its word is.
func wordLength(s string) int {
	const maxCharset = 64
	i := strings.IndexByte(s[2:min(len(s), 2+maxCharset)], '?')
	if i < 1 || len(s) < 2+i+5 || s[2+i+2] != '?' {
		return 0
	}
	text := 2 + i + 3
	n := strings.IndexByte(s[text:], '?')
	if n < 0 || !strings.HasPrefix(s[text+n:], "?=") {
		return 0
	}
	return text + n + 2
}

// EncodeWords encodes unstructured text that is not printable ASCII as encoded
// words of at most 75 octets (RFC 2047 2); no character is cut in two. Text
// that is not UTF-8 is taken as ISO-8859-1.
func EncodeWords(s string) string {
	plain := true
	for i := range len(s) {
		plain = plain && (s[i] >= ' ' && s[i] < 0x7f || s[i] == '\t')
	}
	if plain {
		return s
	}
	return encodeWords(s, inText)
}

// What an encoded word holds besides its text: "=?utf-8?q?" and "?=".
const (
	qOpen    = "=?utf-8?q?"
	bOpen    = "=?utf-8?b?"
	wordEnd  = "?="
	wordText = 75 - len(qOpen) - len(wordEnd)
)

// encodeWords encodes s; as it is stays a space, as "_", and what safe says.
func encodeWords(s string, safe func(byte) bool) string {
	s = fromLatin1(s)
	unsafe := 0
	for i := range len(s) {
		if !safe(s[i]) && s[i] != ' ' {
			unsafe++
		}
	}
	if 2*unsafe > len(s) {
		return chunks(s, wordText/4*3, func(string) int { return 1 }, func(b *strings.Builder, part string) {
			b.WriteString(bOpen + base64.StdEncoding.EncodeToString([]byte(part)) + wordEnd)
		})
	}
	return chunks(s, wordText, func(r string) int {
		if len(r) == 1 && (safe(r[0]) || r[0] == ' ') {
			return 1
		}
		return 3
	}, func(b *strings.Builder, part string) { writeQ(b, part, safe) })
}

// chunks cuts s between characters into parts that cost at most limit, cost
// being counted per octet, and writes them with a space in between.
func chunks(s string, limit int, cost func(char string) int, write func(*strings.Builder, string)) string {
	var b strings.Builder
	start, sum := 0, 0
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		c := n * cost(s[i:i+n])
		if sum+c > limit {
			write(&b, s[start:i])
			b.WriteByte(' ')
			start, sum = i, 0
		}
		sum += c
		i += n
	}
	write(&b, s[start:])
	return b.String()
}

func writeQ(b *strings.Builder, part string, safe func(byte) bool) {
	const hex = "0123456789ABCDEF"
	b.WriteString(qOpen)
	for i := range len(part) {
		switch c := part[i]; {
		case c == ' ':
			b.WriteByte('_')
		case safe(c):
			b.WriteByte(c)
		default:
			b.Write([]byte{'=', hex[c>>4], hex[c&15]})
		}
	}
	b.WriteString(wordEnd)
}

// inText reports whether a character needs no encoding in an encoded word in unstructured
// text (RFC 2047 4.2, 5 rule 1).
func inText(c byte) bool { return c > ' ' && c < 0x7f && strings.IndexByte("=?_", c) < 0 }

// inPhrase reports whether it may in a phrase (RFC 2047 5, rule 3).
func inPhrase(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!*+-/", c) >= 0
}

func fromLatin1(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	runes := make([]rune, 0, len(s))
	for i := range len(s) {
		runes = append(runes, rune(s[i]))
	}
	return string(runes)
}
