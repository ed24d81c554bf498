package dialogtest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// expect reads a line and compares it with a pattern.
func (p *player) expect(pattern string) error {
	re, names, err := compile(p.replaceVars(pattern))
	if err != nil {
		return err
	}
	p.now.nc.SetReadDeadline(time.Now().Add(p.srv.Timeout))
	line, err := p.now.r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("got %q and then: %w", line, err)
	}
	if !strings.HasSuffix(line, "\r\n") {
		return fmt.Errorf("the line %q does not end in CRLF", line)
	}
	line = strings.TrimSuffix(line, "\r\n")
	m := re.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("got  %s", strconv.QuoteToGraphic(line))
	}
	for i, name := range names {
		p.vars[name] = m[re.SubexpIndex("v"+strconv.Itoa(i))]
	}
	return nil
}

func (p *player) replaceVars(s string) string {
	for k, v := range p.vars {
		s = strings.ReplaceAll(s, "{"+k+"}", v)
	}
	return s
}

// compile makes a regular expression of a pattern; names are those of its
// captures, the group of names[i] being "v<i>".
func compile(pattern string) (re *regexp.Regexp, names []string, err error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern) && (pattern[i+1] == '*' || pattern[i+1] == '/'):
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case c == '*':
			b.WriteString(".*?")
		case c == '/':
			end := closing(pattern[i+1:])
			if end < 0 {
				return nil, nil, fmt.Errorf("no closing slash in %q", pattern)
			}
			b.WriteString("(?:" + strings.ReplaceAll(pattern[i+1:i+1+end], `\/`, "/") + ")")
			i += end + 1
		case c == '{' && strings.Contains(pattern[i:], "=*}"):
			name, _, _ := strings.Cut(pattern[i+1:], "=*}")
			fmt.Fprintf(&b, "(?P<v%d>.*?)", len(names))
			names = append(names, name)
			i += len(name) + 3
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	b.WriteString(`\z`)
	re, err = regexp.Compile(b.String())
	return re, names, err
}

func closing(s string) int {
	for i := range len(s) {
		if s[i] == '/' && (i == 0 || s[i-1] != '\\') {
			return i
		}
	}
	return -1
}

// unescape reads \r \n \t \0 \\ and \xHH.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("a backslash at the end of %q", s)
		}
		switch s[i] {
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '0':
			b.WriteByte(0)
		case '\\':
			b.WriteByte('\\')
		case 'x':
			if i+2 >= len(s) {
				return "", fmt.Errorf("\\x without two digits in %q", s)
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", fmt.Errorf("\\x without two digits in %q", s)
			}
			b.WriteByte(byte(n))
			i += 2
		default:
			return "", fmt.Errorf("unknown escape \\%c", s[i])
		}
	}
	return b.String(), nil
}
