package hooks

import (
	"errors"
	"net/netip"
)

// isCausedByMail reports whether an error of a handler is the fault of the mail or of
// the client at hand: it made the handler use up its budget.
func isCausedByMail(e *Event, err error) bool {
	return errors.Is(err, ErrExhausted) && (e.Session != nil || e.Msg != nil)
}

// clientNetwork returns the client's: its /24, its /64, or "" where there is no client.
func clientNetwork(e *Event) string {
	var ip netip.Addr
	switch {
	case e.Session != nil:
		ip = e.Session.Remote.Addr()
	case e.Msg != nil && e.Msg.Client != "":
		ip, _ = netip.ParseAddr(e.Msg.Client)
	}
	return ClientNet(ip)
}

// ClientNet returns the network of a client's address: its /24, or its /64 for IPv6;
// "" for no address.
func ClientNet(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	ip = ip.Unmap().WithZone("")
	bits := 24
	if ip.Is6() {
		bits = 64
	}
	net, err := ip.Prefix(bits)
	if err != nil {
		return ""
	}
	return net.String()
}
