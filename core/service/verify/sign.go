package verify

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// sealedNames and signedNames are the fields that a signature covers (RFC 6376
// 5.4.1). The former are named once more than they occur, so that nobody can add
// another one.
var (
	sealedNames = []string{"From", "Sender", "Reply-To", "Subject", "Date", "To", "Cc", "Message-ID"}
	signedNames = []string{
		"In-Reply-To", "References", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "List-Id", "List-Unsubscribe",
		"List-Unsubscribe-Post", "List-Post", "List-Help", "List-Subscribe", "List-Owner", "List-Archive", "Auto-Submitted",
	}
)

// Signer makes the fields that sign a header section; they go on top of it. They
// end in CRLF. A Signer is for one goroutine at a time.
type Signer = func(h *mime.Header) (fields string, err error)

// Sign prepares a signature over one body and any number of header sections,
// because the copies of a mailing list differ in a field or two. It reads the
// body once. The Signer makes a DKIM-Signature for each of the domain's keys,
// "" for a domain without keys. ErrNoKey: a selector has no key. Other errors
// are those of open and of a key.
func (k *Keyring) Sign(s envelope.Signature, open func() (io.ReadCloser, error)) (Signer, error) {
	return k.prepareSigner(s, open, func(keys []Key, h *mime.Header, sum []byte) (fields string, err error) {
		for _, key := range keys {
			one, err := key.sign("DKIM-Signature: v=1;", names(h), h, sum)
			if err != nil {
				return "", err
			}
			fields = one + fields
		}
		return fields, nil
	})
}

// prepareSigner hashes a body once for signatures of it.
func (k *Keyring) prepareSigner(
	s envelope.Signature,
	open func() (io.ReadCloser, error),
	sign func(keys []Key, h *mime.Header, sum []byte) (string, error),
) (Signer, error) {
	keys, err := k.signing(s.Domain, s.Selectors)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return func(*mime.Header) (string, error) { return "", nil }, nil
	}
	body, err := open()
	if err != nil {
		return nil, fmt.Errorf("signature of %s: %w", s.Domain, err)
	}
	defer body.Close()
	sum, err := hashBody(sha256.New(), true, body)
	if err != nil {
		return nil, fmt.Errorf("signature of %s: %w", s.Domain, err)
	}
	return func(h *mime.Header) (string, error) {
		fields, err := sign(keys, h, sum)
		if err != nil {
			return "", fmt.Errorf("signature of %s: %w", s.Domain, err)
		}
		return fields, nil
	}, nil
}

// names returns those of the fields that a signature covers.
func names(h *mime.Header) []string {
	var names []string
	for _, name := range sealedNames {
		for range h.Count(name) + 1 {
			names = append(names, name)
		}
	}
	for _, name := range signedNames {
		for range h.Count(name) {
			names = append(names, name)
		}
	}
	return names
}

// algorithm returns the value of a= for the key.
func (key *Key) algorithm() string {
	if key.Kind == "ed25519" {
		return "ed25519-sha256"
	}
	return "rsa-sha256"
}

// sign makes a DKIM-Signature (RFC 6376 3.5, RFC 8463) or what is like one:
// start is its name and first tags, sum the hash of the body.
func (key *Key) sign(start string, names []string, h *mime.Header, sum []byte) (string, error) {
	field := fmt.Sprintf("%s a=%s; c=relaxed/relaxed; d=%s; s=%s;\r\n\th=%s;\r\n\tbh=%s;\r\n\tb=", start, key.algorithm(), key.Domain,
		key.Selector, strings.Join(names, ":\r\n\t "), base64.StdEncoding.EncodeToString(sum))
	return key.signFields(field, signedFields(h, strings.Split(strings.ToLower(strings.Join(names, ":")), ":")))
}

// signFields signs some fields and field itself, which ends in "b=", in their relaxed
// form, and returns field with the signature.
func (key *Key) signFields(field string, covered []string) (string, error) {
	digest := sha256.New()
	for _, raw := range covered {
		io.WriteString(digest, canonicalField(raw, true))
	}
	io.WriteString(digest, strings.TrimSuffix(canonicalField(field, true), "\r\n"))
	var opts crypto.SignerOpts = crypto.SHA256
	if _, ok := key.signer.(ed25519.PrivateKey); ok {
		opts = crypto.Hash(0)
	}
	signed, err := key.signer.Sign(rand.Reader, digest.Sum(nil), opts)
	if err != nil {
		return "", err
	}
	text := base64.StdEncoding.EncodeToString(signed)
	for len(text) > 72 {
		field, text = field+text[:72]+"\r\n\t", text[72:]
	}
	return field + text + "\r\n", nil
}
