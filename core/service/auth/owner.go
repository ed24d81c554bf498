package auth

import (
	"context"
	"slices"
	"strings"

	"carteiro/core/message/envelope"
)

// alias is what a name stands for: the alias of just that name, then the one
// without its tag. A catch-all is no name.
func (d *Directory) alias(ctx context.Context, a envelope.Address) []envelope.Address {
	exact := envelope.Address(strings.ToLower(a.Local()) + "@" + a.Domain())
	if targets, err := d.aliasTargets(ctx, exact); err == nil {
		return targets
	}
	if base := a.Base(); base != exact {
		targets, _ := d.aliasTargets(ctx, base)
		return targets
	}
	return nil
}

// Owns reports whether an address is the user's own: the account's, with any
// tag, or an alias that leads to it, be it over others or among several. What
// cannot be read is not owned.
func (d *Directory) Owns(ctx context.Context, user, a envelope.Address) bool {
	return a.Base() == user.Base() || d.leads(ctx, a, user.Base(), 0)
}

// leads reports whether an alias leads to a mailbox.
func (d *Directory) leads(ctx context.Context, a, to envelope.Address, depth int) bool {
	if depth > MaxAliasDepth || !d.Local(a.Domain()) {
		return false
	}
	return slices.ContainsFunc(d.alias(ctx, a), func(t envelope.Address) bool {
		return t.Base() == to || d.leads(ctx, t, to, depth+1)
	})
}

// AccountOf is the one account that an address stands for: its own name, with
// any tag, or an alias that leads there and nowhere else; "" when there is
// none.
func (d *Directory) AccountOf(ctx context.Context, a envelope.Address) envelope.Address {
	for range MaxAliasDepth {
		if !d.Local(a.Domain()) {
			return ""
		}
		targets := d.alias(ctx, a)
		if len(targets) == 0 && d.Exists(ctx, a) {
			return a.Base()
		}
		if len(targets) != 1 {
			return ""
		}
		a = targets[0]
	}
	return ""
}
