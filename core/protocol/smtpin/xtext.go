package smtpin

import "strings"

const hexDigits = "0123456789ABCDEF"

// decodeXtext reads the encoding of RFC 3461 4: "+XX" with upper case digits,
// no "+" and "=" otherwise. The result may hold any octet.
func decodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) {
				return "", syntax("bad xtext")
			}
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if hi < 0 || lo < 0 {
				return "", syntax("bad xtext")
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		case c < '!' || c > '~' || c == '=':
			return "", syntax("bad xtext")
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}
