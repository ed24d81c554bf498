package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
	"golang.org/x/sync/singleflight"
)

// Options for New.
type Options struct {
	// Servers are host:port of recursive resolvers, tried in order; nil means
	// those of /etc/resolv.conf, and without such a file 127.0.0.1.
	Servers []string
	// Timeout of one question to one server; 0 means 3 seconds.
	Timeout time.Duration
	// Now returns the time for TTLs; nil is the system's.
	Now func() time.Time
}

// Limits of the cache and of answers.
const (
	defaultTimeout = 3 * time.Second
	tries          = 2 // of each server
	maxEntries     = 50_000
	maxTTL         = 24 * time.Hour
	minTTL         = 5 * time.Second // spares the resolver a storm
	negativeTTL    = time.Minute     // if there is no SOA record
	maxRecords     = 100             // of one answer
	maxInFlight    = 500
)

// Resolver sends queries to recursive resolvers and caches their answers. It is safe for
// concurrent use; equal queries at the same time are sent once.
type Resolver struct {
	o        Options
	flight   singleflight.Group
	inFlight chan struct{}

	mu    sync.Mutex
	cache map[question]cached
}

type question struct {
	name  string
	qtype uint16
}

type cached struct {
	rrs   []dns.RR
	err   error
	until time.Time
}

// New makes a resolver. It sends no query.
func New(o Options) *Resolver {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Servers) == 0 {
		conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err == nil {
			for _, s := range conf.Servers {
				o.Servers = append(o.Servers, net.JoinHostPort(s, conf.Port))
			}
		}
		if len(o.Servers) == 0 { // as the C library does
			o.Servers = []string{"127.0.0.1:53"}
		}
	}
	return &Resolver{o: o, cache: map[question]cached{}, inFlight: make(chan struct{}, maxInFlight)}
}

// MX returns the records in the order of the answer. One record with an empty
// Host is a null MX (RFC 7505).
func (r *Resolver) MX(ctx context.Context, name string) ([]MX, error) {
	rrs, err := r.lookup(ctx, name, dns.TypeMX)
	var out []MX
	for _, rr := range rrs {
		if mx, ok := rr.(*dns.MX); ok {
			out = append(out, MX{Host: host(mx.Mx), Preference: mx.Preference})
		}
	}
	return out, err
}

// A returns IPv4 addresses.
func (r *Resolver) A(ctx context.Context, name string) ([]netip.Addr, error) {
	rrs, err := r.lookup(ctx, name, dns.TypeA)
	var out []netip.Addr
	for _, rr := range rrs {
		if a, ok := rr.(*dns.A); ok {
			if ip, ok := netip.AddrFromSlice(a.A); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out, err
}

// AAAA returns IPv6 addresses.
func (r *Resolver) AAAA(ctx context.Context, name string) ([]netip.Addr, error) {
	rrs, err := r.lookup(ctx, name, dns.TypeAAAA)
	var out []netip.Addr
	for _, rr := range rrs {
		if a, ok := rr.(*dns.AAAA); ok {
			if ip, ok := netip.AddrFromSlice(a.AAAA); ok {
				out = append(out, ip)
			}
		}
	}
	return out, err
}

// TXT returns each record with its strings joined (RFC 7208 3.3).
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	rrs, err := r.lookup(ctx, name, dns.TypeTXT)
	var out []string
	for _, rr := range rrs {
		if t, ok := rr.(*dns.TXT); ok {
			out = append(out, octets(strings.Join(t.Txt, "")))
		}
	}
	return out, err
}

// octets undoes the escapes of a zone file: \" and the like, and \195.
func octets(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		if n, err := strconv.ParseUint(s[i:min(i+3, len(s))], 10, 8); err == nil && i+3 <= len(s) {
			b = append(b, byte(n))
			i += 2
		} else {
			b = append(b, s[i])
		}
	}
	return string(b)
}

// PTR returns the names of an address.
func (r *Resolver) PTR(ctx context.Context, ip netip.Addr) ([]string, error) {
	name, err := dns.ReverseAddr(ip.Unmap().String())
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	rrs, err := r.lookup(ctx, name, dns.TypePTR)
	var out []string
	for _, rr := range rrs {
		if p, ok := rr.(*dns.PTR); ok {
			out = append(out, host(p.Ptr))
		}
	}
	return out, err
}

// Verified returns a name of ip that leads back to it, or "" (RFC 8601
// 2.7.3); it looks at three names at most.
func (r *Resolver) Verified(ctx context.Context, ip netip.Addr) string {
	names, err := r.PTR(ctx, ip)
	if err != nil {
		return ""
	}
	for _, name := range names[:min(len(names), 3)] {
		look := r.A
		if ip.Unmap().Is6() {
			look = r.AAAA
		}
		addrs, err := look(ctx, name)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if a == ip.Unmap() {
				return name
			}
		}
	}
	return ""
}

