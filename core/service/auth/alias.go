package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Alias is a name that is replaced by other addresses. "@example.com" is the catch-all of
// a domain, "/pattern/@example.com" matches all local parts that match a regular
// expression.
type Alias struct {
	Address envelope.Address   `json:"address"`
	Targets []envelope.Address `json:"targets"`
}

// MaxAliasDepth is how many aliases may follow one another.
const MaxAliasDepth = 10

// AliasTable holds aliases, and resolves addresses to mailboxes and targets.
type AliasTable struct {
	*AccountTable
	patterns atomic.Pointer[map[string][]*pattern] // by domain
}

func (d *AliasTable) aliasTargets(ctx context.Context, name envelope.Address) ([]envelope.Address, error) {
	var a Alias
	_, err := d.record(ctx, kindAlias, string(name), &a)
	return a.Targets, err
}

// AddAlias makes an alias, or replaces its targets. ErrNotLocal, ErrExists
// (an account has the name), ErrCycle, envelope.ErrAddress.
func (d *AliasTable) AddAlias(ctx context.Context, a envelope.Address, targets []envelope.Address) error {
	_, err := d.AddAliases(ctx, []Alias{{Address: a, Targets: targets}})
	return err
}

// AddAliases adds all of these aliases, or none. With an error it returns the
// number of the alias that the error is about, or -1; errors are those of
// AddAlias.
func (d *AliasTable) AddAliases(ctx context.Context, all []Alias) (int, error) {
	// Those to come count when circles are looked for.
	x := &cycleCheck{d: d, coming: map[envelope.Address][]envelope.Address{}}
	records := make([]store.Record, len(all))
	for i := range all {
		if err := d.checkAlias(ctx, &all[i]); err != nil {
			return i, err
		}
		raw, err := json.Marshal(all[i])
		if err != nil {
			return i, err
		}
		records[i] = store.Record{Kind: kindAlias, Name: string(all[i].Address), Value: raw}
		x.coming[all[i].Address] = all[i].Targets
	}
	for i, a := range all {
		if err := x.check(ctx, a.Address, a.Targets, []envelope.Address{a.Address}); err != nil {
			return i, err
		}
	}
	if err := d.o.Data.PutRecords(ctx, records...); err != nil {
		return -1, err
	}
	return -1, d.loadPatterns(ctx)
}

// checkAlias brings an alias into the form in which it is stored.
func (d *AliasTable) checkAlias(ctx context.Context, a *Alias) error {
	if !d.Local(a.Address.Domain()) {
		return fmt.Errorf("%s: domain %s: %w", a.Address, a.Address.Domain(), ErrNotLocal)
	}
	if len(a.Targets) == 0 {
		return fmt.Errorf("%s: an alias needs a target", a.Address)
	}
	if isPattern(a.Address) {
		_, err := compilePattern(*a)
		return err
	}
	a.Address = envelope.Address(strings.ToLower(a.Address.Local()) + "@" + a.Address.Domain())
	if _, err := d.account(ctx, a.Address); err == nil {
		return fmt.Errorf("%s: an account of that name %w", a.Address, ErrExists)
	}
	return nil
}

// cycleCheck looks for aliases that lead back to themselves.
type cycleCheck struct {
	d      *AliasTable
	coming map[envelope.Address][]envelope.Address
}

// check follows the targets; path is the list of addresses so far. The targets of a
// pattern depend on the address, so only its targets without $ are followed; other loops
// are found when mail is expanded.
func (x *cycleCheck) check(ctx context.Context, a envelope.Address, targets, path []envelope.Address) error {
	if len(path) > MaxAliasDepth {
		return fmt.Errorf("%w: more than %d aliases in a row: %s", ErrCycle, MaxAliasDepth, join(path))
	}
	for _, t := range targets {
		if !x.d.Local(t.Domain()) || isPattern(path[len(path)-1]) && strings.Contains(string(t), "$") {
			continue
		}
		next := append(path[:len(path):len(path)], t)
		if t.Base() == a.Base() {
			return fmt.Errorf("%w: %s", ErrCycle, join(next))
		}
		more, err := x.targets(ctx, t)
		if err != nil {
			return err
		}
		if err := x.check(ctx, a, more, next); err != nil {
			return err
		}
	}
	return nil
}

// targets is Resolve with the aliases to come.
func (x *cycleCheck) targets(ctx context.Context, t envelope.Address) ([]envelope.Address, error) {
	for _, name := range []envelope.Address{envelope.Address(strings.ToLower(string(t))), t.Base()} {
		if more, ok := x.coming[name]; ok {
			return more, nil
		}
	}
	r, err := x.d.Resolve(ctx, t)
	if errors.Is(err, ErrUnknown) {
		return x.coming[envelope.Address("@"+t.Domain())], nil
	}
	return r.Targets, err
}

func join(path []envelope.Address) string {
	var b strings.Builder
	for i, a := range path {
		if i > 0 {
			b.WriteString(" -> ")
		}
		b.WriteString(string(a))
	}
	return b.String()
}

// Aliases returns all aliases in the order of their names.
func (d *AliasTable) Aliases(ctx context.Context) ([]Alias, error) { return d.aliases(ctx, "") }

func (d *AliasTable) aliases(ctx context.Context, prefix string) ([]Alias, error) {
	var out []Alias
	for r, err := range d.o.Data.Records(ctx, kindAlias, prefix) {
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

// aliasOf returns the targets of a name: of the alias of exactly that name,
// else of the one without its tag. It does not look at catch-alls.
func (d *AliasTable) aliasOf(ctx context.Context, a envelope.Address) []envelope.Address {
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

// Owns reports whether an address belongs to the user: the account's, with any
// tag, or an alias that leads to it, directly or over others. An alias that
// cannot be read counts as not owned.
func (d *AliasTable) Owns(ctx context.Context, user, a envelope.Address) bool {
	return a.Base() == user.Base() || d.leadsTo(ctx, a, user.Base(), 0)
}

// leadsTo reports whether an alias leads to a mailbox.
func (d *AliasTable) leadsTo(ctx context.Context, a, to envelope.Address, depth int) bool {
	if depth > MaxAliasDepth || !d.Local(a.Domain()) {
		return false
	}
	return slices.ContainsFunc(d.aliasOf(ctx, a), func(t envelope.Address) bool {
		return t.Base() == to || d.leadsTo(ctx, t, to, depth+1)
	})
}

// AccountOf returns the one account that an address leads to: its own name,
// with any tag, or an alias that leads there and nowhere else; "" if there is
// none.
func (d *AliasTable) AccountOf(ctx context.Context, a envelope.Address) envelope.Address {
	for range MaxAliasDepth {
		if !d.Local(a.Domain()) {
			return ""
		}
		targets := d.aliasOf(ctx, a)
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
