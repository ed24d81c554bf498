// Package plugins turns bundles into sources for the policy engine. A bundle
// is a folder or an archive with a manifest (bundle.toml), init.lua and tests;
// those that the server ships are compiled in.
//
//	ReadDir, Open    a folder, a signed archive -> Tree (checked, in memory)
//	Pack, Sign       Tree -> archive -> signature
//	BundleStore      installed bundles on disk: install, upgrade, roll back
//	Load             what is enabled -> sources of the engine
//
// Nothing here runs Lua, and nothing is fetched from anywhere.
package plugins

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"carteiro/hooks"
)

//go:embed all:autoreply all:delegate all:forward all:mailinglist all:priority all:spamscore
var shipped embed.FS

// ErrBundle wraps every error of this package about bundles.
var ErrBundle = errors.New("bundle")

// Shipped are the names of the bundles that are compiled in.
func Shipped() []string {
	return []string{"carteiro/autoreply", "carteiro/delegate", "carteiro/forward", "carteiro/mailinglist", "carteiro/priority",
		"carteiro/spamscore"}
}

// Enabled is one [[bundle]] of the configuration.
type Enabled struct {
	Name    string   // of an installed or shipped bundle, or
	Path    string   // of a folder or an archive
	Domains []string // nil: all; else these, even if none
	Config  map[string]any
	// DomainConfig holds settings of domains that differ from Config.
	DomainConfig map[string]map[string]any
	Secrets      map[string]hooks.Secret
	// HTTP are "host:port" that it may connect to in addition to those of its manifest.
	HTTP []string
	// GrantLimits lets the bundle at Path have limits above those of all.
	GrantLimits bool
	// AllowWeb "plain" lets the pages of a bundle that asks for it run without
	// the sandbox.
	AllowWeb string
	Tree     *Tree // instead of Name and Path: read already
	// At gives an error the place of this entry in the configuration, or of one
	// of its settings ("config.days", or "" for the entry); nil gives none.
	At func(setting string, err error) error
}

// at is an error of this entry with its place.
func (e *Enabled) at(setting string, err error) error {
	if e.At == nil || err == nil {
		return err
	}
	return e.At(setting, err)
}

// Options are what Load makes sources of.
type Options struct {
	Enabled []Enabled         // in the order of the configuration
	Store   *BundleStore      // installed bundles; nil: none
	Trust   map[string]string // publishers' public keys, see Verify
	Server  string            // version of the server
	Beside  []*Tree           // others that may be required
	// Trial loads bundles to look at or test them: their secrets are "the NAME
	// of a test".
	Trial bool
}

// Load reads the enabled bundles in their order, those that were enabled by
// command after those of the configuration, and last the bundles that they
// require. It changes nothing. All errors are returned, joined; each names
// the bundle's file. It blocks on the disk.
func Load(o Options) ([]hooks.Source, error) {
	l := &loading{Options: o, byName: map[string]*loaded{}}
	for _, e := range o.Enabled {
		l.enable(e)
	}
	l.enableByCommand()
	for i := 0; i < len(l.list); i++ { // grows
		l.require(l.list[i])
	}
	if err := l.checkCircles(); err != nil {
		l.errs = append(l.errs, err)
	}
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	var out []hooks.Source
	for i, b := range l.list {
		src, err := b.source(o.Trial)
		if err != nil {
			l.errs = append(l.errs, err)
			continue
		}
		src.Position = i
		out = append(out, src)
	}
	return out, errors.Join(l.errs...)
}

// Trees returns the bundles that Load takes, except those that are only required
// by others, in the same order.
func Trees(o Options) ([]*Tree, error) {
	l := &loading{Options: o, byName: map[string]*loaded{}}
	for _, e := range o.Enabled {
		l.enable(e)
	}
	l.enableByCommand()
	var out []*Tree
	for _, b := range l.list {
		if !b.library {
			out = append(out, b.tree)
		}
	}
	return out, errors.Join(l.errs...)
}

// loaded is a bundle that is part of the policies.
type loaded struct {
	Enabled
	tree    *Tree
	library bool // nobody enabled it, others require it
	limits  bool // granted
	except  []string
}

type loading struct {
	Options
	list   []*loaded
	byName map[string]*loaded
	errs   []error
}

// enable takes one entry of the configuration.
func (l *loading) enable(e Enabled) {
	t, limits, err := l.open(e)
	if err != nil {
		l.errs = append(l.errs, e.at("", err))
		return
	}
	name := t.Manifest.Name()
	if l.byName[name] != nil {
		l.errs = append(l.errs, e.at("", fmt.Errorf("%w %s is configured twice; settings of a domain belong under [bundle.domain.\"DOMAIN\"]",
			ErrBundle, name)))
		return
	}
	b := &loaded{Enabled: e, tree: t, limits: limits}
	on := e.Domains == nil || len(e.Domains) > 0
	if l.Store != nil {
		b.Domains, b.except, on = l.Store.domains(name, e.Domains)
	}
	if !on {
		b.library = true // known, for others and for its settings' sake
	}
	l.list = append(l.list, b)
	l.byName[name] = b
}

// enableByCommand takes what `bundle enable` enabled and the configuration
// does not name.
func (l *loading) enableByCommand() {
	if l.Store == nil {
		return
	}
	for _, name := range l.Store.switchedNames() {
		if l.byName[name] != nil {
			continue
		}
		if _, _, on := l.Store.domains(name, []string{}); on {
			l.enable(Enabled{Name: name, Domains: []string{}})
		}
	}
}

