package verify

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"carteiro/core/message/envelope"
)

// Errors of a Keyring.
var (
	// ErrNoKey: the domain has no signing key of that selector.
	ErrNoKey = errors.New("no such DKIM key")
	// ErrKeyExists: it has one already.
	ErrKeyExists = errors.New("there is a DKIM key of that selector")
)

const (
	rsaBits    = 2048
	activeFile = "active"    // of a domain: the selectors that sign, a line each
	lookAgain  = time.Second // how long what was read of a domain counts
)

// Key is one signing key.
type Key struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	Kind     string `json:"kind"` // "rsa" or "ed25519"
	Active   bool   `json:"active"`
	// Name and Record are the name and the text of the TXT record.
	Name   string `json:"name"`
	Record string `json:"record"`

	signer crypto.Signer
}

// Keyring is a folder of signing keys, DIR/DOMAIN/SELECTOR.pem (PKCS #8). It is
// safe for concurrent use; it notices new or switched keys within a second.
type Keyring struct {
	// hostname names this server in what ARC sets say.
	hostname string
	dir      string
	named    map[string][]string // selectors that the configuration names, by domain
	mu       sync.Mutex
	known    map[string]cached
}

type cached struct {
	keys []Key
	err  error
	at   time.Time
}

// NewKeyring makes a Keyring of the keys in dir. hostname is what ARC sets call
// this server; named are the selectors of domains for which the configuration
// says which sign; for others the file "active" does.
func NewKeyring(hostname, dir string, named map[string][]string) *Keyring {
	return &Keyring{hostname: hostname, dir: dir, named: named, known: map[string]cached{}}
}

func checkLabel(s string) error {
	if s == "" || len(s) > 63 || strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasPrefix(s, "-") {
		return fmt.Errorf("%q is not a selector: letters, digits and hyphens", s)
	}
	return nil
}

// Generate makes a key, "rsa" (2048 bits) or "ed25519", and makes it the one
// that signs; with keep those that sign now continue to sign. ErrKeyExists.
//
// Crash before the last step: the key exists and does not sign.
func (k *Keyring) Generate(domain, selector, kind string, keep bool) (Key, error) {
	domain = strings.ToLower(domain)
	if err := errors.Join(envelope.CheckDomain(domain), checkLabel(selector)); err != nil {
		return Key{}, err
	}
	var signer crypto.Signer
	var err error
	switch kind {
	case "rsa":
		signer, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case "ed25519":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("%q is neither rsa nor ed25519", kind)
	}
	if err != nil {
		return Key{}, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return Key{}, err
	}
	folder := filepath.Join(k.dir, domain)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return Key{}, err
	}
	f, err := os.OpenFile(filepath.Join(folder, selector+".pem"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return Key{}, fmt.Errorf("%w: %s of %s", ErrKeyExists, selector, domain)
	}
	if err != nil {
		return Key{}, err
	}
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return Key{}, err
	}
	active := []string{selector}
	if keep {
		before, err := k.active(domain)
		if err != nil {
			return Key{}, err
		}
		active = append(before, selector)
	}
	if err := k.activate(domain, active); err != nil {
		return Key{}, err
	}
	return k.read(domain, selector, true)
}

// activate exchanges the list of selectors that sign.
func (k *Keyring) activate(domain string, selectors []string) error {
	path := filepath.Join(k.dir, domain, activeFile)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(selectors, "\n") + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// active returns the selectors that sign for a domain.
func (k *Keyring) active(domain string) ([]string, error) {
	if named := k.named[domain]; named != nil {
		return slices.Clone(named), nil
	}
	raw, err := os.ReadFile(filepath.Join(k.dir, domain, activeFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(raw)), err
}

func (k *Keyring) read(domain, selector string, active bool) (Key, error) {
	raw, err := os.ReadFile(filepath.Join(k.dir, domain, selector+".pem"))
	if errors.Is(err, os.ErrNotExist) {
		return Key{}, fmt.Errorf("%w: %s of %s", ErrNoKey, selector, domain)
	}
	if err != nil {
		return Key{}, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return Key{}, fmt.Errorf("DKIM key %s of %s: no PEM", selector, domain)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Key{}, fmt.Errorf("DKIM key %s of %s: %w", selector, domain, err)
	}
	key := Key{Domain: domain, Selector: selector, Active: active, Name: selector + "._domainkey." + domain}
	var public []byte
	switch s := parsed.(type) {
	case *rsa.PrivateKey:
		key.Kind, key.signer = "rsa", s
		public, err = x509.MarshalPKIXPublicKey(&s.PublicKey)
	case ed25519.PrivateKey:
		key.Kind, key.signer = "ed25519", s
		public = s.Public().(ed25519.PublicKey)
	default:
		err = errors.New("neither RSA nor Ed25519")
	}
	if err != nil {
		return Key{}, fmt.Errorf("DKIM key %s of %s: %w", selector, domain, err)
	}
	key.Record = "v=DKIM1; k=" + key.Kind + "; p=" + base64.StdEncoding.EncodeToString(public)
	return key, nil
}

// List returns all keys, by domain and selector.
func (k *Keyring) List() ([]Key, error) {
	found, err := filepath.Glob(filepath.Join(k.dir, "*", "*.pem"))
	if err != nil {
		return nil, err
	}
	out := []Key{}
	var errs []error
	for _, path := range found {
		domain, selector := filepath.Base(filepath.Dir(path)), strings.TrimSuffix(filepath.Base(path), ".pem")
		active, err := k.active(domain)
		if err == nil {
			var key Key
			if key, err = k.read(domain, selector, slices.Contains(active, selector)); err == nil {
				out = append(out, key)
			}
		}
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// signing returns the keys that sign for a domain; of selectors, if there are any,
// those. ErrNoKey: one of them is missing.
func (k *Keyring) signing(domain string, selectors []string) ([]Key, error) {
	cacheKey := domain + " " + strings.Join(selectors, " ")
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, ok := k.known[cacheKey]; ok && time.Since(c.at) < lookAgain {
		return c.keys, c.err
	}
	c := cached{at: time.Now()}
	if len(selectors) == 0 {
		selectors, c.err = k.active(domain)
	}
	for _, s := range selectors {
		if c.err != nil {
			break
		}
		var key Key
		key, c.err = k.read(domain, s, true)
		c.keys = append(c.keys, key)
	}
	if len(k.known) > 1000 {
		clear(k.known)
	}
	k.known[cacheKey] = c
	return c.keys, c.err
}
