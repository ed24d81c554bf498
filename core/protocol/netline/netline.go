// Package netline is what the listeners of line protocols (SMTP, LMTP, POP3)
// share: an accept loop with limits and an orderly stop, a connection that
// reads strict CRLF lines and coalesces replies, limits per client address,
// and the SASL exchanges.
//
// A Conn belongs to one goroutine, the session's; only Stop and Abort may be
// called from others. Replies are kept until the session would wait for the
// client, so that a pipelining client gets them in one piece (RFC 2920 3.2).
//
// The package knows no verbs and no mail.
package netline

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxQuote is how much of a peer's octets goes into a log line or a reply.
const maxQuote = 200

// Quote makes octets of a peer fit for a log line or a reply: printable
// ASCII, in quotes, at most 200 octets of them.
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

// maxText keeps a reply line under the 512 octets of RFC 5321 4.5.3.1.5.
const maxText = 480

// Clean makes a text fit for one line of a reply: no control characters, no
// octets above 127 unless utf8ok, at most 480 octets.
func Clean(s string, utf8ok bool) string {
	if len(s) <= maxText && plain(s) {
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
		if b.Len()+utf8.RuneLen(r) > maxText {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
