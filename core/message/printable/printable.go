// Package printable makes text from strangers safe to show: in logs, on
// terminals, in replies and in header fields. Text of a peer, a sender or a DNS
// server never reaches a terminal or another program as it came.
//
// Line and Lines escape what is not printable, so that nothing is lost; Mask
// and Reply replace it with "?"; Quote is for log lines that show octets;
// FieldText is for text of messages, which is shown as it is meant.
package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns s as one line of UTF-8 without characters that control a
// terminal or change the direction of text: they are escaped as in Go. The
// result has at most limit octets; if it was cut, "..." follows.
func Line(s string, limit int) string { return escape(s, limit, "") }

// Lines is Line, but keeps line feeds and tabs: for tracebacks and stacks.
func Lines(s string, limit int) string { return escape(s, limit, "\n\t") }

// Traceback returns the lines of s, each as Line makes it with the limit, and
// tabs as four spaces: what a terminal shows of an error with a traceback. It
// reads at most twice limit octets of s.
func Traceback(s string, limit int) string {
	if s == "" {
		return ""
	}
	lines := strings.Split(s[:min(len(s), 2*limit)], "\n")
	for i := range lines {
		lines[i] = Line(strings.ReplaceAll(lines[i], "\t", "    "), limit)
	}
	return strings.Join(lines, "\n")
}

// escape escapes what is not shown, except for the characters of keep.
func escape(s string, limit int, keep string) string {
	if len(s) <= limit && isShown(s, keep) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		piece := s[:n]
		switch {
		case r == utf8.RuneError && n == 1:
			piece = `\x` + strconv.FormatUint(uint64(s[0])|0x100, 16)[1:]
		case !isShownRune(r, keep):
			piece = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if b.Len()+len(piece) > limit {
			b.WriteString("...")
			break
		}
		b.WriteString(piece)
		s = s[n:]
	}
	return b.String()
}

func isShown(s, keep string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !isShownRune(r, keep) {
			return false
		}
	}
	return true
}

func isShownRune(r rune, keep string) bool {
	if r < 0x7f {
		return r >= ' ' || strings.IndexByte(keep, byte(r)) >= 0
	}
	return unicode.IsGraphic(r)
}

// Mask returns the first limit octets of s as one line of UTF-8, with "?" for
// each character that is not printable.
func Mask(s string, limit int) string {
	s = s[:min(len(s), limit)]
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// maxQuote is how many octets of a peer go into a log line or a reply.
const maxQuote = 200

// Quote returns octets of a peer for a log line or a reply: printable ASCII in
// quotes, at most 200 octets of it.
func Quote(s string) string {
	more := ""
	if len(s) > maxQuote {
		s, more = s[:maxQuote], "..."
	}
	q := strconv.QuoteToASCII(s)
	if len(q) > maxQuote+2 {
		q, more = q[:maxQuote+1]+`"`, "..."
	}
	return q + more
}

// maxReply keeps a reply line under the 512 octets of RFC 5321 4.5.3.1.5.
const maxReply = 480

// Reply returns a text for one line of an SMTP or POP3 reply: no control
// characters, no octets above 127 unless utf8ok, at most 480 octets.
func Reply(s string, utf8ok bool) string {
	if len(s) <= maxReply && IsASCII(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\r' || r == '\n' || r == '\t':
			r = ' '
		case r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && (!utf8ok || r < 0xa0):
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > maxReply {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// FieldText returns s as valid UTF-8 with a space for each control character,
// as the value of a header field is shown. It has no limit.
func FieldText(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// IsASCII reports whether all octets of s are printable ASCII.
func IsASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
