package smtpout

import (
	"strconv"
	"strings"
)

// extensions are those that a host offers, by keyword in upper case.
type extensions map[string]string

// parseExtensions reads the lines of a reply to EHLO after the first (RFC
// 5321 4.1.1.1). Lines that are no keyword are passed over.
func parseExtensions(lines []string) extensions {
	e := extensions{}
	for _, l := range lines {
		key, value, _ := strings.Cut(strings.TrimSpace(l), " ")
		if key, mech, old := strings.Cut(key, "="); old && strings.EqualFold(key, "AUTH") {
			// QUIRK: servers that still say "AUTH=LOGIN" for the sake of
			// clients from before RFC 2554.
			if _, known := e["AUTH"]; !known {
				e["AUTH"] = strings.TrimSpace(mech + " " + value)
			}
			continue
		}
		if key != "" {
			e[strings.ToUpper(key)] = strings.TrimSpace(value)
		}
	}
	return e
}

func (e extensions) has(key string) bool { _, ok := e[key]; return ok }

// maxSize returns the limit of SIZE, 0 when there is none (RFC 1870 4).
func (e extensions) maxSize() int64 {
	n, err := strconv.ParseInt(e["SIZE"], 10, 64)
	if err != nil {
		return 0 // none, none given, or one that no message reaches
	}
	return max(n, 0)
}

// limit returns a value of LIMITS (RFC 9422), 0 when there is none.
func (e extensions) limit(name string) int {
	for l := range strings.FieldsSeq(e["LIMITS"]) {
		key, value, _ := strings.Cut(l, "=")
		if n, err := strconv.Atoi(value); err == nil && n > 0 && strings.EqualFold(key, name) {
			return n
		}
	}
	return 0
}

// auth reports whether a SASL mechanism is offered.
func (e extensions) auth(mechanism string) bool {
	for m := range strings.FieldsSeq(e["AUTH"]) {
		if strings.EqualFold(m, mechanism) {
			return true
		}
	}
	return false
}
