package verify

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"carteiro/core/message/envelope"
)

// Limits of one check (RFC 7208 4.6.4).
const (
	maxTerms = 10 // that ask the DNS
	maxVoid  = 2  // of them may find nothing
	maxHosts = 10 // names of one MX or PTR answer
)

// The results of RFC 7208 2.6 that end a check from inside.
var (
	errPermanent = errors.New("broken record")
	errTransient = errors.New("look-up failed")
)

// checkSPF checks whether the client may send for the envelope sender's domain, or, with
// the null sender, for the name in HELO (RFC 7208 2.4).
func checkSPF(ctx context.Context, r Resolver, m Message) envelope.AuthResult {
	domain, local, helo := m.Sender.Domain(), m.Sender.Local(), m.Sender == ""
	if helo {
		domain = m.Helo
	}
	if local == "" {
		local = "postmaster" // RFC 7208 4.3
	}
	out := envelope.AuthResult{Result: "none", Domain: domain, Helo: helo}
	if _, literal := envelope.LiteralIP(domain); literal {
		return out
	}
	c := &spfCheck{ctx: ctx, r: r, ip: m.IP.Unmap(), helo: m.Helo, local: local, origin: domain}
	result, err := c.checkHost(domain)
	switch {
	case errors.Is(err, errTransient):
		out.Result, out.Reason = "temperror", err.Error()
	case err != nil:
		out.Result, out.Reason = "permerror", err.Error()
	default:
		out.Result = result
	}
	return out
}

// spfCheck is one check, with counts of its look-ups.
type spfCheck struct {
	ctx    context.Context
	r      Resolver
	ip     netip.Addr
	helo   string
	local  string
	origin string // domain of the sender
	terms  int
	void   int
	names  []string // validated names of the client, after they were looked up
	asked  bool
}

// checkHost is check_host of RFC 7208 4. It returns errPermanent or errTransient
// for the results of those names.
func (c *spfCheck) checkHost(domain string) (string, error) {
	if strings.HasPrefix(domain, "[") || envelope.CheckDomain(domain) != nil || !strings.Contains(domain, ".") {
		return "none", nil
	}
	texts, err := c.r.TXT(c.ctx, domain)
	if err != nil && lookupResult(err) == "temperror" {
		return "", errTransient
	}
	text, found := "", false
	for _, t := range texts {
		if version, _, _ := strings.Cut(t, " "); strings.EqualFold(version, "v=spf1") {
			if found {
				return "", errPermanent
			}
			text, found = t, true
		}
	}
	if !found {
		return "none", nil
	}
	record, err := parseSPF(text)
	if err != nil {
		return "", err
	}
	for _, t := range record.terms {
		match, err := c.matches(t, domain)
		if err != nil {
			return "", err
		}
		if match {
			return t.result, nil
		}
	}
	if record.redirect == "" {
		return "neutral", nil
	}
	return c.checkOther(record.redirect, domain)
}

// checkOther evaluates another domain's record, for include and redirect. If there is
// none, the record that names it is in error (RFC 7208 5.2, 6.1).
func (c *spfCheck) checkOther(spec, domain string) (string, error) {
	target, err := c.expandTarget(spec, domain)
	if err != nil {
		return "", err
	}
	result, err := c.checkHost(target)
	if result == "none" {
		return "", errPermanent
	}
	return result, err
}

// countTerm counts a term that needs a DNS look-up.
func (c *spfCheck) countTerm() error {
	if c.terms++; c.terms > maxTerms {
		return errPermanent
	}
	return nil
}

// expandTarget counts a term and expands its domain-spec; without one it is domain.
func (c *spfCheck) expandTarget(spec, domain string) (string, error) {
	if err := c.countTerm(); err != nil {
		return "", err
	}
	if spec == "" {
		return domain, nil
	}
	return c.expand(spec, domain)
}

// countVoid counts a look-up without an answer. It returns an error if the look-up
// failed, or if there were too many without an answer.
func (c *spfCheck) countVoid(n int, err error) error {
	if err != nil && lookupResult(err) == "temperror" {
		return errTransient
	}
	if n == 0 {
		if c.void++; c.void > maxVoid {
			return errPermanent
		}
	}
	return nil
}

func (c *spfCheck) matches(t spfTerm, domain string) (bool, error) {
	switch t.name {
	case "all":
		return true, nil
	case "ip4", "ip6":
		return t.network.Contains(c.ip), nil
	case "include":
		result, err := c.checkOther(t.spec, domain)
		return result == "pass", err
	}
	target, err := c.expandTarget(t.spec, domain)
	if err != nil {
		return false, err
	}
	switch t.name {
	case "a":
		ips, err := c.addresses(target)
		return c.matchesNetwork(ips, t), c.countVoid(len(ips), err)
	case "mx":
		return c.matchesMX(target, t)
	case "ptr":
		err := c.lookupNames()
		for _, name := range c.names {
			if isBelow(name, target) {
				return err == nil, err
			}
		}
		return false, err
	}
	// exists: of type A, whatever the client's address is (RFC 7208 5.7).
	ips, err := c.r.A(c.ctx, target)
	return len(ips) > 0, c.countVoid(len(ips), err)
}

// addresses of a name, of the kind that the client has (RFC 7208 5).
func (c *spfCheck) addresses(name string) ([]netip.Addr, error) {
	if c.ip.Is4() {
		return c.r.A(c.ctx, name)
	}
	return c.r.AAAA(c.ctx, name)
}

// matchesNetwork reports whether the client is in the network of one of the
// addresses.
func (c *spfCheck) matchesNetwork(ips []netip.Addr, t spfTerm) bool {
	bits := t.bits4
	if c.ip.Is6() {
		bits = t.bits6
	}
	for _, ip := range ips {
		if p, err := ip.Prefix(bits); err == nil && p.Contains(c.ip) {
			return true
		}
	}
	return false
}

func (c *spfCheck) matchesMX(domain string, t spfTerm) (bool, error) {
	hosts, err := c.r.MX(c.ctx, domain)
	if err := c.countVoid(len(hosts), err); err != nil {
		return false, err
	}
	if len(hosts) > maxHosts {
		return false, errPermanent
	}
	for _, mx := range hosts {
		ips, err := c.addresses(mx.Host)
		if err != nil && lookupResult(err) == "temperror" {
			return false, errTransient
		}
		if c.matchesNetwork(ips, t) {
			return true, nil
		}
	}
	return false, nil
}

// lookupNames finds the client's names that lead back to it, once. Errors of the
// DNS make no match and no more (RFC 7208 5.5): it is not the sender's zone.
func (c *spfCheck) lookupNames() error {
	if c.asked {
		return nil
	}
	c.asked = true
	names, err := c.r.PTR(c.ctx, c.ip)
	if err != nil && lookupResult(err) == "temperror" {
		return nil
	}
	if err := c.countVoid(len(names), nil); err != nil {
		return err
	}
	for _, name := range names[:min(len(names), maxHosts)] {
		ips, _ := c.addresses(name)
		for _, ip := range ips {
			if ip == c.ip {
				c.names = append(c.names, name)
				break
			}
		}
	}
	return nil
}

// isBelow reports whether a name is the domain or one below it.
func isBelow(name, domain string) bool {
	name, domain = strings.ToLower(strings.TrimSuffix(name, ".")), strings.ToLower(strings.TrimSuffix(domain, "."))
	return name == domain || strings.HasSuffix(name, "."+domain)
}
