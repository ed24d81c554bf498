package pattern

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Verb is one conversion of a format: what follows a percent sign.
type Verb struct {
	Letter    byte
	Precision int // -1: none

	minus, plus, space, sharp, zero bool
	width                           int
}

var (
	errFlags = errors.New("invalid format (repeated flags)")
	errWidth = errors.New("invalid format (width or precision too long)")
)

// ParseVerb reads flags, width, precision and letter at the beginning of s, and
// returns how many octets they have.
func ParseVerb(s string) (v Verb, n int, err error) {
	v.Precision = -1
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
		return v, 0, errFlags
	}
	if v.width, i, err = digits(s, i); err != nil {
		return v, 0, err
	}
	if i < len(s) && s[i] == '.' {
		if v.Precision, i, err = digits(s, i+1); err != nil {
			return v, 0, err
		}
	}
	if i >= len(s) || strings.IndexByte("cdiouxXeEfgGqs", s[i]) < 0 {
		return v, 0, fmt.Errorf("invalid option '%%%s' to 'format'", s[:min(i+1, len(s))])
	}
	v.Letter = s[i]
	return v, i + 1, nil
}

// digits reads a number of two digits at most at s[i:], and returns what
// follows it.
func digits(s string, i int) (n, next int, err error) {
	start := i
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		n = n*10 + int(s[i]-'0')
		i++
		if i-start > 2 {
			return 0, i, errWidth
		}
	}
	return n, i, nil
}

// AppendText appends s as %s writes it: cut to the precision, and with spaces to
// the width.
func (v Verb) AppendText(out []byte, s string) []byte {
	if v.Precision >= 0 && len(s) > v.Precision {
		s = s[:v.Precision]
	}
	return v.pad(out, s)
}

// AppendOctet appends one octet, as %c writes it.
func (v Verb) AppendOctet(out []byte, c byte) []byte { return v.pad(out, string([]byte{c})) }

// AppendNumber appends f as the conversions of numbers write it.
func (v Verb) AppendNumber(out []byte, f float64) []byte {
	switch v.Letter {
	case 'd', 'i':
		return v.signed(out, f)
	case 'o', 'u', 'x', 'X':
		return v.unsigned(out, f)
	}
	return v.float(out, f)
}

// pad fills with spaces to the width.
func (v Verb) pad(out []byte, s string) []byte {
	fill := strings.Repeat(" ", max(v.width-len(s), 0))
	if v.minus {
		return append(append(out, s...), fill...)
	}
	return append(append(out, fill...), s...)
}

// padNumber puts sign or prefix before digits, with zeros where asked for.
func (v Verb) padNumber(out []byte, prefix, digits string, zeros bool) []byte {
	if zeros && !v.minus {
		digits = strings.Repeat("0", max(v.width-len(prefix)-len(digits), 0)) + digits
	}
	return v.pad(out, prefix+digits)
}

func (v Verb) sign(negative bool) string {
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

// leastDigits gives an integer its least number of digits.
func (v Verb) leastDigits(digits string) string {
	if v.Precision == 0 && digits == "0" {
		return ""
	}
	return strings.Repeat("0", max(v.Precision-len(digits), 0)) + digits
}

// wholeInt64 converts as amd64 does: out of range gives the least number.
func wholeInt64(f float64) int64 {
	if f != f || f >= math.MaxInt64 || f < math.MinInt64 {
		return math.MinInt64
	}
	return int64(f)
}

func (v Verb) signed(out []byte, f float64) []byte {
	n := wholeInt64(f)
	digits := strings.TrimPrefix(strconv.FormatInt(n, 10), "-")
	return v.padNumber(out, v.sign(n < 0), v.leastDigits(digits), v.zero && v.Precision < 0)
}

func (v Verb) unsigned(out []byte, f float64) []byte {
	n := uint64(wholeInt64(f))
	if f >= math.MaxInt64 && f < math.MaxUint64 {
		n = uint64(f)
	}
	base, prefix := 10, ""
	switch v.Letter {
	case 'o':
		base = 8
	case 'x', 'X':
		base = 16
		if v.sharp && n != 0 {
			prefix = "0" + string(v.Letter)
		}
	}
	digits := v.leastDigits(strconv.FormatUint(n, base))
	if v.Letter == 'o' && v.sharp && !strings.HasPrefix(digits, "0") {
		digits = "0" + digits
	}
	if v.Letter == 'X' {
		digits = strings.ToUpper(digits)
	}
	return v.padNumber(out, prefix, digits, v.zero && v.Precision < 0)
}

func (v Verb) float(out []byte, f float64) []byte {
	negative := math.Signbit(f)
	sign := v.sign(negative)
	upper := v.Letter == 'E' || v.Letter == 'G'
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
	precision := v.Precision
	if precision < 0 {
		precision = 6
	}
	var digits []byte
	switch f = math.Abs(f); v.Letter {
	case 'g', 'G':
		digits = AppendGeneral(nil, f, precision, v.sharp, v.Letter)
	default:
		digits = strconv.AppendFloat(nil, f, v.Letter, precision, 64)
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

// AppendGeneral appends f as %g of C does: the shorter of exponent and plain form, trailing
// zeros dropped unless sharp.
func AppendGeneral(out []byte, f float64, precision int, sharp bool, letter byte) []byte {
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

// AppendQuoted appends a string as Lua reads it back (%q).
func AppendQuoted(out []byte, s string) []byte {
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
