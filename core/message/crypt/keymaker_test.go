package crypt_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// program returns a program of Debian's, or the end of the test where it is
// missing.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (.ci/tools installs it)", name)
	}
	return path
}

// gpg is GnuPG with a separate keyring.
type gpg struct {
	t    testing.TB
	home string
}

func newGPG(t testing.TB) *gpg {
	t.Helper()
	program(t, "gpg")
	// The path of its agent's socket must be short.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	return &gpg{t, home}
}

func (g *gpg) run(in []byte, args ...string) []byte {
	g.t.Helper()
	// In the time of this process, which tests may have moved.
	now := strconv.FormatInt(time.Now().Unix(), 10)
	cmd := exec.Command(
		"gpg",
		append(
			[]string{
				"--homedir", g.home, "--faked-system-time", now, "--batch", "--quiet", "--yes", "--no-tty", "--pinentry-mode", "loopback",
				"--passphrase", "",
			},
			args...)...)
	cmd.Stdin = bytes.NewReader(in)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("gpg %v: %v\n%s", args, err, &stderr)
	}
	return out
}

// key makes a key and returns it as a file; how are algorithm, usage and
// expiry as --quick-generate-key takes them.
func (g *gpg) key(user string, how ...string) []byte {
	g.t.Helper()
	g.run(nil, append([]string{"--quick-generate-key", user}, how...)...)
	return g.public(user)
}

func (g *gpg) public(user ...string) []byte {
	g.t.Helper()
	return g.run(nil, append([]string{"--armor", "--export"}, user...)...)
}

// revoke revokes the one key of a keyring with the certificate that gpg made
// for that.
func (g *gpg) revoke() {
	g.t.Helper()
	found, err := filepath.Glob(filepath.Join(g.home, "openpgp-revocs.d", "*.rev"))
	if err != nil || len(found) != 1 {
		g.t.Fatalf("%v, %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		g.t.Fatal(err)
	}
	g.run(bytes.Replace(text, []byte("\n:---"), []byte("\n---"), 1), "--import")
}

// certificate is one as somebody's authority would make it.
type certificate struct {
	pem, key []byte
}

type certOptions struct {
	usage    x509.KeyUsage
	extended []x509.ExtKeyUsage
	from, to time.Time
	elliptic bool
}

func newCertificate(t testing.TB, o certOptions) certificate {
	t.Helper()
	var key crypto.Signer
	var err error
	if o.elliptic {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	if o.from.IsZero() {
		o.from = time.Now().Add(-time.Hour)
	}
	if o.to.IsZero() {
		o.to = time.Now().Add(24 * time.Hour)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Ann"}, EmailAddresses: []string{"ann@our.example"},
		NotBefore: o.from, NotAfter: o.to, KeyUsage: o.usage, ExtKeyUsage: o.extended}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}
}

// openssl decrypts a message with one of its commands, cms or smime.
func (c certificate) openssl(t testing.TB, command string, message []byte) []byte {
	t.Helper()
	program(t, "openssl")
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string][]byte{cert: c.pem, key: c.key} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", command, "-decrypt", "-recip", cert, "-inkey", key)
	cmd.Stdin = bytes.NewReader(message)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", command, err, &stderr)
	}
	return out
}
