package envelope

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Address is a mailbox in canonical form: "user@domain" with the domain in
// lower case, or "" for the null sender (RFC 5321 4.5.5). The local part is
// kept as it came; it is quoted where RFC 5321 4.1.2 asks for quotes.
type Address string

// ErrAddress is returned for text that is no address; its text says why.
var ErrAddress = errors.New("bad address")

// Octet limits of RFC 5321 4.5.3.1.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxPath   = 256
)

// ParseAddress reads "user@domain" as RFC 5321 4.1.2 defines Mailbox (quoted
// local parts and address literals included). UTF-8 (RFC 6531) is allowed;
// the caller decides whether the session may use it. The bare name
// "postmaster" is for the adapter to complete. It returns ErrAddress.
func ParseAddress(s string) (Address, error) {
	if len(s) > MaxPath-2 {
		return "", fmt.Errorf("%w: longer than %d octets", ErrAddress, MaxPath-2)
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%w: not UTF-8", ErrAddress)
	}
	local, domain, err := splitMailbox(s)
	if err != nil {
		return "", err
	}
	if len(local) > MaxLocal {
		return "", fmt.Errorf("%w: local part longer than %d octets", ErrAddress, MaxLocal)
	}
	if err := CheckDomain(domain); err != nil {
		return "", err
	}
	return Address(local + "@" + strings.ToLower(domain)), nil
}

func splitMailbox(s string) (local, domain string, err error) {
	if strings.HasPrefix(s, `"`) {
		return splitQuoted(s)
	}
	at := strings.LastIndexByte(s, '@')
	if at < 1 {
		return "", "", fmt.Errorf("%w: no local part and domain", ErrAddress)
	}
	local, domain = s[:at], s[at+1:]
	if local[0] == '.' || local[at-1] == '.' || strings.Contains(local, "..") {
		return "", "", fmt.Errorf("%w: misplaced dot in the local part", ErrAddress)
	}
	for i := range len(local) {
		if c := local[i]; c != '.' && !atext(c) {
			return "", "", fmt.Errorf("%w: character %q in the local part", ErrAddress, c)
		}
	}
	return local, domain, nil
}

// splitQuoted reads a quoted local part and drops quotes that are not needed,
// so that "a"@x and a@x are the same mailbox (RFC 5321 4.1.2).
func splitQuoted(s string) (local, domain string, err error) {
	var plain strings.Builder
	i := 1
	for ; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' {
			i++
		}
		if i >= len(s) || s[i] < ' ' || s[i] == 0x7f {
			return "", "", fmt.Errorf("%w: bad quoted local part", ErrAddress)
		}
		plain.WriteByte(s[i])
	}
	if i+1 >= len(s) || s[i+1] != '@' || plain.Len() == 0 {
		return "", "", fmt.Errorf("%w: bad quoted local part", ErrAddress)
	}
	return QuoteLocal(plain.String()), s[i+2:], nil
}

// QuoteLocal puts a local part in quotes where it needs them.
func QuoteLocal(s string) string {
	need := s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..")
	for i := 0; i < len(s) && !need; i++ {
		need = s[i] != '.' && !atext(s[i])
	}
	if !need {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func atext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// CheckDomain returns an error unless s is a domain or an address literal by
// RFC 5321 4.1.2 and 2.3.5, U-labels allowed. It returns ErrAddress.
func CheckDomain(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: empty domain", ErrAddress)
	case len(s) > MaxDomain:
		return fmt.Errorf("%w: domain longer than %d octets", ErrAddress, MaxDomain)
	case s[0] == '[':
		return checkLiteral(s)
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%w: bad label in domain", ErrAddress)
		}
		for i := range len(label) {
			c := label[i]
			if !(c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80) {
				return fmt.Errorf("%w: character %q in domain", ErrAddress, c)
			}
		}
	}
	return nil
}

// Local returns the part before the "@", quotes included.
func (a Address) Local() string {
	if i := strings.LastIndexByte(string(a), '@'); i >= 0 {
		return string(a[:i])
	}
	return string(a)
}

// Domain returns the part after the "@".
func (a Address) Domain() string {
	if i := strings.LastIndexByte(string(a), '@'); i >= 0 {
		return string(a[i+1:])
	}
	return ""
}

// Tag returns the sub-address: what follows the first "+" of the local part.
func (a Address) Tag() string {
	_, tag, _ := strings.Cut(a.Local(), "+")
	return tag
}

// Base returns the address without its tag, the local part in lower case: the form
// under which mailboxes of ours are looked up.
func (a Address) Base() Address {
	local, _, _ := strings.Cut(a.Local(), "+")
	if a.Domain() == "" {
		return Address(strings.ToLower(string(a)))
	}
	return Address(strings.ToLower(local) + "@" + a.Domain())
}

// ASCII reports whether the address needs no SMTPUTF8 (RFC 6531).
func (a Address) ASCII() bool {
	for i := range len(a) {
		if a[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Path returns the address in angle brackets, as MAIL, RCPT and Return-Path say it.
func (a Address) Path() string { return "<" + string(a) + ">" }

// checkLiteral checks "[192.0.2.1]" and "[IPv6:2001:db8::1]" (RFC 5321 4.1.3).
func checkLiteral(s string) error {
	if _, ok := LiteralIP(s); !ok {
		return fmt.Errorf("%w: bad address literal", ErrAddress)
	}
	return nil
}

// LiteralIP returns the address inside a domain that is an address literal.
func LiteralIP(domain string) (netip.Addr, bool) {
	if len(domain) < 3 || domain[0] != '[' || domain[len(domain)-1] != ']' {
		return netip.Addr{}, false
	}
	inner := domain[1 : len(domain)-1]
	v6 := len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:")
	if v6 {
		inner = inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	return ip, err == nil && ip.Is6() == v6 && ip.Zone() == ""
}
