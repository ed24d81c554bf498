package dsn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	netmail "net/mail"
	"strconv"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/message/printable"
)

// ErrNotDSN reports that a message is not a delivery status notification.
var ErrNotDSN = errors.New("no delivery status in the message")

// Received is a delivery status notification that came in. A stranger wrote
// all of it; each text is one line of UTF-8.
type Received struct {
	ReportingMTA string
	EnvID        string
	Arrival      time.Time // of the message that it is about; zero when it is missing
	Rcpts        []ReceivedRecipient
	Header       *mime.Header // of the message that it is about; nil when it was not returned
}

// ReceivedRecipient is the part of a Received about one recipient.
type ReceivedRecipient struct {
	Original   envelope.Address // as the sender wrote it; "" when missing or not a mail address
	Final      envelope.Address // "" when missing or not a mail address
	Action     string           // failed, delayed, delivered, relayed or expanded
	Status     string           // RFC 3463 code, always valid
	RemoteMTA  string
	Diagnostic string // without its type, "550 5.1.1 no such user"
	Last       time.Time
	Class      Class
}

// Class says what a Received means for the address.
type Class string

// The classes. A notification of success has none.
const (
	Hard Class = "hard" // do not try again
	Soft Class = "soft" // this time only
)

// Limits on what Parse reads.
const (
	maxStatusPart   = 1 << 20
	maxReturnedHead = 64 << 10
	maxRcpts        = 1000
)

// Parse reads a delivery status notification from any kind of multipart.
// It accepts what mail systems in the field write: missing types, actions and
// codes, fields without blank lines in between. It calls open two or three
// times for the body. It returns ErrNotDSN if no part reports on a recipient,
// and errors of open. Its memory is bounded.
func Parse(h *mime.Header, open func() (io.ReadCloser, error)) (*Received, error) {
	body, err := open()
	if err != nil {
		return nil, err
	}
	index, err := mime.ReadIndex(h, body)
	body.Close()
	if err != nil {
		return nil, err
	}
	n := &Received{}
	for _, p := range index.Parts {
		switch p.Type {
		case "message/delivery-status", "message/global-delivery-status":
			if len(n.Rcpts) > 0 {
				continue
			}
			text, err := partText(p, open, maxStatusPart)
			if err != nil {
				return nil, err
			}
			n.read([]byte(text))
		case "message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers":
			if n.Header != nil || len(n.Rcpts) == 0 {
				continue
			}
			text, err := partText(p, open, maxReturnedHead)
			if err != nil {
				return nil, err
			}
			n.Header = returnedHeader(text)
		}
	}
	if len(n.Rcpts) == 0 {
		return nil, ErrNotDSN
	}
	return n, nil
}

func partText(p mime.Part, open func() (io.ReadCloser, error), limit int64) (string, error) {
	body, err := open()
	if err != nil {
		return "", err
	}
	defer body.Close()
	text, err := p.Text(body, limit)
	if err != nil {
		return "", fmt.Errorf("part %s: %w", p.Type, err)
	}
	return text, nil
}

// returnedHeader parses the header section at the beginning of text, without a
// last line that the limit cut.
func returnedHeader(text string) *mime.Header {
	raw, err := mime.ReadHeader(bufio.NewReader(strings.NewReader(text)), maxReturnedHead)
	if err != nil || len(text) >= maxReturnedHead {
		raw = raw[:bytes.LastIndexByte(raw, '\n')+1]
	}
	return mime.ParseHeader(raw)
}

// read reads the fields of a delivery-status part. The fields of a recipient
// begin with the first of its two addresses, with or without a blank line
// before it.
func (n *Received) read(text []byte) {
	var r *rcptFields
	for {
		if text = bytes.TrimLeft(text, " \t\r\n"); len(text) == 0 {
			return
		}
		for _, f := range mime.ParseHeader(text).Fields() {
			name, value := strings.ToLower(f.Name()), printable.FieldText(f.Value())
			text = text[len(f.Raw):]
			if r == nil && n.setField(name, value) {
				continue
			}
			if r = n.recipient(r, name); r == nil {
				return
			}
			r.set(name, value)
		}
		n.add(r)
		r = nil
	}
}

// rcptFields are the fields of one recipient; the first of a name counts.
type rcptFields map[string]string

func (r *rcptFields) set(name, value string) {
	if _, ok := (*r)[name]; !ok {
		(*r)[name] = value
	}
}

// recipient returns the recipient that a field belongs to, nil when there are
// too many.
func (n *Received) recipient(r *rcptFields, name string) *rcptFields {
	if r != nil {
		_, final := (*r)["final-recipient"]
		_, original := (*r)["original-recipient"]
		if name == "final-recipient" && final || name == "original-recipient" && (final || original) {
			n.add(r)
			r = nil
		}
	}
	if r == nil {
		if len(n.Rcpts) >= maxRcpts {
			return nil
		}
		r = &rcptFields{}
	}
	return r
}

