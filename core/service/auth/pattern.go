package auth

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"carteiro/core/message/envelope"
)

// pattern is an alias whose name is a regular expression.
type pattern struct {
	Alias
	re *regexp.Regexp // over a whole local part in lower case
}

// PatternName reads "/pattern/@domain", the name of an alias for all local
// parts that a regular expression (RE2) matches as a whole. The domain comes
// out in lower case.
func PatternName(s string) (envelope.Address, bool) {
	i := strings.LastIndex(s, "/@")
	if i < 2 || s[0] != '/' {
		return "", false
	}
	return envelope.Address(s[:i+2] + strings.ToLower(s[i+2:])), true
}

func isPattern(a envelope.Address) bool {
	_, ok := PatternName(string(a))
	return ok
}

// maxPattern bounds a regular expression, in octets.
const maxPattern = 200

// compilePattern checks an alias with a pattern: the expression, and that its targets
// are addresses after $1 and the like are replaced.
func compilePattern(a Alias) (*pattern, error) {
	text := strings.TrimSuffix(a.Address.Local()[1:], "/")
	if len(text) > maxPattern {
		return nil, fmt.Errorf("%s: the pattern has more than %d octets", a.Address, maxPattern)
	}
	re, err := regexp.Compile(`^(?:` + text + `)$`)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Address, err)
	}
	for _, t := range a.Targets {
		for _, m := range dollar.FindAllStringSubmatch(string(t), -1) {
			if int(m[1][0]-'0') > re.NumSubexp() {
				return nil, fmt.Errorf("%s: target %s: the pattern has %d groups", a.Address, t, re.NumSubexp())
			}
		}
		if _, err := envelope.ParseAddress(dollar.ReplaceAllString(string(t), "x")); err != nil {
			return nil, fmt.Errorf("%s: target %q: %w", a.Address, t, err)
		}
	}
	return &pattern{Alias: a, re: re}, nil
}

// dollar is a group in a target: $1 to $9, $0 for the whole local part.
var dollar = regexp.MustCompile(`\$([0-9])`)

// loadPatterns reads the aliases that are patterns.
func (d *AliasTable) loadPatterns(ctx context.Context) error {
	all, err := d.aliases(ctx, "/")
	if err != nil {
		return err
	}
	byDomain := map[string][]*pattern{}
	for _, a := range all {
		if !isPattern(a.Address) {
			continue
		}
		p, err := compilePattern(a)
		if err != nil {
			return err
		}
		domain := a.Address.Domain()
		byDomain[domain] = append(byDomain[domain], p)
	}
	d.patterns.Store(&byDomain)
	return nil
}

// matchPatterns returns the targets of the first pattern, in the order of their names,
// that matches the local part with its tag or without it. A target that is no valid
// address after its groups are filled in is left out.
func (d *AliasTable) matchPatterns(a envelope.Address) []envelope.Address {
	for _, p := range (*d.patterns.Load())[a.Domain()] {
		for _, local := range []string{strings.ToLower(a.Local()), a.Base().Local()} {
			m := p.re.FindStringSubmatch(local)
			if m == nil {
				continue
			}
			var out []envelope.Address
			for _, t := range p.Targets {
				s := dollar.ReplaceAllStringFunc(string(t), func(g string) string { return m[g[1]-'0'] })
				if target, err := envelope.ParseAddress(s); err == nil {
					out = append(out, target)
				}
			}
			return out
		}
	}
	return nil
}
