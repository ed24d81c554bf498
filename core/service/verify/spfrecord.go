package verify

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// spfRecord is a record whose syntax is right: one mistake anywhere makes it
// permerror before anything is evaluated (RFC 7208 4.6).
type spfRecord struct {
	terms    []spfTerm
	redirect string // a domain-spec
}

// spfTerm is one mechanism with the result that it has where it matches.
type spfTerm struct {
	result       string
	name         string // in lower case
	spec         string // domain-spec, or "" for the domain itself
	bits4, bits6 int
	network      netip.Prefix // of ip4 and ip6
}

var spfResults = map[byte]string{'+': "pass", '-': "fail", '~': "softfail", '?': "neutral"}

// parseSPF reads a record (RFC 7208 12), else errPermanent.
func parseSPF(text string) (*spfRecord, error) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return nil, errPermanent
		}
	}
	r := &spfRecord{}
	seen := map[string]bool{}
	for _, field := range strings.Split(text, " ")[1:] {
		if field == "" {
			continue
		}
		if name, value, ok := modifier(field); ok {
			switch {
			case name == "redirect" || name == "exp":
				if seen[name] || !domainSpec(value) {
					return nil, errPermanent
				}
				seen[name] = true
				if name == "redirect" {
					r.redirect = value
				}
			case !macroString(value):
				return nil, errPermanent
			}
			continue
		}
		t, ok := mechanism(field)
		if !ok {
			return nil, errPermanent
		}
		r.terms = append(r.terms, t)
	}
	return r, nil
}

// modifier splits "name=value"; what has another character before the "=" is a
// mechanism.
func modifier(field string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(field, "=")
	name = strings.ToLower(name)
	if !ok || name == "" || name[0] < 'a' || name[0] > 'z' || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", "", false
	}
	return name, value, true
}

func mechanism(field string) (spfTerm, bool) {
	t := spfTerm{result: "pass", bits4: 32, bits6: 128}
	if r, ok := spfResults[field[0]]; ok {
		t.result, field = r, field[1:]
	}
	end := strings.IndexAny(field, ":/")
	if end < 0 {
		end = len(field)
	}
	t.name = strings.ToLower(field[:end])
	rest := field[end:]
	value, given := strings.CutPrefix(rest, ":")
	switch t.name {
	case "all":
		return t, rest == ""
	case "ip4", "ip6":
		return t.ip(value, given)
	case "include", "exists":
		t.spec = value
		return t, given && domainSpec(value)
	case "ptr":
		t.spec = value
		return t, rest == "" || given && domainSpec(value)
	case "a", "mx":
		var ok bool
		if rest, ok = t.lengths(rest); !ok {
			return t, false
		}
		t.spec, given = strings.CutPrefix(rest, ":")
		return t, rest == "" || given && domainSpec(t.spec)
	}
	return t, false
}

// ip reads the network of ip4 and ip6.
func (t *spfTerm) ip(value string, given bool) (spfTerm, bool) {
	address, length, cut := strings.Cut(value, "/")
	ip, err := netip.ParseAddr(address)
	if !given || err != nil || ip.Zone() != "" || ip.Is4() != (t.name == "ip4") {
		return *t, false
	}
	bits := ip.BitLen()
	if cut {
		var ok bool
		if bits, ok = prefixLength(length, bits); !ok {
			return *t, false
		}
	}
	t.network, err = ip.Prefix(bits)
	return *t, err == nil
}

// lengths takes "/24//64", or one of them, from the end of a term.
func (t *spfTerm) lengths(s string) (rest string, ok bool) {
	if i := strings.LastIndex(s, "//"); i >= 0 && digits(s[i+2:]) {
		if t.bits6, ok = prefixLength(s[i+2:], 128); !ok {
			return "", false
		}
		s = s[:i]
	}
	if i := strings.LastIndexByte(s, '/'); i >= 0 && digits(s[i+1:]) {
		if t.bits4, ok = prefixLength(s[i+1:], 32); !ok {
			return "", false
		}
		s = s[:i]
	}
	return s, true
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func prefixLength(s string, most int) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && digits(s) && n <= most && (s == "0" || s[0] != '0')
}

// macro is a part of a macro-string: a literal, or an expansion.
type macro struct {
	literal   string
	letter    byte // 0 for a literal
	parts     int  // how many count, from the right; 0: all
	reversed  bool
	delimiter string
}

