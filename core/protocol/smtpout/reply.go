package smtpout

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

// Limits of one reply. Text beyond maxReplyText of a line is read and dropped.
const (
	maxReplyLines = 100
	maxReplyText  = 2048
	maxReplySkip  = 64 << 10
)

// errGarbage: the peer sent something that is not a reply of RFC 5321 4.2.
var errGarbage = errors.New("not an SMTP reply")

// reply is one reply, its lines without code and separator.
type reply struct {
	code  int
	lines []string
}

// readReply reads one reply of one or more lines. All lines must have one
// code from 200 to 599; a bare LF ends a line as CRLF does. It returns
// errGarbage or an error of the connection.
func readReply(r *bufio.Reader) (reply, error) {
	var rep reply
	for range maxReplyLines {
		line, err := readReplyLine(r)
		if err != nil {
			return reply{}, err
		}
		code, more, text, ok := parseReplyLine(line)
		if !ok || rep.code != 0 && code != rep.code {
			return reply{}, fmt.Errorf("%w: %s", errGarbage, printable.Quote(line))
		}
		rep.code = code
		rep.lines = append(rep.lines, text)
		if !more {
			return rep, nil
		}
	}
	return reply{}, fmt.Errorf("%w: more than %d lines", errGarbage, maxReplyLines)
}

// readReplyLine reads to the next LF, cuts what is too long, and takes the
// line's end away.
func readReplyLine(r *bufio.Reader) (string, error) {
	var line []byte
	for n := 0; ; {
		piece, err := r.ReadSlice('\n')
		n += len(piece)
		line = append(line, piece[:min(len(piece), maxReplyText+len("250 ")-len(line))]...)
		switch {
		case err == nil:
			return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		case n > maxReplySkip:
			return "", fmt.Errorf("%w: a line of more than %d octets", errGarbage, maxReplySkip)
		}
	}
}

func parseReplyLine(line string) (code int, more bool, text string, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, "", false
	}
	code, _ = strconv.Atoi(line[:3]) // three digits
	if len(line) == 3 {
		return code, false, "", true
	}
	return code, line[3] == '-', line[4:], line[3] == '-' || line[3] == ' '
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// String returns the reply as it is sent.
func (r reply) String() string {
	var b strings.Builder
	for i, l := range r.lines {
		sep := byte('-')
		if i == len(r.lines)-1 {
			sep = ' '
		}
		b.WriteString(strconv.Itoa(r.code))
		b.WriteByte(sep)
		b.WriteString(l)
		b.WriteString("\r\n")
	}
	return b.String()
}

func (r reply) isSuccess() bool { return r.code/100 == 2 }

// isRefusal reports whether the reply says no, now or for ever.
func (r reply) isRefusal() bool { return r.code >= 400 }

// status returns the reply with the first enhanced code that one of its lines
// starts with. RFC 2034 4 puts it on every line; some servers have it only on the first
// or the last.
func (r reply) status() *envelope.Status {
	out := &envelope.Status{Code: r.code}
	var texts []string
	for _, l := range r.lines {
		st := envelope.ParseStatus(r.code, l)
		if out.Enhanced == "" {
			out.Enhanced = st.Enhanced
		}
		if st.Enhanced != "" && st.Enhanced != out.Enhanced {
			st.Text = strings.TrimSpace(st.Enhanced + " " + st.Text)
		}
		texts = append(texts, st.Text)
	}
	out.Text = printable.Reply(strings.TrimSpace(strings.Join(texts, " ")), true)
	return out
}

// makeTransient makes a refusal one that is worth another try: it judges us or
// the host, not the message.
func makeTransient(st *envelope.Status) *envelope.Status {
	if st.Code < 500 {
		return st
	}
	enhanced := "4.0.0"
	if st.Enhanced != "" {
		enhanced = "4" + st.Enhanced[1:]
	}
	return envelope.Defer(451, enhanced, "host refuses the session: "+st.Reply(), st)
}
