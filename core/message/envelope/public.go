package envelope

import (
	"net/netip"
	"slices"
)

// specialNets are networks that are not part of the public Internet, in addition to those
// that net/netip knows (RFC 6890 and the IANA registries of special addresses).
var specialNets = func() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range [...]string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4",
		// Teredo, benchmarking, ORCHID, documentation.
		"2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32", "3fff::/20"} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	// Translations whose last 32 bits are an IPv4 address: NAT64 (RFC 6052),
	// compatible addresses (RFC 4291 2.5.5.1), SIIT (RFC 7915).
	translated = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("::/96"),
		netip.MustParsePrefix("::ffff:0:0:0/96")}
)

// PublicIP reports whether an address may belong to a host of the public
// Internet: it is none of this machine, of a private, shared, local or reserved
// network, and none that leads to such a one by a translation.
func PublicIP(ip netip.Addr) bool {
	ip = ip.Unmap()
	if !ip.IsValid() || ip.IsLoopback() || ip.IsPrivate() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return false
	}
	ip = ip.WithZone("")
	if slices.ContainsFunc(specialNets, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return false
	}
	if ip.Is4() {
		return true
	}
	b := ip.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	switch {
	case slices.ContainsFunc(translated, func(p netip.Prefix) bool { return p.Contains(ip) }):
		return PublicIP(last)
	case !globalUnicast.Contains(ip):
		return false
	case b[0] == 0x20 && b[1] == 0x02: // 6to4 (RFC 3056)
		return PublicIP(netip.AddrFrom4([4]byte(b[2:6])))
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP (RFC 5214)
		return PublicIP(last)
	}
	return true
}
