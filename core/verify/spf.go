package verify

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"blitiri.com.ar/go/spf"

	"carteiro/core/dns"
	"carteiro/core/mail"
)

// checkSPF asks whether the client may send for the envelope sender's domain,
// or with the null sender for its own name (RFC 7208 2.4).
func checkSPF(ctx context.Context, r Resolver, m Message) mail.AuthResult {
	domain, sender, helo := m.Sender.Domain(), string(m.Sender), m.Sender == ""
	if helo {
		domain, sender = m.Helo, "postmaster@"+m.Helo
	}
	out := mail.AuthResult{Result: "none", Domain: domain, Helo: helo}
	if _, literal := mail.LiteralIP(domain); literal || mail.CheckDomain(domain) != nil {
		return out
	}
	result, err := spf.CheckHostWithSender(net.IP(m.IP.Unmap().AsSlice()), m.Helo, sender, spf.WithContext(ctx), spf.WithResolver(spfNames{r}))
	out.Result = string(result)
	if err != nil && (result == spf.TempError || result == spf.PermError) {
		out.Reason = "look-up failed"
		if result == spf.PermError {
			out.Reason = "broken record"
		}
	}
	return out
}

// spfNames is a Resolver in the words of package net.
type spfNames struct{ r Resolver }

func netError(name string, err error) error {
	if err == nil {
		return nil
	}
	e := &net.DNSError{Err: err.Error(), Name: name}
	e.IsNotFound = errors.Is(err, dns.ErrNXDomain)
	e.IsTimeout = errors.Is(err, dns.ErrTimeout)
	e.IsTemporary = !e.IsNotFound
	return e
}

// nothing is the error for an answer without records.
func nothing(name string, n int, err error) error {
	if err == nil && n == 0 {
		return &net.DNSError{Err: "no such record", Name: name, IsNotFound: true}
	}
	return netError(name, err)
}

func (s spfNames) LookupTXT(ctx context.Context, name string) ([]string, error) {
	v, err := s.r.TXT(ctx, name)
	return v, nothing(name, len(v), err)
}

func (s spfNames) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	v, err := s.r.MX(ctx, name)
	out := make([]*net.MX, len(v))
	for i, mx := range v {
		out[i] = &net.MX{Host: mx.Host + ".", Pref: mx.Preference}
	}
	return out, nothing(name, len(v), err)
}

func (s spfNames) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	var out []net.IPAddr
	v4, err4 := s.r.A(ctx, name)
	v6, err6 := s.r.AAAA(ctx, name)
	for _, ip := range append(v4, v6...) {
		out = append(out, net.IPAddr{IP: net.IP(ip.AsSlice())})
	}
	if len(out) > 0 {
		return out, nil
	}
	if err4 != nil {
		return nil, netError(name, err4)
	}
	return nil, nothing(name, 0, err6)
}

func (s spfNames) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "not an address", Name: addr, IsNotFound: true}
	}
	v, err := s.r.PTR(ctx, ip)
	for i := range v {
		v[i] += "."
	}
	return v, nothing(addr, len(v), err)
}
