package netline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"carteiro/core/message/printable"
)

// ErrProxy is a PROXY header that is missing or does not follow the
// specification ("The PROXY protocol", versions 1 and 2).
var ErrProxy = errors.New("bad PROXY header")

const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxyV1     = 107  // with CRLF
	maxProxyV2     = 4096 // after the fixed part; type-length-values are skipped
	minProxyV1     = len("PROXY UNKNOWN\r\n")
)

// proxyAddrs are the two ends of the connection to a proxy. Known is false if the header
// says that the proxy itself opened the connection.
type proxyAddrs struct {
	remote, local netip.AddrPort
	known         bool
}

// readProxy reads a header of version 1 or 2 and not an octet more: TLS may
// follow. It returns ErrProxy or an error of r.
func readProxy(r io.Reader) (proxyAddrs, error) {
	head := make([]byte, minProxyV1, maxProxyV1)
	if _, err := io.ReadFull(r, head); err != nil {
		return proxyAddrs{}, err
	}
	if strings.HasPrefix(string(head), proxySignature) {
		return readProxyV2(r, head)
	}
	if !strings.HasPrefix(string(head), "PROXY ") {
		return proxyAddrs{}, fmt.Errorf("%w: no signature", ErrProxy)
	}
	for head[len(head)-1] != '\n' {
		if len(head) == maxProxyV1 {
			return proxyAddrs{}, fmt.Errorf("%w: line too long", ErrProxy)
		}
		if _, err := io.ReadFull(r, head[len(head):len(head)+1]); err != nil {
			return proxyAddrs{}, err
		}
		head = head[:len(head)+1]
	}
	line, ok := strings.CutSuffix(string(head), "\r\n")
	if !ok || strings.ContainsAny(line, "\r\n") {
		return proxyAddrs{}, fmt.Errorf("%w: no CRLF", ErrProxy)
	}
	return parseProxyV1(line)
}

func parseProxyV1(line string) (proxyAddrs, error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return proxyAddrs{}, nil // what follows must be ignored
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return proxyAddrs{}, fmt.Errorf("%w: %s", ErrProxy, printable.Quote(line))
	}
	remote, err1 := parseProxyAddr(f[2], f[4])
	local, err2 := parseProxyAddr(f[3], f[5])
	if v4 := f[1] == "TCP4"; err1 != nil || err2 != nil || remote.Addr().Is4() != v4 || local.Addr().Is4() != v4 {
		return proxyAddrs{}, fmt.Errorf("%w: %s", ErrProxy, printable.Quote(line))
	}
	return newProxyAddrs(remote, local), nil
}

func parseProxyAddr(addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return netip.AddrPort{}, ErrProxy
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return netip.AddrPort{}, ErrProxy
	}
	return netip.AddrPortFrom(a, uint16(n)), nil
}

func newProxyAddrs(remote, local netip.AddrPort) proxyAddrs {
	return proxyAddrs{remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()),
		local: netip.AddrPortFrom(local.Addr().Unmap(), local.Port()), known: true}
}

// readProxyV2 reads on after the first 15 octets.
func readProxyV2(r io.Reader, head []byte) (proxyAddrs, error) {
	head = head[:16]
	if _, err := io.ReadFull(r, head[15:]); err != nil {
		return proxyAddrs{}, err
	}
	size := int(binary.BigEndian.Uint16(head[14:]))
	version, command := head[12]>>4, head[12]&0xf
	if version != 2 || command > 1 || size > maxProxyV2 {
		return proxyAddrs{}, fmt.Errorf("%w: version %d, command %d, %d octets", ErrProxy, version, command, size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return proxyAddrs{}, err
	}
	if command == 0 { // LOCAL: a health check
		return proxyAddrs{}, nil
	}
	return parseProxyV2(head[13], body)
}

func parseProxyV2(family byte, body []byte) (proxyAddrs, error) {
	n := 0
	switch family {
	case 0x11: // TCP over IPv4
		n = 4
	case 0x21: // TCP over IPv6
		n = 16
	case 0x00, 0x12, 0x22, 0x31, 0x32: // unspecified, UDP, UNIX: nothing we could use
		return proxyAddrs{}, nil
	default:
		return proxyAddrs{}, fmt.Errorf("%w: family and protocol %#x", ErrProxy, family)
	}
	if len(body) < 2*n+4 {
		return proxyAddrs{}, fmt.Errorf("%w: %d octets of addresses", ErrProxy, len(body))
	}
	end := func(addr, port []byte) netip.AddrPort {
		a, _ := netip.AddrFromSlice(addr) // 4 or 16 octets
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
	}
	return newProxyAddrs(end(body[:n], body[2*n:]), end(body[n:2*n], body[2*n+2:])), nil
}
