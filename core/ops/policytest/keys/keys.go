// Package keys makes keys for tests, and decrypts what was encrypted to
// them. It is not for mail that matters: its keys are small and without a
// password.
package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/smallstep/pkcs7"

	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
)

// Key is a key with its secret.
type Key struct {
	// Public is the file that `key add` takes.
	Public []byte

	pgp    *openpgp.Entity
	cert   *x509.Certificate
	secret *rsa.PrivateKey
}

// New makes a key of a kind for an address, made at from and good for life.
func New(kind string, a envelope.Address, from time.Time, life time.Duration) (*Key, error) {
	switch kind {
	case crypt.OpenPGP:
		return newPGP(a, from, life)
	case crypt.SMIME:
		return newSMIME(a, from, life)
	}
	return nil, fmt.Errorf("kind %q: there are %s and %s", kind, crypt.OpenPGP, crypt.SMIME)
}

func newPGP(a envelope.Address, from time.Time, life time.Duration) (*Key, error) {
	e, err := openpgp.NewEntity("", "", string(a), &packet.Config{
		Algorithm:       packet.PubKeyAlgoEdDSA,
		KeyLifetimeSecs: uint32(life / time.Second),
		Time:            func() time.Time { return from },
	})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err == nil {
		err = errors.Join(e.Serialize(w), w.Close())
	}
	return &Key{Public: out.Bytes(), pgp: e}, err
}

func newSMIME(a envelope.Address, from time.Time, life time.Duration) (*Key, error) {
	secret, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber:   big.NewInt(from.UnixNano()),
		Subject:        pkix.Name{CommonName: string(a)},
		EmailAddresses: []string{string(a)},
		NotBefore:      from,
		NotAfter:       from.Add(life),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &secret.PublicKey, secret)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Key{Public: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert: cert, secret: secret}, err
}

// errNotOurs: the message was not encrypted to this key.
var errNotOurs = errors.New("nothing in it is encrypted to this key")

// Decrypt returns the MIME entity inside a message as core/message/crypt makes it.
func (k *Key) Decrypt(message []byte) ([]byte, error) {
	_, body, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	if k.pgp != nil {
		return k.decryptPGP(body)
	}
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(body), "\r\n", ""))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	p, err := pkcs7.Parse(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return p.Decrypt(k.cert, k.secret)
}

func (k *Key) decryptPGP(body []byte) ([]byte, error) {
	if i := bytes.Index(body, []byte("-----BEGIN ")); i >= 0 {
		body = body[i:]
	}
	block, err := armor.Decode(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	// The clock of a test may be far away.
	m, err := openpgp.ReadMessage(block.Body, openpgp.EntityList{k.pgp}, nil,
		&packet.Config{Time: func() time.Time { return k.pgp.PrimaryKey.CreationTime }})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return io.ReadAll(m.UnverifiedBody)
}
