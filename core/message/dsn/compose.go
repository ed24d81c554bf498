// Package dsn composes and parses delivery status notifications (RFC 3464,
// RFC 6533): a Report is one that we send, a Received one that came in.
package dsn

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/message/printable"
)

// Notification describes a delivery status notification to compose.
type Notification struct {
	ID        envelope.ID
	Hostname  string // Reporting-MTA
	To        envelope.Address
	Action    string // failed, delayed, delivered, relayed or expanded
	Now       time.Time
	Arrival   time.Time
	EnvID     string
	Text      string // the part for people; "": ReportText
	Rcpts     []Recipient
	Header    []byte // of the original
	Body      []byte // of the original; nil: only its header section is returned
	RetryTill time.Time
}

// Recipient is one recipient of a Report.
type Recipient struct {
	Original   string // ORCPT, "rfc822;user@domain"
	Final      envelope.Address
	Status     envelope.Status
	RemoteMTA  string
	Diagnostic bool // include the text of Status
	Last       time.Time
}

var subjects = map[string]string{
	"failed":    "Undelivered mail returned to sender",
	"delayed":   "Delayed mail (still being retried)",
	"delivered": "Successful mail delivery report",
	"relayed":   "Mail was relayed (no further reports)",
	"expanded":  "Mail was forwarded to a list of recipients",
}

// DefaultText returns the default text of the part for people.
func DefaultText(r *Notification) string {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the mail system at %s.\n\n", r.Hostname)
	switch r.Action {
	case "failed":
		b.WriteString("Your message could not be delivered to the recipients below.\n")
	case "delayed":
		b.WriteString("Your message could not be delivered yet. The server keeps trying until\n" +
			r.RetryTill.Format(time.RFC1123Z) + ". You do not need to send it again.\n")
	case "expanded":
		b.WriteString("Your message was forwarded to the members of the address below.\n")
	default:
		b.WriteString("Your message reached the recipients below.\n")
	}
	for _, rc := range r.Rcpts {
		fmt.Fprintf(&b, "\n<%s>: %s\n", rc.Final, rcptText(rc))
	}
	return b.String()
}

func rcptText(rc Recipient) string {
	if !rc.Diagnostic {
		return enhancedCode(rc)
	}
	if rc.RemoteMTA != "" {
		return printable.FieldText(rc.RemoteMTA + " said: " + rc.Status.Reply())
	}
	return printable.FieldText(rc.Status.Reply())
}

func enhancedCode(rc Recipient) string {
	if rc.Status.Enhanced != "" {
		return rc.Status.Enhanced
	}
	if class := rc.Status.Code / 100; class == 4 || class == 5 {
		return fmt.Sprintf("%d.0.0", class)
	}
	return "2.0.0"
}

// Compose returns the header section and the body, with CRLF line ends.
func (r *Notification) Compose() (*mime.Header, []byte) {
	boundary := "dsn-" + r.ID.String()
	utf8 := !r.To.ASCII() || mime.Has8Bit(r.Header)
	for _, rc := range r.Rcpts {
		utf8 = utf8 || !rc.Final.ASCII()
	}
	h := &mime.Header{}
	h.Append("From", "Mail Delivery System <MAILER-DAEMON@"+r.Hostname+">")
	h.Append("To", string(r.To))
	h.Append("Subject", subjects[r.Action])
	h.Append("Date", r.Now.Format(time.RFC1123Z))
	h.Append("Message-ID", "<"+r.ID.String()+"@"+r.Hostname+">")
	if id, ok := mime.ParseHeader(r.Header).Get("Message-ID"); ok && !strings.ContainsAny(id, " \t") {
		h.Append("References", id)
	}
	h.Append("Auto-Submitted", "auto-replied")
	h.Append("MIME-Version", "1.0")
	h.Append("Content-Type", `multipart/report; report-type=delivery-status; boundary="`+boundary+`"`)
	var b bytes.Buffer
	part := func(fields string) { fmt.Fprintf(&b, "--%s\r\n%s\r\n\r\n", boundary, fields) }
	text := r.Text
	if text == "" {
		text = DefaultText(r)
	}
	part("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable")
	b.Write(mime.QuotedPrintable(text))
	b.WriteString("\r\n")
	global, plain := "global-delivery-status", "delivery-status"
	var fields bytes.Buffer
	r.writeStatus(&fields, utf8)
	part("Content-Type: message/" + choose(utf8, global, plain) + encodingField(fields.Bytes()))
	b.Write(fields.Bytes())
	if r.Body != nil {
		part("Content-Type: " + choose(utf8, "message/global", "message/rfc822") + encodingField(r.Header, r.Body))
		b.Write(r.Header)
		b.Write(r.Body)
	} else {
		part("Content-Type: " + choose(utf8, "message/global-headers", "text/rfc822-headers") + encodingField(r.Header))
		b.Write(r.Header)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	if mime.Has8Bit(b.Bytes()) {
		h.Append("Content-Transfer-Encoding", "8bit")
	}
	return h, b.Bytes()
}

// encodingField returns the Content-Transfer-Encoding field that a part with these
// octets needs.
func encodingField(octets ...[]byte) string {
	for _, b := range octets {
		if mime.Has8Bit(b) {
			return "\r\nContent-Transfer-Encoding: 8bit"
		}
	}
	return ""
}

func choose(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

// writeStatus writes the part for programs (RFC 3464 2; RFC 6533 for UTF-8).
func (r *Notification) writeStatus(b *bytes.Buffer, utf8 bool) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s: %s\r\n", name, statusText(value, utf8))
		}
	}
	field("Reporting-MTA", "dns; "+r.Hostname)
	field("Original-Envelope-Id", r.EnvID)
	field("Arrival-Date", r.Arrival.Format(time.RFC1123Z))
	kind := choose(utf8, "utf-8; ", "rfc822; ")
	for _, rc := range r.Rcpts {
		b.WriteString("\r\n")
		field("Original-Recipient", rc.Original)
		field("Final-Recipient", kind+string(rc.Final))
		field("Action", r.Action)
		field("Status", enhancedCode(rc))
		if rc.RemoteMTA != "" {
			field("Remote-MTA", "dns; "+rc.RemoteMTA)
		}
		if rc.Diagnostic && rc.Status.Code >= 400 {
			field("Diagnostic-Code", "smtp; "+rc.Status.Reply())
		}
		if !rc.Last.IsZero() {
			field("Last-Attempt-Date", rc.Last.Format(time.RFC1123Z))
		}
		if r.Action == "delayed" {
			field("Will-Retry-Until", r.RetryTill.Format(time.RFC1123Z))
		}
	}
	b.WriteString("\r\n")
}

// maxStatusText keeps a status field well below the limit of a line.
const maxStatusText = 900

// statusText makes a text, which a stranger may have written, fit for a status
// field.
func statusText(s string, utf8 bool) string {
	s = printable.FieldText(s)
	if !utf8 {
		s = strings.Map(func(c rune) rune {
			if c >= 0x80 {
				return '?'
			}
			return c
		}, s)
	}
	if len(s) > maxStatusText {
		s = strings.ToValidUTF8(s[:maxStatusText], "")
	}
	return strings.TrimSpace(s)
}