// setField reads a field about the message and reports whether it is one; other
// fields are about a recipient.
func (n *Received) setField(name, value string) bool {
	switch name {
	case "final-recipient", "original-recipient", "action", "status", "diagnostic-code", "remote-mta", "last-attempt-date":
		return false
	case "reporting-mta":
		_, n.ReportingMTA = splitType(value)
	case "original-envelope-id":
		n.EnvID = value
	case "arrival-date":
		n.Arrival = parseDate(value)
	}
	return true
}

// add adds a recipient that has an address.
func (n *Received) add(f *rcptFields) {
	if f == nil {
		return
	}
	get := func(name string) string { return (*f)[name] }
	r := ReceivedRecipient{
		Original: parseAddress(get("original-recipient")),
		Final:    parseAddress(get("final-recipient")),
		Last:     parseDate(get("last-attempt-date")),
	}
	if r.Original == "" && r.Final == "" || len(n.Rcpts) >= maxRcpts {
		return
	}
	_, r.RemoteMTA = splitType(get("remote-mta"))
	_, r.Diagnostic = splitType(get("diagnostic-code"))
	r.Action = firstWord(strings.ToLower(get("action")))
	r.Status = firstWord(get("status"))
	if !envelope.ValidEnhanced(r.Status) {
		r.Status = statusIn(r.Diagnostic)
	}
	r.complete()
	n.Rcpts = append(n.Rcpts, r)
}

// complete derives a missing action from the status, or a missing status from
// the action.
func (r *ReceivedRecipient) complete() {
	byAction := map[string]string{"failed": "5.0.0", "delayed": "4.0.0", "delivered": "2.0.0", "relayed": "2.0.0", "expanded": "2.0.0"}
	if byAction[r.Action] == "" {
		r.Action = ""
	}
	if r.Status == "" {
		r.Status = byAction[r.Action]
	}
	switch {
	case r.Status == "":
		r.Action, r.Status = "failed", "5.0.0" // without both, it reports a failure
	case r.Action == "":
		r.Action = map[byte]string{'2': "delivered", '4': "delayed", '5': "failed"}[r.Status[0]]
	}
	switch {
	case r.Action == "delayed" || r.Action == "failed" && r.Status[0] == '4':
		r.Class = Soft
	case r.Action == "failed":
		r.Class = Hard
	}
}

// statusIn finds an enhanced status code in the text of a server.
func statusIn(text string) string {
	class := ""
	for i, w := range strings.Fields(text) {
		if i > 20 {
			break
		}
		w = strings.Trim(w, "#()[]:;,.<>")
		if envelope.ValidEnhanced(w) {
			return w
		}
		code, err := strconv.Atoi(strings.TrimSuffix(w[:min(len(w), 4)], "-"))
		if failure := code/100 == 4 || code/100 == 5; err == nil && failure && len(w) >= 3 && class == "" {
			class = strconv.Itoa(code/100) + ".0.0"
		}
	}
	return class
}

// splitType splits "type; value".
func splitType(v string) (kind, value string) {
	kind, value, ok := strings.Cut(v, ";")
	if !ok {
		return "", strings.TrimSpace(v)
	}
	return strings.ToLower(strings.TrimSpace(kind)), strings.TrimSpace(value)
}

func parseAddress(v string) envelope.Address {
	kind, value := splitType(v)
	if kind == "" || strings.ContainsAny(kind, `@"`) {
		value = v // there is no type; the semicolon is part of the address
	}
	if kind == "utf-8" {
		value = unescape(value)
	}
	if a, err := envelope.ParseAddress(strings.TrimSpace(value)); err == nil {
		return a
	}
	if list, _ := mime.ParseAddressList(value); len(list) == 1 {
		return list[0].Address
	}
	return ""
}

// unescape undoes \x{HEX} of utf-8-addr-xtext (RFC 6533 3).
func unescape(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		digits, after, ok := strings.Cut(rest, "}")
		if c, err := strconv.ParseUint(digits, 16, 32); ok && err == nil && len(digits) <= 6 && c <= 0x10ffff {
			b.WriteRune(rune(c))
			s = after
			continue
		}
		b.WriteString(`\x{`)
		s = rest
	}
}

func firstWord(s string) string {
	s = strings.TrimLeft(s, " \t")
	if i := strings.IndexAny(s, " \t(;"); i >= 0 {
		return s[:i]
	}
	return s
}

func parseDate(v string) time.Time {
	t, err := netmail.ParseDate(v)
	if err != nil {
		return time.Time{}
	}
	return t
}
