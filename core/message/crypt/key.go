package crypt

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"carteiro/core/message/envelope"
)

// MaxKey is the largest file that may hold a key, in octets.
const MaxKey = 256 << 10

// Reasons why a file has no key to encrypt to, in addition to those of Encrypt.
var (
	ErrPrivate = errors.New("a private key: it does not belong on a server, export the public one")
	ErrSeveral = errors.New("more than one key; a file has to hold one")
)

// Key is a public key, or a certificate that holds one.
type Key struct {
	Address     envelope.Address `json:"address"`
	Kind        string           `json:"kind"`        // OpenPGP or SMIME
	Fingerprint string           `json:"fingerprint"` // hexadecimal; of a certificate its SHA-256
	Identities  []string         `json:"identities"`  // whom it is for, as it says itself
	Created     time.Time        `json:"created,omitzero"`
	Expires     time.Time        `json:"expires,omitzero"` // zero: never
	Added       time.Time        `json:"added"`
	// State is "ok", or the reason why nothing can be encrypted to it now.
	State string `json:"state"`

	raw []byte // a binary OpenPGP key, or the certificate in DER
	err error  // the reason for State
}

// Encryption returns the request to encrypt a message to the key; an error says why the
// key cannot be used.
func (k Key) Encryption() (envelope.Encryption, error) {
	return envelope.Encryption{Kind: k.Kind, Address: k.Address, Key: k.raw}, k.err
}

// Parse reads a file with one key, an armored OpenPGP key or a PEM
// certificate, and encrypts something to it, so that what is stored works.
// ErrPrivate, ErrSeveral, ErrTooLarge, ErrUnreadable, ErrUnusable, ErrExpired,
// ErrRevoked.
func Parse(file []byte, now time.Time) (Key, error) {
	if len(file) > MaxKey {
		return Key{}, fmt.Errorf("%w: a key has %d KiB at most", ErrTooLarge, MaxKey>>10)
	}
	var found []string
	for line := range bytes.Lines(file) {
		label, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "-----BEGIN ")
		if label, ends := strings.CutSuffix(label, "-----"); ok && ends {
			found = append(found, label)
		}
	}
	for _, l := range found {
		if strings.Contains(l, "PRIVATE KEY") {
			return Key{}, ErrPrivate
		}
	}
	switch {
	case len(found) > 1:
		return Key{}, fmt.Errorf("%w: %d", ErrSeveral, len(found))
	case len(found) == 1 && found[0] == "CERTIFICATE":
		return parseSMIME(file, now)
	case len(found) == 1 && strings.HasPrefix(found[0], "PGP "):
		return parsePGP(file, now)
	case len(found) == 1:
		return Key{}, fmt.Errorf("%w: %.60q is neither an OpenPGP key nor a certificate", ErrUnreadable, found[0])
	}
	return Key{}, fmt.Errorf("%w: neither an armored OpenPGP key nor a PEM certificate", ErrUnreadable)
}

// describe fills in the fields of a key that are not stored, as of now.
func (k *Key) describe(now time.Time) {
	k.Identities = []string{}
	switch k.Kind {
	case OpenPGP:
		e, err := readPGP(k.raw)
		if err == nil {
			err = k.describePGP(e, now)
		}
		k.err = err
	case SMIME:
		c, err := x509.ParseCertificate(k.raw)
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrUnreadable, err)
		} else {
			err = k.describeSMIME(c, now)
		}
		k.err = err
	default:
		k.err = fmt.Errorf("%w: of kind %q", ErrUnreadable, k.Kind)
	}
	k.State = "ok"
	if k.err != nil {
		k.State = Reason(k.err)
	}
}
