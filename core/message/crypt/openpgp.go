package crypt

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const pgpMessage = "PGP MESSAGE"

// encryptPGP writes multipart/encrypted (RFC 3156 4) and returns its fields.
func encryptPGP(key []byte, entity io.Reader, w io.Writer, now time.Time) (string, error) {
	to, err := readPGP(key)
	if err == nil {
		_, err = pgpExpiry(to, now)
	}
	if err != nil {
		return "", err
	}
	boundary := "=_" + rand.Text()
	out := bufio.NewWriterSize(w, 32<<10)
	fmt.Fprintf(out,
		"--%s\r\nContent-Type: application/pgp-encrypted\r\nContent-Description: PGP/MIME version identification\r\n\r\nVersion: 1\r\n\r\n",
		boundary)
	fmt.Fprintf(
		out,
		"--%s\r\nContent-Type: application/octet-stream; name=\"encrypted.asc\"\r\nContent-Description: OpenPGP encrypted message\r\n"+
			"Content-Disposition: inline; filename=\"encrypted.asc\"\r\n\r\n",
		boundary,
	)
	if err := armored(to, entity, crlf{out}, now); err != nil {
		return "", err
	}
	fmt.Fprintf(out, "\r\n--%s--\r\n", boundary)
	if err := out.Flush(); err != nil {
		return "", err
	}
	return fmt.Sprintf("Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n boundary=\"%s\"\r\n", boundary), nil
}

// armored encrypts what entity holds.
func armored(to *openpgp.Entity, entity io.Reader, w io.Writer, now time.Time) error {
	a, err := armor.Encode(w, pgpMessage, nil)
	if err != nil {
		return err
	}
	config := &packet.Config{DefaultCipher: packet.CipherAES256, Time: func() time.Time { return now }}
	plain, err := openpgp.Encrypt(a, []*openpgp.Entity{to}, nil, &openpgp.FileHints{IsBinary: true}, config)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	if _, err := io.CopyBuffer(onlyWriter{plain}, entity, make([]byte, 32<<10)); err != nil {
		return err
	}
	return errors.Join(plain.Close(), a.Close())
}

// onlyWriter hides ReadFrom, with which io.Copy would read everything at once.
type onlyWriter struct{ io.Writer }

// crlf ends lines as mail does.
type crlf struct{ w *bufio.Writer }

func (c crlf) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		line, rest, found := bytes.Cut(b[done:], []byte{'\n'})
		c.w.Write(line) // an error stays until Flush
		if found {
			c.w.WriteString("\r\n")
		}
		done = len(b) - len(rest)
	}
	// An empty Write returns the error of the ones before.
	if _, err := c.w.Write(nil); err != nil {
		return 0, err
	}
	return len(b), nil
}

// readPGP reads one public key in binary form. ErrUnreadable.
func readPGP(raw []byte) (*openpgp.Entity, error) {
	list, err := openpgp.ReadKeyRing(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("%w: %d keys", ErrUnreadable, len(list))
	}
	return list[0], nil
}

// pgpExpiry returns when a key will no longer encrypt, zero for never. ErrExpired,
// ErrRevoked, ErrUnusable.
func pgpExpiry(e *openpgp.Entity, now time.Time) (time.Time, error) {
	self, _ := e.PrimarySelfSignature()
	switch {
	case e.Revoked(now):
		return time.Time{}, ErrRevoked
	case self == nil:
		return time.Time{}, fmt.Errorf("%w: it has no self-signature", ErrUnusable)
	case e.PrimaryKey.KeyExpired(self, now) || self.SigExpired(now):
		return ends(e.PrimaryKey, self), ErrExpired
	}
	if k, ok := e.EncryptionKey(now); ok {
		return earlier(ends(e.PrimaryKey, self), ends(k.PublicKey, k.SelfSignature)), nil
	}
	why, at := error(fmt.Errorf("%w: it cannot encrypt", ErrUnusable)), time.Time{}
	if id := e.PrimaryIdentity(); id != nil && id.Revoked(now) {
		why = ErrRevoked
	}
	for _, s := range e.Subkeys {
		switch {
		case !s.Sig.FlagsValid || !s.Sig.FlagEncryptCommunications:
		case s.Revoked(now):
			why = ErrRevoked
		case s.PublicKey.KeyExpired(s.Sig, now) || s.Sig.SigExpired(now):
			why, at = ErrExpired, ends(s.PublicKey, s.Sig)
		}
	}
	return at, why
}

// ends returns when a key expires, zero for never.
func ends(k *packet.PublicKey, s *packet.Signature) time.Time {
	if s.KeyLifetimeSecs == nil || *s.KeyLifetimeSecs == 0 {
		return time.Time{}
	}
	return k.CreationTime.Add(time.Duration(*s.KeyLifetimeSecs) * time.Second).UTC()
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// describePGP fills in what a key says of itself. Errors are those of
// pgpExpiry.
func (k *Key) describePGP(e *openpgp.Entity, now time.Time) (err error) {
	k.Fingerprint = strings.ToUpper(hex.EncodeToString(e.PrimaryKey.Fingerprint))
	k.Created = e.PrimaryKey.CreationTime.UTC()
	k.Identities = nil
	for name := range e.Identities {
		k.Identities = append(k.Identities, strings.ToValidUTF8(name, "\uFFFD"))
	}
	slices.Sort(k.Identities)
	k.Expires, err = pgpExpiry(e, now)
	return err
}

// parsePGP reads an armored public key, and tries it.
func parsePGP(file []byte, now time.Time) (Key, error) {
	k := Key{Kind: OpenPGP}
	block, err := armor.Decode(bytes.NewReader(file))
	if err != nil {
		return k, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if block.Type != openpgp.PublicKeyType {
		return k, fmt.Errorf("%w: a %s, not a public key", ErrUnreadable, block.Type)
	}
	list, err := openpgp.ReadKeyRing(block.Body)
	if err != nil {
		return k, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if len(list) != 1 {
		return k, fmt.Errorf("%w: %d", ErrSeveral, len(list))
	}
	e := list[0]
	if e.PrivateKey != nil || slices.ContainsFunc(e.Subkeys, func(s openpgp.Subkey) bool { return s.PrivateKey != nil }) {
		return k, ErrPrivate
	}
	if err := k.describePGP(e, now); err != nil {
		return k, err
	}
	var raw bytes.Buffer
	if err := e.Serialize(&raw); err != nil {
		return k, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	k.raw = raw.Bytes()
	if again, err := readPGP(k.raw); err != nil {
		return k, err
	} else if _, err := pgpExpiry(again, now); err != nil {
		return k, err
	}
	return k, armored(e, strings.NewReader("a try"), io.Discard, now)
}
