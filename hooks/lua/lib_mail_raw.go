package lua

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/mime"
)

// onceFields are those that a message has once at most (RFC 5322 3.6, RFC 2045
// 3): of two, readers take one or the other.
var onceFields = []string{"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding"}

// maxHeaderLine are the octets of a line without its CRLF (RFC 5322 2.1.1).
const maxHeaderLine = 998

// parseRawMail takes a whole message apart that a policy made. What other servers
// could read in another way than we do is refused: a CR that ends no line would
// be a line end on the wire, and what stands after it a field of its own.
func parseRawMail(raw string) (*mime.Header, string, error) {
	raw = crlf(raw)
	if i := bareOctetIndex(raw); i >= 0 {
		return nil, "", fmt.Errorf("line %d contains %s", strings.Count(raw[:i], "\n")+1, octetName(raw[i]))
	}
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	h := mime.ParseHeader([]byte(head + "\r\n"))
	for _, f := range h.Fields() {
		if f.Name() == "" {
			return nil, "", fmt.Errorf("%.40q is not a header field", f.Raw)
		}
		if !strings.HasPrefix(f.Raw[len(f.Name()):], ":") {
			return nil, "", fmt.Errorf("there is white space between %s and its colon", f.Name())
		}
		for n, line := range strings.Split(strings.TrimSuffix(f.Raw, "\r\n"), "\r\n") {
			if n > 0 && strings.Trim(line, " \t") == "" {
				return nil, "", fmt.Errorf("%s has a line with only white space, which some servers take for the end of the header section", f.Name())
			}
			if len(line) > maxHeaderLine {
				return nil, "", fmt.Errorf("a line of %s has more than %d octets", f.Name(), maxHeaderLine)
			}
		}
	}
	if !h.Has("From") {
		return nil, "", errors.New("it has no From")
	}
	if v, _ := h.Get("From"); !isAddressList(v) {
		return nil, "", fmt.Errorf("its From %.60q is not a list of addresses", v)
	}
	return h, body, nil
}

// isAddressList reports whether a text is one address or more, and nothing else.
func isAddressList(s string) bool {
	list, complete := mime.ParseAddressList(s)
	return complete && len(list) > 0 && !slices.ContainsFunc(list, func(m mime.Mailbox) bool { return m.Address == "" })
}

// checkSingleFields returns an error for a field that occurs twice and must not.
func checkSingleFields(h *mime.Header) error {
	for _, name := range onceFields {
		if h.Count(name) > 1 {
			return fmt.Errorf("%s occurs twice", name)
		}
	}
	return nil
}

// bareOctetIndex returns the index of a NUL or of a CR or LF that is no half of a CRLF, or
// -1.
func bareOctetIndex(s string) int {
	for i := range len(s) {
		switch s[i] {
		case 0:
			return i
		case '\r':
			if i+1 == len(s) || s[i+1] != '\n' {
				return i
			}
		case '\n':
			if i == 0 || s[i-1] != '\r' {
				return i
			}
		}
	}
	return -1
}

func octetName(c byte) string {
	switch c {
	case 0:
		return "a NUL"
	case '\r':
		return "a CR outside of a line end"
	}
	return "an LF outside of a line end"
}

// controlIndex returns the index of a control character, or -1. What policies give for a
// line of the network must have none; a tab is white space.
func controlIndex(s string) int {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// lineArgument raises unless a text fits into one line.
func lineArgument(L *glua.LState, what, s string) string {
	if controlIndex(s) >= 0 {
		L.RaiseError("%s must be one line without control characters", what)
	}
	return s
}

// crlf makes each LF a line end of the network.
func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}
