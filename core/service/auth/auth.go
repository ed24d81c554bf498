// Package auth keeps accounts with their passwords and settings, aliases, local
// domains and grants, all as data records in the store. It verifies logins and
// slows down guesses. It knows no protocol and sends nothing.
//
// Passwords are stored as argon2id hashes (RFC 9106) and as SCRAM-SHA-256
// verifiers (RFC 7677). APOP needs a secret in readable form (RFC 1939 section
// 7): it is separate from the password, optional, and encrypted with a key
// derived from the store's key file.
package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
)

// Errors that callers test for.
var (
	// ErrUnknown: no account, alias or catch-all has the address.
	ErrUnknown = errors.New("no such address")
	// ErrExists: the address is in use.
	ErrExists = errors.New("exists already")
	// ErrCredentials: wrong name, password or digest; the error does not say
	// which.
	ErrCredentials = errors.New("authentication failed")
	// ErrCycle: an alias would lead back to itself.
	ErrCycle = errors.New("alias cycle")
	// ErrNotLocal: the domain is not one of ours.
	ErrNotLocal = errors.New("not a local domain")
	// ErrNoKey: APOP secrets need a key file.
	ErrNoKey = errors.New("no key file is configured")
)

// Kinds of data records.
const (
	kindAccount = "account"
	kindAlias   = "alias"
	kindDomain  = "domain"
	// kindPrincipal holds the grants of owners that are no accounts.
	kindPrincipal = "principal"
)

// Options for New.
type Options struct {
	Data       store.Data
	Domains    []string         // local from the start
	Postmaster envelope.Address // who gets postmaster@ of every local domain
	Key        []byte           // of the key file; nil: no APOP
	Clock      *clock.Clock
	// Group reports whether a group other than an alias has a name, and whether an
	// address is in it. nil: there are no such groups.
	Group func(ctx context.Context, name, member envelope.Address) (exists, in bool, err error)
	// Cheap makes password hashes fast and weak, for tests alone.
	Cheap bool
}

// Directory looks up and changes accounts, aliases and domains. It is safe for
// concurrent use; when a method returns, its changes are on disk and visible.
type Directory struct {
	o             Options
	domains       atomic.Pointer[map[string]bool]
	patterns      atomic.Pointer[map[string][]*pattern] // by domain
	sealer        *sealer
	throttle      throttle
	passwordCache passwordCache
	accountCache  accountCache
	decoy         []byte        // key of the SCRAM salts of names without account
	hashing       chan struct{} // bounds argon2id runs, and so their memory
}

// New reads the domains and is ready.
func New(ctx context.Context, o Options) (*Directory, error) {
	d := &Directory{o: o, decoy: decoyKey(o.Key), hashing: make(chan struct{}, maxHashing)}
	if len(o.Key) > 0 {
		var err error
		if d.sealer, err = newSealer(o.Key); err != nil {
			return nil, err
		}
	}
	if err := d.loadPatterns(ctx); err != nil {
		return nil, err
	}
	return d, d.loadDomains(ctx, o.Domains)
}

// PrepareDomains prepares the exchange of the configuration's domains at a
// reload. It changes nothing; commit does, and cannot fail.
func (d *Directory) PrepareDomains(ctx context.Context, domains []string) (commit func(), err error) {
	all, err := d.readDomains(ctx, domains)
	return func() {
		// Once more, for a domain may have come meanwhile; what was read above
		// is what there is if the store fails now.
		if d.loadDomains(context.WithoutCancel(ctx), domains) != nil {
			d.domains.Store(&all)
		}
	}, err
}

func (d *Directory) loadDomains(ctx context.Context, fixed []string) error {
	all, err := d.readDomains(ctx, fixed)
	if err == nil {
		d.domains.Store(&all)
	}
	return err
}

