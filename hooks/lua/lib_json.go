package lua

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	glua "github.com/yuin/gopher-lua"
)

var jsonModule = module{name: "json", doc: "JSON (RFC 8259). Octets above 127 in strings are not changed; null is nil",
	functions: []function{
		{name: "encode", call: jsonEncode, sig: "encode(v)", doc: "plain data as JSON; keys are sorted; an empty table is {}"},
		{name: "decode", call: jsonDecode, sig: "decode(text)", doc: "the value, or nil and what is wrong"},
	}}

func jsonEncode(L *glua.LState) int {
	v, err := toPlain(L.CheckAny(1))
	if err != nil {
		L.RaiseError("json.encode: %s", err.Error())
	}
	b := budgetOf(L)
	if n := plainSize(v); n > 1<<20 {
		b.chargeMemory(L, 6*int64(n)) // an escaped octet takes six
	}
	out, err := appendJSON(nil, v)
	if err != nil {
		L.RaiseError("json.encode: %s", err.Error())
	}
	L.Push(b.newString(L, string(out)))
	return 1
}

func jsonDecode(L *glua.LState) int {
	s := text(L, 1)
	st := stateOf(L)
	st.budget.chargeSteps(L, int64(len(s))/16)
	st.budget.chargeMemory(L, int64(len(s)))
	v, err := parseJSON(s)
	if err != nil {
		L.Push(glua.LNil)
		L.Push(st.budget.newString(L, err.Error()))
		return 2
	}
	L.Push(st.toLua(L, v))
	return 1
}

// appendJSON writes plain data. Numbers that JSON cannot say are errors.
func appendJSON(out []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(out, "null"...), nil
	case bool:
		return strconv.AppendBool(out, v), nil
	case float64:
		if math.IsInf(v, 0) || v != v {
			return nil, fmt.Errorf("%s is not a JSON number", formatNumber(v))
		}
		if v == math.Trunc(v) && math.Abs(v) < 1<<63 {
			return strconv.AppendInt(out, int64(v), 10), nil
		}
		return strconv.AppendFloat(out, v, 'g', -1, 64), nil
	case string:
		return appendJSONString(out, v), nil
	case []any:
		out = append(out, '[')
		for i, x := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendJSON(out, x); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case map[string]any:
		out = append(out, '{')
		for i, k := range sortedKeys(v) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendJSONString(out, k), ':')
			if out, err = appendJSON(out, v[k]); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	}
	return nil, fmt.Errorf("%w: %T", errPlain, v)
}

