// Package pattern has the parts of Lua 5.1's string library that need no
// interpreter: patterns, the character classes that they are made of, and the
// conversions of string.format. All of it works on octets, in the C locale.
package pattern

// Limits of the pattern matcher.
const (
	maxCaptures  = 32
	maxDepth     = 200  // nested items of a pattern
	stepsPerTick = 4096 // matcher steps between two charges
	stepsPerUnit = 8    // matcher steps that cost one instruction
)

// Marks in a capture's length.
const (
	captureOpen     = -1
	capturePosition = -2
)

// Matcher matches Lua 5.1 patterns. It allocates nothing. A NUL in a pattern is
// an octet like any other. It is not safe for concurrent use.
type Matcher struct {
	src, pat string
	level    int // captures so far
	captures [maxCaptures]struct{ start, length int }
	depth    int
	steps    int
	tick     func(instructions int64)
	raise    func(message string)
}

// NewMatcher makes a matcher. It calls tick from time to time with the number
// of instructions to charge; a panic there ends the match. It calls raise, which
// must not return, for a malformed pattern.
func NewMatcher(tick func(instructions int64), raise func(message string)) *Matcher {
	return &Matcher{tick: tick, raise: raise}
}

// Reset sets the text and the pattern of the matches that follow.
func (m *Matcher) Reset(src, pat string) {
	m.src, m.pat, m.level, m.depth = src, pat, 0, 0
}

// Captures returns how many captures the last match has.
func (m *Matcher) Captures() int { return m.level }

// Anchored reports whether a pattern matches only where the search begins.
func Anchored(pat string) bool { return len(pat) > 0 && pat[0] == '^' }

// count is called for each step.
func (m *Matcher) count(n int) {
	m.steps += n
	if m.steps >= stepsPerTick {
		m.tick(int64(m.steps / stepsPerUnit))
		m.steps = 0
	}
}

// Find looks for the first match at or after init. It returns -1 for none.
func (m *Matcher) Find(init int) (start, end int) {
	p := 0
	anchored := Anchored(m.pat)
	if anchored {
		p = 1
	}
	for s := init; ; s++ {
		if e := m.MatchAt(s, p); e >= 0 {
			return s, e
		}
		if anchored || s >= len(m.src) {
			return -1, -1
		}
	}
}

// MatchAt matches the pattern from its octet p on at src[s:] and returns the end
// of the match or -1.
func (m *Matcher) MatchAt(s, p int) int {
	m.level = 0
	return m.match(s, p)
}

// match matches pat[p:] at src[s:] and returns the end of the match or -1.
func (m *Matcher) match(s, p int) int {
	m.depth++
	if m.depth > maxDepth {
		m.raise("pattern too complex")
	}
	e := m.loop(s, p)
	m.depth--
	return e
}

func (m *Matcher) loop(s, p int) int {
	for p < len(m.pat) {
		m.count(1)
		switch m.pat[p] {
		case '(':
			if p+1 < len(m.pat) && m.pat[p+1] == ')' {
				return m.open(s, p+2, capturePosition)
			}
			return m.open(s, p+1, captureOpen)
		case ')':
			return m.close(s, p+1)
		case '$':
			if p+1 == len(m.pat) {
				if s == len(m.src) {
					return s
				}
				return -1
			}
		case '%':
			if p+1 < len(m.pat) {
				if next, handled := m.escape(&s, p); handled {
					if next < 0 {
						return -1
					}
					p = next
					continue
				}
			}
		}
		ep := m.classEnd(p)
		suffix := byte(0)
		if ep < len(m.pat) {
			suffix = m.pat[ep]
		}
		switch suffix {
		case '?':
			if s < len(m.src) && m.single(m.src[s], p, ep) {
				if e := m.match(s+1, ep+1); e >= 0 {
					return e
				}
			}
			p = ep + 1
		case '*':
			return m.maxExpand(s, p, ep)
		case '+':
			if s >= len(m.src) || !m.single(m.src[s], p, ep) {
				return -1
			}
			return m.maxExpand(s+1, p, ep)
		case '-':
			return m.minExpand(s, p, ep)
		default:
			if s >= len(m.src) || !m.single(m.src[s], p, ep) {
				return -1
			}
			s, p = s+1, ep
		}
	}
	return s
}

// escape handles %b, %f and %1 to %9; everything else is a single character.
func (m *Matcher) escape(s *int, p int) (next int, handled bool) {
	switch c := m.pat[p+1]; {
	case c == 'b':
		e := m.balance(*s, p+2)
		if e < 0 {
			return -1, true
		}
		*s = e
		return p + 4, true
	case c == 'f':
		p += 2
		if p >= len(m.pat) || m.pat[p] != '[' {
			m.raise("missing '[' after '%f' in pattern")
		}
		ep := m.classEnd(p)
		var before, at byte
		if *s > 0 {
			before = m.src[*s-1]
		}
		if *s < len(m.src) {
			at = m.src[*s]
		}
		if in := m.members(p, ep); in.has(before) || !in.has(at) {
			return -1, true
		}
		return ep, true
	case c >= '0' && c <= '9':
		i := int(c - '1')
		if i < 0 || i >= m.level || m.captures[i].length == captureOpen {
			m.raise("invalid capture index")
		}
		n := max(m.captures[i].length, 0)
		start := m.captures[i].start
		m.count(n / 16)
		if len(m.src)-*s < n || m.src[start:start+n] != m.src[*s:*s+n] {
			return -1, true
		}
		*s += n
		return p + 2, true
	}
	return 0, false
}

