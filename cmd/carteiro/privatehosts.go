package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"carteiro/core/ops/config"
	"carteiro/hooks"
	"carteiro/hooks/lua"
)

// lookWithin bounds the look-ups of names that policies may ask by HTTP.
const lookWithin = 5 * time.Second

// httpHost is a host that policies may ask.
type httpHost struct {
	host   string // "name:port"
	said   string // as the configuration or manifest has it
	bundle int    // the [[bundle]] whose http names it; fromScripts, fromManifest
	of     string // the bundle, for one of a manifest
}

const (
	fromScripts  = -1
	fromManifest = -2
)

// httpHosts are the hosts that policies may ask and that were not granted as
// private: those of the configuration, and those that manifests of the bundles
// in force name.
func httpHosts(cfg *config.Config, sources []hooks.Source) []httpHost {
	var out []httpHost
	add := func(list, all []string, bundle int, of string) {
		for _, s := range list {
			g, ok := hooks.ParseHTTPGrant(s)
			if _, private := hooks.HTTPGrantFor(all, g.Host); ok && !private {
				out = append(out, httpHost{g.Host, s, bundle, of})
			}
		}
	}
	add(cfg.Scripts.HTTP, cfg.Scripts.HTTP, fromScripts, "")
	for i, b := range cfg.Bundles {
		add(b.HTTP, b.HTTP, i, "")
	}
	for _, src := range sources {
		if src.Bundle == "" {
			continue
		}
		add(slices.DeleteFunc(slices.Clone(src.HTTP), func(s string) bool {
			return slices.ContainsFunc(out, func(h httpHost) bool { return h.said == s && h.bundle >= 0 })
		}), src.HTTP, fromManifest, src.Bundle)
	}
	return out
}

// privateOnes are those that lead to private networks only. Names that cannot be
// looked up now are none.
func privateOnes(ctx context.Context, list []httpHost) []httpHost {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	found := make([]bool, len(list))
	var wg sync.WaitGroup
	for i, h := range list {
		wg.Go(func() { found[i] = lua.PrivateHost(ctx, h.host) })
	}
	wg.Wait()
	var out []httpHost
	for i, h := range list {
		if found[i] {
			out = append(out, h)
		}
	}
	return out
}

// checkHosts refuses names of the configuration that lead to private networks
// alone, and returns those of manifests: their publisher decides where they
// lead, and must not be able to stop a reload.
func checkHosts(ctx context.Context, cfg *config.Config, sources []hooks.Source) ([]httpHost, error) {
	var rest []httpHost
	var errs []error
	for _, h := range privateOnes(ctx, httpHosts(cfg, sources)) {
		if h.bundle == fromManifest {
			rest = append(rest, h)
			continue
		}
		errs = append(errs, cfg.PrivateHost(h.bundle, h.said))
	}
	return rest, errors.Join(errs...)
}

// note says what requests to a host come to, and what to write.
func (h httpHost) note() string {
	of := "policies"
	if h.of != "" {
		of = h.of
	}
	return fmt.Sprintf("%s leads to addresses of private networks alone, so requests of %s are refused; "+
		"where that is meant, write %q under http of the configuration", h.host, of, h.host+" private")
}

// refusedHosts are the hosts to which requests are refused, for `status`.
type refusedHosts struct {
	mu    sync.Mutex
	hosts map[string]bool
}

// maxRefusals bounds them.
const maxRefusals = 100

func (r *refusedHosts) add(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hosts == nil {
		r.hosts = map[string]bool{}
	}
	if len(r.hosts) < maxRefusals {
		r.hosts[host] = true
	}
}

// set makes them those of a list alone.
func (r *refusedHosts) set(list []httpHost) {
	r.mu.Lock()
	r.hosts = nil
	r.mu.Unlock()
	for _, h := range list {
		r.add(h.host)
	}
}

func (r *refusedHosts) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.hosts))
}

// lookForPrivateHosts logs at a start which requests will be refused. The
// start does not wait for it.
func (s *server) lookForPrivateHosts(ctx context.Context) {
	for _, h := range privateOnes(ctx, httpHosts(s.cfg, s.policies.Get().Sources)) {
		s.refused.add(h.host)
		s.journal.WarnContext(ctx, h.note(), "host", h.host)
	}
}
