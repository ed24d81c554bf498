package mime

import (
	"fmt"
	"strings"
)

const (
	foldAt  = 78  // the column at which lines should end (RFC 5322 2.1.1)
	maxLine = 998 // octets of a line without its CRLF that nobody may exceed
)

// FormatField writes "Name: value" folded at white space near column 78, with
// CRLF. A value with CR, LF or NUL is refused, so that no value can become a
// separate field, and so is one that cannot be folded into lines of 998 octets.
// Text that is not ASCII becomes encoded words (RFC 2047), except for addresses in
// From, To and similar fields, which stay UTF-8 (RFC 6532). The error is ErrField.
func FormatField(name, value string) (string, error) {
	if !validName([]byte(name)) || len(name) > 76 {
		return "", fmt.Errorf("%w: name %.80q", ErrField, name)
	}
	if i := strings.IndexAny(value, "\r\n\x00"); i >= 0 {
		return "", fmt.Errorf("%w: value of %s holds %q", ErrField, name, value[i])
	}
	value = encodeValue(name, strings.TrimSpace(value))
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte(':')
	column := len(name) + 1
	for word := range strings.SplitSeq(value, " ") {
		if column > 0 && column+1+len(word) > foldAt && word != "" {
			b.WriteString("\r\n")
			column = 0
		}
		b.WriteByte(' ')
		b.WriteString(word)
		if column += 1 + len(word); column > maxLine {
			return "", fmt.Errorf("%w: value of %s cannot be folded", ErrField, name)
		}
	}
	b.WriteString("\r\n")
	return b.String(), nil
}

// encodeValue makes a value fit for a header field.
func encodeValue(name, value string) string {
	if isASCII(value) || !addressField(name) {
		return EncodeWords(value)
	}
	list, complete := ParseAddressList(value)
	if !complete || len(list) == 0 {
		return EncodeWords(value)
	}
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = FormatMailbox(m)
	}
	return strings.Join(out, ", ")
}

// addressField reports whether the value of a field is a list of addresses
// (RFC 5322 3.6.2, 3.6.3, 3.6.6).
func addressField(name string) bool {
	switch strings.TrimPrefix(strings.ToLower(name), "resent-") {
	case "from", "sender", "reply-to", "to", "cc", "bcc":
		return true
	}
	return false
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