func (d *Directory) readDomains(ctx context.Context, fixed []string) (map[string]bool, error) {
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
func (d *Directory) Local(domain string) bool {
	_, ok := (*d.domains.Load())[domain]
	return ok
}

// Domain is one local domain; Fixed ones come from the configuration.
type Domain struct {
	Name  string `json:"name"`
	Fixed bool   `json:"fixed"`
}

// Domains returns all local domains, sorted.
func (d *Directory) Domains() []Domain {
	all := *d.domains.Load()
	out := make([]Domain, 0, len(all))
	for name, fixed := range all {
		out = append(out, Domain{Name: name, Fixed: fixed})
	}
	sortBy(out, func(x Domain) string { return x.Name })
	return out
}

// AddDomain makes a domain local. ErrExists.
func (d *Directory) AddDomain(ctx context.Context, name string) error {
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
func (d *Directory) RemoveDomain(ctx context.Context, name string) error {
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

func (d *Directory) changeDomains(change func(map[string]bool)) {
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

// Resolution is what a local address resolves to.
type Resolution struct {
	Mailbox envelope.Address   // the account, or ""
	Targets []envelope.Address // of an alias
}

// Resolve looks an address of a local domain up: the account or alias of just
// that name, then without its tag, then the domain's patterns and its
// catch-all; postmaster is always known (RFC 5321 4.5.1). It follows one step.
// ErrUnknown.
func (d *Directory) Resolve(ctx context.Context, a envelope.Address) (Resolution, error) {
	exact := envelope.Address(strings.ToLower(a.Local()) + "@" + a.Domain())
	names := []envelope.Address{exact}
	if base := a.Base(); base != exact {
		names = append(names, base)
	}
	for _, name := range names {
		r, err := d.lookup(ctx, name)
		if !errors.Is(err, ErrUnknown) {
			return r, err
		}
	}
	if base := a.Base(); base.Local() == "postmaster" {
		return d.postmaster(ctx, base)
	}
	if targets := d.matchPatterns(a); len(targets) > 0 {
		return Resolution{Targets: targets}, nil
	}
	if targets, err := d.aliasTargets(ctx, envelope.Address("@"+a.Domain())); !errors.Is(err, ErrUnknown) {
		return Resolution{Targets: targets}, err
	}
	return Resolution{}, fmt.Errorf("%s: %w", a, ErrUnknown)
}

// Stands is Resolve for policies: it returns neither a mailbox nor targets if
// nobody has the address.
func (d *Directory) Stands(ctx context.Context, a envelope.Address) (mailbox envelope.Address, targets []envelope.Address, err error) {
	r, err := d.Resolve(ctx, a)
	if errors.Is(err, ErrUnknown) {
		return "", nil, nil
	}
	return r.Mailbox, r.Targets, err
}

// postmaster is always there (RFC 5321 4.5.1): the address that the
// configuration names, or, where nobody has that either, a mailbox that waits
// for somebody to add the account.
func (d *Directory) postmaster(ctx context.Context, a envelope.Address) (Resolution, error) {
	named := d.o.Postmaster
	if named == "" || named.Base() == a {
		return Resolution{Mailbox: a}, nil
	}
	if d.Local(named.Domain()) {
		if _, err := d.lookup(ctx, named.Base()); errors.Is(err, ErrUnknown) {
			return Resolution{Mailbox: a}, nil
		} else if err != nil {
			return Resolution{}, err
		}
	}
	return Resolution{Targets: []envelope.Address{named}}, nil
}

func (d *Directory) lookup(ctx context.Context, name envelope.Address) (Resolution, error) {
	if acc, err := d.account(ctx, name); err == nil {
		return Resolution{Mailbox: acc.Address}, nil
	} else if !errors.Is(err, ErrUnknown) {
		return Resolution{}, err
	}
	targets, err := d.aliasTargets(ctx, name)
	return Resolution{Targets: targets}, err
}

// record reads one JSON record into v. ErrUnknown.
func (d *Directory) record(ctx context.Context, kind, name string, v any) ([]byte, error) {
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
