package lua

import (
	"math"
	"strconv"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// verb is one conversion of a format.
type verb struct {
	minus, plus, space, sharp, zero bool
	width, precision                int // precision -1: none
	letter                          byte
}

func stringFormat(L *glua.LState) int {
	f := text(L, 1)
	b := budgetOf(L)
	b.charge(L, int64(len(f)))
	out := make([]byte, 0, len(f)+32)
	arg := 1
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			out = append(out, f[i])
			continue
		}
		i++
		if i < len(f) && f[i] == '%' {
			out = append(out, '%')
			continue
		}
		v, n := parseVerb(L, f[i:])
		i += n - 1
		arg++
		before := len(out)
		out = v.append(L, out, arg)
		b.charge(L, int64(len(out)-before))
	}
	L.Push(glua.LString(out))
	return 1
}

// parseVerb reads flags, width, precision and letter.
func parseVerb(L *glua.LState, s string) (verb, int) {
	v := verb{precision: -1}
	i := 0
flags:
	for ; i < len(s); i++ {
		switch s[i] {
		case '-':
			v.minus = true
		case '+':
			v.plus = true
		case ' ':
			v.space = true
		case '#':
			v.sharp = true
		case '0':
			v.zero = true
		default:
			break flags
		}
	}
	if i > 5 {
		L.RaiseError("invalid format (repeated flags)")
	}
	digits := func() int {
		n, start := 0, i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			n = n*10 + int(s[i]-'0')
			i++
			if i-start > 2 {
				L.RaiseError("invalid format (width or precision too long)")
			}
		}
		return n
	}
	v.width = digits()
	if i < len(s) && s[i] == '.' {
		i++
		v.precision = digits()
	}
	if i >= len(s) || strings.IndexByte("cdiouxXeEfgGqs", s[i]) < 0 {
		L.RaiseError("invalid option '%%%s' to 'format'", s[:min(i+1, len(s))])
	}
	v.letter = s[i]
	return v, i + 1
}

func (v verb) append(L *glua.LState, out []byte, arg int) []byte {
	if arg > L.GetTop() {
		argument(L, arg, "value", glua.LNil)
	}
	switch v.letter {
	case 'c':
		return v.pad(out, string([]byte{byte(integer(L, arg))}))
	case 'd', 'i':
		return v.signed(out, number(L, arg))
	case 'o', 'u', 'x', 'X':
		return v.unsigned(out, number(L, arg))
	case 'e', 'E', 'f', 'g', 'G':
		return v.float(out, number(L, arg))
	case 'q':
		return appendQuoted(L, out, text(L, arg))
	}
	s := text(L, arg)
	if v.precision >= 0 && len(s) > v.precision {
		s = s[:v.precision]
	}
	return v.pad(out, s)
}

// pad fills with spaces to the width.
func (v verb) pad(out []byte, s string) []byte {
	fill := strings.Repeat(" ", max(v.width-len(s), 0))
	if v.minus {
		return append(append(out, s...), fill...)
	}
	return append(append(out, fill...), s...)
}

// padNumber puts sign or prefix before digits, with zeros where asked for.
func (v verb) padNumber(out []byte, prefix, digits string, zeros bool) []byte {
	if zeros && !v.minus {
		digits = strings.Repeat("0", max(v.width-len(prefix)-len(digits), 0)) + digits
	}
	return v.pad(out, prefix+digits)
}

func (v verb) sign(negative bool) string {
	switch {
	case negative:
		return "-"
	case v.plus:
		return "+"
	case v.space:
		return " "
	}
	return ""
}

// precise gives an integer its least number of digits.
func (v verb) precise(digits string) string {
	if v.precision == 0 && digits == "0" {
		return ""
	}
	return strings.Repeat("0", max(v.precision-len(digits), 0)) + digits
}

