package receive

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"carteiro/core/message/envelope"
)

// traceField returns our Received field (RFC 5321 4.4). If there is more than one
// recipient it has no "for", so that it does not reveal a Bcc.
func traceField(c *content, hostname string, now time.Time) string {
	s := c.s
	var b strings.Builder
	utf8 := c.tx.Params.SMTPUTF8
	fmt.Fprintf(&b, "Received: from %s (", atomOr(s.Helo, "unknown", utf8))
	if s.RDNS != "" {
		b.WriteString(atomOr(s.RDNS, "unknown", utf8) + " ")
	}
	fmt.Fprintf(&b, "%s)\r\n\tby %s with %s", literal(s), hostname, s.With(utf8))
	if s.TLS != nil {
		fmt.Fprintf(&b, " (%s %s)", s.TLS.Version, s.TLS.Cipher)
	}
	fmt.Fprintf(&b, "\r\n\tid %s", c.tx.ID)
	if len(c.tx.Recipients) == 1 && c.tx.Recipients[0].Orig.ASCII() {
		fmt.Fprintf(&b, "\r\n\tfor %s", c.tx.Recipients[0].Orig.Path())
	}
	fmt.Fprintf(&b, ";\r\n\t%s\r\n", now.Format(time.RFC1123Z))
	return b.String()
}

func literal(s *envelope.Session) string {
	ip := s.Remote.Addr().Unmap()
	if ip.Is6() {
		return "[IPv6:" + ip.WithZone("").String() + "]"
	}
	return "[" + ip.String() + "]"
}

// atomOr returns s if it is safe inside a trace field, else other. Letters outside
// of ASCII are allowed if utf8 is set (RFC 6531 3.7.3).
func atomOr(s, other string, utf8 bool) string {
	if s == "" || len(s) > envelope.MaxDomain {
		return other
	}
	for _, c := range s {
		ascii := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c < 0x80 && strings.IndexByte(".-_[]:", byte(c)) >= 0
		if !ascii && !(utf8 && c >= 0x80 && c != '\uFFFD' && (unicode.IsLetter(c) || unicode.IsMark(c) || unicode.IsDigit(c))) {
			return other
		}
	}
	return s
}
