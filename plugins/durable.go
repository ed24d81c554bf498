package plugins

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// replaceFile exchanges a file's content. It returns when that is on disk.
//
// Crash: the old content or the new one, never a part; perhaps a file NAME.new.
func replaceFile(path string, content []byte, owner string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := writeFile(path+".new", content); err != nil {
		return err
	}
	if err := giveTo(owner, path+".new"); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// writeTree writes files into a folder that is not there yet. It returns when
// all are on disk under their final name.
//
// Crash: no folder of that name, or a whole one; perhaps one NAME.new, which
// the next call removes.
func writeTree(dir string, files map[string][]byte, owner string) error {
	temp := dir + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	folders := map[string]bool{temp: true}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(temp, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			return err
		}
		for d := filepath.Dir(full); len(d) > len(temp); d = filepath.Dir(d) {
			folders[d] = true
		}
		if err := writeFile(full, files[path]); err != nil {
			return err
		}
	}
	for d := range folders {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	if err := giveTo(owner, filepath.Dir(filepath.Dir(temp))); err != nil { // with the publisher's folder and the bundle's
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // a rest that no lock names
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	// The folders above may be new as well.
	for d, n := filepath.Dir(dir), 0; n < 3; d, n = filepath.Dir(d), n+1 {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// giveTo makes who owns the folder owner the owner of path and all below it:
// root installs for a server that runs as somebody else.
func giveTo(owner, path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	st, err := os.Stat(owner)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return filepath.WalkDir(path, func(name string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, int(sys.Uid), int(sys.Gid)))
	})
}
