package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/cmd/carteiro/internal/testserver"
)

// TestStoreRefused: a store that this version cannot read is not changed, and the error
// says which one it is and why.
func TestStoreRefused(t *testing.T) {
	tests := []struct {
		name    string
		spoil   func(t *testing.T, store string)
		want    string
		lasting bool // the files are the same afterwards
	}{
		{"written by a newer version", func(t *testing.T, store string) { setVersion(t, store, 99) },
			"it has format 99, this program knows formats up to 2", false},
		{"manifest overwritten", func(t *testing.T, store string) {
			overwrite(t, filepath.Join(store, "MANIFEST"), 0)
		}, "stored data is corrupt", true},
		{"no database but a file", func(t *testing.T, store string) {
			if err := errors.Join(os.RemoveAll(store), os.WriteFile(store, []byte("x"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "data/store", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &testserver.Server{Dir: t.TempDir()}
			if err := h.Build(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			// Without encryption, so that setVersion can write into it.
			plain, err := os.ReadFile(h.ConfigFile())
			if err != nil {
				t.Fatal(err)
			}
			plain = bytes.Replace(plain, []byte(`key_file = "store.key"`), nil, 1)
			plain = bytes.Replace(plain, []byte(`apop = true`), nil, 1)
			if err := errors.Join(os.WriteFile(h.ConfigFile(), plain, 0o600), os.RemoveAll(filepath.Join(h.Dir, "data", "store"))); err != nil {
				t.Fatal(err)
			}
			if out, err := h.Command("account", "add", "carol@example.com").CombinedOutput(); err != nil {
				t.Fatalf("account add: %v\n%s", err, out)
			}
			tt.spoil(t, filepath.Join(h.Dir, "data", "store"))
			before := digests(t, h.Dir)
			for _, cmd := range [][]string{{"serve"}, {"account", "list"}, {"account", "add", "dan@example.com"}} {
				out, err := h.Command(cmd...).CombinedOutput()
				exit, ok := errors.AsType[*exec.ExitError](err)
				if !ok || exit.ExitCode() != exitUsage {
					t.Errorf("%s: %v, want status %d\n%s", cmd, err, exitUsage, out)
				}
				testserver.Contains(t, string(out), "carteiro: store: ", tt.want, filepath.Join(h.Dir, "data", "store"))
			}
			if tt.lasting {
				if after := digests(t, h.Dir); !maps.Equal(before, after) {
					t.Errorf("files changed: %v, before %v", after, before)
				}
				return
			}
			// Badger begins a new value log whenever it is opened, so the
			// files differ. What is stored does not.
			setVersion(t, filepath.Join(h.Dir, "data", "store"), 1)
			out, err := h.Command("account", "list").CombinedOutput()
			if err != nil {
				t.Error(err)
			}
			testserver.Contains(t, string(out), "carol@example.com")
		})
	}
}

// setVersion changes the version record: one octet for the form of the
// record, the number, and a checksum of key and record.
func setVersion(t *testing.T, dir string, n uint32) {
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("V/version")
	err = db.Update(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		v, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		v = binary.BigEndian.AppendUint32(v[:1:1], n)
		table := crc32.MakeTable(crc32.Castagnoli)
		v = binary.BigEndian.AppendUint32(v, crc32.Update(crc32.Checksum(key, table), table, v))
		return txn.Set(key, v)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, file string, at int64) {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("this is no such file"), at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// digests are of all files below dir but for locks, by path.
func digests(t *testing.T, dir string) map[string][sha256.Size]byte {
	out := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