// classEnd returns the index after the single-character item at p.
func (m *Matcher) classEnd(p int) int {
	c := m.pat[p]
	p++
	if c == '%' {
		if p >= len(m.pat) {
			m.raise("malformed pattern (ends with '%')")
		}
		return p + 1
	}
	if c != '[' {
		return p
	}
	if p < len(m.pat) && m.pat[p] == '^' {
		p++
	}
	for first := true; first || p >= len(m.pat) || m.pat[p] != ']'; first = false {
		if p >= len(m.pat) {
			m.raise("malformed pattern (missing ']')")
		}
		c := m.pat[p]
		p++
		if c == '%' {
			p++ // the escaped character; "%]" does not end the set
		}
		m.count(1)
	}
	return p + 1
}

// single reports whether c matches the item pat[p:ep].
func (m *Matcher) single(c byte, p, ep int) bool {
	switch m.pat[p] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pat[p+1])
	case '[':
		in := m.members(p, ep)
		return in.has(c)
	}
	return m.pat[p] == c
}

func (m *Matcher) maxExpand(s, p, ep int) int {
	i := m.run(s, p, ep)
	if ep+1 == len(m.pat) {
		return s + i
	}
	for ; i >= 0; i-- {
		if e := m.match(s+i, ep+1); e >= 0 {
			return e
		}
	}
	return -1
}

// run returns how many octets from src[s] on match the item pat[p:ep].
func (m *Matcher) run(s, p, ep int) int {
	in := m.members(p, ep)
	n := 0
	for s+n < len(m.src) {
		block := m.src[s+n : min(s+n+stepsPerTick, len(m.src))]
		i := 0
		for i < len(block) && in.has(block[i]) {
			i++
		}
		n += i
		m.count(i)
		if i < len(block) {
			break
		}
	}
	return n
}

// members returns the octets that match the item pat[p:ep].
func (m *Matcher) members(p, ep int) (in octetSet) {
	switch m.pat[p] {
	case '.':
		in.invert()
		return in
	case '%':
		return classOctets[m.pat[p+1]]
	case '[':
	default:
		in.add(m.pat[p])
		return in
	}
	p, end := p+1, ep-1
	complement := m.pat[p] == '^'
	if complement {
		p++
	}
	m.count((end - p) / 4)
	for ; p < end; p++ {
		switch {
		case m.pat[p] == '%' && p+1 < end:
			p++
			for i, word := range &classOctets[m.pat[p]] {
				in[i] |= word
			}
		case p+2 < end && m.pat[p+1] == '-':
			in.addRange(m.pat[p], m.pat[p+2])
			p += 2
		default:
			in.add(m.pat[p])
		}
	}
	if complement {
		in.invert()
	}
	return in
}

func (m *Matcher) minExpand(s, p, ep int) int {
	for {
		if e := m.match(s, ep+1); e >= 0 {
			return e
		}
		if s >= len(m.src) || !m.single(m.src[s], p, ep) {
			return -1
		}
		s++
		m.count(1)
	}
}

func (m *Matcher) open(s, p, what int) int {
	if m.level >= maxCaptures {
		m.raise("too many captures")
	}
	m.captures[m.level].start, m.captures[m.level].length = s, what
	m.level++
	e := m.match(s, p)
	if e < 0 {
		m.level--
	}
	return e
}

func (m *Matcher) close(s, p int) int {
	i := m.level - 1
	for ; i >= 0 && m.captures[i].length != captureOpen; i-- {
	}
	if i < 0 {
		m.raise("invalid pattern capture")
	}
	m.captures[i].length = s - m.captures[i].start
	e := m.match(s, p)
	if e < 0 {
		m.captures[i].length = captureOpen
	}
	return e
}

func (m *Matcher) balance(s, p int) int {
	if p+1 >= len(m.pat) {
		m.raise("unbalanced pattern")
	}
	open, shut := m.pat[p], m.pat[p+1]
	if s >= len(m.src) || m.src[s] != open {
		return -1
	}
	depth := 1
	for i := s + 1; i < len(m.src); i++ {
		m.count(1)
		switch m.src[i] {
		case shut:
			depth--
			if depth == 0 {
				return i + 1
			}
		case open:
			depth++
		}
	}
	return -1
}

// Capture returns the i-th capture of the match from start to end: a position
// (1-based) or a piece of the text. With no captures at all, the first one is
// the whole match.
func (m *Matcher) Capture(i, start, end int) (text string, position int, isPosition bool) {
	if i >= m.level {
		if i > 0 {
			m.raise("invalid capture index")
		}
		return m.src[start:end], 0, false
	}
	c := m.captures[i]
	switch c.length {
	case captureOpen:
		m.raise("unfinished capture")
	case capturePosition:
		return "", c.start + 1, true
	}
	return m.src[c.start : c.start+c.length], 0, false
}

// HasSpecials reports whether pat is more than plain text.
func HasSpecials(pat string) bool {
	for i := range len(pat) {
		switch pat[i] {
		case '^', '$', '*', '+', '?', '.', '(', '[', '%', '-':
			return true
		}
	}
	return false
}
