package mime

import (
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
)

func charsetReader(name string, r io.Reader) (io.Reader, error) { return charset.Reader(name, r) }

// DecodeWords decodes the encoded words of a value (RFC 2047) to UTF-8. Words
// that cannot be decoded stay as they are.
func DecodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	d := mime.WordDecoder{CharsetReader: charsetReader}
	if out, err := d.DecodeHeader(s); err == nil {
		s = out
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// EncodeWords encodes what is not ASCII as encoded words of at most 75 octets.
// Text that is not UTF-8 is taken as ISO-8859-1.
func EncodeWords(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 || s[i] < ' ' && s[i] != '\t' {
			break
		}
		if i == len(s)-1 {
			return s
		}
	}
	if s == "" {
		return s
	}
	if !utf8.ValidString(s) {
		runes := make([]rune, 0, len(s))
		for i := range len(s) {
			runes = append(runes, rune(s[i]))
		}
		s = string(runes)
	}
	return mime.QEncoding.Encode("utf-8", s)
}
