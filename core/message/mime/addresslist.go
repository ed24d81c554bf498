package mime

import (
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

// ParseAddressList reads the value of From, To, Cc and their like (RFC 5322
// 3.4) with what was once allowed and is still read: routes, white space and
// comments around dots, empty members (4.4). A group is replaced by its
// members, an empty one by nothing. Anything that is not a mailbox, or whose
// address is invalid by RFC 5321, is left out up to the next comma, and
// complete is false. Time is linear in the length of value.
func ParseAddressList(value string) (list []Mailbox, complete bool) {
	p := addressList{lexer: lexer{s: value}, complete: true}
	return p.read()
}

func (p *addressList) read() (list []Mailbox, complete bool) {
	for {
		t := p.next()
		switch t.kind {
		case 0:
			p.endMember()
			if p.group || p.bad {
				p.complete = false
			}
			return p.list, p.complete
		case ':', ';', ',', '<', '>':
			p.special(t.kind)
		default:
			p.keep(t)
		}
	}
}

// ParseAuthors reads the value of From, Sender and the like as our own messages
// may have it: only mailboxes, no groups or routes, which others read
// differently. ok is false for anything else, and if there is no mailbox.
func ParseAuthors(value string) (list []Mailbox, ok bool) {
	p := addressList{lexer: lexer{s: value}, complete: true}
	list, complete := p.read()
	return list, complete && !p.odd && len(list) > 0
}

// maxTokens is more than any mailbox has; text with more tokens is not an address.
const maxTokens = 2000

func (p *addressList) keep(t token) {
	if len(p.tokens) <= maxTokens {
		p.tokens = append(p.tokens, t)
	}
}

// addressList is the state of the parser of a list.
type addressList struct {
	lexer
	list     []Mailbox
	complete bool

	tokens []token // of the current member
	angle  int     // where in tokens what follows "<" begins, plus 1; 0: no "<" yet
	closed bool    // its ">" was seen
	group  bool    // inside of a group
	odd    bool    // a group or a route was read
}

func (p *addressList) special(c byte) {
	inAngle := p.angle > 0 && !p.closed
	switch {
	case inAngle && c == '>':
		p.closed = true
	case inAngle && c == ':' && p.startsRoute():
		p.tokens, p.odd = p.tokens[:p.angle-1], true
	case inAngle && c == ',' && p.startsRoute():
	case c == '<' && p.angle == 0:
		p.angle = len(p.tokens) + 1
	case c == ':' && !p.group && p.angle == 0 && len(p.tokens) > 0 && !hasKind(p.tokens, '@'):
		p.group, p.odd, p.tokens, p.comment = true, true, p.tokens[:0], ""
	case c == ',':
		p.endMember()
	case c == ';' && p.group:
		p.endMember()
		p.group = false
	case c == ';': // many write it between addresses
		p.endMember()
		p.complete = false
	default:
		p.complete = false
		p.keep(token{kind: c})
	}
}

// startsRoute reports whether what stands after "<" begins as an obsolete route,
// "@a,@b:" (RFC 5322 4.4), which is dropped.
func (p *addressList) startsRoute() bool {
	return len(p.tokens) >= p.angle && p.tokens[p.angle-1].kind == '@'
}

// endMember ends the current member.
func (p *addressList) endMember() {
	tokens, angle, closed, comment := p.tokens, p.angle, p.closed, p.comment
	p.tokens, p.angle, p.closed, p.comment = p.tokens[:0], 0, false, ""
	if len(tokens) == 0 && angle == 0 {
		return
	}
	if len(tokens) > maxTokens {
		p.complete = false
		return
	}
	m := Mailbox{Display: DecodeWords(strings.TrimSpace(comment))}
	spec := tokens
	if angle > 0 {
		spec = tokens[angle-1:]
		if angle > 1 {
			m.Display = phrase(tokens[:angle-1])
		}
		if !closed || hasKind(tokens[:angle-1], '@') {
			p.complete = false
		}
	}
	a, ok := address(spec)
	if !ok {
		p.complete = false
		return
	}
	m.Address = a
	p.list = append(p.list, m)
}

// address reads an addr-spec (RFC 5322 3.4.1).
func address(tokens []token) (envelope.Address, bool) {
	var local, domain strings.Builder
	b, dot, at := &local, true, false
	for _, t := range tokens {
		switch {
		case t.kind == '@' && !at && !dot:
			b, dot, at = &domain, true, true
		case t.kind == '.' && !dot:
			b.WriteByte('.')
			dot = true
		case dot && (t.kind == 'a' || t.kind == 'q' && !at || t.kind == '[' && at && domain.Len() == 0):
			b.WriteString(t.text)
			dot = false
		default:
			return "", false
		}
		if b.Len() > envelope.MaxPath {
			return "", false
		}
	}
	if dot || !at {
		return "", false
	}
	a, err := envelope.ParseAddress(envelope.QuoteLocal(local.String()) + "@" + domain.String())
	return a, err == nil
}

// phrase returns a display name as people read it: encoded words are decoded where
// they are atoms (RFC 2047 5).
func phrase(tokens []token) string {
	var out, atoms strings.Builder
	flush := func() {
		out.WriteString(DecodeWords(atoms.String()))
		atoms.Reset()
	}
	for i, t := range tokens {
		if i > 0 && t.space {
			atoms.WriteByte(' ')
		}
		switch t.kind {
		case 'a':
			atoms.WriteString(t.text)
		case 'q':
			flush()
			out.WriteString(printable.FieldText(t.text))
		case '[':
			atoms.WriteString(t.text)
		default:
			atoms.WriteByte(t.kind)
		}
	}
	flush()
	return out.String()
}

func hasKind(tokens []token, kind byte) bool {
	for _, t := range tokens {
		if t.kind == kind {
			return true
		}
	}
	return false
}

// token is an atom 'a', a quoted string 'q', a domain literal '[', or one of
// the special characters; 0 is the end.
type token struct {
	kind  byte
	space bool // white space or a comment stands before it
	text  string
}

// lexer cuts a structured value into tokens (RFC 5322 3.2).
type lexer struct {
	s       string
	comment string // the last one
	bad     bool   // something is not closed
}

func (l *lexer) next() token {
	space := l.skip()
	if l.s == "" {
		return token{}
	}
	c := l.s[0]
	switch {
	case c == '"':
		text, n := l.quoted('"')
		l.s = l.s[n:]
		return token{'q', space, text}
	case c == '[':
		text, n := l.quoted(']')
		l.s = l.s[n:]
		return token{'[', space, "[" + text + "]"}
	case !atext(c):
		l.s = l.s[1:]
		return token{c, space, ""}
	}
	n := 1
	for n < len(l.s) && atext(l.s[n]) {
		n++
	}
	text := l.s[:n]
	l.s = l.s[n:]
	return token{'a', space, text}
}

// skip drops white space and comments, which may nest.
func (l *lexer) skip() (any bool) {
	depth, start := 0, 0
	for i := 0; i < len(l.s); i++ {
		switch c := l.s[i]; {
		case c == '(':
			if depth++; depth == 1 {
				start = i + 1
			}
		case depth > 0 && c == ')':
			if depth--; depth == 0 {
				l.comment = l.s[start:i]
			}
		case depth > 0 && c == '\\':
			i++
		case depth == 0 && c > ' ':
			l.s = l.s[i:]
			return any
		}
		any = true
	}
	l.bad = l.bad || depth > 0
	l.s = ""
	return any
}

// quoted reads up to the closing character and returns what is between, and
// how many octets that took.
func (l *lexer) quoted(end byte) (string, int) {
	var b strings.Builder
	for i := 1; i < len(l.s); i++ {
		c := l.s[i]
		if c == end {
			return b.String(), i + 1
		}
		if c == '\\' && i+1 < len(l.s) {
			i++
			c = l.s[i]
		}
		b.WriteByte(c)
	}
	l.bad = true
	return b.String(), len(l.s)
}
