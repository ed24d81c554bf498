package verify

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/dns"
)

const minRSABits = 1024 // RFC 8301 3.2

// permanent is a mistake of the signature or of its key: not what fails, but
// what cannot be verified at all.
type permanent string

func (p permanent) Error() string { return string(p) }

// Errors of a signature that are not permanent.
var (
	errTemporary = errors.New("look-up failed") // another try may find it
	errBody      = errors.New("body cannot be read")
	errChanged   = errors.New("the body was changed")
	errNoFit     = errors.New("the signature does not fit")
)

// signature is a DKIM-Signature or an ARC-Message-Signature.
type signature struct {
	field                    string
	tags                     map[string]string
	names                    []string // that it covers, in lower case
	relaxedHead, relaxedBody bool
	limit                    int64 // octets of the body that it covers; -1: all
	said                     []byte

	sum    hash.Hash
	hashed *bodyHash
	record *keyRecord
	err    error
}

// readSignature reads what both kinds have in common.
func readSignature(raw string) (*signature, error) {
	_, value, _ := strings.Cut(raw, ":")
	tags, ok := parseTags(value)
	s := &signature{field: raw, tags: tags, limit: -1}
	if !ok {
		return s, permanent("the tags are malformed")
	}
	for _, name := range []string{"a", "b", "bh", "d", "h", "s"} {
		if tags[name] == "" {
			return s, permanent("there is no tag " + name)
		}
	}
	if envelope.CheckDomain(tags["d"]) != nil || envelope.CheckDomain(tags["s"]) != nil {
		return s, permanent("the key has no name")
	}
	for name := range strings.SplitSeq(strings.ToLower(tags["h"]), ":") {
		s.names = append(s.names, name)
	}
	head, body, _ := strings.Cut(tags["c"], "/")
	for _, form := range []string{head, body} {
		if form != "" && form != "simple" && form != "relaxed" {
			return s, permanent("the canonical form is not known")
		}
	}
	s.relaxedHead, s.relaxedBody = head == "relaxed", body == "relaxed"
	if l, limited := tags["l"]; limited {
		n, err := strconv.ParseUint(l, 10, 62)
		if err != nil {
			return s, permanent("l is no length")
		}
		s.limit = int64(n)
	}
	var err error
	if s.said, err = decode64(tags["bh"]); err != nil {
		return s, permanent("the hash is malformed")
	}
	return s, nil
}

// body returns the hash to write the body to.
func (s *signature) body() *bodyHash {
	s.sum = sha256.New()
	s.hashed = newBodyHash(s.sum, s.relaxedBody, s.limit)
	return s.hashed
}

// verify checks a signature whose body and key were read.
func (s *signature) verify(h *mime.Header) error {
	s.hashed.end()
	if s.hashed.left > 0 || subtle.ConstantTimeCompare(s.said, s.sum.Sum(nil)) != 1 {
		return errChanged
	}
	digest := sha256.New()
	for _, raw := range signedFields(h, s.names) {
		io.WriteString(digest, canonicalField(raw, s.relaxedHead))
	}
	io.WriteString(digest, strings.TrimSuffix(canonicalField(withoutSignature(s.field), s.relaxedHead), "\r\n"))
	return s.record.verify(s.tags, digest.Sum(nil))
}

// signedFields returns the fields that h= names, in lower case; of several with
// one name the lowest first (RFC 6376 5.4.2).
func signedFields(h *mime.Header, names []string) (out []string) {
	rest := map[string][]string{} // by name, from the top
	for _, f := range h.Fields() {
		name := strings.ToLower(f.Name())
		rest[name] = append(rest[name], f.Raw)
	}
	for _, name := range names {
		if n := len(rest[name]); n > 0 {
			out, rest[name] = append(out, rest[name][n-1]), rest[name][:n-1]
		}
	}
	return out
}

// keys finds public keys in the DNS.
type keys struct {
	ctx context.Context
	r   Resolver
}

// keyRecord is a public key as it is published (RFC 6376 3.6.1, RFC 8463).
type keyRecord struct {
	rsa     *rsa.PublicKey
	ed25519 ed25519.PublicKey
	testing bool
}

// get looks up the key of a signature. It returns errTemporary, or what is
// permanently wrong.
func (k keys) get(tags map[string]string) (*keyRecord, error) {
	name := tags["s"] + "._domainkey." + tags["d"]
	texts, err := k.r.TXT(k.ctx, name)
	switch {
	case err != nil && !errors.Is(err, dns.ErrNXDomain):
		return nil, fmt.Errorf("%w: %s", errTemporary, onlyNameOctets(name))
	case len(texts) == 0:
		return nil, permanent("there is no key")
	case len(texts) > 1: // RFC 6376 3.6.2.2 leaves open which one would count
		return nil, permanent("there are several keys")
	}
	return readKey(texts[0], tags)
}

// readKey reads a record for a signature with those tags.
func readKey(text string, signature map[string]string) (*keyRecord, error) {
	tags, ok := parseTags(text)
	version, _, _ := strings.Cut(text, ";")
	first, _ := parseTags(version)
	listed := func(name, want string) bool {
		list, given := tags[name]
		return !given || slices.Contains(strings.Split(list, ":"), want)
	}
	flags := strings.Split(tags["t"], ":")
	_, at, given := strings.Cut(strings.ToLower(signature["i"]), "@")
	v, versioned := tags["v"]
	switch {
	case !ok || versioned && (v != "DKIM1" || first["v"] == ""):
		return nil, permanent("the key record is malformed")
	case !listed("h", "sha256"):
		return nil, permanent("the key is not for this hash")
	case !listed("s", "email") && !listed("s", "*"):
		return nil, permanent("the key is not for mail")
	case slices.Contains(flags, "s") && given && at != strings.ToLower(signature["d"]):
		return nil, permanent("the key is not for a domain below its own")
	}
	raw, err := decode64(tags["p"])
	if err != nil || len(raw) == 0 {
		return nil, permanent("the key is revoked or malformed")
	}
	k := &keyRecord{testing: slices.Contains(flags, "y")}
	kind := tags["k"]
	switch algorithm := signature["a"]; {
	case algorithm == "rsa-sha256" && (kind == "" || kind == "rsa"):
		k.rsa, err = rsaKey(raw)
		return k, err
	case algorithm == "ed25519-sha256" && kind == "ed25519":
		if len(raw) != ed25519.PublicKeySize {
			return nil, permanent("the key is malformed")
		}
		k.ed25519 = raw
		return k, nil
	}
	return nil, permanent("the algorithm is not known, or not that of the key")
}

func rsaKey(raw []byte) (*rsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(raw)
	if err != nil {
		if parsed, err = x509.ParsePKCS1PublicKey(raw); err != nil {
			return nil, permanent("the key is malformed")
		}
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSABits {
		return nil, permanent("the key is none of RSA with 1024 bits or more")
	}
	return key, nil
}

// verify checks b= of a signature against the hash of the fields that it covers.
func (k *keyRecord) verify(tags map[string]string, sum []byte) error {
	b, err := decode64(tags["b"])
	if err != nil || len(b) == 0 {
		return permanent("the signature is malformed")
	}
	if k.rsa != nil && rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, sum, b) == nil ||
		k.ed25519 != nil && ed25519.Verify(k.ed25519, sum, b) {
		return nil
	}
	return errNoFit
}
