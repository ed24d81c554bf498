package lua

import (
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	glua "github.com/yuin/gopher-lua"
)

// matches walks from match to match.
type matches struct {
	re  *regex
	s   string
	at  int // where the next may begin; after the end of s: there is none
	end int // of the last one; -1: there was none
}

// next returns where the next match is, and its captures, or nil. An empty one right
// after another does not count.
func (m *matches) next(L *glua.LState, st *state) []int {
	for m.at <= len(m.s) {
		loc := m.re.from(L, st, m.s, m.at)
		if loc == nil {
			break
		}
		empty := loc[0] == loc[1]
		skip := empty && loc[0] == m.end
		m.at, m.end = loc[1], loc[1]
		if empty {
			_, width := utf8.DecodeRuneInString(m.s[m.at:])
			m.at += max(width, 1)
		}
		if !skip {
			return loc
		}
	}
	m.at = len(m.s) + 1
	return nil
}

// shortText is up to how many octets a text is paid for as a whole. A longer
// one is read as a stream, which takes longer, and pays for what was read.
const shortText = 256

// payEvery is after how many octets of a stream they are paid for.
const payEvery = 256

// from finds the first match that begins at an octet of s or after it, and
// pays for what it reads of s for that. What stands before counts for "^" and
// "\\b": so the pattern is looked for after the character there.
func (re *regex) from(L *glua.LState, st *state, s string, at int) []int {
	st.budget.chargeMemory(L, int64(24+16*(re.NumSubexp()+1)))
	if prefix, _ := re.LiteralPrefix(); prefix != "" && len(s)-at > shortText {
		i := strings.Index(s[at:], prefix)
		if i < 0 {
			st.budget.chargeSteps(L, int64(len(s)-at)/64+1)
			return nil
		}
		st.budget.chargeSteps(L, int64(i)/64)
		at += i
	}
	if at == 0 {
		return re.find(L, st, re.Regexp, s)
	}
	re.once.Do(func() { re.after, re.err = regexp.Compile("(?s:.)(?:" + re.String() + ")") })
	if re.err != nil {
		L.RaiseError("re: %s", re.err.Error())
	}
	_, width := utf8.DecodeLastRuneInString(s[:at])
	begin := at - width
	loc := re.find(L, st, re.after, s[begin:])
	if loc == nil {
		return nil
	}
	for i := range loc {
		if loc[i] >= 0 {
			loc[i] += begin
		}
	}
	_, width = utf8.DecodeRuneInString(s[loc[0]:])
	loc[0] += width
	return loc
}

// find returns the first match of r, which is re or re.after, in s.
func (re *regex) find(L *glua.LState, st *state, r *regexp.Regexp, s string) []int {
	if len(s) <= shortText {
		st.budget.chargeSteps(L, re.price(len(s)))
		return r.FindStringSubmatchIndex(s)
	}
	in := &reading{s: s, pay: func(n int) { st.budget.chargeSteps(L, re.price(n)) }}
	loc := r.FindReaderSubmatchIndex(in)
	in.pay(in.at - in.paid)
	return loc
}

// price returns what a match takes that reads n octets.
func (re *regex) price(n int) int64 { return int64(n)*int64(re.weight)/256 + int64(n)/64 + 1 }

// reading is a text as a stream that is paid for as it is read.
type reading struct {
	s        string
	at, paid int
	pay      func(octets int)
}

// ReadRune implements io.RuneReader.
func (r *reading) ReadRune() (rune, int, error) {
	if r.at-r.paid >= payEvery {
		n := r.at - r.paid
		r.paid = r.at
		r.pay(n)
	}
	if r.at >= len(r.s) {
		return 0, 0, io.EOF
	}
	c, width := rune(r.s[r.at]), 1
	if c >= utf8.RuneSelf {
		c, width = utf8.DecodeRuneInString(r.s[r.at:])
	}
	r.at += width
	return c, width, nil
}
