package plugins

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names that a bundle's files have.
const (
	manifestFile = "bundle.toml"
	mainFile     = "init.lua"
	testFolder   = "tests/"
)

// Limits on what a bundle may hold.
const (
	maxFiles = 500
	maxFile  = 4 << 20  // octets of one file
	maxTotal = 32 << 20 // octets of all files
	maxName  = 100      // octets of a file's path
)

// Tree is a whole bundle in memory. It is not changed once made.
type Tree struct {
	Manifest *Manifest
	Files    map[string][]byte // tests included, by path with slashes
	Digest   string            // "sha256:" and hexadecimal digits, of names and contents
	Label    string            // how errors name it
	Shipped  bool              // it is compiled in
	Kept     []string          // rights that it has beside those of its manifest, see Locked.Kept
}

// ReadDir reads a folder. Hidden files stay out; links and devices are
// errors.
func ReadDir(dir fs.FS, label string) (*Tree, error) {
	b := &treeBuilder{files: map[string][]byte{}, folded: map[string]kind{}}
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a plain file", path)
		}
		if err := b.room(path, info.Size()); err != nil {
			return err
		}
		content, err := fs.ReadFile(dir, path)
		if err != nil {
			return err
		}
		return b.add(path, content)
	})
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrBundle, label, err)
	}
	return b.tree(label)
}

// treeBuilder takes files one by one and keeps to the limits.
type treeBuilder struct {
	files  map[string][]byte
	folded map[string]kind // names without case: two must not differ by that alone
	total  int64
}

type kind int

const (
	aFile kind = iota + 1
	aFolder
)

// room returns why a file cannot be taken, before its content is read.
func (b *treeBuilder) room(path string, size int64) error {
	switch {
	case !safePath(path):
		return fmt.Errorf("%q is not the name of a file inside a bundle", path)
	case size < 0 || size > maxFile:
		return fmt.Errorf("%s is larger than %d MiB", path, maxFile>>20)
	case b.total+size > maxTotal:
		return fmt.Errorf("all files together are larger than %d MiB", maxTotal>>20)
	case len(b.files) >= maxFiles:
		return fmt.Errorf("it has more than %d files", maxFiles)
	}
	return nil
}

func (b *treeBuilder) add(path string, content []byte) error {
	if err := b.room(path, int64(len(content))); err != nil {
		return err
	}
	key := strings.ToLower(path)
	if _, taken := b.folded[key]; taken {
		return fmt.Errorf("%s is there twice", path)
	}
	b.folded[key] = aFile
	for dir := parent(key); dir != ""; dir = parent(dir) {
		if b.folded[dir] == aFile {
			return fmt.Errorf("%s is both a file and a folder", dir)
		}
		b.folded[dir] = aFolder
	}
	b.files[path] = content
	b.total += int64(len(content))
	return nil
}

func parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)]
}

// safePath is a name that stays inside of its folder on every system.
func safePath(path string) bool {
	if !fs.ValidPath(path) || path == "." || len(path) > maxName || !utf8.ValidString(path) {
		return false
	}
	for _, r := range path {
		if r == '\\' || r == ':' || !unicode.IsPrint(r) {
			return false
		}
	}
	for part := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(part, ".") {
			return false
		}
	}
	return true
}

// tree checks the whole.
func (b *treeBuilder) tree(label string) (*Tree, error) {
	raw, ok := b.files[manifestFile]
	if !ok {
		return nil, fmt.Errorf("%w %s: it has no %s", ErrBundle, label, manifestFile)
	}
	m, err := parseManifest(raw, label)
	if err != nil {
		return nil, err
	}
	t := &Tree{Manifest: m, Files: b.files, Digest: digest(b.files), Label: label}
	if _, ok := b.files[mainFile]; !ok && len(m.Bundle.Hooks) > 0 {
		return nil, fmt.Errorf("%w %s: it declares hooks, but has no %s", ErrBundle, label, mainFile)
	}
	for _, name := range m.Tests.Smoke {
		if _, ok := b.files[testFolder+name+".lua"]; !ok {
			return nil, fmt.Errorf("%w %s: smoke test %q: there is no %s%s.lua", ErrBundle, label, name, testFolder, name)
		}
	}
	return t, nil
}

// Title is the bundle as people see it, "acme/vacation 1.4.2".
func (t *Tree) Title() string { return t.Manifest.Bundle.Name + " " + t.Manifest.Bundle.Version }

// code are the files that run: all but the tests.
func (t *Tree) code() map[string][]byte {
	out := map[string][]byte{}
	for path, content := range t.Files {
		if !strings.HasPrefix(path, testFolder) {
			out[path] = content
		}
	}
	return out
}

func digest(files map[string][]byte) string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%d %s %d ", len(path), path, len(files[path]))
		h.Write(files[path])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
