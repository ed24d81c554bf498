package mime

import (
	"net/url"
	"strconv"
	"strings"
)

// params are the parameters of Content-Type and its like, names in lower
// case. Of a parameter given twice the first one counts.
type params map[string]string

// parseMediaType reads "type/subtype; name=value" (RFC 2045 5.1) and
// Content-Disposition's form. It takes what mail readers take, so that nothing
// shows there that policies did not see: comments, missing quotes, the same
// parameter twice. Time is linear.
func parseMediaType(v string) (kind string, p params) {
	l := lexer{s: v}
	kind, _ = cutAny(strings.ToLower(l.value()), " \t")
	p = params{}
	for l.s != "" {
		l.s = l.s[1:] // the semicolon
		name := ""
		name, l.s = cutAny(l.s, "=;")
		name = strings.ToLower(strings.TrimSpace(strip(name)))
		if l.s == "" || l.s[0] == ';' {
			continue
		}
		l.s = l.s[1:]
		if value := l.value(); name != "" {
			if _, ok := p[name]; !ok {
				p[name] = value
			}
		}
	}
	return kind, p
}

// cutAny cuts s before the first of the characters.
func cutAny(s, chars string) (before, rest string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// strip drops comments around a name.
func strip(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	l := lexer{s: s}
	l.skip()
	name, _ := cutAny(l.s, "(")
	return name
}

// value reads up to the next semicolon: a quoted string, or what stands there
// without comments.
func (l *lexer) value() string {
	l.skip()
	if l.s != "" && l.s[0] == '"' {
		text, n := l.quoted('"')
		_, l.s = cutAny(l.s[n:], ";")
		return text
	}
	text, rest := cutAny(l.s, ";(")
	l.s = rest
	for l.s != "" && l.s[0] != ';' {
		l.skip()
		_, l.s = cutAny(l.s, ";")
	}
	return strings.TrimSpace(text)
}

// get returns a parameter, its pieces joined and decoded (RFC 2231 3, 4).
func (p params) get(name string) string {
	if v, ok := p[name+"*"]; ok {
		return decodeExtended(v)
	}
	var b strings.Builder
	extended := false
	for i := 0; ; i++ {
		piece := name + "*" + strconv.Itoa(i)
		v, ok := p[piece]
		if w, ext := p[piece+"*"]; ext {
			v, ok = w, true
			extended = extended || i == 0
		} else if ok && extended {
			v = url.PathEscape(v)
		}
		if !ok {
			break
		}
		b.WriteString(v)
	}
	switch {
	case b.Len() == 0:
		return p[name]
	case extended:
		return decodeExtended(b.String())
	}
	return b.String()
}

// decodeExtended decodes charset'language'percent-encoded text.
func decodeExtended(v string) string {
	name, rest, ok := strings.Cut(v, "'")
	if !ok {
		return v
	}
	_, text, ok := strings.Cut(rest, "'")
	if !ok {
		return v
	}
	raw := unpercent(text)
	if name == "" || strings.EqualFold(name, "utf-8") || strings.EqualFold(name, "us-ascii") {
		return raw
	}
	return recode(name, raw)
}

// unpercent decodes %XX; other text is not changed.
func unpercent(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