func appendJSONString(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\r':
			out = append(out, `\r`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c < ' ' || c == 0x7f:
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

var errJSON = errors.New("not JSON")

// jsonReader reads one value with bounded nesting.
type jsonReader struct {
	s  string
	at int
}

func parseJSON(s string) (any, error) {
	r := jsonReader{s: s}
	v, err := r.value(0)
	if err != nil {
		return nil, fmt.Errorf("%w at octet %d", err, r.at+1)
	}
	if r.space(); r.at < len(s) {
		return nil, fmt.Errorf("%w: unexpected text at octet %d", errJSON, r.at+1)
	}
	return v, nil
}

func (r *jsonReader) space() {
	for r.at < len(r.s) && (r.s[r.at] == ' ' || r.s[r.at] == '\t' || r.s[r.at] == '\n' || r.s[r.at] == '\r') {
		r.at++
	}
}

// skip takes one octet if it is there.
func (r *jsonReader) skip(c byte) bool {
	if r.at < len(r.s) && r.s[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *jsonReader) value(depth int) (any, error) {
	if depth > 100 {
		return nil, fmt.Errorf("%w: nested too deeply", errJSON)
	}
	r.space()
	if r.at >= len(r.s) {
		return nil, fmt.Errorf("%w: unexpected end", errJSON)
	}
	switch r.s[r.at] {
	case '{':
		return r.object(depth)
	case '[':
		return r.array(depth)
	case '"':
		return r.str()
	case 't':
		return true, r.word("true")
	case 'f':
		return false, r.word("false")
	case 'n':
		return nil, r.word("null")
	}
	return r.number()
}

func (r *jsonReader) word(w string) error {
	if len(r.s)-r.at < len(w) || r.s[r.at:r.at+len(w)] != w {
		return errJSON
	}
	r.at += len(w)
	return nil
}

func (r *jsonReader) object(depth int) (any, error) {
	r.at++
	m := map[string]any{}
	if r.space(); r.skip('}') {
		return m, nil
	}
	for {
		if r.space(); r.at >= len(r.s) || r.s[r.at] != '"' {
			return nil, fmt.Errorf("%w: a name in quotes expected", errJSON)
		}
		k, err := r.str()
		if err != nil {
			return nil, err
		}
		if r.space(); !r.skip(':') {
			return nil, fmt.Errorf("%w: ':' expected", errJSON)
		}
		if m[k], err = r.value(depth + 1); err != nil {
			return nil, err
		}
		if r.space(); r.skip('}') {
			return m, nil
		}
		if !r.skip(',') {
			return nil, fmt.Errorf("%w: ',' or '}' expected", errJSON)
		}
	}
}

func (r *jsonReader) array(depth int) (any, error) {
	r.at++
	list := []any{}
	if r.space(); r.skip(']') {
		return list, nil
	}
	for {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if r.space(); r.skip(']') {
			return list, nil
		}
		if !r.skip(',') {
			return nil, fmt.Errorf("%w: ',' or ']' expected", errJSON)
		}
	}
}

func (r *jsonReader) number() (any, error) {
	start := r.at
	digits := func() bool {
		from := r.at
		for r.at < len(r.s) && r.s[r.at] >= '0' && r.s[r.at] <= '9' {
			r.at++
		}
		return r.at > from
	}
	r.skip('-')
	zero := r.skip('0')
	if !zero && !digits() {
		return nil, errJSON
	}
	if r.skip('.') && !digits() {
		return nil, errJSON
	}
	if r.skip('e') || r.skip('E') {
		if !r.skip('+') {
			r.skip('-')
		}
		if !digits() {
			return nil, errJSON
		}
	}
	f, err := strconv.ParseFloat(r.s[start:r.at], 64)
	if err != nil {
		return nil, fmt.Errorf("%w: number out of range", errJSON)
	}
	return f, nil
}

func (r *jsonReader) str() (string, error) {
	r.at++
	start := r.at
	var out []byte
	for r.at < len(r.s) {
		switch c := r.s[r.at]; {
		case c == '"':
			s := r.s[start:r.at]
			r.at++
			if out != nil {
				return string(append(out, s...)), nil
			}
			return s, nil
		case c < ' ':
			return "", fmt.Errorf("%w: control character in a string", errJSON)
		case c == '\\':
			out = append(out, r.s[start:r.at]...)
			var err error
			if out, err = r.escape(out); err != nil {
				return "", err
			}
			start = r.at
		default:
			r.at++
		}
	}
	return "", fmt.Errorf("%w: unterminated string", errJSON)
}

func (r *jsonReader) escape(out []byte) ([]byte, error) {
	if r.at++; r.at >= len(r.s) {
		return nil, errJSON
	}
	c := r.s[r.at]
	r.at++
	switch c {
	case '"', '\\', '/':
		return append(out, c), nil
	case 'b':
		return append(out, '\b'), nil
	case 'f':
		return append(out, '\f'), nil
	case 'n':
		return append(out, '\n'), nil
	case 'r':
		return append(out, '\r'), nil
	case 't':
		return append(out, '\t'), nil
	case 'u':
		u, err := r.hex4()
		if err != nil {
			return nil, err
		}
		if utf16.IsSurrogate(u) && len(r.s)-r.at >= 6 && r.s[r.at:r.at+2] == `\u` {
			back := r.at
			r.at += 2
			low, err := r.hex4()
			if err != nil {
				return nil, err
			}
			if pair := utf16.DecodeRune(u, low); pair != utf8.RuneError {
				return utf8.AppendRune(out, pair), nil
			}
			r.at = back
		}
		return utf8.AppendRune(out, u), nil
	}
	return nil, fmt.Errorf("%w: unknown escape", errJSON)
}

func (r *jsonReader) hex4() (rune, error) {
	if len(r.s)-r.at < 4 {
		return 0, errJSON
	}
	n, err := strconv.ParseUint(r.s[r.at:r.at+4], 16, 32)
	if err != nil {
		return 0, errJSON
	}
	r.at += 4
	return rune(n), nil
}
