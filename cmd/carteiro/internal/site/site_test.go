package site

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/core/service/lists"
)

const minimal = "hostname = \"mx.a.example\"\ndomains = [\"a.example\"]\n[storage]\ndir = \"data\"\nkey_file = \"store.key\"\n" +
	"reserve = \"1MiB\"\n"

// TestWrite: the files, who may read them, and a certificate that fits.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	files := Files{Config: minimal, CertNames: []string{"mx.a.example", "127.0.0.1"}, Scripts: map[string]string{"policy.lua": "-- nothing"}}
	cert, err := files.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{
		"carteiro.toml":      0o644,
		"cert.pem":           0o644,
		"key.pem":            0o600,
		"store.key":          0o600,
		"scripts/policy.lua": 0o644,
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", name, info, err, mode)
		}
	}
	if key, err := ReadKey(filepath.Join(dir, "store.key")); err != nil || len(key) != 32 {
		t.Errorf("the key has %d octets, %v, want 32", len(key), err)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")); err != nil {
		t.Error(err)
	}
	roots := x509.NewCertPool()
	pair, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil || string(pair) != string(cert) || !roots.AppendCertsFromPEM(cert) {
		t.Fatalf("the certificate is %q, %v, in the file %q", cert, err, pair)
	}
}

// TestWriteKeepsKey: a key that is there is not replaced, and nothing is written.
func TestWriteKeepsKey(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "store.key")
	if err := os.WriteFile(key, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Files{Config: minimal, CertNames: []string{"mx.a.example"}}.Write(dir)
	if err == nil || err.Error() != key+" exists already; nothing was changed" {
		t.Errorf("%v, want a refusal", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v, want store.key alone", entries, err)
	}
	if text, err := os.ReadFile(key); err != nil || string(text) != "old" {
		t.Errorf("the key is %q, %v", text, err)
	}
}

func TestReadKey(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := strings.Repeat("0f", 32)
	for _, tt := range []struct {
		name, path, err string
		octets          int
	}{
		{"none", "", "", 0},
		{"a line", write(good + "\n"), "", 32},
		{"a line of Windows", write(good + "\r\n"), "", 32},
		{"too short", write(good[2:]), "not 64 hexadecimal digits", 0},
		{"too long", write(good + "00"), "not 64 hexadecimal digits", 0},
		{"no hexadecimal digits", write("x" + good[1:]), "not 64 hexadecimal digits", 0},
		{"no file", filepath.Join(t.TempDir(), "none"), "no such file", 0},
	} {
		key, err := ReadKey(tt.path)
		if len(key) != tt.octets || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %d octets, %v, want %d, %q", tt.name, len(key), err, tt.octets, tt.err)
		}
		if _, ok := errors.AsType[Error](err); err != nil && !ok {
			t.Errorf("%s: %T is not an Error", tt.name, err)
		}
	}
}

// TestStorage: accounts that were added are in the store when it is opened
// again, a second process cannot open it, and another key cannot read it.
func TestStorage(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	if _, err := (Files{Config: minimal}).Write(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, Config)
	if err := AddAccounts(ctx, path, "pass word", "secret", "x@a.example", "y@a.example"); err != nil {
		t.Fatal(err)
	}
	if err := AddAccounts(ctx, path, "pass word", "secret", "x@a.example"); err == nil {
		t.Error("an account was added twice")
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ReadKey(cfg.Storage.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s, err := OpenStorage(ctx, cfg, key, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Directory.Accounts(ctx)
	if err != nil || len(all) != 2 || !all[0].Password || !all[0].APOP {
		t.Errorf("accounts %+v, %v, want x and y with both secrets", all, err)
	}
	if _, err := OpenStorage(ctx, cfg, key, nil, log); err == nil || !strings.HasPrefix(err.Error(), "store: ") {
		t.Errorf("a second process: %v, want an error of the store", err)
	}
	if err := s.Store.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = OpenStorage(ctx, cfg, make([]byte, 32), nil, log)
	if _, ok := errors.AsType[Error](err); !ok {
		t.Errorf("another key: %v, want an Error", err)
	}
}

// TestGroupMember: a right that is granted to a group counts for its members.
func TestGroupMember(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	if _, err := (Files{Config: minimal}).Write(dir); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(filepath.Join(dir, Config))
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenStorage(ctx, cfg, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Store.Close()
	configured, err := lists.Configure("g@a.example", map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	member, err := lists.Put("g@a.example", lists.Member{Address: "x@a.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := lists.New(s.Store).Apply(ctx, configured, member); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		group, member envelope.Address
		exists, in    bool
	}{
		{"none@a.example", "x@a.example", false, false},
		{"g@a.example", "x@a.example", true, true},
		{"g@a.example", "y@a.example", true, false},
	} {
		exists, in, err := s.groupMember(ctx, tt.group, tt.member)
		if exists != tt.exists || in != tt.in || err != nil {
			t.Errorf("%s in %s: %v, %v, %v, want %v, %v", tt.member, tt.group, exists, in, err, tt.exists, tt.in)
		}
	}
}
