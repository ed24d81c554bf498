package main

import (
	"context"
	"errors"
	"net/netip"

	"carteiro/core/auth"
	"carteiro/core/dns"
	"carteiro/core/mail"
	"carteiro/hooks/lua"
)

// names is the resolver as policies want it.
type names struct{ *dns.Resolver }

func (n names) A(ctx context.Context, name string) ([]netip.Addr, error) {
	v, err := n.Resolver.A(ctx, name)
	return v, luaError(len(v), err)
}

func (n names) AAAA(ctx context.Context, name string) ([]netip.Addr, error) {
	v, err := n.Resolver.AAAA(ctx, name)
	return v, luaError(len(v), err)
}

func (n names) MX(ctx context.Context, name string) ([]lua.MX, error) {
	v, err := n.Resolver.MX(ctx, name)
	out := make([]lua.MX, len(v))
	for i, mx := range v {
		out[i] = lua.MX(mx)
	}
	return out, luaError(len(v), err)
}

func (n names) TXT(ctx context.Context, name string) ([]string, error) {
	v, err := n.Resolver.TXT(ctx, name)
	return v, luaError(len(v), err)
}

func (n names) PTR(ctx context.Context, ip netip.Addr) ([]string, error) {
	v, err := n.Resolver.PTR(ctx, ip)
	return v, luaError(len(v), err)
}

func luaError(n int, err error) error {
	switch {
	case err == nil && n == 0, errors.Is(err, dns.ErrNXDomain):
		return lua.ErrNXDomain
	case errors.Is(err, dns.ErrTimeout):
		return lua.ErrTimeout
	case err != nil:
		return lua.ErrServfail
	}
	return nil
}

// people is the directory as policies want it.
type people struct{ d *auth.Directory }

func (p people) Exists(ctx context.Context, a string) bool { return p.d.Exists(ctx, mail.Address(a)) }

func (p people) Setting(ctx context.Context, a, name string) (any, error) {
	return p.d.Setting(ctx, mail.Address(a), name)
}

func (p people) MaySendAs(ctx context.Context, identity, a string) string {
	return p.d.MaySendAs(ctx, mail.Address(identity), mail.Address(a))
}
