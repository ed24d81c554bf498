package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// DomainTable holds the local domains, of the configuration and of the store.
type DomainTable struct {
	o       Options
	domains atomic.Pointer[map[string]bool] // true for those of the configuration
}

// PrepareDomains prepares the exchange of the configuration's domains at a
// reload. It changes nothing; commit does, and cannot fail.
func (d *DomainTable) PrepareDomains(ctx context.Context, domains []string) (commit func(), err error) {
	all, err := d.readDomains(ctx, domains)
	return func() {
		// Once more, for a domain may have come meanwhile; what was read above
		// is what there is if the store fails now.
		if d.loadDomains(context.WithoutCancel(ctx), domains) != nil {
			d.domains.Store(&all)
		}
	}, err
}

func (d *DomainTable) loadDomains(ctx context.Context, fixed []string) error {
	all, err := d.readDomains(ctx, fixed)
	if err == nil {
		d.domains.Store(&all)
	}
	return err
}

func (d *DomainTable) readDomains(ctx context.Context, fixed []string) (map[string]bool, error) {
	all := map[string]bool{}
	for _, name := range fixed {
		all[strings.ToLower(name)] = true
	}
	for r, err := range d.o.Data.Records(ctx, kindDomain, "") {
		if err != nil {
			return nil, fmt.Errorf("domains: %w", err)
		}
		all[r.Name] = false
	}
	return all, nil
}

// Local reports whether mail for the domain ends here. It does not block.
func (d *DomainTable) Local(domain string) bool {
	_, ok := (*d.domains.Load())[domain]
	return ok
}

// Domain is one local domain; Fixed ones come from the configuration.
type Domain struct {
	Name  string `json:"name"`
	Fixed bool   `json:"fixed"`
}

// Domains returns all local domains, sorted.
func (d *DomainTable) Domains() []Domain {
	all := *d.domains.Load()
	out := make([]Domain, 0, len(all))
	for name, fixed := range all {
		out = append(out, Domain{Name: name, Fixed: fixed})
	}
	sortBy(out, func(x Domain) string { return x.Name })
	return out
}

// AddDomain makes a domain local. ErrExists.
func (d *DomainTable) AddDomain(ctx context.Context, name string) error {
	name = strings.ToLower(name)
	if err := envelope.CheckDomain(name); err != nil {
		return err
	}
	if d.Local(name) {
		return fmt.Errorf("domain %s: %w", name, ErrExists)
	}
	if err := d.o.Data.PutRecords(ctx, store.Record{Kind: kindDomain, Name: name, Value: []byte("{}")}); err != nil {
		return err
	}
	d.changeDomains(func(all map[string]bool) { all[name] = false })
	return nil
}

// RemoveDomain makes a domain no longer local; its accounts stay but get no
// mail. Domains of the configuration cannot be removed. ErrUnknown.
func (d *DomainTable) RemoveDomain(ctx context.Context, name string) error {
	name = strings.ToLower(name)
	fixed, ok := (*d.domains.Load())[name]
	if !ok {
		return fmt.Errorf("domain %s: %w", name, ErrUnknown)
	}
	if fixed {
		return fmt.Errorf("domain %s is set in the configuration; remove it there", name)
	}
	if err := d.o.Data.PutRecords(ctx, store.Record{Kind: kindDomain, Name: name}); err != nil {
		return err
	}
	d.changeDomains(func(all map[string]bool) { delete(all, name) })
	return nil
}

func (d *DomainTable) changeDomains(change func(map[string]bool)) {
	for {
		old := d.domains.Load()
		all := make(map[string]bool, len(*old)+1)
		for k, v := range *old {
			all[k] = v
		}
		change(all)
		if d.domains.CompareAndSwap(old, &all) {
			return
		}
	}
}

// record reads one JSON record into v. ErrUnknown.
func (d *DomainTable) record(ctx context.Context, kind, name string, v any) ([]byte, error) {
	raw, err := d.o.Data.Record(ctx, kind, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%s: %w", name, ErrUnknown)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %w", kind, name, store.ErrCorrupt, err)
	}
	return raw, nil
}
