package smtpout

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"carteiro/core/message/envelope"
	"carteiro/core/service/dns"
)

// addresses returns the addresses of a host that may be tried, IPv6 first, or
// why there are none.
func (c *Client) addresses(ctx context.Context, hop envelope.NextHop, h envelope.Host) ([]netip.AddrPort, *envelope.Status) {
	ips, st := c.lookup(ctx, hop, h.Name)
	if st != nil {
		return nil, st
	}
	if !c.cfg.AllowPrivate && !hop.Configured {
		ips = slices.DeleteFunc(ips, isPrivate)
		if len(ips) == 0 {
			return nil, envelope.Reject(550, "5.4.4", "host "+h.Name+" has no public address")
		}
	}
	if hop.Source != "" {
		source, err := netip.ParseAddr(hop.Source)
		if err != nil {
			return nil, envelope.Defer(451, "4.3.5", "the configured source address is not valid", err)
		}
		ips = slices.DeleteFunc(ips, func(ip netip.Addr) bool { return ip.Is4() != source.Unmap().Is4() })
		if len(ips) == 0 {
			return nil, envelope.Defer(451, "4.4.4", "host "+h.Name+" cannot be reached from the configured source address", nil)
		}
	}
	out := make([]netip.AddrPort, 0, maxAddresses)
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		out = append(out, netip.AddrPortFrom(ip, uint16(h.Port)))
	}
	return out, nil
}

// lookup returns the addresses of a name, or the address that the name is. It does not
// look up "localhost" (RFC 6761 6.3).
func (c *Client) lookup(ctx context.Context, hop envelope.NextHop, name string) ([]netip.Addr, *envelope.Status) {
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return []netip.Addr{ip.Unmap().WithZone("")}, nil
	}
	if strings.EqualFold(strings.TrimSuffix(name, "."), "localhost") {
		return []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	var v6 []netip.Addr
	var err6 error
	var both sync.WaitGroup
	both.Go(func() { v6, err6 = c.cfg.Resolver.AAAA(ctx, name) })
	v4, err4 := c.cfg.Resolver.A(ctx, name)
	both.Wait()
	ips := interleave(v6, v4)
	switch {
	case len(ips) > 0:
		return ips, nil
	case err4 != nil && !errors.Is(err4, dns.ErrNXDomain):
		return nil, envelope.Defer(451, "4.4.3", "address of "+name+" cannot be looked up now", err4)
	case err6 != nil && !errors.Is(err6, dns.ErrNXDomain):
		return nil, envelope.Defer(451, "4.4.3", "address of "+name+" cannot be looked up now", err6)
	case hop.Configured: // a slip of the admin's must not bounce mail
		return nil, envelope.Defer(451, "4.4.4", "host "+name+" has no address", err4)
	}
	return nil, &envelope.Status{Code: 550, Enhanced: "5.4.4", Text: "host " + name + " has no address", Err: err4}
}

// interleave returns addresses of v6 and v4 alternately, so that a host with many
// addresses of a family that does not work here is still reached within maxAddresses.
func interleave(v6, v4 []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for i := range max(len(v6), len(v4)) {
		if i < len(v6) {
			out = append(out, v6[i].Unmap().WithZone(""))
		}
		if i < len(v4) {
			out = append(out, v4[i].Unmap())
		}
	}
	return out
}

var privateNets = func() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range [...]string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "fec0::/10", "100::/64"} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

// isPrivate reports whether ip is not an address of the public Internet, also inside an
// address of RFC 6052 or RFC 3056.
func isPrivate(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsPrivate() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return true
	}
	if slices.ContainsFunc(privateNets, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return true
	}
	if !ip.Is6() {
		return false
	}
	b := ip.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(ip), netip.MustParsePrefix("::/96").Contains(ip):
		return isPrivate(netip.AddrFrom4([4]byte(b[12:16])))
	case b[0] == 0x20 && b[1] == 0x02:
		return isPrivate(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return false
}
