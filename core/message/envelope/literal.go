package envelope

import (
	"fmt"
	"net/netip"
	"strings"
)

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
