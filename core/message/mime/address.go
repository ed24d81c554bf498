package mime

import (
	"strings"

	"carteiro/core/message/envelope"
)

// Mailbox is one address of a header field with its display name.
type Mailbox struct {
	Address envelope.Address
	Display string // decoded, one line
}

// Addresses returns the mailboxes of all fields of the given names.
func (h *Header) Addresses(names ...string) []Mailbox {
	var out []Mailbox
	for _, name := range names {
		for _, v := range h.All(name) {
			list, _ := ParseAddressList(v)
			out = append(out, list...)
		}
	}
	return out
}

// FormatMailbox writes a mailbox for a header field, so that it reads back the
// same.
func FormatMailbox(m Mailbox) string {
	if m.Display == "" {
		return string(m.Address)
	}
	return formatPhrase(m.Display) + " " + m.Address.Path()
}

// maxWord is the longest word that is not encoded: FormatField could not fold
// longer ones.
const maxWord = 200

func formatPhrase(s string) string {
	atoms, fits := true, true
	for word := range strings.SplitSeq(s, " ") {
		atoms = atoms && word != "" && isAtom(word)
		fits = fits && len(word) <= maxWord
	}
	switch {
	case !isASCII(s) || !fits || strings.Contains(s, "=?") || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return encodeWords(s, inPhrase)
	case atoms:
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func isAtom(s string) bool {
	for i := range len(s) {
		if !atext(s[i]) {
			return false
		}
	}
	return true
}

// atext reports whether c is a character of atoms (RFC 5322 3.2.3, RFC 6532
// 3.2). Control characters are not excluded here: envelope.ParseAddress refuses
// them.
func atext(c byte) bool { return c > ' ' && strings.IndexByte(`()<>[]:;@\,."`, c) < 0 }
