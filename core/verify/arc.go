package verify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"carteiro/core/dns"
	"carteiro/core/mail"
	"carteiro/core/mime"
)

// Limits of a chain (RFC 8617 4.2.1) and of keys.
const (
	maxARC     = 50
	minRSABits = 1024
)

// The fields of an ARC set.
const (
	arcResults   = "arc-authentication-results"
	arcSignature = "arc-message-signature"
	arcSeal      = "arc-seal"
)

// errTemporary marks what another try may find.
var errTemporary = errors.New("look-up failed")

// arcSet is what one host on the way added.
type arcSet struct{ results, signature, seal []byte }

// checkARC verifies the chain of a message (RFC 8617 5.2): the newest message
// signature, then every seal from the newest to the first. Domain and
// selector are those of the newest seal, who vouches for the rest.
func checkARC(ctx context.Context, r Resolver, m Message) (mail.AuthResult, error) {
	sets, err := arcSets(m.Header)
	if err != nil {
		return mail.AuthResult{Result: "fail", Reason: err.Error()}, nil
	}
	if len(sets) == 0 {
		return mail.AuthResult{Result: "none"}, nil
	}
	newest := tagsOf(sets[len(sets)-1].seal)
	out := mail.AuthResult{Domain: strings.ToLower(newest["d"]), Selector: newest["s"]}
	for i, s := range sets {
		want := "pass"
		if i == 0 {
			want = "none"
		}
		if cv := strings.ToLower(tagsOf(s.seal)["cv"]); cv != want {
			out.Result, out.Reason = "fail", fmt.Sprintf("seal %d says cv=%s", i+1, safe(cv))
			return out, nil
		}
	}
	k := keys{ctx: ctx, r: spfNames{r}}
	err = arcMessage(k, m, sets[len(sets)-1].signature)
	if errors.Is(err, errBody) {
		return out, err
	}
	for i := len(sets); i > 0 && err == nil; i-- {
		if err = arcSealed(k, sets[:i]); err != nil {
			err = fmt.Errorf("seal %d: %w", i, err)
		}
	}
	switch {
	case err == nil:
		out.Result = "pass"
	case errors.Is(err, errTemporary):
		out.Result, out.Reason = "temperror", err.Error()
	default:
		out.Result, out.Reason = "fail", err.Error()
	}
	return out, nil
}

func tagsOf(raw []byte) map[string]string {
	_, value, _ := strings.Cut(string(raw), ":")
	return parseTags(value)
}

// arcSets collects the sets in the order of their instances; each has to be
// whole, and none may be missing.
func arcSets(h *mime.Header) ([]arcSet, error) {
	var sets []arcSet
	for _, f := range h.Fields() {
		name := strings.ToLower(f.Name())
		if name != arcResults && name != arcSignature && name != arcSeal {
			continue
		}
		first, _, _ := strings.Cut(f.Value(), ";")
		if name != arcResults {
			first = "i=" + tagsOf(f.Raw)["i"]
		}
		i, err := strconv.Atoi(strings.TrimPrefix(strings.Join(strings.Fields(first), ""), "i="))
		if err != nil || i < 1 || i > maxARC {
			return nil, errors.New("a field has no instance from 1 to 50")
		}
		for len(sets) < i {
			sets = append(sets, arcSet{})
		}
		to := map[string]*[]byte{arcResults: &sets[i-1].results, arcSignature: &sets[i-1].signature, arcSeal: &sets[i-1].seal}[name]
		if *to != nil {
			return nil, fmt.Errorf("two fields of one kind have the instance %d", i)
		}
		*to = f.Raw
	}
	for i, s := range sets {
		if s.results == nil || s.signature == nil || s.seal == nil {
			return nil, fmt.Errorf("set %d is not whole", i+1)
		}
	}
	return sets, nil
}

var errBody = errors.New("body cannot be read")

// arcMessage verifies a message signature, which is like one of DKIM.
func arcMessage(k keys, m Message, field []byte) error {
	tags := tagsOf(field)
	names := strings.Split(strings.ToLower(tags["h"]), ":")
	if slices.Contains(names, arcSeal) {
		return errors.New("the message signature covers a seal")
	}
	if _, limited := tags["l"]; limited {
		return errors.New("the message signature covers a part of the body")
	}
	return verifySignature(k, m, field, tags, names)
}

