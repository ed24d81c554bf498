package smtpin

import (
	"errors"
	"strings"

	"carteiro/core/message/envelope"
)

// errSyntax is wrapped by what is wrong with an argument; the text is fit for
// the reply.
var errSyntax = errors.New("syntax error")

// cutPath takes "KEYWORD:<...>" off the front of a MAIL or RCPT argument: the
// keyword in any case, no spaces around the colon (RFC 5321 3.3). inner is
// what stands between the brackets, params what follows after one space.
func cutPath(arg, keyword string) (inner, params string, ok bool) {
	if len(arg) < len(keyword)+2 || !strings.EqualFold(arg[:len(keyword)], keyword) || arg[len(keyword)] != ':' {
		return "", "", false
	}
	arg = arg[len(keyword)+1:]
	if arg == "" || arg[0] != '<' {
		return "", "", false
	}
	end := closingBracket(arg)
	if end < 0 {
		return "", "", false
	}
	inner, params = arg[1:end], arg[end+1:]
	if params == "" {
		return inner, "", true
	}
	if params[0] != ' ' || params == " " {
		return "", "", false
	}
	return inner, params[1:], true
}

// closingBracket finds the ">" that is not inside a quoted local part.
func closingBracket(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return i
		}
	}
	return -1
}

// parseMailbox reads the inside of a path. A source route is checked and
// dropped, as RFC 5321 appendix C allows. It returns envelope.ErrAddress.
func parseMailbox(inner string) (envelope.Address, error) {
	if len(inner) > envelope.MaxPath-2 { // the route counts too (RFC 5321 4.5.3.1.3)
		return "", envelope.ErrAddress
	}
	if strings.HasPrefix(inner, "@") {
		route, mailbox, found := strings.Cut(inner, ":")
		if !found {
			return "", envelope.ErrAddress
		}
		for hop := range strings.SplitSeq(route, ",") {
			if !strings.HasPrefix(hop, "@") {
				return "", envelope.ErrAddress
			}
			if err := envelope.CheckDomain(hop[1:]); err != nil {
				return "", err
			}
		}
		inner = mailbox
	}
	return envelope.ParseAddress(inner)
}
