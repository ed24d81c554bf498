package badgerstore_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
)

// contents returns the octets of all files of a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

// filled makes a closed store with one record.
func filled(t *testing.T, o badgerstore.Options) {
	t.Helper()
	s := open(t, o)
	if err := s.PutRecords(t.Context(), store.Record{Kind: "k", Name: "n", Value: []byte("value")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenLocked(t *testing.T) {
	dir := t.TempDir()
	open(t, badgerstore.Options{Dir: dir})
	_, err := badgerstore.Open(badgerstore.Options{Dir: dir, Log: quiet})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second opening: %v", err)
	}
}

func TestOpenNewer(t *testing.T) {
	dir := t.TempDir()
	s := open(t, badgerstore.Options{Dir: dir})
	if err := s.PutRaw([]byte("V/version"), binary.BigEndian.AppendUint32(nil, 99)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the refusal must release the store
		if _, err := badgerstore.Open(badgerstore.Options{Dir: dir, Log: quiet}); !errors.Is(err, store.ErrVersion) {
			t.Errorf("opening a newer store: %v", err)
		}
	}
}

func TestOpenWrongKey(t *testing.T) {
	right := bytes.Repeat([]byte{1}, 32)
	for name, c := range map[string]struct{ made, used []byte }{
		"other key":      {right, bytes.Repeat([]byte{2}, 32)},
		"no key":         {right, nil},
		"key for plain":  {nil, right},
		"key of 5 bytes": {right, []byte("short")},
	} {
		t.Run(name, func(t *testing.T) {
			o := badgerstore.Options{Dir: t.TempDir(), Key: c.made, Log: quiet}
			filled(t, o)
			before := contents(t, o.Dir)
			wrong := o
			wrong.Key = c.used
			_, err := badgerstore.Open(wrong)
			if err == nil || !strings.Contains(err.Error(), "key") {
				t.Fatalf("opening with the wrong key: %v", err)
			}
			sameFiles(t, before, contents(t, o.Dir))
			if v, err := open(t, o).Record(t.Context(), "k", "n"); err != nil || string(v) != "value" {
				t.Errorf("with the right key: %q, %v", v, err)
			}
		})
	}
}

func sameFiles(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name := range after {
		if after[name] != before[name] {
			t.Errorf("%s was changed", name)
		}
	}
	if len(before) != len(after) {
		t.Errorf("%d files became %d", len(before), len(after))
	}
}

func TestOpenEncryptedAtRest(t *testing.T) {
	o := badgerstore.Options{Dir: t.TempDir(), Key: bytes.Repeat([]byte{1}, 32)}
	s := open(t, o)
	secret := strings.Repeat("a rather long secret ", 100)
	if err := s.PutRecords(t.Context(), store.Record{Kind: "k", Name: "n", Value: []byte(secret)},
		store.Record{Kind: "k", Name: "short", Value: []byte("a rather long secret")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range contents(t, o.Dir) {
		if strings.Contains(b, "rather long") {
			t.Errorf("%s holds plain text", name)
		}
	}
}

func TestOpenDamaged(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"magic":    func(b []byte) []byte { b[0] ^= 0xff; return b },
		"length":   func(b []byte) []byte { b[8] ^= 0x40; return b },
		"checksum": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"empty":    func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			o := badgerstore.Options{Dir: t.TempDir(), Log: quiet}
			filled(t, o)
			path := filepath.Join(o.Dir, "MANIFEST")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			before := contents(t, o.Dir)
			if _, err := badgerstore.Open(o); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "corrupt") {
				t.Errorf("opening a damaged store: %v", err)
			}
			sameFiles(t, before, contents(t, o.Dir))
		})
	}
}

// TestOpenWithoutTable: a file that the MANIFEST names is not there.
func TestOpenWithoutTable(t *testing.T) {
	o := badgerstore.Options{Dir: t.TempDir(), Log: quiet}
	filled(t, o)
	tables, err := filepath.Glob(filepath.Join(o.Dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	if err := os.Remove(tables[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.Open(o); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("opening without a table: %v", err)
	}
}

func TestOpenUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(file, "store"), Log: quiet})
	if err == nil || errors.Is(err, store.ErrCorrupt) {
		t.Errorf("opening below a file: %v", err)
	}
}

func TestInMemory(t *testing.T) {
	s := open(t, badgerstore.Options{InMemory: true})
	d := s.Draft(t.Context())
	if _, err := d.Write(make([]byte, 3<<20)); err != nil {
		t.Fatal(err)
	}
	m := message("b@example.com")
	m.Draft = d
	if err := s.Commit(t.Context(), nil, m); err != nil {
		t.Fatal(err)
	}
	if n := readAll(t, s, &m.Envelope); len(n) != 3<<20 {
		t.Errorf("%d octets came back", len(n))
	}
}
