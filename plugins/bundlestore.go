package plugins

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/Masterminds/semver/v3"
	"github.com/pelletier/go-toml/v2"
)

// lockName is the file that says which bundles are installed and enabled. It
// is the only pointer to their folders, exchanged by a rename:
//
//	DIR/bundles.lock            this
//	DIR/acme/vacation/1.4.2/    files of a version; never changed
//
// What a crash leaves, at any moment, is the lock before or after. Folders
// that it does not name are rests of what was interrupted: they are not read,
// and the next installation of that version replaces them.
const lockName = "bundles.lock"

// lockHead stands above the lock's content.
const lockHead = "# Written by `carteiro bundle`: what is installed, what was granted, where it is enabled.\n"

// BundleStore is the folder of installed bundles as one lock file describes it. It
// is a value in memory: only Commit changes what others see. It is not safe
// for concurrent use.
type BundleStore struct {
	dir   string
	raw   []byte // of the lock file
	lock  lockFile
	stale bool // entries of an earlier version were completed, in memory
}

type lockFile struct {
	Bundles  map[string]Pinned `toml:"bundle"`
	Switches map[string]Switch `toml:"enabled"`
}

// Pinned is what the lock says about an installed bundle.
type Pinned struct {
	Version  string                `toml:"version"`
	Previous string                `toml:"previous,omitempty"` // for rollback
	Versions map[string]LockedFile `toml:"versions"`
}

// LockedFile pins one version.
type LockedFile struct {
	Digest  string `toml:"digest"`
	Signed  bool   `toml:"signed"`
	Granted Grants `toml:"granted"`
	// Format says which version wrote the entry: 0 is one without rights.
	Format int `toml:"format,omitempty"`
	// Kept are the rights that the bundle's code uses and nobody was asked
	// for, because an earlier version installed it. The next upgrade asks.
	Kept []string `toml:"kept,omitempty"`
}

// lockFormat is the Format of what this version writes.
const lockFormat = 1

// Switch is where `bundle enable` and `disable` put a bundle. It goes before
// the configuration.
type Switch struct {
	All     *bool           `toml:"all,omitempty" json:"all,omitempty"`
	Domains map[string]bool `toml:"domains,omitempty" json:"domains,omitempty"`
}

