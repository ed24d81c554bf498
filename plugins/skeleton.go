package plugins

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"carteiro/hooks"
)

//go:embed all:skeleton
var skeleton embed.FS

// New writes the files of a small bundle that works, into a folder that is
// not there or empty.
func New(name, dir string) error {
	if !validName(name) {
		return fmt.Errorf("%w: %q is not publisher/name in lower-case letters, digits and hyphens", ErrBundle, name)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%w: %s is not empty", ErrBundle, dir)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrBundle, err)
	}
	_, short, _ := strings.Cut(name, "/")
	fill := strings.NewReplacer("@NAME@", name, "@SHORT@", short, "@PREFIX@", hooks.OwnPrefix(name))
	return fs.WalkDir(skeleton, "skeleton", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(path, "skeleton")))
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		text, err := skeleton.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, []byte(fill.Replace(string(text))), 0o644)
	})
}
