package main

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"carteiro/core/ops/admin"
	"carteiro/hooks/lua"
)

// bundleUsage counts what bundles cost since the start, by bundle and domain.
type bundleUsage struct {
	mu   sync.Mutex
	rows map[[2]string]*admin.BundleUsage
}

// countUsage counts a call, for `bundle list` and for the metrics.
func (s *server) countUsage(u lua.Usage) {
	s.usage.add(u)
	m := s.journal.Metrics
	m.BundleCalls.WithLabelValues(u.Bundle, u.Domain).Inc()
	m.BundleSteps.WithLabelValues(u.Bundle, u.Domain).Add(float64(u.Instructions))
	if u.Submits > 0 {
		m.BundleSubmits.WithLabelValues(u.Bundle, u.Domain).Add(float64(u.Submits))
	}
	if u.Failed {
		m.BundleErrors.WithLabelValues(u.Bundle, u.Domain).Inc()
	}
}

func (b *bundleUsage) add(u lua.Usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := [2]string{u.Bundle, u.Domain}
	row := b.rows[key]
	if row == nil {
		if b.rows == nil {
			b.rows = map[[2]string]*admin.BundleUsage{}
		}
		row = &admin.BundleUsage{Bundle: u.Bundle, Domain: u.Domain}
		b.rows[key] = row
	}
	row.Calls++
	row.Instructions += u.Instructions
	row.Submits += int64(u.Submits)
	if u.Failed {
		row.Errors++
	}
}

// list is a copy, sorted by bundle and domain.
func (b *bundleUsage) list() []admin.BundleUsage {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]admin.BundleUsage, 0, len(b.rows))
	for _, row := range b.rows {
		out = append(out, *row)
	}
	slices.SortFunc(out, func(x, y admin.BundleUsage) int {
		return cmp.Or(strings.Compare(x.Bundle, y.Bundle), strings.Compare(x.Domain, y.Domain))
	})
	return out
}