// OpenStore reads the lock file of a folder; a folder without one is empty.
func OpenStore(dir string) (*BundleStore, error) {
	d := &BundleStore{dir: dir, lock: lockFile{Bundles: map[string]Pinned{}, Switches: map[string]Switch{}}}
	raw, err := os.ReadFile(filepath.Join(dir, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	decoder := toml.NewDecoder(strings.NewReader(string(raw)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d.lock); err != nil {
		return nil, fmt.Errorf("%w: %s: %w; restore it from a backup, or remove it and install the bundles again", ErrBundle,
			filepath.Join(dir, lockName), err)
	}
	for name, p := range d.lock.Bundles {
		if _, err := semver.StrictNewVersion(p.Version); err != nil || !validName(name) {
			return nil, fmt.Errorf("%w: %s: %s %q is not a bundle with a version", ErrBundle, filepath.Join(dir, lockName), name, p.Version)
		}
	}
	if d.lock.Bundles == nil {
		d.lock.Bundles = map[string]Pinned{}
	}
	if d.lock.Switches == nil {
		d.lock.Switches = map[string]Switch{}
	}
	d.raw = raw
	d.completeKept()
	return d, nil
}

// LockStore keeps other commands from changing the folder until release is called.
// It makes the folder where there is none, and refuses at once while another
// command holds it.
func LockStore(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := giveTo(filepath.Dir(dir), dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: another command changes %s: %w", ErrBundle, dir, err)
	}
	return func() { f.Close() }, nil
}

// Names are the installed bundles, sorted.
func (d *BundleStore) Names() []string { return slices.Sorted(maps.Keys(d.lock.Bundles)) }

// Has reports whether a bundle is installed.
func (d *BundleStore) Has(name string) bool {
	_, ok := d.lock.Bundles[name]
	return ok
}

// Pinned is what the lock says about an installed bundle.
func (d *BundleStore) Pinned(name string) (Pinned, bool) {
	p, ok := d.lock.Bundles[name]
	return p, ok
}

// Switch is what enable and disable said about a bundle.
func (d *BundleStore) Switch(name string) Switch { return d.lock.Switches[name] }

func (d *BundleStore) folder(name, version string) string {
	return filepath.Join(d.dir, filepath.FromSlash(name), version)
}

// Current reads the current version of an installed bundle. A content or
// capabilities other than those pinned are errors.
func (d *BundleStore) Current(name string) (*Tree, error) {
	p, ok := d.lock.Bundles[name]
	if !ok {
		return nil, fmt.Errorf("%w %s is not installed", ErrBundle, name)
	}
	return d.version(name, p.Version)
}

func (d *BundleStore) version(name, version string) (*Tree, error) {
	pin, ok := d.lock.Bundles[name].Versions[version]
	if !ok {
		return nil, fmt.Errorf("%w %s %s is not installed", ErrBundle, name, version)
	}
	dir := d.folder(name, version)
	t, err := ReadDir(os.DirFS(dir), name)
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	if t.Digest != pin.Digest {
		return nil, fmt.Errorf("%w %s %s was changed after it was installed: %s has %s, %s pins %s; install it again, or run `carteiro "+
			"bundle rm %s`",
			ErrBundle, name, version, dir, t.Digest, lockName, pin.Digest, name)
	}
	if more := t.Manifest.capabilitiesWanted().beyond(pin.Granted); len(more) > 0 {
		return nil, fmt.Errorf("%w %s %s wants more than %s grants: %s; run `carteiro bundle install --accept-capabilities` with its archive",
			ErrBundle, name, version, lockName, text(more))
	}
	t.Kept = pin.Kept
	return t, nil
}

// switchedNames are the bundles that `enable` or `disable` named, sorted.
func (d *BundleStore) switchedNames() []string { return slices.Sorted(maps.Keys(d.lock.Switches)) }

// domains are those that a bundle is for: the configuration's (nil: all), as
// enable and disable changed them.
func (d *BundleStore) domains(name string, configured []string) (domains, except []string, on bool) {
	s := d.lock.Switches[name]
	all := configured == nil
	if s.All != nil {
		all, configured = *s.All, nil
	}
	if all {
		for _, domain := range slices.Sorted(maps.Keys(s.Domains)) {
			if !s.Domains[domain] {
				except = append(except, domain)
			}
		}
		return nil, except, true
	}
	domains = []string{}
	for _, domain := range configured {
		if enabled, said := s.Domains[domain]; !said || enabled {
			domains = append(domains, domain)
		}
	}
	for _, domain := range slices.Sorted(maps.Keys(s.Domains)) {
		if s.Domains[domain] && !slices.Contains(domains, domain) {
			domains = append(domains, domain)
		}
	}
	return domains, nil, len(domains) > 0
}

// Enable switches a bundle on for a domain, or for all with domain "". It
// counts for others after Commit. A bundle that is not there makes Load fail.
func (d *BundleStore) Enable(name, domain string) { d.setSwitch(name, domain, true) }

// Disable switches a bundle off for a domain, or everywhere with domain "".
func (d *BundleStore) Disable(name, domain string) { d.setSwitch(name, domain, false) }

func (d *BundleStore) setSwitch(name, domain string, on bool) {
	s := d.lock.Switches[name]
	if domain == "" {
		d.lock.Switches[name] = Switch{All: &on}
		return
	}
	s.Domains = maps.Clone(s.Domains)
	if s.Domains == nil {
		s.Domains = map[string]bool{}
	}
	s.Domains[domain] = on
	d.lock.Switches[name] = s
}

// Clone is a copy to change and perhaps not to commit.
func (d *BundleStore) Clone() *BundleStore {
	c := *d
	c.lock.Bundles, c.lock.Switches = maps.Clone(d.lock.Bundles), maps.Clone(d.lock.Switches)
	for name, p := range c.lock.Bundles {
		p.Versions = maps.Clone(p.Versions)
		c.lock.Bundles[name] = p
	}
	return &c
}

// Without is a copy in which a bundle is not installed.
func (d *BundleStore) Without(name string) *BundleStore {
	c := d.Clone()
	delete(c.lock.Bundles, name)
	c.lock.Switches = map[string]Switch{}
	return c
}

// Commit makes d what everybody sees.
//
// Crash: before the rename the old lock counts, after it the new one; both
// name folders that are on disk whole.
func (d *BundleStore) Commit() error {
	raw, err := toml.Marshal(d.lock)
	if err != nil {
		return err
	}
	raw = append([]byte(lockHead), raw...)
	if err := replaceFile(filepath.Join(d.dir, lockName), raw, filepath.Dir(d.dir)); err != nil {
		return fmt.Errorf("%w: %w", ErrBundle, err)
	}
	d.raw, d.stale = raw, false
	return nil
}
