package hookstest

import (
	"context"
	"net/netip"
	"sync"

	"carteiro/core/dns"
	"carteiro/core/mail"
)

// Resolver answers from a table: keys like "a host.example" or "ptr
// 192.0.2.1", values of the type of the question or an error.
type Resolver struct {
	mu      sync.Mutex
	Answers map[string]any
	Asked   int
}

func (r *Resolver) find(key string) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Asked++
	v, ok := r.Answers[key]
	if !ok {
		return nil, dns.ErrNXDomain
	}
	if err, bad := v.(error); bad {
		return nil, err
	}
	return v, nil
}

func typed[T any](v any, err error) (T, error) {
	t, _ := v.(T)
	return t, err
}

// A implements lua.Resolver.
func (r *Resolver) A(_ context.Context, name string) ([]netip.Addr, error) {
	return typed[[]netip.Addr](r.find("a " + name))
}

// AAAA implements lua.Resolver.
func (r *Resolver) AAAA(_ context.Context, name string) ([]netip.Addr, error) {
	return typed[[]netip.Addr](r.find("aaaa " + name))
}

// MX implements lua.Resolver.
func (r *Resolver) MX(_ context.Context, name string) ([]dns.MX, error) {
	return typed[[]dns.MX](r.find("mx " + name))
}

// TXT implements lua.Resolver.
func (r *Resolver) TXT(_ context.Context, name string) ([]string, error) {
	return typed[[]string](r.find("txt " + name))
}

// PTR implements lua.Resolver.
func (r *Resolver) PTR(_ context.Context, ip netip.Addr) ([]string, error) {
	return typed[[]string](r.find("ptr " + ip.String()))
}

// Accounts is a table of accounts and their settings.
type Accounts struct {
	mu       sync.Mutex
	settings map[string]map[string]any
	grants   map[string]string
}

// Set stores a setting and makes the account.
func (a *Accounts) Set(address, name string, value any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.settings == nil {
		a.settings = map[string]map[string]any{}
	}
	if a.settings[address] == nil {
		a.settings[address] = map[string]any{}
	}
	a.settings[address][name] = value
}

// Grant lets identity send as address: "as" or "behalf".
func (a *Accounts) Grant(identity, address, right string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.grants == nil {
		a.grants = map[string]string{}
	}
	a.grants[identity+" "+address] = right
}

// Exists implements lua.Accounts.
func (a *Accounts) Exists(_ context.Context, address mail.Address) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.settings[string(address)]
	return ok
}

// Setting implements lua.Accounts.
func (a *Accounts) Setting(_ context.Context, address mail.Address, name string) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settings[string(address)][name], nil
}

// MaySendAs implements lua.Accounts.
func (a *Accounts) MaySendAs(_ context.Context, identity, address mail.Address) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.grants[string(identity+" "+address)]
}

// Confirmed implements lua.Accounts.
func (a *Accounts) Confirmed(context.Context, mail.Address, string) (bool, error) { return false, nil }

// Stands implements lua.Accounts: there are accounts, and no aliases.
func (a *Accounts) Stands(ctx context.Context, address mail.Address) (mail.Address, []mail.Address, error) {
	if a.Exists(ctx, address) {
		return address.Base(), nil, nil
	}
	return "", nil, nil
}