// wholeInt64 converts as amd64 does: out of range gives the least number.
func wholeInt64(f float64) int64 {
	if f != f || f >= math.MaxInt64 || f < math.MinInt64 {
		return math.MinInt64
	}
	return int64(f)
}

func (v verb) signed(out []byte, f float64) []byte {
	n := wholeInt64(f)
	digits := strings.TrimPrefix(strconv.FormatInt(n, 10), "-")
	return v.padNumber(out, v.sign(n < 0), v.precise(digits), v.zero && v.precision < 0)
}

func (v verb) unsigned(out []byte, f float64) []byte {
	n := uint64(wholeInt64(f))
	if f >= math.MaxInt64 && f < math.MaxUint64 {
		n = uint64(f)
	}
	base, prefix := 10, ""
	switch v.letter {
	case 'o':
		base = 8
	case 'x', 'X':
		base = 16
		if v.sharp && n != 0 {
			prefix = "0" + string(v.letter)
		}
	}
	digits := v.precise(strconv.FormatUint(n, base))
	if v.letter == 'o' && v.sharp && !strings.HasPrefix(digits, "0") {
		digits = "0" + digits
	}
	if v.letter == 'X' {
		digits = strings.ToUpper(digits)
	}
	return v.padNumber(out, prefix, digits, v.zero && v.precision < 0)
}

func (v verb) float(out []byte, f float64) []byte {
	negative := math.Signbit(f)
	sign := v.sign(negative)
	upper := v.letter == 'E' || v.letter == 'G'
	if math.IsInf(f, 0) || f != f {
		word := "inf"
		if f != f {
			word = "nan"
		}
		if upper {
			word = strings.ToUpper(word)
		}
		return v.pad(out, sign+word)
	}
	precision := v.precision
	if precision < 0 {
		precision = 6
	}
	var digits []byte
	switch f = math.Abs(f); v.letter {
	case 'g', 'G':
		digits = appendGeneral(nil, f, precision, v.sharp, v.letter)
	default:
		digits = strconv.AppendFloat(nil, f, v.letter, precision, 64)
		if v.sharp && precision == 0 {
			digits = withPoint(digits)
		}
	}
	return v.padNumber(out, sign, string(digits), v.zero)
}

// withPoint adds a decimal point before the exponent, if any.
func withPoint(d []byte) []byte {
	s := string(d)
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		return []byte(s[:i] + "." + s[i:])
	}
	return append(d, '.')
}

// appendGeneral is C's %g: the shorter of exponent and plain form, trailing
// zeros dropped unless sharp.
func appendGeneral(out []byte, f float64, precision int, sharp bool, letter byte) []byte {
	switch {
	case f != f:
		if math.Signbit(f) {
			return append(out, "-nan"...)
		}
		return append(out, "nan"...)
	case math.IsInf(f, 1):
		return append(out, "inf"...)
	case math.IsInf(f, -1):
		return append(out, "-inf"...)
	}
	precision = max(precision, 1)
	s := strconv.FormatFloat(f, 'e', precision-1, 64)
	mark := strings.IndexByte(s, 'e')
	exp, _ := strconv.Atoi(s[mark+1:])
	mantissa, tail := s[:mark], s[mark:]
	if exp >= -4 && exp < precision {
		mantissa, tail = strconv.FormatFloat(f, 'f', precision-1-exp, 64), ""
	}
	if strings.IndexByte(mantissa, '.') >= 0 && !sharp {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	} else if sharp && strings.IndexByte(mantissa, '.') < 0 {
		mantissa += "."
	}
	if letter == 'G' {
		tail = strings.ToUpper(tail)
	}
	return append(append(out, mantissa...), tail...)
}

// appendQuoted writes a string that Lua reads back (%q).
func appendQuoted(L *glua.LState, out []byte, s string) []byte {
	budgetOf(L).charge(L, int64(len(s))*2)
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\', '\n':
			out = append(out, '\\', c)
		case '\r':
			out = append(out, `\r`...)
		case 0:
			out = append(out, `\000`...)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}