// verifySignature verifies a DKIM-Signature or ARC-Message-Signature.
func verifySignature(k keys, m Message, field []byte, tags map[string]string, names []string) error {
	head, text, _ := strings.Cut(strings.ToLower(tags["c"]), "/")
	body, err := m.Body()
	if err != nil {
		return fmt.Errorf("%w: %w", errBody, err)
	}
	defer body.Close()
	sum, err := hashBody(sha256.New(), text == "relaxed", body)
	if err != nil {
		return fmt.Errorf("%w: %w", errBody, err)
	}
	if said, err := base64.StdEncoding.DecodeString(tags["bh"]); err != nil || subtle.ConstantTimeCompare(said, sum) != 1 {
		return errors.New("the body was changed")
	}
	relaxed := head == "relaxed"
	h := sha256.New()
	for _, raw := range signedFields(m.Header, names) {
		h.Write(canonicalField(raw, relaxed))
	}
	h.Write(bytes.TrimSuffix(canonicalField(withoutSignature(field), relaxed), []byte("\r\n")))
	return k.verify(tags, h.Sum(nil))
}

// signedFields are the fields that h= names, in lower case; of several with
// one name the lowest first (RFC 6376 5.4.2).
func signedFields(h *mime.Header, names []string) (out [][]byte) {
	rest := map[string][][]byte{} // by name, from the top
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

// arcSealed verifies the newest of some seals: it covers all of them, and the
// fields that they seal, always relaxed.
func arcSealed(k keys, sets []arcSet) error {
	h := sha256.New()
	for i, s := range sets {
		h.Write(canonicalField(s.results, true))
		h.Write(canonicalField(s.signature, true))
		if i < len(sets)-1 {
			h.Write(canonicalField(s.seal, true))
		}
	}
	seal := sets[len(sets)-1].seal
	tags := tagsOf(seal)
	if tags["h"] != "" {
		return errors.New("has a tag h")
	}
	h.Write(bytes.TrimSuffix(canonicalField(withoutSignature(seal), true), []byte("\r\n")))
	return k.verify(tags, h.Sum(nil))
}

// keys finds public keys in the DNS.
type keys struct {
	ctx context.Context
	r   spfNames
}

// verify checks b= of a signature against the hash of what it covers.
func (k keys) verify(tags map[string]string, sum []byte) error {
	signature, err := base64.StdEncoding.DecodeString(tags["b"])
	if err != nil || tags["d"] == "" || tags["s"] == "" {
		return errors.New("the signature is malformed")
	}
	name := tags["s"] + "._domainkey." + tags["d"]
	texts, err := k.r.r.TXT(k.ctx, name)
	if err != nil && !errors.Is(err, dns.ErrNXDomain) {
		return fmt.Errorf("%w: %s", errTemporary, safe(name))
	}
	if len(texts) == 0 {
		return errors.New("there is no key")
	}
	record := parseTags(texts[0])
	raw, err := base64.StdEncoding.DecodeString(record["p"])
	if err != nil || len(raw) == 0 {
		return errors.New("the key is revoked or malformed")
	}
	switch algorithm := strings.ToLower(tags["a"]); {
	case algorithm == "rsa-sha256" && (record["k"] == "" || record["k"] == "rsa"):
		return verifyRSA(raw, sum, signature)
	case algorithm == "ed25519-sha256" && record["k"] == "ed25519" && len(raw) == ed25519.PublicKeySize:
		if !ed25519.Verify(raw, sum, signature) {
			return errors.New("the signature does not fit")
		}
		return nil
	}
	return errors.New("the algorithm is not known, or not that of the key")
}

func verifyRSA(raw, sum, signature []byte) error {
	parsed, err := x509.ParsePKIXPublicKey(raw)
	if err != nil {
		if parsed, err = x509.ParsePKCS1PublicKey(raw); err != nil {
			return errors.New("the key is malformed")
		}
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSABits {
		return errors.New("the key is none of RSA with 1024 bits or more")
	}
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum, signature) != nil {
		return errors.New("the signature does not fit")
	}
	return nil
}
