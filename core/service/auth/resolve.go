package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"carteiro/core/message/envelope"
)

// Resolution is the mailbox or the targets of a local address.
type Resolution struct {
	Mailbox envelope.Address   // the account, or ""
	Targets []envelope.Address // of an alias
}

// Resolve looks an address of a local domain up: the account or alias of just
// that name, then without its tag, then the domain's patterns and its
// catch-all; postmaster is always known (RFC 5321 4.5.1). It follows one step.
// ErrUnknown.
func (d *AliasTable) Resolve(ctx context.Context, a envelope.Address) (Resolution, error) {
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

// ResolveForPolicy is Resolve for policies: it returns neither a mailbox nor targets if
// nobody has the address.
func (d *AliasTable) ResolveForPolicy(ctx context.Context, a envelope.Address) (mailbox envelope.Address, targets []envelope.Address,
	err error) {
	r, err := d.Resolve(ctx, a)
	if errors.Is(err, ErrUnknown) {
		return "", nil, nil
	}
	return r.Mailbox, r.Targets, err
}

// postmaster resolves a postmaster address that nobody has, because it must always
// exist (RFC 5321 4.5.1): to the address in the configuration, or, if that does not
// exist either, to a mailbox that can be read when its account is added.
func (d *AliasTable) postmaster(ctx context.Context, a envelope.Address) (Resolution, error) {
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

func (d *AliasTable) lookup(ctx context.Context, name envelope.Address) (Resolution, error) {
	if acc, err := d.account(ctx, name); err == nil {
		return Resolution{Mailbox: acc.Address}, nil
	} else if !errors.Is(err, ErrUnknown) {
		return Resolution{}, err
	}
	targets, err := d.aliasTargets(ctx, name)
	return Resolution{Targets: targets}, err
}
