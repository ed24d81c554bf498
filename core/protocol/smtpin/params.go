package smtpin

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

// errParam is a parameter that is not known or not offered: 555 5.5.4.
var errParam = fmt.Errorf("%w: parameter not recognized", errSyntax)

func syntax(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errSyntax, fmt.Sprintf(format, args...))
}

// offers says which parameters a session may use.
type offers struct {
	requireTLS bool
	auth       bool
	prdr       bool
	hold       time.Duration // 0: no FUTURERELEASE
	now        time.Time
}

// eachParam calls f for every esmtp-param of RFC 5321 4.1.2, keyword in upper
// case, and refuses one that comes twice.
func eachParam(s string, f func(key, value string, hasValue bool) error) error {
	if s == "" {
		return nil
	}
	var seen []string
	for p := range strings.SplitSeq(s, " ") {
		key, value, hasValue := strings.Cut(p, "=")
		key = strings.ToUpper(key)
		if !isKeyword(key) || hasValue && !isValue(value) {
			return syntax("malformed parameter")
		}
		for _, k := range seen {
			if k == key {
				return syntax("parameter given twice")
			}
		}
		seen = append(seen, key)
		if err := f(key, value, hasValue); err != nil {
			return err
		}
	}
	return nil
}

func isKeyword(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' && i > 0) {
			return false
		}
	}
	return s != ""
}

