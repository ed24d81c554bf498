package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"carteiro/core/mail"
	"carteiro/core/store"
)

// Alias is a name that stands for others. "@example.com" is the catch-all of
// a domain.
type Alias struct {
	Address mail.Address   `json:"address"`
	Targets []mail.Address `json:"targets"`
}

// MaxAliasDepth is how many aliases may follow one another.
const MaxAliasDepth = 10

func (d *Directory) aliasTargets(ctx context.Context, name mail.Address) ([]mail.Address, error) {
	var a Alias
	_, err := d.record(ctx, kindAlias, string(name), &a)
	return a.Targets, err
}

// AddAlias makes an alias, or replaces its targets. ErrNotLocal, ErrExists
// (an account has the name), ErrCycle, mail.ErrAddress.
func (d *Directory) AddAlias(ctx context.Context, a mail.Address, targets []mail.Address) error {
	if !d.Local(a.Domain()) {
		return fmt.Errorf("%s: domain %s: %w", a, a.Domain(), ErrNotLocal)
	}
	if len(targets) == 0 {
		return fmt.Errorf("%s: an alias needs a target", a)
	}
	a = mail.Address(strings.ToLower(a.Local()) + "@" + a.Domain())
	if _, err := d.account(ctx, a); err == nil {
		return fmt.Errorf("%s: an account of that name %w", a, ErrExists)
	}
	if err := d.checkCycle(ctx, a, targets, []mail.Address{a}); err != nil {
		return err
	}
	raw, err := json.Marshal(Alias{Address: a, Targets: targets})
	if err != nil {
		return err
	}
	return d.o.Data.PutRecords(ctx, store.Record{Kind: kindAlias, Name: string(a), Value: raw})
}

// checkCycle walks what the targets lead to; path is how we came here.
func (d *Directory) checkCycle(ctx context.Context, a mail.Address, targets, path []mail.Address) error {
	if len(path) > MaxAliasDepth {
		return fmt.Errorf("%w: more than %d aliases in a row: %s", ErrCycle, MaxAliasDepth, join(path))
	}
	for _, t := range targets {
		if !d.Local(t.Domain()) {
			continue
		}
		next := append(path[:len(path):len(path)], t)
		if t.Base() == a.Base() {
			return fmt.Errorf("%w: %s", ErrCycle, join(next))
		}
		r, err := d.Resolve(ctx, t)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return err
		}
		if err := d.checkCycle(ctx, a, r.Targets, next); err != nil {
			return err
		}
	}
	return nil
}

func join(path []mail.Address) string {
	var b strings.Builder
	for i, a := range path {
		if i > 0 {
			b.WriteString(" -> ")
		}
		b.WriteString(string(a))
	}
	return b.String()
}

// RemoveAlias removes an alias and the rights that it gave and had. ErrUnknown.
func (d *Directory) RemoveAlias(ctx context.Context, a mail.Address) error {
	a = mail.Address(strings.ToLower(string(a)))
	if _, err := d.aliasTargets(ctx, a); err != nil {
		return err
	}
	if err := d.forget(ctx, a); err != nil {
		return err
	}
	return d.o.Data.PutRecords(ctx, store.Record{Kind: kindAlias, Name: string(a)}, store.Record{Kind: kindPrincipal, Name: string(a)})
}

// Aliases are all aliases in the order of their names.
func (d *Directory) Aliases(ctx context.Context) ([]Alias, error) {
	var out []Alias
	for r, err := range d.o.Data.Records(ctx, kindAlias, "") {
		if err != nil {
			return nil, err
		}
		var a Alias
		if err := json.Unmarshal(r.Value, &a); err != nil {
			return nil, fmt.Errorf("alias %s: %w: %w", r.Name, store.ErrCorrupt, err)
		}
		out = append(out, a)
	}
	return out, nil
}
