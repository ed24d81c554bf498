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

	"carteiro/core/mime"
)

// Copies is Sign for many header sections over one body: what a mailing list
// sends differs from member to member in a field or two. The body is read
// once, here; the function that comes back makes the fields for one header
// section each time, or "" for a domain without keys, and is not for several
// goroutines at once. ErrNoKey: a selector has none.
func (k *Keyring) Copies(domain string, selectors []string, open func() (io.ReadCloser, error)) (func(*mime.Header) (string, error), error) {
	keys, err := k.signing(domain, selectors)
	if err != nil {
		return nil, err
	}
	hash := ""
	if len(keys) > 0 {
		if hash, err = keys[0].bodyHash(open); err != nil {
			return nil, fmt.Errorf("DKIM signature of %s: %w", domain, err)
		}
	}
	return func(h *mime.Header) (fields string, err error) {
		for _, key := range keys {
			one, err := key.signHeader(h, hash)
			if err != nil {
				return "", fmt.Errorf("DKIM signature of %s: %w", domain, err)
			}
			fields = one + fields
		}
		return fields, nil
	}, nil
}

// bodyHash is the bh= that a signature over the body has.
func (key *Key) bodyHash(open func() (io.ReadCloser, error)) (string, error) {
	field, err := key.sign(mime.ParseHeader([]byte("From: x\r\n")), open)
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(strings.Join(strings.Fields(field), ""), ";bh=")
	hash, _, _ := strings.Cut(rest, ";")
	return hash, nil
}

// signHeader makes a DKIM-Signature field (RFC 6376 3.5, RFC 8463) over a
// header section and a body of which the hash is known.
func (key *Key) signHeader(h *mime.Header, bodyHash string) (string, error) {
	algorithm := "rsa-sha256"
	if key.Kind == "ed25519" {
		algorithm = "ed25519-sha256"
	}
	names := names(h)
	field := fmt.Sprintf("DKIM-Signature: v=1; a=%s; c=relaxed/relaxed; d=%s; s=%s;\r\n\th=%s;\r\n\tbh=%s;\r\n\tb=",
		algorithm, key.Domain, key.Selector, strings.Join(names, ":\r\n\t "), bodyHash)
	digest := sha256.New()
	left := map[string]int{} // fields of a name that count next, from the last one up
	values := map[string][]string{}
	for _, name := range names {
		if _, seen := left[name]; !seen {
			values[name] = raw(h, name)
			left[name] = len(values[name])
		}
		if left[name]--; left[name] >= 0 {
			io.WriteString(digest, relaxed(values[name][left[name]])+"\r\n")
		}
	}
	io.WriteString(digest, relaxed(field))
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

// raw are the fields of a name as they stand, in order.
func raw(h *mime.Header, name string) []string {
	var out []string
	for _, f := range h.Fields() {
		if strings.EqualFold(f.Name(), name) {
			out = append(out, string(f.Raw))
		}
	}
	return out
}

// relaxed is a header field in canonical form (RFC 6376 3.4.2), without the
// line end.
func relaxed(field string) string {
	name, value, _ := strings.Cut(field, ":")
	value = strings.NewReplacer("\r", "", "\n", "").Replace(value)
	words := strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == '\t' })
	return strings.ToLower(strings.TrimRight(name, " \t")) + ":" + strings.Join(words, " ")
}