// isValue is esmtp-value, with the UTF-8 that RFC 6531 adds.
func isValue(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '=' || s[i] == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// parseMailParams reads the parameters of MAIL. Errors are errSyntax (501) or
// errParam (555).
func parseMailParams(s string, o offers) (envelope.Params, error) {
	var p envelope.Params
	err := eachParam(s, func(key, value string, hasValue bool) error {
		switch key {
		case "SMTPUTF8", "REQUIRETLS", "PRDR":
			return flagParam(&p, key, hasValue, o)
		}
		if !hasValue {
			if isMailParam(key) {
				return syntax("%s needs a value", key)
			}
			return errParam
		}
		return valueParam(&p, key, value, o)
	})
	return p, err
}

func isMailParam(key string) bool {
	switch key {
	case "SIZE", "BODY", "RET", "ENVID", "MT-PRIORITY", "BY", "AUTH", "HOLDFOR", "HOLDUNTIL":
		return true
	}
	return false
}

func flagParam(p *envelope.Params, key string, hasValue bool, o offers) error {
	switch {
	case hasValue:
		return syntax("%s takes no value", key)
	case key == "SMTPUTF8":
		p.SMTPUTF8 = true
	case key == "PRDR" && !o.prdr:
		return errParam
	case key == "PRDR":
		p.PRDR = true
	case !o.requireTLS:
		return errParam
	default:
		p.RequireTLS = true
	}
	return nil
}

func valueParam(p *envelope.Params, key, value string, o offers) error {
	var err error
	switch key {
	case "SIZE":
		p.Size, err = parseSize(value)
	case "BODY":
		p.Body, err = oneOf(key, value, "7BIT", "8BITMIME", "BINARYMIME")
	case "RET":
		p.Ret, err = oneOf(key, value, "FULL", "HDRS")
	case "ENVID":
		if p.EnvID, err = decodeXtext(value); err != nil || len(value) > 100 || p.EnvID == "" || !printable.IsASCII(p.EnvID) {
			return syntax("bad ENVID")
		}
	case "MT-PRIORITY":
		n, perr := envelope.ParsePriority(value)
		if perr != nil || strconv.Itoa(int(n)) != value { // RFC 6710 4.1 has no leading zeros
			return syntax("MT-PRIORITY is a number from -9 to 9")
		}
		p.Priority = &n
	case "BY":
		err = parseBy(p, value)
	case "AUTH":
		if !o.auth {
			return errParam
		}
		p.Auth, err = parseAuthParam(value)
	case "HOLDFOR", "HOLDUNTIL":
		err = parseHold(p, key, value, o)
	default:
		return errParam
	}
	return err
}

func oneOf(key, value string, allowed ...string) (string, error) {
	for _, a := range allowed {
		if strings.EqualFold(value, a) {
			return a, nil
		}
	}
	return "", syntax("bad %s", key)
}

// parseSize reads 1 to 20 digits (RFC 1870 3); what exceeds an int64 is
// larger than any message we take.
func parseSize(s string) (int64, error) {
	if len(s) > 20 || !isDigits(s) {
		return 0, syntax("bad SIZE")
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, nil
	}
	return n, nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// parseBy reads by-time;by-mode[by-trace] (RFC 2852 4). A deadline that has
// passed makes no sense with "return": 501.
func parseBy(p *envelope.Params, value string) error {
	when, mode, _ := strings.Cut(value, ";")
	mode = strings.ToUpper(mode)
	number := strings.TrimLeft(when, "+-")
	if len(when)-len(number) > 1 || len(number) > 9 || !isDigits(number) {
		return syntax("bad BY")
	}
	n, err := strconv.ParseInt(when, 10, 64)
	switch {
	case err != nil || mode != "R" && mode != "RT" && mode != "N" && mode != "NT":
		return syntax("bad BY")
	case mode[0] == 'R' && n <= 0:
		return syntax("BY with R needs a time to come")
	}
	p.By, p.ByMode = n, mode
	return nil
}

// parseAuthParam reads the xtext of AUTH= (RFC 4954 5): a mailbox or "<>".
func parseAuthParam(value string) (string, error) {
	s, err := decodeXtext(value)
	if err != nil {
		return "", err
	}
	if s == "<>" {
		return s, nil
	}
	a, err := envelope.ParseAddress(s)
	if err != nil {
		return "", syntax("bad AUTH")
	}
	return string(a), nil
}

// parseHold reads HOLDFOR and HOLDUNTIL (RFC 4865 4).
func parseHold(p *envelope.Params, key, value string, o offers) error {
	if o.hold == 0 {
		return errParam
	}
	if !p.HoldUntil.IsZero() {
		return syntax("HOLDFOR and HOLDUNTIL exclude each other")
	}
	if key == "HOLDFOR" {
		if len(value) > 9 || !isDigits(value) {
			return syntax("bad HOLDFOR")
		}
		n, _ := strconv.ParseInt(value, 10, 64) // nine digits
		p.HoldUntil = o.now.Add(time.Duration(n) * time.Second)
	} else {
		t, err := time.Parse(time.RFC3339, value)
		if err != nil || t.Before(o.now) {
			return syntax("bad HOLDUNTIL")
		}
		p.HoldUntil = t
	}
	if p.HoldUntil.Sub(o.now) > o.hold {
		return syntax("%s is too far away", key)
	}
	return nil
}

// parseRcptParams reads NOTIFY and ORCPT (RFC 3461 4.1, 4.2; RFC 6533 3).
func parseRcptParams(s string, utf8ok bool) (notify envelope.Notify, orcpt string, err error) {
	err = eachParam(s, func(key, value string, hasValue bool) error {
		var err error
		switch {
		case key != "NOTIFY" && key != "ORCPT":
			return errParam
		case !hasValue:
			return syntax("%s needs a value", key)
		case key == "NOTIFY":
			notify, err = parseNotify(value)
		default:
			orcpt, err = parseORcpt(value, utf8ok)
		}
		return err
	})
	return notify, orcpt, err
}

var notifyWords = [...]struct {
	word string
	bit  envelope.Notify
}{
	{"NEVER", envelope.NotifyNever}, {"SUCCESS", envelope.NotifySuccess}, {"FAILURE", envelope.NotifyFailure}, {"DELAY", envelope.NotifyDelay},
}

func parseNotify(value string) (envelope.Notify, error) {
	var n envelope.Notify
	for w := range strings.SplitSeq(value, ",") {
		var bit envelope.Notify
		for _, k := range notifyWords {
			if strings.EqualFold(w, k.word) {
				bit = k.bit
			}
		}
		if bit == 0 || n&bit != 0 {
			return 0, syntax("bad NOTIFY")
		}
		n |= bit
	}
	if n&envelope.NotifyNever != 0 && n != envelope.NotifyNever {
		return 0, syntax("NOTIFY=NEVER stands alone")
	}
	return n, nil
}

// parseORcpt decodes "type;xtext". What it returns goes into DSNs, so it must
// not hold control characters.
func parseORcpt(value string, utf8ok bool) (string, error) {
	kind, rest, found := strings.Cut(value, ";")
	if !found || len(value) > 500 || !isAtom(kind) || rest == "" {
		return "", syntax("bad ORCPT")
	}
	if strings.EqualFold(kind, "utf-8") && !envelope.Address(rest).ASCII() {
		if !utf8ok {
			return "", syntax("ORCPT needs SMTPUTF8")
		}
		return "utf-8;" + rest, nil // utf-8-addr-unitext, nothing is encoded
	}
	text, err := decodeXtext(rest)
	if err != nil || text == "" || !printable.IsASCII(text) {
		return "", syntax("bad ORCPT")
	}
	return strings.ToLower(kind) + ";" + text, nil
}

func isAtom(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return s != ""
}

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
