package hookstest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/service/dns"
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
	aliases  map[string]string
	grants   map[string]string
	granted  map[envelope.Address][]envelope.Grant
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

// Grant implements lua.Accounts.
func (a *Accounts) Grant(_ context.Context, owner, delegate envelope.Address, right string, until time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if right != "send-as" {
		return errors.New("no such right")
	}
	if a.granted == nil {
		a.granted = map[envelope.Address][]envelope.Grant{}
	}
	a.granted[owner] = append(a.granted[owner], envelope.Grant{Delegate: delegate, Right: right, Until: until})
	return nil
}

// Allow lets identity send as address: "as" or "behalf".
func (a *Accounts) Allow(identity, address, right string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.grants == nil {
		a.grants = map[string]string{}
	}
	a.grants[identity+" "+address] = right
}

// Alias lets an address stand for an account.
func (a *Accounts) Alias(address, account string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.aliases == nil {
		a.aliases = map[string]string{}
	}
	a.aliases[address] = account
}

// Exists implements lua.Accounts.
func (a *Accounts) Exists(_ context.Context, address envelope.Address) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.settings[string(address)]
	return ok
}

// Setting implements lua.Accounts.
func (a *Accounts) Setting(_ context.Context, address envelope.Address, name string) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settings[string(address)][name], nil
}

// Owns implements lua.Accounts.
func (a *Accounts) Owns(_ context.Context, user, address envelope.Address) bool {
	return user.Base() == address.Base() || a.AccountOf(context.Background(), address) == user.Base()
}

// Revoke implements lua.Accounts.
func (a *Accounts) Revoke(_ context.Context, owner, delegate envelope.Address, right string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.granted[owner])
	a.granted[owner] = slices.DeleteFunc(a.granted[owner],
		func(g envelope.Grant) bool { return g.Delegate == delegate && (right == "" || g.Right == right) })
	if len(a.granted[owner]) == n {
		return errors.New("no such grant")
	}
	return nil
}

// Grants implements lua.Accounts.
func (a *Accounts) Grants(_ context.Context, owner envelope.Address) []envelope.Grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.granted[owner])
}

// Login implements lua.Accounts: the password of every account is "secret".
func (a *Accounts) Login(ctx context.Context, cred *envelope.Credentials) (envelope.Address, error) {
	if name := envelope.Address(cred.User); cred.Password == "secret" && a.Exists(ctx, name) {
		return name, nil
	}
	return "", errors.New("wrong name or password")
}

// AccountOf implements lua.Accounts.
func (a *Accounts) AccountOf(_ context.Context, address envelope.Address) envelope.Address {
	a.mu.Lock()
	defer a.mu.Unlock()
	base := address.Base()
	if _, ok := a.settings[string(base)]; ok {
		return base
	}
	return envelope.Address(a.aliases[string(base)])
}

// MaySendAs implements lua.Accounts.
func (a *Accounts) MaySendAs(_ context.Context, identity, address envelope.Address) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.grants[string(identity+" "+address)]
}

// Confirmed implements lua.Accounts.
func (a *Accounts) Confirmed(context.Context, envelope.Address, string) (bool, error) {
	return false, nil
}

// ResolveForPolicy implements lua.Accounts: there are accounts, and no aliases.
func (a *Accounts) ResolveForPolicy(ctx context.Context, address envelope.Address) (envelope.Address, []envelope.Address, error) {
	if a.Exists(ctx, address) {
		return address.Base(), nil, nil
	}
	return "", nil, nil
}
