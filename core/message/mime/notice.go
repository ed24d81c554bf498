package mime

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
	"carteiro/core/message/printable"
)

// ErrNoReport: the message is no delivery status notification.
var ErrNoReport = errors.New("no delivery status in the message")

// Notice is a delivery status notification that came in (RFC 3464, RFC 6533).
// All of it is what a stranger wrote; texts are one line of UTF-8.
type Notice struct {
	ReportingMTA string
	EnvID        string
	Arrival      time.Time // of the message it is about; zero when not told
	Rcpts        []NoticeRcpt
	Header       *Header // of the message it is about; nil when not returned
}

// NoticeRcpt is what a Notice says of one recipient.
type NoticeRcpt struct {
	Original   envelope.Address // as the sender gave it; "" when not told, or no mail address
	Final      envelope.Address // "" when not told, or no mail address
	Action     string           // failed, delayed, delivered, relayed or expanded
	Status     string           // RFC 3463 code, always valid
	RemoteMTA  string
	Diagnostic string // without its type, "550 5.1.1 no such user"
	Last       time.Time
	Class      Class
}

// Class is what a Notice means for the address.
type Class string

// The classes. Reports of success have none.
const (
	Hard Class = "hard" // do not try again
	Soft Class = "soft" // this time only
)

// Limits on what is read of a notice.
const (
	maxStatusPart   = 1 << 20
	maxReturnedHead = 64 << 10
	maxNoticeRcpts  = 1000
)

// ParseReport reads a delivery status notification, whatever multipart holds
// it. It takes what mail systems in the field write: missing types, actions
// and codes, fields without blank lines in between. open gives the body, two
// or three times. It returns ErrNoReport when no part tells of a recipient,
// and errors of open; it reads in bounded memory.
func ParseReport(h *Header, open func() (io.ReadCloser, error)) (*Notice, error) {
	body, err := open()
	if err != nil {
		return nil, err
	}
	index, err := ReadIndex(h, body)
	body.Close()
	if err != nil {
		return nil, err
	}
	n := &Notice{}
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
		return nil, ErrNoReport
	}
	return n, nil
}

func partText(p Part, open func() (io.ReadCloser, error), limit int64) (string, error) {
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

// returnedHeader is the header section at the beginning of text; a line that
// the limit cut is left out.
func returnedHeader(text string) *Header {
	raw, err := ReadHeader(bufio.NewReader(strings.NewReader(text)), maxReturnedHead)
	if err != nil || len(text) >= maxReturnedHead {
		raw = raw[:bytes.LastIndexByte(raw, '\n')+1]
	}
	return ParseHeader(raw)
}

// read takes the fields of a delivery-status part. A recipient's begin with
// the first of its two names, whether there is a blank line before it or not.
func (n *Notice) read(text []byte) {
	var r *noticeFields
	for {
		if text = bytes.TrimLeft(text, " \t\r\n"); len(text) == 0 {
			return
		}
		for _, f := range ParseHeader(text).fields {
			name, value := strings.ToLower(f.Name()), printable.FieldText(f.Value())
			text = text[len(f.Raw):]
			if r == nil && n.about(name, value) {
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

// noticeFields are the fields of one recipient; the first of a name counts.
type noticeFields map[string]string

func (r *noticeFields) set(name, value string) {
	if _, ok := (*r)[name]; !ok {
		(*r)[name] = value
	}
}

// recipient is the one that a field belongs to, nil when there are enough.
func (n *Notice) recipient(r *noticeFields, name string) *noticeFields {
	if r != nil {
		_, final := (*r)["final-recipient"]
		_, original := (*r)["original-recipient"]
		if name == "final-recipient" && final || name == "original-recipient" && (final || original) {
			n.add(r)
			r = nil
		}
	}
	if r == nil {
		if len(n.Rcpts) >= maxNoticeRcpts {
			return nil
		}
		r = &noticeFields{}
	}
	return r
}

// about takes a field about the message; false: it is about a recipient.
func (n *Notice) about(name, value string) bool {
	switch name {
	case "final-recipient", "original-recipient", "action", "status", "diagnostic-code", "remote-mta", "last-attempt-date":
		return false
	case "reporting-mta":
		_, n.ReportingMTA = typed(value)
	case "original-envelope-id":
		n.EnvID = value
	case "arrival-date":
		n.Arrival = date(value)
	}
	return true
}

// add keeps a recipient that has a name.
func (n *Notice) add(f *noticeFields) {
	if f == nil {
		return
	}
	get := func(name string) string { return (*f)[name] }
	r := NoticeRcpt{Original: noticeAddress(get("original-recipient")), Final: noticeAddress(get("final-recipient")), Last: date(get("last-attempt-date"))}
	if r.Original == "" && r.Final == "" || len(n.Rcpts) >= maxNoticeRcpts {
		return
	}
	_, r.RemoteMTA = typed(get("remote-mta"))
	_, r.Diagnostic = typed(get("diagnostic-code"))
	r.Action = firstWord(strings.ToLower(get("action")))
	r.Status = firstWord(get("status"))
	if !envelope.ValidEnhanced(r.Status) {
		r.Status = statusIn(r.Diagnostic)
	}
	r.complete()
	n.Rcpts = append(n.Rcpts, r)
}

// complete fills in what is missing of action and status from the other one.
func (r *NoticeRcpt) complete() {
	byAction := map[string]string{"failed": "5.0.0", "delayed": "4.0.0", "delivered": "2.0.0", "relayed": "2.0.0", "expanded": "2.0.0"}
	if byAction[r.Action] == "" {
		r.Action = ""
	}
	if r.Status == "" {
		r.Status = byAction[r.Action]
	}
	switch {
	case r.Status == "":
		r.Action, r.Status = "failed", "5.0.0" // a report that says nothing is one of failure
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

// statusIn finds a code in the words of a server.
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
		if code, err := strconv.Atoi(strings.TrimSuffix(w[:min(len(w), 4)], "-")); err == nil && len(w) >= 3 && class == "" && (code/100 == 4 || code/100 == 5) {
			class = strconv.Itoa(code/100) + ".0.0"
		}
	}
	return class
}

// typed splits "type; value".
func typed(v string) (kind, value string) {
	kind, value, ok := strings.Cut(v, ";")
	if !ok {
		return "", strings.TrimSpace(v)
	}
	return strings.ToLower(strings.TrimSpace(kind)), strings.TrimSpace(value)
}

func noticeAddress(v string) envelope.Address {
	kind, value := typed(v)
	if kind == "" || strings.ContainsAny(kind, `@"`) {
		value = v // there is no type; the semicolon belongs to something else
	}
	if kind == "utf-8" {
		value = unescape(value)
	}
	if a, err := envelope.ParseAddress(strings.TrimSpace(value)); err == nil {
		return a
	}
	if list, _ := ParseAddressList(value); len(list) == 1 {
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
	s, _ = cutAny(strings.TrimLeft(s, " \t"), " \t(;")
	return s
}

func date(v string) time.Time {
	t, err := netmail.ParseDate(v)
	if err != nil {
		return time.Time{}
	}
	return t
}
