package deliver

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
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/intake"
	"carteiro/core/pipeline/trail"
	"carteiro/core/service/dns"
	"carteiro/hooks"
)

// maxHosts is the most MX hosts of a domain that are used.
const maxHosts = 20

// RouterConfig is what an admin sets about next hops.
type RouterConfig struct {
	Hostname string
	Port     int               // where MX hosts listen
	Relay    *envelope.NextHop // smarthost
	NextHops map[string]envelope.NextHop
}

// MXResolver looks up the MX hosts of a domain.
type MXResolver interface {
	MX(ctx context.Context, domain string) ([]dns.MX, error)
}

// Router finds next hops. It caches the answers of policies at route.resolve.
type Router struct {
	cfg      RouterConfig
	resolver MXResolver
	policies *hooks.Current
	apply    func(ctx context.Context, gen *hooks.Generation, effects []envelope.Effect, submits []hooks.Submit) error
	log      *telemetry.Journal
	clock    *clock.Clock

	mu   sync.Mutex // guards what follows
	gen  string     // generation whose answers are in seen
	seen map[[2]string]cachedRoute
}

// RouterParts are what a Router is made of; all must be set.
type RouterParts struct {
	Resolver MXResolver
	Policies *hooks.Current
	// Apply commits the effects and submissions of route.resolve.
	Apply func(ctx context.Context, gen *hooks.Generation, effects []envelope.Effect, submits []hooks.Submit) error
	Log   *telemetry.Journal
	Clock *clock.Clock
}

// NewRouter makes a Router.
func NewRouter(cfg RouterConfig, p RouterParts) *Router {
	return &Router{cfg: cfg, resolver: p.Resolver, policies: p.Policies, apply: p.Apply, log: p.Log, clock: p.Clock,
		seen: map[[2]string]cachedRoute{}}
}

// Route finds the next hop of a group. It takes the first of these that there is: a
// policy's reroute of its recipients, the answer of route.resolve, a configured next
// hop, the smarthost, an address literal, the MX records of the domain (RFC 5321 5.1).
func (rt *Router) Route(ctx context.Context, env *envelope.Envelope, g *envelope.Group) (envelope.NextHop, *envelope.Status) {
	if g.Kind != envelope.Remote {
		return envelope.NextHop{Name: intake.LocalKey}, nil
	}
	var again *hooks.Route
	if len(g.Recipients) > 0 && g.Recipients[0].Route != "" {
		again = &hooks.Route{}
		if err := json.Unmarshal([]byte(g.Recipients[0].Route), again); err != nil {
			return envelope.NextHop{}, envelope.StatusOf(fmt.Errorf("route of %s: %w", env.ID, err))
		}
		if len(again.Hosts) > 0 {
			return rt.hop(g.Domain, again), nil
		}
	}
	r, st := rt.resolve(ctx, g.Domain, g.Key)
	if st != nil {
		return envelope.NextHop{}, st
	}
	var hop envelope.NextHop
	if r != nil && len(r.Hosts) > 0 {
		hop = rt.hop(g.Domain, r)
	} else if hop, st = rt.ownRoute(ctx, g); st != nil {
		return hop, st
	} else {
		hop = amend(hop, r)
	}
	return amend(hop, again), nil
}

// ownRoute returns the next hop without policies: a configured one, the smarthost, an
// address literal, or the MX records of the domain.
func (rt *Router) ownRoute(ctx context.Context, g *envelope.Group) (envelope.NextHop, *envelope.Status) {
	if hop, ok := rt.cfg.NextHops[g.Domain]; ok {
		return hop, nil
	}
	if rt.cfg.Relay != nil {
		return *rt.cfg.Relay, nil
	}
	if ip, ok := envelope.LiteralIP(g.Domain); ok {
		return envelope.NextHop{Name: g.Domain, Hosts: []envelope.Host{{Name: ip.String(), Port: rt.cfg.Port}}}, nil
	}
	return rt.mx(ctx, g.Domain)
}

// amend applies a policy's route without hosts to a next hop. It keeps the hosts of
// the next hop, their order and all checks of them.
func amend(hop envelope.NextHop, r *hooks.Route) envelope.NextHop {
	if r == nil {
		return hop
	}
	hop.Hosts = slices.Clone(hop.Hosts) // those of the configuration are shared
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
			hop.TLS = envelope.TLSVerify // the connection carries a password
		}
	}
	return hop
}

