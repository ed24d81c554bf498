package pattern_test

import (
	"fmt"
	"strings"
	"testing"

	"carteiro/hooks/lua/pattern"
)

// patternError is what raise throws in these tests.
type patternError string

// ours runs the matcher of the package.
func ours(src, pat string) (out string) {
	steps := int64(0)
	m := pattern.NewMatcher(func(n int64) {
		if steps += n; steps > 20_000 {
			panic(patternError("budget"))
		}
	}, func(s string) { panic(patternError(s)) })
	defer func() {
		if e := recover(); e != nil {
			out = "error " + string(e.(patternError))
		}
	}()
	m.Reset(src, pat)
	s, e := m.Find(0)
	if s < 0 {
		return "none"
	}
	out = fmt.Sprint(s, " ", e)
	for i := range m.Captures() {
		text, pos, isPos := m.Capture(i, s, e)
		if isPos {
			out += fmt.Sprint(" @", pos)
		} else {
			out += fmt.Sprintf(" %q", text)
		}
	}
	return out
}

// The reference is written for clarity: a pattern is first parsed into items,
// then matched by trying everything with continuations. It knows no steps.

type item struct {
	kind  byte // 'c' single, '(' ')' '@' captures, 'b' balance, 'f' frontier, 'r' back reference, '$' end
	in    func(c byte) bool
	rep   byte // 0 ? * + -
	a, b  byte
	index int
}

func parseItems(p string) (items []item, bad bool) {
	for i := 0; i < len(p); {
		switch c := p[i]; {
		case c == '(' && i+1 < len(p) && p[i+1] == ')':
			items = append(items, item{kind: '@'})
			i += 2
			continue
		case c == '(' || c == ')':
			items = append(items, item{kind: c})
			i++
			continue
		case c == '$' && i+1 == len(p):
			items = append(items, item{kind: '$'})
			i++
			continue
		case c == '%' && i+1 < len(p) && p[i+1] == 'b':
			if i+3 >= len(p) {
				return append(items, item{kind: '!'}), false
			}
			items = append(items, item{kind: 'b', a: p[i+2], b: p[i+3]})
			i += 4
			continue
		case c == '%' && i+1 < len(p) && p[i+1] == 'f':
			if i+2 >= len(p) || p[i+2] != '[' {
				return append(items, item{kind: '!'}), false
			}
			in, n, ok := parseSet(p[i+2:])
			if !ok {
				return append(items, item{kind: '!'}), false
			}
			items = append(items, item{kind: 'f', in: in})
			i += 2 + n
			continue
		case c == '%' && i+1 < len(p) && p[i+1] >= '0' && p[i+1] <= '9':
			items = append(items, item{kind: 'r', index: int(p[i+1]) - '1'})
			i += 2
			continue
		}
		in, n, ok := parseSingle(p[i:])
		if !ok {
			return append(items, item{kind: '!'}), false
		}
		i += n
		it := item{kind: 'c', in: in}
		if i < len(p) && strings.IndexByte("?*+-", p[i]) >= 0 {
			it.rep = p[i]
			i++
		}
		items = append(items, it)
	}
	return items, false
}

func parseSingle(p string) (in func(byte) bool, n int, ok bool) {
	switch p[0] {
	case '.':
		return func(byte) bool { return true }, 1, true
	case '%':
		if len(p) < 2 {
			return nil, 0, false
		}
		return classOf(p[1]), 2, true
	case '[':
		return parseSet(p)
	}
	c := p[0]
	return func(x byte) bool { return x == c }, 1, true
}

