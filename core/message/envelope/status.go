package envelope

import (
	"errors"
	"strconv"
	"strings"
)

// Status is an outcome as SMTP expresses it. All stages return it, and
// protocols turn it into their reply. Text is for the peer and never contains
// paths, script names or settings; Err is for the log.
type Status struct {
	Code     int    `json:"code"`               // RFC 5321 4.2
	Enhanced string `json:"enhanced,omitempty"` // RFC 3463, "5.1.1"
	Text     string `json:"text"`               // one line without CR, LF
	Err      error  `json:"-"`
	// Close makes the protocol end the session after this reply.
	Close bool `json:"close,omitempty"`
}

// Error returns the reply as a line, followed by the cause if there is one.
func (s *Status) Error() string {
	if s.Err != nil {
		return s.Reply() + ": " + s.Err.Error()
	}
	return s.Reply()
}

// Reply is code, enhanced code and text without the cause.
func (s *Status) Reply() string {
	if s.Enhanced == "" {
		return strconv.Itoa(s.Code) + " " + s.Text
	}
	return strconv.Itoa(s.Code) + " " + s.Enhanced + " " + s.Text
}

// Unwrap returns the cause.
func (s *Status) Unwrap() error { return s.Err }

// Reject returns a permanent Status.
func Reject(code int, enhanced, text string) *Status {
	return &Status{Code: code, Enhanced: enhanced, Text: text}
}

// Defer returns a transient Status with a cause for the log.
func Defer(code int, enhanced, text string, err error) *Status {
	return &Status{Code: code, Enhanced: enhanced, Text: text, Err: err}
}

// Permanent reports whether trying err again cannot help.
func Permanent(err error) bool {
	s, ok := errors.AsType[*Status](err)
	return ok && s.Code >= 500
}

// StatusOf turns any error into a Status: a Status is returned as it is,
// everything else becomes 451 4.3.0 with err as the cause. It returns nil for
// nil.
func StatusOf(err error) *Status {
	if err == nil {
		return nil
	}
	if s, ok := errors.AsType[*Status](err); ok {
		return s
	}
	return Defer(451, "4.3.0", "internal error, try again later", err)
}

// ParseStatus reads a reply of another server, the lines joined by "\n" and
// stripped of the code. It takes an enhanced code from the text if it agrees
// with the class of code.
func ParseStatus(code int, text string) *Status {
	s := &Status{Code: code, Text: strings.Join(strings.Fields(text), " ")}
	if enh, rest, _ := strings.Cut(s.Text, " "); ValidEnhanced(enh) && enh[0] == byte('0'+code/100) {
		s.Enhanced, s.Text = enh, rest
	}
	return s
}

// ValidEnhanced reports whether s has the form of RFC 3463 section 2.
func ValidEnhanced(s string) bool {
	class, rest, ok := strings.Cut(s, ".")
	if !ok || (class != "2" && class != "4" && class != "5") {
		return false
	}
	subject, detail, ok := strings.Cut(rest, ".")
	return ok && shortNumber(subject) && shortNumber(detail)
}

func shortNumber(s string) bool {
	if len(s) < 1 || len(s) > 3 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