// macros reads a macro-string (RFC 7208 7.1).
func macros(s string) ([]macro, bool) {
	var out []macro
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			i = len(s)
		}
		if i > 0 {
			out = append(out, macro{literal: s[:i]})
			s = s[i:]
			continue
		}
		if len(s) < 2 {
			return nil, false
		}
		switch s[1] {
		case '%':
			out, s = append(out, macro{literal: "%"}), s[2:]
		case '_':
			out, s = append(out, macro{literal: " "}), s[2:]
		case '-':
			out, s = append(out, macro{literal: "%20"}), s[2:]
		case '{':
			body, rest, ok := strings.Cut(s[2:], "}")
			m, good := expansion(body)
			if !ok || !good {
				return nil, false
			}
			out, s = append(out, m), rest
		default:
			return nil, false
		}
	}
	return out, true
}

// expansion parses the text between the braces. The letters c, r and t are allowed only
// in explanations (RFC 7208 7.2).
func expansion(s string) (macro, bool) {
	if s == "" || strings.IndexByte("slodiphvSLODIPHV", s[0]) < 0 {
		return macro{}, false
	}
	m := macro{letter: s[0], delimiter: "."}
	s = s[1:]
	rest := strings.TrimLeft(s, "0123456789")
	if n := s[:len(s)-len(rest)]; n != "" {
		var err error
		if m.parts, err = strconv.Atoi(n); err != nil || m.parts == 0 {
			return macro{}, false
		}
	}
	if rest != "" && rest[0]|0x20 == 'r' {
		m.reversed, rest = true, rest[1:]
	}
	if rest != "" {
		m.delimiter = rest
	}
	return m, strings.Trim(rest, ".-+,/_=") == ""
}

func macroString(s string) bool {
	_, ok := macros(s)
	return ok
}

// domainSpec reports whether a string ends in a macro or in a top label.
func domainSpec(s string) bool {
	list, ok := macros(s)
	if !ok || len(list) == 0 {
		return false
	}
	if strings.HasSuffix(s, "%%") || strings.HasSuffix(s, "%_") || strings.HasSuffix(s, "%-") {
		return true
	}
	last := list[len(list)-1]
	if last.letter != 0 {
		return true
	}
	name := strings.TrimSuffix(last.literal, ".")
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return false
	}
	top := strings.ToLower(name[i+1:])
	return top != "" && top[0] != '-' && top[len(top)-1] != '-' && strings.Trim(top, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		!digits(top)
}

// expand makes a name of a domain-spec; of one that is too long the left
// labels go (RFC 7208 7.3).
func (c *spfCheck) expand(spec, domain string) (string, error) {
	list, ok := macros(spec)
	if !ok {
		return "", errPermanent
	}
	var b strings.Builder
	for _, m := range list {
		if m.letter == 0 {
			b.WriteString(m.literal)
			continue
		}
		value, err := c.value(m.letter|0x20, domain)
		if err != nil {
			return "", err
		}
		parts := strings.Split(strings.Map(func(r rune) rune {
			if strings.ContainsRune(m.delimiter, r) {
				return 0
			}
			return r
		}, value), "\x00")
		if m.reversed {
			slices.Reverse(parts)
		}
		if m.parts > 0 && m.parts < len(parts) {
			parts = parts[len(parts)-m.parts:]
		}
		value = strings.Join(parts, ".")
		if m.letter < 'a' {
			value = escaped(value)
		}
		b.WriteString(value)
	}
	name := strings.TrimSuffix(b.String(), ".")
	for len(name) > 253 {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			break
		}
		name = rest
	}
	return name, nil
}

// value returns the value of a macro letter.
func (c *spfCheck) value(letter byte, domain string) (string, error) {
	switch letter {
	case 's':
		return c.local + "@" + c.origin, nil
	case 'l':
		return c.local, nil
	case 'o':
		return c.origin, nil
	case 'd':
		return domain, nil
	case 'h':
		return c.helo, nil
	case 'i':
		return dotted(c.ip), nil
	case 'v':
		if c.ip.Is4() {
			return "in-addr", nil
		}
		return "ip6", nil
	}
	// p: a name that leads back to the client, rather the domain's own
	// (RFC 7208 7.3); it is counted as "ptr" is (RFC 7208 4.6.4).
	if err := c.countTerm(); err != nil {
		return "", err
	}
	if err := c.lookupNames(); err != nil {
		return "", err
	}
	best := "unknown"
	for _, name := range c.names {
		if strings.EqualFold(name, domain) {
			return name, nil
		}
		if isBelow(name, domain) && !isBelow(best, domain) || best == "unknown" {
			best = name
		}
	}
	return best, nil
}

// dotted returns an address in the form of the macro i: IPv6 as its nibbles.
func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	const hex = "0123456789abcdef"
	var b []byte
	for i, octet := range ip.As16() {
		if i > 0 {
			b = append(b, '.')
		}
		b = append(b, hex[octet>>4], '.', hex[octet&15])
	}
	return string(b)
}

// escaped writes all but the unreserved characters of RFC 3986 2.3 as %XX.
func escaped(s string) string {
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("-._~", c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}
