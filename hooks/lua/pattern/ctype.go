package pattern

// Character classes in the C locale, as bits.
const (
	isAlpha uint8 = 1 << iota
	isDigit
	isLower
	isUpper
	isSpace
	isPunct
	isCntrl
	isHex
)

var classes = makeClasses()

// IsAlphanumeric reports whether c is a letter or a digit of ASCII.
func IsAlphanumeric(c byte) bool { return classes[c]&(isAlpha|isDigit) != 0 }

func makeClasses() (t [256]uint8) {
	for c := range 128 {
		b := byte(c)
		switch {
		case b >= 'a' && b <= 'z':
			t[c] = isAlpha | isLower
		case b >= 'A' && b <= 'Z':
			t[c] = isAlpha | isUpper
		case b >= '0' && b <= '9':
			t[c] = isDigit | isHex
		case b == ' ':
			t[c] = isSpace
		case b < ' ' || b == 127:
			t[c] = isCntrl
		default:
			t[c] = isPunct
		}
		if b >= '\t' && b <= '\r' {
			t[c] |= isSpace
		}
		if b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F' {
			t[c] |= isHex
		}
	}
	return t
}

// inClass reports whether c is in the class named by letter; a letter that
// names no class stands for itself.
func inClass(c, letter byte) bool {
	var mask uint8
	switch letter | 0x20 {
	case 'a':
		mask = isAlpha
	case 'd':
		mask = isDigit
	case 'l':
		mask = isLower
	case 'u':
		mask = isUpper
	case 's':
		mask = isSpace
	case 'p':
		mask = isPunct
	case 'c':
		mask = isCntrl
	case 'x':
		mask = isHex
	case 'w':
		mask = isAlpha | isDigit
	case 'z':
		if letter == 'z' {
			return c == 0
		} else if letter == 'Z' {
			return c != 0
		}
		return letter == c
	default:
		return letter == c
	}
	if classes[letter]&isAlpha == 0 {
		return letter == c
	}
	return (classes[c]&mask != 0) == (classes[letter]&isLower != 0)
}

// octetSet is a set of octets, a bit for each.
type octetSet [4]uint64

func (o *octetSet) has(c byte) bool { return o[c>>6]>>(c&63)&1 != 0 }

func (o *octetSet) add(c byte) { o[c>>6] |= 1 << (c & 63) }

// addRange adds the octets from lo to hi, none where hi is below lo.
func (o *octetSet) addRange(lo, hi byte) {
	for i := range o {
		from, to := max(int(lo)-64*i, 0), min(int(hi)-64*i, 63)
		if from <= to {
			o[i] |= (^uint64(0) >> (63 - to + from)) << from
		}
	}
}

func (o *octetSet) invert() { o[0], o[1], o[2], o[3] = ^o[0], ^o[1], ^o[2], ^o[3] }

// classOctets has for each octet x the octets that %x matches.
var classOctets = makeClassOctets()

func makeClassOctets() (t [256]octetSet) {
	for letter := range t {
		for c := range 256 {
			if inClass(byte(c), byte(letter)) {
				t[letter].add(byte(c))
			}
		}
	}
	return t
}
