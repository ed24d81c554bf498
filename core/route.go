package core

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/service/dns"
	"carteiro/hooks"
)

// maxHosts caps how many MX hosts of a domain are considered.
const maxHosts = 20

// route finds the next hop of a group: a policy's reroute of its recipients,
// route.resolve, a configured next hop, the smarthost, an address literal,
// and at last the domain's MX records (RFC 5321 5.1).
func (p *Pipeline) route(ctx context.Context, env *envelope.Envelope, g *envelope.Group) (envelope.NextHop, *envelope.Status) {
	if g.Kind != envelope.Remote {
		return envelope.NextHop{Name: localKey}, nil
	}
	var again *hooks.Route
	if len(g.Recipients) > 0 && g.Recipients[0].Route != "" {
		again = &hooks.Route{}
		if err := json.Unmarshal([]byte(g.Recipients[0].Route), again); err != nil {
			return envelope.NextHop{}, envelope.StatusOf(fmt.Errorf("route of %s: %w", env.ID, err))
		}
		if len(again.Hosts) > 0 {
			return p.hop(g.Domain, again), nil
		}
	}
	r, st := p.routes.resolve(ctx, p, g.Domain, g.Key)
	if st != nil {
		return envelope.NextHop{}, st
	}
	var hop envelope.NextHop
	if r != nil && len(r.Hosts) > 0 {
		hop = p.hop(g.Domain, r)
	} else if hop, st = p.ownRoute(ctx, g); st != nil {
		return hop, st
	} else {
		hop = amend(hop, r)
	}
	return amend(hop, again), nil
}

// ownRoute is the next hop without policies: a configured one, the smarthost,
// an address literal, or the domain's MX records.
func (p *Pipeline) ownRoute(ctx context.Context, g *envelope.Group) (envelope.NextHop, *envelope.Status) {
	if hop, ok := p.cfg.NextHops[g.Domain]; ok {
		return hop, nil
	}
	if p.cfg.Relay != nil {
		return *p.cfg.Relay, nil
	}
	if ip, ok := envelope.LiteralIP(g.Domain); ok {
		return envelope.NextHop{Name: g.Domain, Hosts: []envelope.Host{{Name: ip.String(), Port: p.cfg.Port}}}, nil
	}
	return p.mx(ctx, g.Domain)
}

// amend changes in a next hop what a policy's route without hosts names. The
// hosts stay those of the server, with their order and all checks on them.
func amend(hop envelope.NextHop, r *hooks.Route) envelope.NextHop {
	if r == nil {
		return hop
	}
	hop.Hosts = slices.Clone(hop.Hosts) // the configuration's own are shared
	for i := range hop.Hosts {
		if r.Port != 0 {
			hop.Hosts[i].Port = r.Port
		}
	}
	hop.Source = cmp.Or(r.Source, hop.Source)
	hop.TLS = cmp.Or(envelope.TLSPolicy(r.TLS), hop.TLS)
	if r.User != "" {
		if r.Password != "" || r.User != hop.User {
			hop.User, hop.Password = r.User, r.Password
		}
		if r.TLS == "" && (hop.TLS == "" || hop.TLS == envelope.TLSMay) {
			hop.TLS = envelope.TLSVerify // a password goes over it
		}
	}
	return hop
}

// hop turns a policy's route with hosts into a next hop.
func (p *Pipeline) hop(domain string, r *hooks.Route) envelope.NextHop {
	hop := envelope.NextHop{Name: domain, LMTP: r.LMTP, TLS: envelope.TLSPolicy(r.TLS), Source: r.Source, User: r.User, Password: r.Password, Configured: true}
	port := r.Port
	if port == 0 {
		port = p.cfg.Port
	}
	for i, h := range r.Hosts {
		host := envelope.Host{Name: h, Port: port, Preference: i}
		if name, text, err := net.SplitHostPort(h); err == nil {
			if n, err := strconv.Atoi(text); err == nil {
				host.Name, host.Port = name, n
			}
		}
		hop.Hosts = append(hop.Hosts, host)
	}
	return hop
}