// hop makes a next hop from a policy's route with hosts.
func (rt *Router) hop(domain string, r *hooks.Route) envelope.NextHop {
	hop := envelope.NextHop{Name: domain, LMTP: r.LMTP, TLS: envelope.TLSPolicy(r.TLS), Source: r.Source, User: r.User, Password: r.Password,
		Configured: true}
	port := r.Port
	if port == 0 {
		port = rt.cfg.Port
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

// mx looks up the MX hosts of a domain. Without MX records the domain itself is the
// host (RFC 5321 5.1); a null MX refuses all mail (RFC 7505). If this server is among
// the hosts, only hosts with a better preference than its own are used.
func (rt *Router) mx(ctx context.Context, domain string) (envelope.NextHop, *envelope.Status) {
	hop := envelope.NextHop{Name: domain}
	records, err := rt.resolver.MX(ctx, domain)
	switch {
	case errors.Is(err, dns.ErrNXDomain):
		return hop, &envelope.Status{Code: 550, Enhanced: "5.1.2", Text: "domain does not exist", Err: err}
	case err != nil:
		return hop, envelope.Defer(451, "4.4.3", "name server is not answering", err)
	case len(records) == 1 && records[0].Host == "":
		return hop, envelope.Reject(556, "5.1.10", "domain accepts no mail")
	case len(records) == 0:
		hop.Hosts = []envelope.Host{{Name: domain, Port: rt.cfg.Port}}
		return hop, nil
	}
	own := -1
	for _, r := range records {
		if strings.EqualFold(r.Host, rt.cfg.Hostname) && (own < 0 || int(r.Preference) < own) {
			own = int(r.Preference)
		}
	}
	for _, r := range records {
		if r.Host != "" && (own < 0 || int(r.Preference) < own) && len(hop.Hosts) < maxHosts {
			hop.Hosts = append(hop.Hosts, envelope.Host{Name: r.Host, Port: rt.cfg.Port, Preference: int(r.Preference)})
		}
	}
	if len(hop.Hosts) == 0 {
		return hop, envelope.Reject(554, "5.4.6", "mail for this domain loops back to myself")
	}
	return hop, nil
}

type cachedRoute struct {
	route *hooks.Route
	until time.Time
}

const (
	routeTTL  = 5 * time.Minute
	maxRoutes = 50_000
)

// resolve returns the answer of route.resolve for a domain and group key, nil if there
// is none. It caches the answer for the TTL that the policy gave.
func (rt *Router) resolve(ctx context.Context, domain, key string) (*hooks.Route, *envelope.Status) {
	gen := rt.policies.Get()
	if !gen.Chain.Has(hooks.RouteResolve) {
		return nil, nil
	}
	now := rt.clock.Now()
	if r, ok := rt.cached(gen.ID, domain, key, now); ok {
		return r, nil
	}
	e := &hooks.Event{Point: hooks.RouteResolve, Now: now, Domain: domain, Key: key}
	e.Apply = func(f []envelope.Effect, s []hooks.Submit) error { return rt.apply(ctx, gen, f, s) }
	v, entries := gen.Chain.Run(ctx, e)
	trail.LogFailures(ctx, rt.log, domain, entries)
	if st := v.Refusal(); st != nil {
		return nil, st
	}
	if trail.Failed(entries) != nil {
		return nil, nil // a failure is not cached
	}
	ttl := routeTTL
	if v.Route != nil && v.Route.TTL > 0 {
		ttl = v.Route.TTL
	}
	rt.remember(gen.ID, domain, key, cachedRoute{v.Route, now.Add(ttl)})
	return v.Route, nil
}

func (rt *Router) cached(gen, domain, key string, now time.Time) (*hooks.Route, bool) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	r, ok := rt.seen[[2]string{domain, key}]
	return r.route, ok && rt.gen == gen && now.Before(r.until)
}

func (rt *Router) remember(gen, domain, key string, r cachedRoute) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.gen != gen || len(rt.seen) >= maxRoutes {
		rt.gen = gen
		clear(rt.seen)
	}
	rt.seen[[2]string{domain, key}] = r
}
