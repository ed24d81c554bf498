package mime

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

// Report is a delivery status notification (RFC 3464) to be composed.
type Report struct {
	ID        envelope.ID
	Hostname  string // Reporting-MTA
	To        envelope.Address
	Action    string // failed, delayed, delivered, relayed, expanded
	Now       time.Time
	Arrival   time.Time
	EnvID     string
	Text      string // human part
	Rcpts     []ReportRcpt
	Header    []byte // of the original
	Body      []byte // of the original; nil: headers only
	RetryTill time.Time
}

// ReportRcpt is one recipient of a Report.
type ReportRcpt struct {
	Original   string // ORCPT, "rfc822;user@domain"
	Final      envelope.Address
	Status     envelope.Status
	RemoteMTA  string
	Diagnostic bool // tell the status's text
	Last       time.Time
}

var reportSubjects = map[string]string{
	"failed":    "Undelivered mail returned to sender",
	"delayed":   "Delayed mail (still being retried)",
	"delivered": "Successful mail delivery report",
	"relayed":   "Mail was relayed (no further reports)",
	"expanded":  "Mail was sent on to a list of recipients",
}

// ReportText is the human part that a Report has by default.
func ReportText(r *Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the mail system at %s.\n\n", r.Hostname)
	switch r.Action {
	case "failed":
		b.WriteString("Your message could not be delivered to the recipients below.\n")
	case "delayed":
		b.WriteString("Your message could not be delivered yet. It is tried again until\n" +
			r.RetryTill.Format(time.RFC1123Z) + "; you need not send it again.\n")
	case "expanded":
		b.WriteString("Your message was sent on to the members of the address below.\n")
	default:
		b.WriteString("Your message reached the recipients below.\n")
	}
	for _, rc := range r.Rcpts {
		fmt.Fprintf(&b, "\n<%s>: %s\n", rc.Final, human(rc))
	}
	return b.String()
}

func human(rc ReportRcpt) string {
	if !rc.Diagnostic {
		return status(rc)
	}
	if rc.RemoteMTA != "" {
		return printable.FieldText(rc.RemoteMTA + " said: " + rc.Status.Reply())
	}
	return printable.FieldText(rc.Status.Reply())
}

func status(rc ReportRcpt) string {
	if rc.Status.Enhanced != "" {
		return rc.Status.Enhanced
	}
	if class := rc.Status.Code / 100; class == 4 || class == 5 {
		return fmt.Sprintf("%d.0.0", class)
	}
	return "2.0.0"
}

// Compose writes the report: header section and body, CRLF throughout.
func (r *Report) Compose() (*Header, []byte) {
	boundary := "dsn-" + r.ID.String()
	utf8 := !r.To.ASCII() || has8Bit(r.Header)
	for _, rc := range r.Rcpts {
		utf8 = utf8 || !rc.Final.ASCII()
	}
	h := &Header{}
	h.Append("From", "Mail Delivery System <MAILER-DAEMON@"+r.Hostname+">")
	h.Append("To", string(r.To))
	h.Append("Subject", reportSubjects[r.Action])
	h.Append("Date", r.Now.Format(time.RFC1123Z))
	h.Append("Message-ID", "<"+r.ID.String()+"@"+r.Hostname+">")
	if id, ok := ParseHeader(r.Header).Get("Message-ID"); ok && !strings.ContainsAny(id, " \t") {
		h.Append("References", id)
	}
	h.Append("Auto-Submitted", "auto-replied")
	h.Append("MIME-Version", "1.0")
	h.Append("Content-Type", `multipart/report; report-type=delivery-status; boundary="`+boundary+`"`)
	var b bytes.Buffer
	part := func(fields string) { fmt.Fprintf(&b, "--%s\r\n%s\r\n\r\n", boundary, fields) }
	text := r.Text
	if text == "" {
		text = ReportText(r)
	}
	part("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable")
	b.Write(QuotedPrintable(text))
	b.WriteString("\r\n")
	global, plain := "global-delivery-status", "delivery-status"
	var fields bytes.Buffer
	r.writeStatus(&fields, utf8)
	part("Content-Type: message/" + pick(utf8, global, plain) + encoding(fields.Bytes()))
	b.Write(fields.Bytes())
	if r.Body != nil {
		part("Content-Type: " + pick(utf8, "message/global", "message/rfc822") + encoding(r.Header, r.Body))
		b.Write(r.Header)
		b.Write(r.Body)
	} else {
		part("Content-Type: " + pick(utf8, "message/global-headers", "text/rfc822-headers") + encoding(r.Header))
		b.Write(r.Header)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	if has8Bit(b.Bytes()) {
		h.Append("Content-Transfer-Encoding", "8bit")
	}
	return h, b.Bytes()
}

// encoding is the field that a part of other people's octets needs.
func encoding(octets ...[]byte) string {
	for _, b := range octets {
		if has8Bit(b) {
			return "\r\nContent-Transfer-Encoding: 8bit"
		}
	}
	return ""
}

func pick(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

// writeStatus writes the machine's part (RFC 3464 2; RFC 6533 for UTF-8).
func (r *Report) writeStatus(b *bytes.Buffer, utf8 bool) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s: %s\r\n", name, statusText(value, utf8))
		}
	}
	field("Reporting-MTA", "dns; "+r.Hostname)
	field("Original-Envelope-Id", r.EnvID)
	field("Arrival-Date", r.Arrival.Format(time.RFC1123Z))
	kind := pick(utf8, "utf-8; ", "rfc822; ")
	for _, rc := range r.Rcpts {
		b.WriteString("\r\n")
		field("Original-Recipient", rc.Original)
		field("Final-Recipient", kind+string(rc.Final))
		field("Action", r.Action)
		field("Status", status(rc))
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

// maxStatusText keeps a status field well below what a line may have.
const maxStatusText = 900

// statusText makes a text, a stranger's perhaps, fit for a status field.
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

func has8Bit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
