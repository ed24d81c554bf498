package lua

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"

	glua "github.com/yuin/gopher-lua"
)

// Limits of regular expressions: RE2 is linear, but in the product of text
// and program, and cannot be interrupted.
const (
	maxPattern  = 2048
	maxRegexes  = 1000    // per generation, compiled inside handlers
	maxRegexRun = 1 << 28 // octets times instructions of one match
)

var reModule = module{name: "re", doc: "regular expressions in RE2's syntax, matched in linear time", functions: []function{
	{name: "compile", call: reCompile, sig: "compile(pattern)", doc: "compiles a regex"},
	{name: "set", call: reSet, sig: "set{ pattern, ... }", doc: "a set of several patterns"},
}}

// regex is a compiled pattern with its weight.
type regex struct {
	*regexp.Regexp
	weight int // instructions of its program

	once  sync.Once
	after *regexp.Regexp // the same after any character, see from
	err   error
}

// regexes caches compiled patterns of a generation.
type regexes struct {
	mu sync.Mutex
	m  map[string]*regex
}

func (r *regexes) compile(p string) (*regex, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if re, ok := r.m[p]; ok {
		return re, nil
	}
	if len(p) > maxPattern {
		return nil, fmt.Errorf("pattern longer than %d octets", maxPattern)
	}
	re, err := regexp.Compile(p)
	if err != nil {
		return nil, err
	}
	weight := len(p)
	if parsed, err := syntax.Parse(p, syntax.Perl); err == nil {
		if prog, err := syntax.Compile(parsed.Simplify()); err == nil {
			weight = len(prog.Inst)
		}
	}
	out := &regex{Regexp: re, weight: weight}
	if r.m == nil || len(r.m) >= maxRegexes {
		r.m = map[string]*regex{}
	}
	r.m[p] = out
	return out, nil
}

// pay charges for a match of n octets before it runs.
func (re *regex) pay(L *glua.LState, st *state, n int) {
	work := int64(n) * int64(re.weight)
	if work > maxRegexRun {
		L.RaiseError("re: %d octets are too many for a pattern of this size", n)
	}
	st.budget.chargeSteps(L, work/256+int64(n)/64+1)
}

var regexClass = class{name: "regex", doc: "a compiled pattern", methods: []function{
	{name: "match", call: regexMatch, sig: "match(s)", doc: "captures of the first match, or the match itself where there are none, or nil"},
	{name: "find", call: regexFind, sig: "find(s, [init])", doc: "start, end and captures of the first match, or nil"},
	{name: "gmatch", call: regexGmatch, sig: "gmatch(s)", doc: "iterates over all matches"},
	{
		name: "gsub",
		call: regexGsub,
		sig:  "gsub(s, replacement, [n])",
		doc: "s with all matches, or the first n, replaced, and how many those were; replacement is a text, in which %1 to %9 are " +
			"captures, %0 is the match and %% a percent sign, or a function of the captures, or of the match where there are none, " +
			"that returns a text, or nil to leave it",
	},
}}

var regexSetClass = class{name: "regex_set", doc: "several compiled patterns", methods: []function{
	{name: "match", call: regexSetMatch, sig: "match(s)", doc: "number of the first pattern that matches and what it matched, or nil"},
}}

func compileRegex(L *glua.LState, p, what string) *regex {
	st := stateOf(L)
	st.budget.chargeSteps(L, int64(len(p)))
	re, err := st.generation.regexes.compile(p)
	if err != nil {
		L.RaiseError("%s: %s", what, err.Error())
	}
	return re
}

// regexArgument takes a compiled regex or a pattern.
func regexArgument(L *glua.LState, n int, what string) *regex {
	if ud, ok := L.Get(n).(*glua.LUserData); ok {
		if o, ok := ud.Value.(*object); ok && o.class == &regexClass {
			return o.v.(*regex)
		}
	}
	return compileRegex(L, stringArgument(L, n, what, "pattern"), what)
}

func reCompile(L *glua.LState) int {
	st := stateOf(L)
	re := compileRegex(L, stringArgument(L, 1, "re.compile", "pattern"), "re.compile")
	L.Push(&glua.LUserData{Value: &object{class: &regexClass, v: re}, Metatable: st.metatable, Env: L.Env})
	return 1
}

func reSet(L *glua.LState) int {
	st := stateOf(L)
	var set []*regex
	for _, p := range stringList(L, L.Get(1), "re.set") {
		set = append(set, compileRegex(L, p, "re.set"))
	}
	L.Push(&glua.LUserData{Value: &object{class: &regexSetClass, v: set}, Metatable: st.metatable, Env: L.Env})
	return 1
}

// pushGroups pushes captures, or the whole match where there are none.
func pushGroups(L *glua.LState, s string, loc []int) int {
	if len(loc) == 2 {
		L.Push(glua.LString(s[loc[0]:loc[1]]))
		return 1
	}
	for i := 2; i < len(loc); i += 2 {
		if loc[i] < 0 {
			L.Push(glua.LNil)
		} else {
			L.Push(glua.LString(s[loc[i]:loc[i+1]]))
		}
	}
	return len(loc)/2 - 1
}

