package pattern

// Fault returns what is wrong with a pattern, or "". A matcher finds that only
// if a match comes to that place of the pattern.
func Fault(p string) string {
	var open []bool // for each capture, whether it is still open
	for i := 0; i < len(p); {
		switch p[i] {
		case '(':
			if i+1 < len(p) && p[i+1] == ')' {
				open, i = append(open, false), i+2
				continue
			}
			open, i = append(open, true), i+1
		case ')':
			n := len(open) - 1
			for n >= 0 && !open[n] {
				n--
			}
			if n < 0 {
				return "invalid pattern capture"
			}
			open[n] = false
			i++
		case '%':
			if i+1 >= len(p) {
				return "malformed pattern (ends with '%')"
			}
			switch c := p[i+1]; {
			case c == 'b':
				if i+3 >= len(p) {
					return "missing arguments to '%b'"
				}
				i += 4
			case c == 'f':
				if i+2 >= len(p) || p[i+2] != '[' {
					return "missing '[' after '%f'"
				}
				i += 2
			case c >= '0' && c <= '9':
				if n := int(c - '1'); c == '0' || n >= len(open) || open[n] {
					return "invalid capture index %" + string(c)
				}
				i += 2
			default:
				i += 2
			}
		case '[':
			end := setEnd(p, i)
			if end < 0 {
				return "malformed pattern (missing ']')"
			}
			i = end
		default:
			i++
		}
	}
	for _, o := range open {
		if o {
			return "unfinished capture"
		}
	}
	if len(open) > maxCaptures {
		return "too many captures"
	}
	return ""
}

// setEnd returns the index after a set that begins at i, or -1.
func setEnd(p string, i int) int {
	i++
	if i < len(p) && p[i] == '^' {
		i++
	}
	for first := true; ; first = false {
		if i >= len(p) {
			return -1
		}
		if p[i] == ']' && !first {
			return i + 1
		}
		if p[i] == '%' {
			i++
		}
		i++
	}
}