func classOf(l byte) func(byte) bool {
	between := func(a, b byte) func(byte) bool { return func(c byte) bool { return c >= a && c <= b } }
	or := func(fs ...func(byte) bool) func(byte) bool {
		return func(c byte) bool {
			for _, f := range fs {
				if f(c) {
					return true
				}
			}
			return false
		}
	}
	lower, upper, digit := between('a', 'z'), between('A', 'Z'), between('0', '9')
	table := map[byte]func(byte) bool{
		'a': or(lower, upper), 'l': lower, 'u': upper, 'd': digit, 'w': or(lower, upper, digit),
		's': or(between(9, 13), between(32, 32)), 'c': or(between(0, 31), between(127, 127)),
		'x': or(digit, between('a', 'f'), between('A', 'F')),
		'p': or(between(33, 47), between(58, 64), between(91, 96), between(123, 126)), 'z': between(0, 0),
	}
	if f, ok := table[l]; ok {
		return f
	}
	if f, ok := table[l|32]; ok && l >= 'A' && l <= 'Z' {
		return func(c byte) bool { return !f(c) }
	}
	return func(c byte) bool { return c == l }
}

func parseSet(p string) (in func(byte) bool, n int, ok bool) {
	i, negate := 1, false
	if i < len(p) && p[i] == '^' {
		negate = true
		i++
	}
	// First find the end, as the first "]" that is neither escaped nor first.
	end := i
	for first := true; ; first = false {
		if end >= len(p) {
			return nil, 0, false
		}
		if p[end] == ']' && !first {
			break
		}
		if p[end] == '%' {
			end++
		}
		end++
	}
	var any []func(byte) bool
	for body := p[i:end]; body != ""; {
		switch {
		case body[0] == '%' && len(body) > 1:
			any = append(any, classOf(body[1]))
			body = body[2:]
		case len(body) > 2 && body[1] == '-':
			a, b := body[0], body[2]
			any = append(any, func(c byte) bool { return c >= a && c <= b })
			body = body[3:]
		default:
			a := body[0]
			any = append(any, func(c byte) bool { return c == a })
			body = body[1:]
		}
	}
	return func(c byte) bool {
		for _, f := range any {
			if f(c) {
				return !negate
			}
		}
		return negate
	}, end + 1, true
}

// capt is a capture of the reference: end -1 is open, -2 a position.
type capt struct{ start, end int }

type reference struct {
	src   string
	steps int
}

// match tries items at s; done gets the end and the captures.
func (r *reference) match(items []item, s int, caps []capt, done func(end int, caps []capt) bool) bool {
	if r.steps++; r.steps > 200_000 {
		panic(patternError("budget"))
	}
	if len(items) == 0 {
		return done(s, caps)
	}
	it, rest := items[0], items[1:]
	with := func(caps []capt, c capt) []capt { return append(append([]capt(nil), caps...), c) }
	switch it.kind {
	case '!':
		panic(patternError("malformed"))
	case '@':
		return r.match(rest, s, with(caps, capt{s, -2}), done)
	case '(':
		return r.match(rest, s, with(caps, capt{s, -1}), done)
	case ')':
		for i := len(caps) - 1; i >= 0; i-- {
			if caps[i].end == -1 {
				closed := append([]capt(nil), caps...)
				closed[i].end = s
				return r.match(rest, s, closed, done)
			}
		}
		panic(patternError("invalid pattern capture"))
	case '$':
		return s == len(r.src) && r.match(rest, s, caps, done)
	case 'r':
		if it.index < 0 || it.index >= len(caps) || caps[it.index].end == -1 {
			panic(patternError("invalid capture index"))
		}
		text := ""
		if c := caps[it.index]; c.end >= 0 {
			text = r.src[c.start:c.end]
		}
		return strings.HasPrefix(r.src[s:], text) && r.match(rest, s+len(text), caps, done)
	case 'f':
		var before, at byte
		if s > 0 {
			before = r.src[s-1]
		}
		if s < len(r.src) {
			at = r.src[s]
		}
		return !it.in(before) && it.in(at) && r.match(rest, s, caps, done)
	case 'b':
		if s >= len(r.src) || r.src[s] != it.a {
			return false
		}
		depth := 0
		for i := s; i < len(r.src); i++ {
			if r.src[i] == it.b && i > s {
				depth--
			} else if r.src[i] == it.a {
				depth++
			}
			if depth == 0 {
				return r.match(rest, i+1, caps, done)
			}
		}
		return false
	}
	one := s < len(r.src) && it.in(r.src[s])
	again := func(rep byte) bool {
		return one && r.match(append([]item{{kind: 'c', in: it.in, rep: rep}}, rest...), s+1, caps, done)
	}
	switch it.rep {
	case '?':
		return one && r.match(rest, s+1, caps, done) || r.match(rest, s, caps, done)
	case '*':
		return again('*') || r.match(rest, s, caps, done)
	case '+':
		return again('*')
	case '-':
		return r.match(rest, s, caps, done) || again('-')
	}
	return one && r.match(rest, s+1, caps, done)
}

