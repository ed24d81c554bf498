package smtpout

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"carteiro/core/message/envelope"
)

// envelopeParams says how the envelope is written for one host.
type envelopeParams struct {
	ext  extensions
	utf8 bool // SMTPUTF8 is used
}

// mail returns the MAIL command with the parameters that the host offers.
func (w envelopeParams) mail(t *envelope.Transfer, now time.Time) string {
	var b strings.Builder
	b.WriteString("MAIL FROM:" + w.path(t.Sender))
	param := func(keyword string, use bool, text string) {
		if use && w.ext.has(keyword) {
			b.WriteString(" " + text)
		}
	}
	param("SIZE", t.Size > 0, "SIZE="+strconv.FormatInt(t.Size, 10))
	param("8BITMIME", t.EightBit || w.utf8, "BODY=8BITMIME")
	param("SMTPUTF8", w.utf8, "SMTPUTF8")
	param("DSN", t.Ret != "", "RET="+t.Ret)
	param("DSN", t.EnvID != "", "ENVID="+xtext(t.EnvID))
	param("MT-PRIORITY", t.Priority != 0, "MT-PRIORITY="+strconv.Itoa(int(t.Priority)))
	param("REQUIRETLS", t.RequireTLS, "REQUIRETLS")
	if by, ok := w.by(t, now); ok {
		b.WriteString(" " + by)
	}
	return b.String()
}

// maxBy is nine digits (RFC 2852 4).
const maxBy = 999_999_999

// by returns the BY parameter with what is left of the time.
func (w envelopeParams) by(t *envelope.Transfer, now time.Time) (string, bool) {
	if t.By.IsZero() || !w.ext.has("DELIVERBY") {
		return "", false
	}
	mode := "R"
	if t.ByNotify {
		mode = "N"
	}
	left := int64(t.By.Sub(now) / time.Second)
	return fmt.Sprintf("BY=%d;%s", min(max(left, -maxBy), maxBy), mode), true
}

// isLate reports whether a message must be returned because its time is over,
// or will be over before the host promises delivery (RFC 2852 4.1).
func (w envelopeParams) isLate(t *envelope.Transfer, now time.Time) bool {
	if t.By.IsZero() || t.ByNotify {
		return false
	}
	least, _ := strconv.ParseInt(w.ext["DELIVERBY"], 10, 64) // none: 0
	left := int64(t.By.Sub(now) / time.Second)
	return left <= 0 || left < least
}

// rcpt returns the RCPT command of one recipient.
func (w envelopeParams) rcpt(r *envelope.Recipient) string {
	line := "RCPT TO:" + w.path(r.Address)
	if !w.ext.has("DSN") {
		return line
	}
	if words := notifyWords(r.Notify); words != "" {
		line += " NOTIFY=" + words
	}
	if o := w.orcpt(r.ORcpt); o != "" {
		line += " ORCPT=" + o
	}
	return line
}

func (w envelopeParams) path(a envelope.Address) string {
	if !w.utf8 {
		a, _ = downgrade(a)
	}
	return a.Path()
}

func notifyWords(n envelope.Notify) string {
	var words []string
	for _, k := range [...]struct {
		bit  envelope.Notify
		word string
	}{
		{envelope.NotifyNever, "NEVER"}, {envelope.NotifySuccess, "SUCCESS"}, {envelope.NotifyFailure, "FAILURE"},
		{envelope.NotifyDelay, "DELAY"},
	} {
		if n&k.bit != 0 {
			words = append(words, k.word)
		}
	}
	if n&envelope.NotifyNever != 0 {
		return "NEVER" // stands alone (RFC 3461 4.1)
	}
	return strings.Join(words, ",")
}

// orcpt encodes "type;address" (RFC 3461 4.2); an address of the type "utf-8"
// has another encoding (RFC 6533 3).
func (w envelopeParams) orcpt(s string) string {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || kind == "" || addr == "" {
		return ""
	}
	if !strings.EqualFold(kind, "utf-8") {
		return kind + ";" + xtext(addr)
	}
	return kind + ";" + unitext(addr, w.utf8)
}

// xtext returns the encoding of RFC 3461 4.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unitext is utf-8-addr-unitext, or utf-8-addr-xtext without raw, of RFC 6533
// 3. What is encoded as "\x{...}" already stays so.
func unitext(s string, raw bool) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r == 0x7f || r == '+' || r == '=' || r >= 0x80 && !raw {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// downgrade writes the domain of an address with A-labels (RFC 5890); ok
// reports whether the result is ASCII; it is not if the local part is not.
func downgrade(a envelope.Address) (envelope.Address, bool) {
	if a.ASCII() {
		return a, true
	}
	down := envelope.Address(a.Local() + "@" + asciiDomain(a.Domain()))
	return down, down.ASCII()
}

// asciiDomain returns the A-label form, or the domain itself where it has none.
func asciiDomain(d string) string {
	if envelope.Address(d).ASCII() {
		return d
	}
	if s, err := idna.Lookup.ToASCII(d); err == nil {
		return s
	}
	return d
}
