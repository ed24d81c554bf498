package crypt

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/smallstep/pkcs7"

	"carteiro/core/message/mime"
)

// MaxSMIME is the largest entity that is encrypted with S/MIME, in octets:
// all of it is in memory, several times over, while that is done.
const MaxSMIME = 32 << 20

// smimeAtOnce bounds that memory for the process.
var smimeAtOnce = make(chan struct{}, 2)

// chooseCipher guards the choice of AES-256 in CBC mode, which every S/MIME program reads.
// The library puts GCM into enveloped-data, where other programs do not expect it (RFC
// 5083 has auth-enveloped-data).
var chooseCipher sync.Once

const smimeFields = "Content-Type: application/pkcs7-mime; smime-type=enveloped-data;\r\n name=\"smime.p7m\"\r\n" +
	"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7m\"\r\n" +
	"Content-Description: S/MIME encrypted message\r\n"

// encryptSMIME writes enveloped-data (RFC 8551 3.3) and returns its fields.
func encryptSMIME(ctx context.Context, key []byte, entity io.Reader, w io.Writer, now time.Time) (string, error) {
	cert, err := x509.ParseCertificate(key)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if err := usable(cert, now); err != nil {
		return "", err
	}
	select {
	case smimeAtOnce <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-smimeAtOnce }()
	plain, err := io.ReadAll(io.LimitReader(entity, MaxSMIME+1))
	if err != nil {
		return "", err
	}
	if len(plain) > MaxSMIME {
		return "", ErrTooLarge
	}
	sealed, err := enveloped(plain, cert)
	if err != nil {
		return "", err
	}
	return smimeFields, mime.WriteBase64(w, sealed)
}

func enveloped(plain []byte, cert *x509.Certificate) ([]byte, error) {
	chooseCipher.Do(func() { pkcs7.ContentEncryptionAlgorithm = pkcs7.EncryptionAlgorithmAES256CBC })
	sealed, err := pkcs7.Encrypt(plain, []*x509.Certificate{cert})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	return sealed, nil
}

// usable returns why a certificate cannot encrypt mail now: ErrExpired or
// ErrUnusable; nil if it can.
func usable(c *x509.Certificate, now time.Time) error {
	_, isRSA := c.PublicKey.(*rsa.PublicKey)
	forMail := func(u x509.ExtKeyUsage) bool { return u == x509.ExtKeyUsageAny || u == x509.ExtKeyUsageEmailProtection }
	switch {
	case now.After(c.NotAfter):
		return ErrExpired
	case now.Before(c.NotBefore):
		return fmt.Errorf("%w: it is valid only from %s", ErrUnusable, c.NotBefore.UTC().Format(time.DateOnly))
	case !isRSA:
		return fmt.Errorf("%w: its key is of type %s, only RSA can be encrypted to", ErrUnusable, c.PublicKeyAlgorithm)
	case c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageKeyEncipherment|x509.KeyUsageDataEncipherment) == 0:
		return fmt.Errorf("%w: its key usage does not allow encryption", ErrUnusable)
	case len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !slices.ContainsFunc(c.ExtKeyUsage, forMail):
		return fmt.Errorf("%w: its extended key usage does not allow mail", ErrUnusable)
	}
	return nil
}

// oidEmail is the attribute of a subject that names an address (RFC 2985 5.2.1).
const oidEmail = "1.2.840.113549.1.9.1"

// describeSMIME fills in the fields from a certificate. Errors are those of usable.
func (k *Key) describeSMIME(c *x509.Certificate, now time.Time) error {
	sum := sha256.Sum256(c.Raw)
	k.Fingerprint = strings.ToUpper(hex.EncodeToString(sum[:]))
	k.Created, k.Expires = c.NotBefore.UTC(), c.NotAfter.UTC()
	k.Identities = slices.Clone(c.EmailAddresses)
	for _, a := range c.Subject.Names {
		if text, ok := a.Value.(string); ok && a.Type.String() == oidEmail {
			k.Identities = append(k.Identities, text)
		}
	}
	if c.Subject.CommonName != "" {
		k.Identities = append(k.Identities, c.Subject.CommonName)
	}
	for i, s := range k.Identities {
		k.Identities[i] = strings.ToValidUTF8(s, "\uFFFD")
	}
	slices.Sort(k.Identities)
	k.Identities = slices.Compact(k.Identities)
	return usable(c, now)
}

// parseSMIME reads a PEM certificate, and tries it.
func parseSMIME(file []byte, now time.Time) (Key, error) {
	k := Key{Kind: SMIME}
	block, _ := pem.Decode(file)
	if block == nil {
		return k, fmt.Errorf("%w: broken PEM", ErrUnreadable)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return k, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if err := k.describeSMIME(c, now); err != nil {
		return k, err
	}
	k.raw = bytes.Clone(c.Raw)
	_, err = enveloped([]byte("a try"), c)
	return k, err
}