func theirs(src, pat string) (out string) {
	defer func() {
		if e := recover(); e != nil {
			out = "error " + string(e.(patternError))
		}
	}()
	anchored := strings.HasPrefix(pat, "^")
	items, _ := parseItems(strings.TrimPrefix(pat, "^"))
	r := &reference{src: src}
	for s := 0; s <= len(src); s++ {
		found := r.match(items, s, nil, func(end int, caps []capt) bool {
			out = fmt.Sprint(s, " ", end)
			for _, c := range caps {
				switch c.end {
				case -1:
					panic(patternError("unfinished capture"))
				case -2:
					out += fmt.Sprint(" @", c.start+1)
				default:
					out += fmt.Sprintf(" %q", src[c.start:c.end])
				}
			}
			return true
		})
		if found {
			return out
		}
		if anchored {
			break
		}
	}
	return "none"
}

// FuzzPattern: our matcher and the reference agree, or one ran out of steps.
func FuzzPattern(f *testing.F) {
	for _, c := range [][2]string{{"hello world", "l+"}, {"key=value", "^(%w+)=(%w*)$"}, {"f(a(b)c)", "%b()"},
		{"THE (quick) fox", "%f[%a]%a+"},
		{"aaa", "a-b"}, {"abab", "(a)(b)%1%2"}, {"x", "[]]"}, {"a-z", "[a-]"}, {"", ""}, {"a\x00b", "%z"}, {"x", "(()x)"}, {"a", "a?a?a?$"},
		{"%", "%%"}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, src, pat string) {
		if len(src) > 30 || len(pat) > 20 || strings.Count(pat, "(") > 20 {
			return
		}
		a, b := ours(src, pat), theirs(src, pat)
		if strings.HasSuffix(a, "budget") || strings.HasSuffix(b, "budget") {
			return
		}
		if strings.HasPrefix(a, "error") && strings.HasPrefix(b, "error") {
			return
		}
		if a != b {
			t.Errorf("%q in %q: ours %s, reference %s", pat, src, a, b)
		}
	})
}

// TestPatternRandom is a fixed share of what the fuzzer does.
func TestPatternRandom(t *testing.T) {
	seed := uint32(1)
	next := func(n int) int {
		seed = seed*1664525 + 1013904223
		return int(seed>>8) % n
	}
	pick := func(alphabet string, most int) string {
		b := make([]byte, next(most+1))
		for i := range b {
			b[i] = alphabet[next(len(alphabet))]
		}
		return string(b)
	}
	matched := 0
	for range 60_000 {
		src, pat := pick("ab1 (]", 10), pick("ab1.%adswfb[^]*+-?()$", 9)
		a, b := ours(src, pat), theirs(src, pat)
		if strings.HasPrefix(a, "error") && strings.HasPrefix(b, "error") || strings.HasSuffix(a, "budget") || strings.HasSuffix(b, "budget") {
			continue
		}
		if a != b {
			t.Fatalf("%q in %q: ours %s, reference %s", pat, src, a, b)
		}
		if a != "none" {
			matched++
		}
	}
	if matched < 5000 {
		t.Errorf("only %d of the patterns matched anything", matched)
	}
}