// mx looks the hosts of a domain up. Without MX records the domain itself is
// the host (RFC 5321 5.1); a null MX refuses all mail (RFC 7505). If we are
// among the hosts, those that are no better than us are dropped.
func (p *Pipeline) mx(ctx context.Context, domain string) (envelope.NextHop, *envelope.Status) {
	hop := envelope.NextHop{Name: domain}
	records, err := p.dns.MX(ctx, domain)
	switch {
	case errors.Is(err, dns.ErrNXDomain):
		return hop, &envelope.Status{Code: 550, Enhanced: "5.1.2", Text: "domain does not exist", Err: err}
	case err != nil:
		return hop, envelope.Defer(451, "4.4.3", "name server is not answering", err)
	case len(records) == 1 && records[0].Host == "":
		return hop, envelope.Reject(556, "5.1.10", "domain accepts no mail")
	case len(records) == 0:
		hop.Hosts = []envelope.Host{{Name: domain, Port: p.cfg.Port}}
		return hop, nil
	}
	own := -1
	for _, r := range records {
		if strings.EqualFold(r.Host, p.cfg.Hostname) && (own < 0 || int(r.Preference) < own) {
			own = int(r.Preference)
		}
	}
	for _, r := range records {
		if r.Host != "" && (own < 0 || int(r.Preference) < own) && len(hop.Hosts) < maxHosts {
			hop.Hosts = append(hop.Hosts, envelope.Host{Name: r.Host, Port: p.cfg.Port, Preference: int(r.Preference)})
		}
	}
	if len(hop.Hosts) == 0 {
		return hop, envelope.Reject(554, "5.4.6", "mail for this domain loops back to myself")
	}
	return hop, nil
}

// routeCache remembers what route.resolve answered, per domain, key and
// generation.
type routeCache struct {
	mu   sync.Mutex
	gen  string
	seen map[[2]string]cachedRoute
}

type cachedRoute struct {
	route *hooks.Route
	until time.Time
}

const (
	routeTTL  = 5 * time.Minute
	maxRoutes = 50_000
)

func newRouteCache() *routeCache { return &routeCache{seen: map[[2]string]cachedRoute{}} }

func (c *routeCache) resolve(ctx context.Context, p *Pipeline, domain, key string) (*hooks.Route, *envelope.Status) {
	gen := p.gen.Get()
	if !gen.Chain.Has(hooks.RouteResolve) {
		return nil, nil
	}
	now := p.clock.Now()
	if r, ok := c.get(gen.ID, domain, key, now); ok {
		return r, nil
	}
	e := &hooks.Event{Point: hooks.RouteResolve, Now: now, Domain: domain, Key: key}
	e.Apply = func(f []envelope.Effect, s []hooks.Submit) error { return p.apply(ctx, gen, f, s) }
	v, trail := gen.Chain.Run(ctx, e)
	p.logFailures(ctx, domain, trail)
	if st := refusal(v); st != nil {
		return nil, st
	}
	for _, t := range trail {
		if t.Err != "" {
			return nil, nil // a failure is not remembered
		}
	}
	ttl := routeTTL
	if v.Route != nil && v.Route.TTL > 0 {
		ttl = v.Route.TTL
	}
	c.put(gen.ID, domain, key, cachedRoute{v.Route, now.Add(ttl)})
	return v.Route, nil
}

func (c *routeCache) get(gen, domain, key string, now time.Time) (*hooks.Route, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.seen[[2]string{domain, key}]
	return r.route, ok && c.gen == gen && now.Before(r.until)
}

func (c *routeCache) put(gen, domain, key string, r cachedRoute) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen != gen || len(c.seen) >= maxRoutes {
		c.gen = gen
		clear(c.seen)
	}
	c.seen[[2]string{domain, key}] = r
}
