package hooks

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"carteiro/core/message/envelope"
)

// HTTPGrant is a host that policies may ask by HTTP: "host:port", or "host:port
// private" where it may be one of a private network.
type HTTPGrant struct {
	Host    string // "host:port" in lower case, as HTTPHost writes it
	Private bool   // the grant names an address, or says so
}

// ParseHTTPGrant reads a grant; false for what is none.
func ParseHTTPGrant(s string) (g HTTPGrant, ok bool) {
	at, word, said := strings.Cut(strings.TrimSpace(s), " ")
	if said && strings.TrimSpace(word) != "private" {
		return g, false
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return g, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return g, false
	}
	_, err = netip.ParseAddr(host)
	if err != nil && (envelope.CheckDomain(strings.TrimSuffix(host, ".")) != nil || strings.ContainsAny(at, "[]")) {
		return g, false
	}
	return HTTPGrant{HTTPHost(host, strconv.FormatUint(n, 10)), said || err == nil}, true
}

// HTTPHost is host:port with the host in lower case, without a dot at its end;
// an address is written in its usual form.
func HTTPHost(host, port string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	}
	return net.JoinHostPort(host, port)
}

// HTTPGrantFor reports whether a list of grants has a host, as HTTPHost writes
// it, and whether it may be one of a private network.
func HTTPGrantFor(list []string, host string) (granted, private bool) {
	for _, s := range list {
		if g, ok := ParseHTTPGrant(s); ok && g.Host == host {
			granted, private = true, private || g.Private
		}
	}
	return granted, private
}
