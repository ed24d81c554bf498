// Package plugins turns bundles into sources for the policy engine: a folder
// with a manifest (bundle.toml), init.lua and tests. The bundles that the
// server ships are compiled in. Packing, signing and installing archives are
// not here yet; a folder is taken as it is.
package plugins

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"carteiro/hooks"
)

//go:embed all:priority
var shipped embed.FS

// ErrBundle wraps every error of this package.
var ErrBundle = errors.New("bundle")

// api is the major version of the contract that this server speaks.
const api = 1

// Manifest is bundle.toml. Unknown keys are errors.
type Manifest struct {
	Bundle struct {
		Name     string            `toml:"name"`
		Version  string            `toml:"version"`
		API      int               `toml:"api"`
		License  string            `toml:"license"`
		Requires map[string]string `toml:"requires"`
		Hooks    []string          `toml:"hooks"`
	} `toml:"bundle"`
	Capabilities struct {
		Modules    []string `toml:"modules"`
		Submit     string   `toml:"submit"`
		HTTP       []string `toml:"http"`
		Message    []string `toml:"message"`
		Secrets    []string `toml:"secrets"`
		Recipients int      `toml:"recipients"`
	} `toml:"capabilities"`
	Limits struct {
		Wall         string `toml:"wall"`
		Instructions int64  `toml:"instructions"`
		Alloc        string `toml:"alloc"`
	} `toml:"limits"`
	Config map[string]Setting `toml:"config"`
	Tests  struct {
		Smoke []string `toml:"smoke"`
	} `toml:"tests"`
}

// Setting describes one key of a bundle's configuration.
type Setting struct {
	Type    string `toml:"type"` // string, integer, number, boolean, list, table
	Default any    `toml:"default"`
	Min     *int64 `toml:"min"`
	Max     *int64 `toml:"max"`
	Domain  bool   `toml:"domain"` // a domain may set it
}

// Shipped are the names of the bundles that are compiled in.
func Shipped() []string { return []string{"carteiro/priority"} }

// Enabled is one [[bundle]] of the configuration.
type Enabled struct {
	Name    string // of a shipped bundle, or
	Path    string // of a folder
	Domains []string
	Config  map[string]any
}

// Load reads the enabled bundles in their order. All errors are returned,
// joined; each names the bundle's file.
func Load(enabled []Enabled) ([]hooks.Source, error) {
	var out []hooks.Source
	var errs []error
	for i, e := range enabled {
		src, err := load(e)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		src.Position = i
		out = append(out, src)
	}
	return out, errors.Join(errs...)
}

func load(e Enabled) (hooks.Source, error) {
	dir, label, err := open(e)
	if err != nil {
		return hooks.Source{}, err
	}
	m, err := readManifest(dir, label)
	if err != nil {
		return hooks.Source{}, err
	}
	config, err := m.settings(label, e.Config)
	if err != nil {
		return hooks.Source{}, err
	}
	src := hooks.Source{Name: m.Bundle.Name, Bundle: m.Bundle.Name, Version: m.Bundle.Version, Tier: hooks.Bundle, Domains: e.Domains,
		Main: []string{"init.lua"}, Config: config, Grants: &hooks.Grants{Modules: m.Capabilities.Modules}}
	for _, h := range m.Bundle.Hooks {
		src.Grants.Hooks = append(src.Grants.Hooks, hooks.Point(h))
	}
	for _, r := range m.Capabilities.Message {
		src.Grants.Message = append(src.Grants.Message, hooks.Right(r))
	}
	src.Limits.Instructions, src.Limits.Recipients = m.Limits.Instructions, m.Capabilities.Recipients
	if m.Limits.Wall != "" {
		if src.Limits.Wall, err = time.ParseDuration(m.Limits.Wall); err != nil {
			return src, fmt.Errorf("%w %s/bundle.toml: limits.wall: %w", ErrBundle, label, err)
		}
	}
	src.Files, err = files(dir, label)
	return src, err
}

// open finds the folder of a bundle.
func open(e Enabled) (dir fs.FS, label string, err error) {
	if e.Path != "" {
		if st, err := os.Stat(e.Path); err != nil || !st.IsDir() {
			return nil, "", fmt.Errorf("%w %s is not a folder that can be read", ErrBundle, e.Path)
		}
		return os.DirFS(e.Path), e.Path, nil
	}
	if !slices.Contains(Shipped(), e.Name) {
		return nil, "", fmt.Errorf("%w %q is not shipped with this server; shipped are %s", ErrBundle, e.Name, strings.Join(Shipped(), ", "))
	}
	dir, err = fs.Sub(shipped, strings.TrimPrefix(e.Name, "carteiro/"))
	return dir, e.Name, err
}

func readManifest(dir fs.FS, label string) (*Manifest, error) {
	raw, err := fs.ReadFile(dir, "bundle.toml")
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrBundle, label, err)
	}
	var m Manifest
	d := toml.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w %s/bundle.toml: %w", ErrBundle, label, place(err))
	}
	switch {
	case !validName(m.Bundle.Name):
		err = fmt.Errorf("name %q is not publisher/name", m.Bundle.Name)
	case m.Bundle.Version == "":
		err = errors.New("version is not set")
	case m.Bundle.API != api:
		err = fmt.Errorf("api is %d; this server speaks %d", m.Bundle.API, api)
	}
	for _, h := range m.Bundle.Hooks {
		if _, ok := hooks.Lookup(hooks.Point(h)); !ok && err == nil {
			err = fmt.Errorf("there is no hook %q", h)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s/bundle.toml: %w", ErrBundle, label, err)
	}
	return &m, nil
}

// place puts line and column in front of what the TOML reader says.
func place(err error) error {
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		e := strict.Errors[0]
		line, col := e.Position()
		return fmt.Errorf("%d:%d: unknown key %s", line, col, strings.Join(e.Key(), "."))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, col := e.Position()
		return fmt.Errorf("%d:%d: %w", line, col, err)
	}
	return err
}

func validName(s string) bool {
	publisher, name, ok := strings.Cut(s, "/")
	good := func(s string) bool {
		return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	}
	return ok && good(publisher) && good(name)
}

// Limits on what a bundle's folder may hold.
const (
	maxFiles = 500
	maxFile  = 4 << 20
)

// files reads the folder but for its tests; hidden files stay out.
func files(dir fs.FS, label string) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path == "tests" || path != "." && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() > maxFile || len(out) >= maxFiles {
			return fmt.Errorf("%s: not a file of at most %d octets, or one of more than %d files", path, maxFile, maxFiles)
		}
		out[path], err = fs.ReadFile(dir, path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrBundle, label, err)
	}
	return out, nil
}
