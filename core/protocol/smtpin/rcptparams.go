package smtpin

import (
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

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
}{{"NEVER", envelope.NotifyNever}, {"SUCCESS", envelope.NotifySuccess}, {"FAILURE", envelope.NotifyFailure}, {"DELAY", envelope.NotifyDelay}}

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
	if !found || len(value) > 500 || !atom(kind) || rest == "" {
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

func atom(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return s != ""
}
