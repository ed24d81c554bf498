package spam

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// isInvisible are characters that take no room: they only part words.
func isInvisible(r rune) bool {
	switch r {
	case 0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0xFEFF, 0x3164:
		return true
	}
	return r >= 0x200B && r <= 0x200F || r >= 0x202A && r <= 0x202E || r >= 0x2060 && r <= 0x206F || r >= 0xFE00 && r <= 0xFE0F ||
		r >= 0xE0000 && r <= 0xE0FFF
}

// dropInvisible drops characters that cannot be seen, makes full width letters
// plain ones, and every line end one LF.
func dropInvisible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || isInvisible(r):
			return -1
		case r >= 0xFF01 && r <= 0xFF5E:
			return r - 0xFEE0
		case r == 0x00A0 || r == 0x3000:
			return ' '
		}
		return r
	}, s)
}

// isUnspaced are scripts that put no space between words.
func isUnspaced(r rune) bool {
	return r >= 0x2E80 && r <= 0x9FFF || r >= 0xAC00 && r <= 0xD7A3 || r >= 0xF900 && r <= 0xFAFF || r >= 0x0E00 && r <= 0x0EFF ||
		r >= 0x20000 && r <= 0x3FFFF
}

// inWord reports whether a character belongs to a word; begun whether one has
// begun.
func inWord(r rune, begun bool) bool {
	switch {
	case r < utf8.RuneSelf:
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '$' || r == '\'' || r == '-' || r == '_' ||
			r == '%' || begun && (r == '!' || r == '.')
	case r == utf8.RuneError:
		return true
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

// eachWord calls f with each word of b and whether it is all in capitals,
// until it returns false. Of scripts without spaces each two characters in a
// row are a word. The word is f's only during the call.
func eachWord(b []byte, f func(w []byte, loud bool) bool) {
	start := -1
	dotted := func(end int) bool {
		w := b[start:end]
		for len(w) > 0 && isJoiner(w[0]) {
			w = w[1:]
		}
		for len(w) > 0 && isJoiner(w[len(w)-1]) {
			w = w[:len(w)-1]
		}
		start = -1
		return len(w) == 0 || f(w, isShouted(w))
	}
	last := -1 // start of the previous dense character
	for i := 0; i < len(b); {
		r, n := rune(b[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(b[i:])
		}
		switch {
		case isUnspaced(r):
			if start >= 0 && !dotted(i) || last >= 0 && !f(b[last:i+n], false) {
				return
			}
			last = i
		case inWord(r, start >= 0):
			if start < 0 {
				start = i
			}
			last = -1
		default:
			if start >= 0 && !dotted(i) {
				return
			}
			last = -1
		}
		i += n
	}
	if start >= 0 {
		dotted(len(b))
	}
}

// isJoiner reports whether a character is part of a word only between letters.
func isJoiner(c byte) bool { return c == '-' || c == '\'' || c == '.' || c == '_' }

// isShouted reports at least three capitals and no small letter.
func isShouted(w []byte) bool {
	n := 0
	for i := 0; i < len(w); {
		r, size := utf8.DecodeRune(w[i:])
		switch {
		case r < utf8.RuneSelf && r >= 'a' && r <= 'z' || r >= utf8.RuneSelf && unicode.IsLower(r):
			return false
		case r < utf8.RuneSelf && r >= 'A' && r <= 'Z' || r >= utf8.RuneSelf && unicode.IsUpper(r):
			n++
		}
		i += size
	}
	return n >= 3
}

// appendNormal appends a word as it counts: in lower case, numbers by their length,
// endless words by theirs.
func appendNormal(out, w []byte) []byte {
	if len(w) > 24 && utf8.RuneCount(w) > 24 {
		return strconv.AppendInt(append(out, "long:"...), int64(len(w)/10), 10)
	}
	digits, plain := 0, true
	for _, c := range w {
		if c >= '0' && c <= '9' {
			digits++
		}
		plain = plain && c < utf8.RuneSelf
	}
	if !plain {
		w = bytes.ToLower(w)
	}
	for _, c := range w {
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case digits >= 3 && c >= '0' && c <= '9':
			c = '0'
		}
		out = append(out, c)
	}
	return out
}

// textWords adds the words of the text, and sketches it.
func (x *extractor) textWords() {
	n := 0
	x.runs.reset()
	eachWord(x.text, func(w []byte, loud bool) bool {
		x.word = appendNormal(x.word[:0], w)
		word := string(x.word)
		h := hashStart.text(word)
		x.sets[words].add(h.id())
		x.runs.word(h)
		if loud {
			x.tag("LOUD", word)
		}
		n++
		return n < maxWords
	})
	x.mark("words", magnitude(n))
}

// textMarks adds what the text looks like from afar.
func (x *extractor) textMarks() {
	t := x.text
	upper, small, digits, high, loud := 0, 0, 0, 0, 0
	for _, c := range t {
		switch {
		case c >= 'A' && c <= 'Z':
			upper++
		case c >= 'a' && c <= 'z':
			small++
		case c >= '0' && c <= '9':
			digits++
		case c >= 0x80:
			high++
		case c == '!':
			loud++
		}
	}
	x.mark("upper", strconv.Itoa(upper*20/(upper+small+1)))
	x.mark("digits", strconv.Itoa(digits*20/(upper+small+digits+1)))
	x.mark("high", strconv.Itoa(high*10/(len(t)+1)))
	x.mark("loud", magnitude(loud))
	x.mark("lines", magnitude(len(t)/(bytes.Count(t, []byte("\n"))+1)))
	x.mark("quoted", magnitude(bytes.Count(t, []byte("\n>"))))
	if bytes.Contains(t, []byte("\n-- \n")) {
		x.mark("signature")
	}
}

// textLetters adds the sequences of letters of the text's beginning.
func (x *extractor) textLetters() {
	x.letter = squeeze(append(x.letter[:0], ' '), x.text, maxGrams)
	x.letter = append(x.letter, ' ')
	x.gram4(x.letter, 0)
}