// open finds the bundle of an entry, and whether limits above those of all
// were granted to it.
func (l *loading) open(e Enabled) (*Tree, bool, error) {
	if e.Tree != nil {
		return e.Tree, true, nil
	}
	if e.Path == "" {
		return l.find(e.Name)
	}
	st, err := os.Stat(e.Path)
	if err != nil {
		return nil, false, fmt.Errorf("%w %s cannot be read: %w", ErrBundle, e.Path, err)
	}
	if st.IsDir() {
		t, err := ReadDir(os.DirFS(e.Path), e.Path)
		return t, e.GrantLimits, err
	}
	archive, signature, err := ReadArchive(e.Path)
	if err != nil {
		return nil, false, err
	}
	t, err := Open(archive, signature, e.Path, l.Trust, false)
	return t, e.GrantLimits, err
}

// find returns a bundle by name: an installed one, else one of Beside, else a shipped one.
func (l *loading) find(name string) (*Tree, bool, error) {
	if l.Store != nil && l.Store.Has(name) {
		t, err := l.Store.Current(name)
		return t, err == nil, err // its capabilities were granted when it was installed
	}
	for _, t := range l.Beside {
		if t.Manifest.Name() == name {
			return t, false, nil
		}
	}
	t, err := ShippedTree(name)
	if err != nil {
		return nil, false, err
	}
	return t, true, nil
}

// ShippedTree is a bundle that is compiled in.
func ShippedTree(name string) (*Tree, error) {
	if !slices.Contains(Shipped(), name) {
		return nil, fmt.Errorf("%w %q is neither installed nor shipped with this server; shipped are %s; `carteiro bundle install FILE` "+
			"installs one",
			ErrBundle, name, strings.Join(Shipped(), ", "))
	}
	dir, err := fs.Sub(shipped, strings.TrimPrefix(name, "carteiro/"))
	if err != nil {
		return nil, err
	}
	t, err := ReadDir(dir, name)
	if err == nil {
		t.Shipped = true
	}
	return t, err
}

// source is what the engine loads.
func (b *loaded) source(trial bool) (hooks.Source, error) {
	m, label := b.tree.Manifest, b.tree.Label
	config, err := m.settings(label, b.Config)
	if err != nil {
		return hooks.Source{}, b.at("config", err)
	}
	domains := map[string]map[string]any{}
	for _, d := range slices.Sorted(maps.Keys(b.DomainConfig)) {
		if domains[d], err = m.domainSettings(label, d, config, b.DomainConfig[d]); err != nil {
			return hooks.Source{}, b.at("domain."+d, err)
		}
	}
	src := hooks.Source{Name: m.Name(), Bundle: m.Name(), Version: m.Bundle.Version, Tier: hooks.Bundle, Domains: b.Domains, Except: b.except,
		NoOutgoing: m.Bundle.Outgoing != nil && !*m.Bundle.Outgoing, PlainWeb: m.Capabilities.Web == plainWeb && b.AllowWeb == plainWeb,
		Files: b.tree.code(), Config: config, DomainConfig: domains, After: m.Bundle.After, HTTP: slices.Concat(m.Capabilities.HTTP, b.HTTP),
		Limits: m.limits(b.limits && len(m.limitsWanted()) > 0)}
	for _, name := range slices.Sorted(maps.Keys(m.requires)) {
		if name != server {
			src.Requires = append(src.Requires, name)
		}
	}
	if b.library {
		src.Domains, src.Except = nil, nil
		secrets := map[string]hooks.Secret{}
		for _, name := range m.Capabilities.Secrets {
			secrets[name] = b.Secrets[name] // one that is not given cannot be read
		}
		src.Grants = b.tree.grants(secrets)
		return src, nil
	}
	src.Settings = m.Account
	if _, ok := src.Files[mainFile]; ok {
		src.Main = []string{mainFile}
	}
	if trial {
		secrets := map[string]hooks.Secret{}
		for _, name := range m.Capabilities.Secrets {
			secrets[name] = hooks.Secret{Text: "the " + name + " of a test"}
		}
		src.Grants = b.tree.grants(secrets)
		return src, nil
	}
	if err := b.checkSecrets(); err != nil {
		return hooks.Source{}, err
	}
	src.Grants = b.tree.grants(b.Secrets)
	return src, nil
}

// checkSecrets: what the manifest declares is given and can be read, and
// nothing else is.
func (b *loaded) checkSecrets() error {
	declared := b.tree.Manifest.Capabilities.Secrets
	for _, name := range declared {
		ref, ok := b.Secrets[name]
		if !ok {
			return fmt.Errorf("%w %s: it needs the secret %q: set secrets = { %s = { file = \"PATH\" } } in its [[bundle]]", ErrBundle,
				b.tree.Label, name, name)
		}
		if _, err := ref.Read(); err != nil {
			return fmt.Errorf("%w %s: secret %q: %w", ErrBundle, b.tree.Label, name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Secrets)) {
		if !slices.Contains(declared, name) {
			return fmt.Errorf("%w %s: it declares no secret %q", ErrBundle, b.tree.Label, name)
		}
	}
	return nil
}
