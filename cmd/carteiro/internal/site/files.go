// Package site makes and opens what a server keeps in its folder: the
// configuration with its certificate, keys and scripts, and the store with its
// accounts. A server uses it, and so does whatever sets up a server: init, dev,
// the demo and tests.
package site

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config is the name of the configuration in a server's folder.
const Config = "carteiro.toml"

// Files are the texts of a new folder. Scripts are by name, below scripts/.
type Files struct {
	Config    string
	CertNames []string // of the self-signed certificate, the host's own first; none: no certificate
	Scripts   map[string]string
}

// Write writes the files, with a new certificate and a new key of the store,
// into a folder that it makes if need be. The configuration comes last. A folder
// that has a key of a store is left as it is: without the old key nobody can
// read the mail. It returns the certificate as PEM.
func (f Files) Write(dir string) (cert []byte, err error) {
	key := filepath.Join(dir, "store.key")
	if _, err := os.Lstat(key); err == nil {
		return nil, fmt.Errorf("%s exists already; nothing was changed", key)
	}
	if err := os.MkdirAll(filepath.Join(dir, "scripts"), 0o755); err != nil {
		return nil, err
	}
	write := func(name string, content []byte, mode os.FileMode) {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, mode)
		}
	}
	if len(f.CertNames) > 0 {
		certPEM, keyPEM, err := SelfSigned(f.CertNames...)
		if err != nil {
			return nil, err
		}
		cert = certPEM
		write("cert.pem", certPEM, 0o644)
		write("key.pem", keyPEM, 0o600)
	}
	write("store.key", []byte(RandomHex(32)+"\n"), 0o600)
	for name, text := range f.Scripts {
		write(filepath.Join("scripts", name), []byte(text), 0o644)
	}
	write(Config, []byte(f.Config), 0o644)
	return cert, err
}

// RandomHex returns n random octets as hexadecimal digits.
func RandomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// SelfSigned makes a certificate for a year, good enough for opportunistic TLS
// between servers until a real one is there.
func SelfSigned(names ...string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: names[0]},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

// QuoteTXT writes a TXT record as zone files want it, in pieces of at most 255
// octets.
func QuoteTXT(text string) string {
	var parts []string
	for len(text) > 0 {
		n := min(len(text), 250)
		parts = append(parts, `"`+text[:n]+`"`)
		text = text[n:]
	}
	return strings.Join(parts, " ")
}
