package admin

import (
	"context"
	"fmt"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/service/auth"
)

// AliasArgs name an alias and its targets.
type AliasArgs struct {
	Address string   `json:"address"`
	Targets []string `json:"targets,omitempty"`
}

// aliasName reads "user@domain", "@domain", the catch-all, or
// "/pattern/@domain".
func aliasName(address string) (envelope.Address, error) {
	if name, ok := auth.PatternName(address); ok {
		return name, nil
	}
	if domain, ok := strings.CutPrefix(address, "@"); ok {
		if err := envelope.CheckDomain(domain); err != nil {
			return "", err
		}
		return envelope.Address("@" + strings.ToLower(domain)), nil
	}
	return parseAddress(address)
}

// aliasTargets reads targets; those of a pattern may hold $1.
func aliasTargets(name envelope.Address, list []string) ([]envelope.Address, error) {
	_, pattern := auth.PatternName(string(name))
	var out []envelope.Address
	for _, t := range list {
		target, err := envelope.ParseAddress(t)
		if err != nil && !pattern {
			return nil, fmt.Errorf("%q: %w", t, err)
		}
		if err != nil {
			target = envelope.Address(t) // the pattern's own check says more
		}
		out = append(out, target)
	}
	return out, nil
}

func aliasAdd(ctx context.Context, s *Service, args AliasArgs) (any, error) {
	a, err := aliasName(args.Address)
	if err != nil {
		return nil, err
	}
	targets, err := aliasTargets(a, args.Targets)
	if err != nil {
		return nil, err
	}
	return none{}, s.Directory.AddAlias(ctx, a, targets)
}

// ImportedAlias is one entry of a table, with its line.
type ImportedAlias struct {
	AliasArgs
	Line int `json:"line"`
}

// ImportArgs are a table, as `alias import` read it.
type ImportArgs struct {
	Aliases []ImportedAlias `json:"aliases"`
}

// ImportReport is the answer of "alias.import".
type ImportReport struct {
	Aliases int `json:"aliases"`
}

// aliasImport takes a whole table or nothing of it.
func aliasImport(ctx context.Context, s *Service, args ImportArgs) (any, error) {
	var all []auth.Alias
	for _, one := range args.Aliases {
		a, err := aliasName(one.Address)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", one.Line, err)
		}
		targets, err := aliasTargets(a, one.Targets)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", one.Line, err)
		}
		all = append(all, auth.Alias{Address: a, Targets: targets})
	}
	if n, err := s.Directory.AddAliases(ctx, all); err != nil && n >= 0 {
		return nil, fmt.Errorf("line %d: %w", args.Aliases[n].Line, err)
	} else if err != nil {
		return nil, err
	}
	return ImportReport{Aliases: len(all)}, nil
}

func aliasRemove(ctx context.Context, s *Service, args AliasArgs) (any, error) {
	a, err := aliasName(args.Address)
	if err != nil {
		return nil, err
	}
	return none{}, s.Directory.RemoveAlias(ctx, a)
}

func aliasList(ctx context.Context, s *Service, _ none) (any, error) {
	all, err := s.Directory.Aliases(ctx)
	if all == nil {
		all = []auth.Alias{}
	}
	return all, err
}

func srsList(ctx context.Context, s *Service, _ none) (any, error) { return s.Returns.List(ctx) }

func srsRotate(ctx context.Context, s *Service, _ none) (any, error) {
	if err := s.Returns.Rotate(ctx); err != nil {
		return nil, err
	}
	return s.Returns.List(ctx)
}
