package crypt_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
)

func armor(kind string) []byte {
	return []byte("-----BEGIN " + kind + "-----\n\nAAAA\n-----END " + kind + "-----\n")
}

// TestRefusedKeys: what cannot be encrypted to is refused when it is added.
func TestRefusedKeys(t *testing.T) {
	g := newGPG(t)
	signing := g.key("Signs <signs@our.example>", "ed25519", "sign", "1y")
	good := g.key("Bob <bob@our.example>", "future-default", "default", "1y")
	g.run(nil, "--faked-system-time", "20200101T000000", "--quick-generate-key", "Old <old@our.example>", "future-default", "default", "1m")
	cert := newCertificate(t, certOptions{})
	revoked := newGPG(t)
	revoked.key("Gone <gone@our.example>", "future-default", "default", "1y")
	revoked.revoke()
	now := time.Now()
	for _, tt := range []struct {
		name string
		file []byte
		want error
	}{
		{"empty", nil, crypt.ErrUnreadable},
		{"text", []byte("hello\n"), crypt.ErrUnreadable},
		{"no armor", g.run(nil, "--export", "bob@our.example"), crypt.ErrUnreadable},
		{"cut off", good[:len(good)/2], crypt.ErrUnreadable},
		{"nothing in it", armor("PGP PUBLIC KEY BLOCK"), crypt.ErrUnreadable},
		{"a message", armor("PGP MESSAGE"), crypt.ErrUnreadable},
		{"a public key of another sort", armor("PUBLIC KEY"), crypt.ErrUnreadable},
		{"no certificate in it", armor("CERTIFICATE"), crypt.ErrUnreadable},
		{"huge", append(good, bytes.Repeat([]byte("\n"), crypt.MaxKey)...), crypt.ErrTooLarge},
		{"private", g.run(nil, "--armor", "--export-secret-keys", "bob@our.example"), crypt.ErrPrivate},
		{"private S/MIME", cert.key, crypt.ErrPrivate},
		{"certificate with its key", append(cert.pem, cert.key...), crypt.ErrPrivate},
		{"two keys in one block", g.public("bob@our.example", "signs@our.example"), crypt.ErrSeveral},
		{"two blocks", append(good, signing...), crypt.ErrSeveral},
		{"a chain of certificates", append(cert.pem, cert.pem...), crypt.ErrSeveral},
		{"signs only", signing, crypt.ErrUnusable},
		{"expired", g.public("old@our.example"), crypt.ErrExpired},
		{"revoked", revoked.public(), crypt.ErrRevoked},
		{
			"certificate expired", newCertificate(t, certOptions{from: now.Add(-48 * time.Hour), to: now.Add(-24 * time.Hour)}).pem,
			crypt.ErrExpired,
		},
		{
			"certificate of tomorrow", newCertificate(t, certOptions{from: now.Add(24 * time.Hour), to: now.Add(48 * time.Hour)}).pem,
			crypt.ErrUnusable,
		},
		{"elliptic certificate", newCertificate(t, certOptions{elliptic: true}).pem, crypt.ErrUnusable},
		{"certificate that signs", newCertificate(t, certOptions{usage: x509.KeyUsageDigitalSignature}).pem, crypt.ErrUnusable},
		{
			"certificate of a web server", newCertificate(t, certOptions{extended: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}).pem,
			crypt.ErrUnusable,
		},
	} {
		if _, err := crypt.Parse(tt.file, now); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestKeys: keys are stored, found, listed and removed, and expire.
func TestKeys(t *testing.T) {
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ctx, now := context.Background(), &clock.Clock{}
	keys := &crypt.Keys{Data: st, Clock: now}
	if _, err := keys.Of(ctx, "bob@our.example", ""); !errors.Is(err, crypt.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	g := newGPG(t)
	if _, err := keys.Add(ctx, "bob@our.example", g.key("Bob <bob@our.example>", "future-default", "default", "1y")); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(3 * 365 * 24 * time.Hour)
	added, err := keys.Add(ctx, "Bob+tag@our.example", newCertificate(t, certOptions{to: until}).pem)
	if err != nil || added.Address != "bob@our.example" || added.State != "ok" ||
		strings.Join(added.Identities, " ") != "Ann ann@our.example" ||
		!added.Expires.Equal(until.UTC().Truncate(time.Second)) {
		t.Fatalf("%+v %v", added, err)
	}
	if _, err := keys.Add(ctx, "ann@far.example", newCertificate(t, certOptions{}).pem); err != nil {
		t.Fatal(err)
	}
	list := func(a envelope.Address, want string) {
		t.Helper()
		all, err := keys.List(ctx, a)
		var got []string
		for _, k := range all {
			got = append(got, string(k.Address)+" "+k.Kind+" "+k.State)
		}
		if s := strings.Join(got, ", "); err != nil || s != want {
			t.Errorf("%q, want %q, %v", s, want, err)
		}
	}
	of := func(kind, want string, reason error) {
		t.Helper()
		k, err := keys.Of(ctx, "bob+x@our.example", kind)
		if err != nil || k.Kind != want {
			t.Fatalf("%+v %v", k, err)
		}
		if _, err := k.Encryption(); !errors.Is(err, reason) {
			t.Errorf("%s: %v, want %v", k.Kind, err, reason)
		}
	}
	list("", "ann@far.example smime ok, bob@our.example openpgp ok, bob@our.example smime ok")
	list("bob@our.example", "bob@our.example openpgp ok, bob@our.example smime ok")
	of("", crypt.OpenPGP, nil)
	of(crypt.SMIME, crypt.SMIME, nil)
	now.Advance(2 * 365 * 24 * time.Hour)
	list("bob@our.example", "bob@our.example openpgp expired, bob@our.example smime ok")
	of("", crypt.SMIME, nil)
	of(crypt.OpenPGP, crypt.OpenPGP, crypt.ErrExpired)
	now.Advance(2 * 365 * 24 * time.Hour)
	of("", crypt.OpenPGP, crypt.ErrExpired)
	if err := keys.Remove(ctx, "bob@our.example", "rot13"); !errors.Is(err, crypt.ErrNoKey) {
		t.Error(err)
	}
	if err := keys.Remove(ctx, "bob@our.example", strings.ToLower(added.Fingerprint)); err != nil {
		t.Error(err)
	}
	list("bob@our.example", "bob@our.example openpgp expired")
	if err := st.PutRecords(ctx, crypt.RemovalRecord("bob@our.example")); err != nil {
		t.Fatal(err)
	}
	list("", "ann@far.example smime expired")
	if err := keys.Remove(ctx, "ann@far.example", ""); err != nil {
		t.Error(err)
	}
	list("", "")
}

// TestBrokenKeys: a damaged key in the store is reported as such, and not as "no key".
func TestBrokenKeys(t *testing.T) {
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ctx := context.Background()
	keys := &crypt.Keys{Data: st, Clock: &clock.Clock{}}
	broken := crypt.RemovalRecord("joe@our.example")
	broken.Value = []byte(`[{"kind": "smime", "raw": "AAAA"}, {"kind": "openpgp"}, {"kind": "rot13"}]`)
	if err := st.PutRecords(ctx, broken); err != nil {
		t.Fatal(err)
	}
	all, err := keys.List(ctx, "joe@our.example")
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v %v", all, err)
	}
	for _, k := range all {
		if _, err := k.Encryption(); k.State != "unreadable" || !errors.Is(err, crypt.ErrUnreadable) {
			t.Errorf("%s: %s, %v", k.Kind, k.State, err)
		}
	}
	broken.Value = []byte("x")
	if err := st.PutRecords(ctx, broken); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Of(ctx, "joe@our.example", ""); !errors.Is(err, store.ErrCorrupt) {
		t.Error(err)
	}
}

// FuzzParse: a file is refused, or its key can encrypt.
func FuzzParse(f *testing.F) {
	f.Add(armor("PGP PUBLIC KEY BLOCK"))
	f.Add(armor("CERTIFICATE"))
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, file []byte) {
		k, err := crypt.Parse(file, now)
		if err != nil {
			return
		}
		e, err := k.Encryption()
		if err != nil || len(e.Key) == 0 || k.Fingerprint == "" {
			t.Fatalf("%+v: %v", k, err)
		}
	})
}
