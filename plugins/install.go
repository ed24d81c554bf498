package plugins

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Reasons why a bundle is not installed.
var (
	// ErrGreedy: the bundle wants more than was granted.
	ErrGreedy = errors.New("wants more than is granted")
	// ErrDowngrade: its version is lower than the installed one's.
	ErrDowngrade = errors.New("is older than what is installed")
	// ErrInstalled: that name is installed with another version or content.
	ErrInstalled = errors.New("is installed already")
)

// Consent is what the admin said to with flags of install and upgrade.
type Consent struct {
	Capabilities bool   // more capabilities than before, limits above those of all
	Downgrade    bool   // a lower version
	Signed       bool   // whether the tree came with a good signature
	Upgrade      bool   // another version may be there
	Server       string // version of the server
}

// Install puts a tree beside what is installed and makes it current in d. For
// others nothing changes before Commit: until then the tree's folder is one
// that no lock names. Errors are ErrGreedy, ErrDowngrade and ErrInstalled, or
// tell what the tree requires and is not there. It blocks on the disk.
func (d *BundleStore) Install(t *Tree, c Consent) error {
	m := t.Manifest
	name, version := m.Name(), m.Bundle.Version
	old, had := d.lock.Bundles[name]
	if err := d.checkConsent(t, old, had, c); err != nil {
		return fmt.Errorf("%w %s: %w", ErrBundle, t.Title(), err)
	}
	if err := d.checkRequirements(t, c.Server); err != nil {
		return err
	}
	pin := LockedFile{Digest: t.Digest, Signed: c.Signed, Granted: m.capabilitiesWanted(), Format: lockFormat}
	versions := map[string]LockedFile{version: pin}
	previous := ""
	if had && old.Version != version {
		previous = old.Version
		versions[previous] = old.Versions[previous]
	} else if had {
		pin.Kept = old.Versions[version].Kept
		versions[version] = pin
		previous = old.Previous
		for v, p := range old.Versions {
			if v != version {
				versions[v] = p
			}
		}
	}
	// A folder with the right content stays: the lock may name it. One that was
	// tampered with is exchanged; a crash then may leave none, as bad as before.
	if have, err := ReadDir(os.DirFS(d.folder(name, version)), name); err != nil || have.Digest != t.Digest {
		if err := writeTree(d.folder(name, version), t.Files, filepath.Dir(d.dir)); err != nil {
			return fmt.Errorf("%w: %w", ErrBundle, err)
		}
	}
	d.lock.Bundles[name] = Pinned{Version: version, Previous: previous, Versions: versions}
	return nil
}

// checkConsent checks a tree against what is installed under its name.
func (d *BundleStore) checkConsent(t *Tree, old Pinned, had bool, c Consent) error {
	m := t.Manifest
	wants := m.capabilitiesWanted()
	if !had {
		if c.Upgrade {
			return errors.New("it is not installed; run `carteiro bundle install` first")
		}
		// To install is to grant what the manifest declares; what no bundle has
		// by itself needs a word more.
		if len(wants.Limits) > 0 && !c.Capabilities {
			return fmt.Errorf("%w: %s; --accept-capabilities grants it", ErrGreedy, text(Grants{Limits: wants.Limits}.List()))
		}
		return nil
	}
	if m.Bundle.Version == old.Version {
		if pin := old.Versions[old.Version]; pin.Digest != t.Digest {
			return fmt.Errorf("%w: version %s with another content (%s, not %s); a changed bundle needs another version", ErrInstalled,
				old.Version, pin.Digest, t.Digest)
		}
	} else if isOlder(m, old.Version) {
		if !c.Downgrade {
			return fmt.Errorf("%w (%s); --downgrade accepts it, `carteiro bundle rollback` goes back to the version before", ErrDowngrade,
				old.Version)
		}
	} else if !c.Upgrade {
		return fmt.Errorf("%w: version %s; run `carteiro bundle upgrade`", ErrInstalled, old.Version)
	}
	if c.Capabilities {
		return nil
	}
	if more := wants.beyond(old.Versions[old.Version].Granted); len(more) > 0 {
		return fmt.Errorf("%w: %s; --accept-capabilities grants it", ErrGreedy, text(more))
	}
	return nil
}

// isOlder reports whether m's version is lower than another one.
func isOlder(m *Manifest, version string) bool {
	other, err := semver.StrictNewVersion(version)
	return err == nil && m.version.LessThan(other)
}

// checkRequirements returns what a tree requires that is neither installed nor shipped,
// and which installed bundles would not accept it.
func (d *BundleStore) checkRequirements(t *Tree, server string) error {
	l := &loading{Options: Options{Store: d, Server: server}, byName: map[string]*loaded{t.Manifest.Name(): {tree: t}}}
	l.list = []*loaded{l.byName[t.Manifest.Name()]}
	for _, name := range d.Names() {
		if name == t.Manifest.Name() {
			continue
		}
		other, err := d.Current(name)
		if err != nil {
			continue // damaged, which is not this tree's fault
		}
		l.byName[name] = &loaded{tree: other}
		l.errs = append(l.errs, other.Manifest.checkRange(other.Label, t.Manifest))
	}
	for i := 0; i < len(l.list); i++ {
		l.require(l.list[i])
	}
	return errors.Join(append(l.errs, l.checkCircles())...)
}

// Rollback makes the version before the current one current again, and the
// current one the one before. It counts for others after Commit.
func (d *BundleStore) Rollback(name string) (version string, err error) {
	p, ok := d.lock.Bundles[name]
	if !ok {
		return "", fmt.Errorf("%w %s is not installed", ErrBundle, name)
	}
	if p.Previous == "" {
		return "", fmt.Errorf("%w %s: there is no version before %s to roll back to", ErrBundle, name, p.Version)
	}
	t, err := d.version(name, p.Previous)
	if err != nil {
		return "", err
	}
	p.Version, p.Previous = p.Previous, p.Version
	d.lock.Bundles[name] = p
	return p.Version, d.checkRequirements(t, "")
}

// Remove forgets a bundle and where it was enabled. It counts for others
// after Commit; Sweep removes the files then.
func (d *BundleStore) Remove(name string) error {
	if !d.Has(name) {
		return fmt.Errorf("%w %s is not installed", ErrBundle, name)
	}
	for _, other := range d.Names() {
		if other == name {
			continue
		}
		if t, err := d.Current(other); err == nil && t.Manifest.requires[name] != nil {
			return fmt.Errorf("%w %s is required by %s", ErrBundle, name, other)
		}
	}
	delete(d.lock.Bundles, name)
	delete(d.lock.Switches, name)
	return nil
}

// Sweep removes the folders of versions that the lock does not name. Nobody
// reads them; an error names what cannot be removed and stays.
//
// Crash: some of them are left for the next time.
func (d *BundleStore) Sweep() error {
	var errs []error
	found, err := filepath.Glob(filepath.Join(d.dir, "*", "*", "*"))
	errs = append(errs, err)
	for _, dir := range found {
		rel, err := filepath.Rel(d.dir, dir)
		if err != nil {
			continue
		}
		publisher, rest, _ := strings.Cut(filepath.ToSlash(rel), "/")
		name, version, _ := strings.Cut(rest, "/")
		if _, named := d.lock.Bundles[publisher+"/"+name].Versions[version]; named {
			continue
		}
		errs = append(errs, os.RemoveAll(dir))
		// What is empty now goes too; what is not says so.
		os.Remove(filepath.Dir(dir))
		os.Remove(filepath.Dir(filepath.Dir(dir)))
	}
	return errors.Join(errs...)
}