func host(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// lookup answers from the cache or sends a query. The recursive resolver follows CNAMEs;
// lookup returns the records of the last name.
func (r *Resolver) lookup(ctx context.Context, name string, qtype uint16) ([]dns.RR, error) {
	q := question{dns.Fqdn(ASCII(name)), qtype}
	if _, ok := dns.IsDomainName(q.name); !ok {
		return nil, fmt.Errorf("dns: %.100q: %w", name, ErrNXDomain)
	}
	if c, ok := r.get(q); ok {
		return c.rrs, c.err
	}
	ch := r.flight.DoChan(fmt.Sprintf("%d %s", q.qtype, q.name), func() (any, error) {
		// The answer is for all who wait: one caller's end does not end it.
		c := r.ask(context.WithoutCancel(ctx), q)
		r.put(q, c)
		return c, nil
	})
	select {
	case res := <-ch:
		c := res.Val.(cached)
		return c.rrs, c.err
	case <-ctx.Done():
		return nil, fmt.Errorf("dns: %s: %w: %w", q.name, ErrTimeout, ctx.Err())
	}
}

// ASCII is a name as the DNS has it: in small letters, other scripts as A-labels
// (RFC 5890), without the last dot. What has no such form stays as it is.
func ASCII(name string) string {
	name = strings.TrimSuffix(name, ".")
	if ascii, err := idna.Lookup.ToASCII(name); err == nil { // not: underscores and the like
		name = ascii
	}
	return strings.ToLower(name)
}

// Unicode returns a name as people write it: A-labels in their own script (RFC
// 5890). Labels that are not valid A-labels are not changed.
func Unicode(name string) string {
	if u, err := idna.Lookup.ToUnicode(ASCII(name)); err == nil {
		return u
	}
	return name
}

func (r *Resolver) get(q question) (cached, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.cache[q]
	return c, ok && r.o.Now().Before(c.until)
}

// put remembers an answer; failures of the resolver are not remembered.
func (r *Resolver) put(q question, c cached) {
	if c.until.IsZero() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cache) >= maxEntries {
		now, n := r.o.Now(), 0
		for k, old := range r.cache { // drop what has expired, and a part of the rest
			if n++; now.After(old.until) || n%8 == 0 {
				delete(r.cache, k)
			}
		}
	}
	r.cache[q] = c
}

// ask sends the query to one server after the other until one answers.
func (r *Resolver) ask(ctx context.Context, q question) cached {
	r.inFlight <- struct{}{}
	defer func() { <-r.inFlight }()
	m := new(dns.Msg)
	m.SetQuestion(q.name, q.qtype)
	m.SetEdns0(1232, false)
	err := ErrTimeout
	for range tries {
		for _, server := range r.o.Servers {
			answer, e := r.exchange(ctx, m, server)
			if e != nil {
				err = fmt.Errorf("%w: %w", ErrTimeout, e)
				continue
			}
			if answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError {
				return r.read(q, answer)
			}
			err = fmt.Errorf("%w: %s", ErrServFail, dns.RcodeToString[answer.Rcode])
		}
	}
	return cached{err: fmt.Errorf("dns: %s %s: %w", q.name, dns.TypeToString[q.qtype], err)}
}

// exchange asks by UDP, and again by TCP when the answer did not fit.
func (r *Resolver) exchange(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	udp := &dns.Client{Timeout: r.o.Timeout}
	answer, _, err := udp.ExchangeContext(ctx, m, server)
	if err == nil && answer.Truncated {
		tcp := &dns.Client{Net: "tcp", Timeout: r.o.Timeout}
		answer, _, err = tcp.ExchangeContext(ctx, m, server)
	}
	return answer, err
}

// read returns the records of an answer that belong to the query.
func (r *Resolver) read(q question, answer *dns.Msg) cached {
	var rrs []dns.RR
	ttl := maxTTL
	for _, rr := range answer.Answer {
		if rr.Header().Rrtype != q.qtype && rr.Header().Rrtype != dns.TypeCNAME {
			continue
		}
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
		if rr.Header().Rrtype == q.qtype && len(rrs) < maxRecords {
			rrs = append(rrs, rr)
		}
	}
	c := cached{rrs: rrs}
	if len(rrs) == 0 {
		ttl = negative(answer)
	}
	if answer.Rcode == dns.RcodeNameError {
		c.err = fmt.Errorf("dns: %s: %w", q.name, ErrNXDomain)
	}
	c.until = r.o.Now().Add(max(ttl, minTTL))
	return c
}

// negative returns how long the absence of records may be believed (RFC 2308 5).
func negative(answer *dns.Msg) time.Duration {
	for _, rr := range answer.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second, maxTTL)
		}
	}
	return negativeTTL
}
