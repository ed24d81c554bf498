package verify

import (
	"bytes"
	"fmt"
	"io"

	"github.com/emersion/go-msgauth/dkim"

	"carteiro/core/mime"
)

// signedNames are the fields that a signature covers, RFC 6376 5.4.1. Those
// in front are named once more than they are there, so that none can be added.
var (
	sealedNames = []string{"From", "Sender", "Reply-To", "Subject", "Date", "To", "Cc", "Message-ID"}
	signedNames = []string{"In-Reply-To", "References", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "List-Id", "List-Unsubscribe",
		"List-Unsubscribe-Post", "List-Post", "List-Help", "List-Subscribe", "List-Owner", "List-Archive", "Auto-Submitted"}
)

// Sign makes the DKIM-Signature fields of a domain's keys for a message: those
// that sign for it, or the ones of selectors. It returns "" for a domain
// without keys. open is called once for each key; the result ends in CRLF.
// ErrNoKey: a selector has none.
func (k *Keyring) Sign(domain string, selectors []string, h *mime.Header, open func() (io.ReadCloser, error)) (fields string, err error) {
	keys, err := k.signing(domain, selectors)
	if err != nil {
		return "", err
	}
	for _, key := range keys {
		one, err := key.sign(h, open)
		if err != nil {
			return "", fmt.Errorf("DKIM signature of %s: %w", domain, err)
		}
		fields = one + fields
	}
	return fields, nil
}

// names are those of the fields that a signature covers.
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

func (key *Key) sign(h *mime.Header, open func() (io.ReadCloser, error)) (string, error) {
	s, err := dkim.NewSigner(&dkim.SignOptions{Domain: key.Domain, Selector: key.Selector, Signer: key.signer,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed, HeaderKeys: names(h)})
	if err != nil {
		return "", err
	}
	body, err := open()
	if err == nil {
		_, err = io.Copy(s, io.MultiReader(bytes.NewReader(h.Bytes()), body))
		body.Close()
	}
	if closed := s.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", err
	}
	return s.Signature(), nil
}