func regexMatch(L *glua.LState) int {
	st, o := self(L, "regex")
	re, s := o.v.(*regex), stringArgument(L, 2, "regex:match", "text")
	loc := re.from(L, st, s, 0)
	if loc == nil {
		L.Push(glua.LNil)
		return 1
	}
	return pushGroups(L, s, loc)
}

func regexFind(L *glua.LState) int {
	st, o := self(L, "regex")
	re, s := o.v.(*regex), stringArgument(L, 2, "regex:find", "text")
	init := startOf(L, len(s))
	loc := re.from(L, st, s[init:], 0)
	if loc == nil {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(st.number(float64(init + loc[0] + 1)))
	L.Push(st.number(float64(init + loc[1])))
	if len(loc) == 2 {
		return 2
	}
	return 2 + pushGroups(L, s[init:], loc)
}

func regexGmatch(L *glua.LState) int {
	st, o := self(L, "regex")
	re, s := o.v.(*regex), stringArgument(L, 2, "regex:gmatch", "text")
	m := matches{re: re, s: s, end: -1}
	L.Push(L.NewFunction(func(L *glua.LState) int {
		loc := m.next(L, st)
		if loc == nil {
			L.Push(glua.LNil)
			return 1
		}
		return pushGroups(L, s, loc)
	}))
	return 1
}

func regexGsub(L *glua.LState) int {
	const what = "regex:gsub"
	st, o := self(L, "regex")
	re, s := o.v.(*regex), stringArgument(L, 2, what, "text")
	switch L.Get(3).(type) {
	case glua.LString, *glua.LFunction:
	default:
		L.RaiseError("%s: replacement must be a text or a function, got %s", what, typeOf(L.Get(3)))
	}
	n := len(s) + 1
	if limit, ok := L.Get(4).(glua.LNumber); ok {
		if limit != limit {
			L.RaiseError("%s: n is not a number", what)
		}
		n = int(min(max(limit, 0), glua.LNumber(n)))
	} else if L.Get(4) != glua.LNil {
		L.RaiseError("%s: n must be a number, got %s", what, typeOf(L.Get(4)))
	}
	var out strings.Builder
	write := func(s string) {
		st.budget.chargeMemory(L, int64(len(s)))
		out.WriteString(s)
	}
	m, at, count := matches{re: re, s: s, end: -1}, 0, 0
	for ; count < n; count++ {
		loc := m.next(L, st)
		if loc == nil {
			break
		}
		write(s[at:loc[0]])
		replacement(L, write, s, loc)
		at = loc[1]
	}
	write(s[at:])
	L.Push(glua.LString(out.String()))
	L.Push(st.number(float64(count)))
	return 2
}

// replacement writes what argument 3 of regex:gsub puts in place of a match.
func replacement(L *glua.LState, write func(string), s string, loc []int) {
	switch r := L.Get(3).(type) {
	case *glua.LFunction:
		L.Push(r)
		L.Call(pushGroups(L, s, loc), 1)
		v := L.Get(-1)
		L.Pop(1)
		switch v := v.(type) {
		case glua.LString:
			write(string(v))
			return
		case glua.LNumber:
			write(formatNumber(float64(v)))
			return
		}
		if glua.LVAsBool(v) {
			L.RaiseError("regex:gsub: the function returned a %s, not a text", typeOf(v))
		}
		write(s[loc[0]:loc[1]])
	case glua.LString:
		fillCaptures(L, write, string(r), s, loc)
	}
}

// fillCaptures writes a template with captures in it, as string.gsub does.
func fillCaptures(L *glua.LState, write func(string), template, s string, loc []int) {
	for {
		text, rest, found := strings.Cut(template, "%")
		write(text)
		if !found {
			return
		}
		if rest == "" {
			L.RaiseError("regex:gsub: the replacement ends in %%")
		}
		c := rest[0]
		switch n := 2 * int(c-'0'); {
		case c < '0' || c > '9':
			write(rest[:1])
		case c == '1' && len(loc) == 2: // the match, where there are no captures
			write(s[loc[0]:loc[1]])
		case n >= len(loc):
			L.RaiseError("regex:gsub: there is no capture %%%c", c)
		case loc[n] >= 0:
			write(s[loc[n]:loc[n+1]])
		}
		template = rest[1:]
	}
}

func regexSetMatch(L *glua.LState) int {
	st, o := self(L, "regex_set")
	s := stringArgument(L, 2, "regex_set:match", "text")
	for i, re := range o.v.([]*regex) {
		re.pay(L, st, len(s))
		if loc := re.FindStringIndex(s); loc != nil {
			L.Push(st.number(float64(i + 1)))
			L.Push(glua.LString(s[loc[0]:loc[1]]))
			return 2
		}
	}
	L.Push(glua.LNil)
	return 1
}
