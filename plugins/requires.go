package plugins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// server is the name under which manifests require the server itself.
const server = "carteiro"

// require adds what a bundle requires and nobody enabled, and checks the
// versions.
func (l *loading) require(b *loaded) {
	m := b.tree.Manifest
	if err := m.checkServer(b.tree.Label, l.Server); err != nil {
		l.errs = append(l.errs, err)
	}
	for _, name := range slices.Sorted(maps.Keys(m.requires)) {
		if name == server {
			continue
		}
		other := l.byName[name]
		if other == nil {
			t, _, err := l.find(name)
			if err != nil {
				l.errs = append(l.errs, fmt.Errorf("%w %s requires %s %s: %w", ErrBundle, b.tree.Label, name, m.Bundle.Requires[name], err))
				continue
			}
			other = &loaded{tree: t, library: true}
			l.list = append(l.list, other)
			l.byName[name] = other
		}
		if err := m.checkRange(b.tree.Label, other.tree.Manifest); err != nil {
			l.errs = append(l.errs, err)
		}
	}
}

// checkRange checks whether another bundle has a version that m accepts.
func (m *Manifest) checkRange(label string, other *Manifest) error {
	r := m.requires[other.Name()]
	if r == nil || r.Check(other.version) {
		return nil
	}
	return fmt.Errorf("%w %s requires %s %s, but %s is there", ErrBundle, label, other.Name(), m.Bundle.Requires[other.Name()],
		other.Bundle.Version)
}

// checkServer checks whether the server has a version that m accepts. What a
// version being built adds to its number does not count.
func (m *Manifest) checkServer(label, version string) error {
	r := m.requires[server]
	v, err := semver.NewVersion(version)
	if r == nil || err != nil {
		return nil // "" in tests
	}
	plain, err := v.SetPrerelease("")
	if err != nil {
		return err
	}
	if !r.Check(&plain) {
		return fmt.Errorf("%w %s requires %s %s, but this is %s", ErrBundle, label, server, m.Bundle.Requires[server], version)
	}
	return nil
}

// checkCircles finds bundles that require each other.
func (l *loading) checkCircles() error {
	state := map[string]int{} // 1: being visited, 2: done
	var visit func(name string, path []string) error
	visit = func(name string, path []string) error {
		b := l.byName[name]
		if b == nil || state[name] == 2 {
			return nil
		}
		path = append(path, name)
		if state[name] == 1 {
			return fmt.Errorf("%w: bundles require each other in a loop: %s", ErrBundle, strings.Join(path, " requires "))
		}
		state[name] = 1
		for _, next := range slices.Sorted(maps.Keys(b.tree.Manifest.requires)) {
			if err := visit(next, path); err != nil {
				return err
			}
		}
		state[name] = 2
		return nil
	}
	for _, b := range l.list {
		if err := visit(b.tree.Manifest.Name(), nil); err != nil {
			return err
		}
	}
	return nil
}
