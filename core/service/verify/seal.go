package verify

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// Seal is Sign for an ARC set of a domain (RFC 8617 5.1): the results when the
// message arrived, a signature over the message as it leaves, and a seal over
// all sets. The fields go before all others, DKIM signatures included. They are
// "" if a set would be useless: the chain could not be looked up or read, has
// the maximum length, or is marked as broken.
func (k *Keyring) Seal(domain string, arrived *envelope.AuthResults, open func() (io.ReadCloser, error)) (Signer, error) {
	seal := func(keys []Key, h *mime.Header, sum []byte) (string, error) { return k.seal(keys, arrived, h, sum) }
	return k.prepareSigner(envelope.Signature{Domain: domain}, open, seal)
}

func (k *Keyring) seal(keys []Key, arrived *envelope.AuthResults, h *mime.Header, sum []byte) (string, error) {
	key := &keys[0]
	if i := slices.IndexFunc(keys, func(k Key) bool { return k.Kind == "rsa" }); i >= 0 {
		key = &keys[i] // what every verifier of ARC knows
	}
	sets, err := arcSets(h)
	instance, verdict := len(sets)+1, arrived.ARC.Result
	switch {
	case err != nil:
		return "", nil
	case instance == 1:
		verdict = "none"
	case instance > maxARC || verdict != "pass" && verdict != "fail":
		return "", nil
	case verdict == "fail":
		if newest := sets[len(sets)-1].seal; strings.EqualFold(tagsOf(newest)["cv"], "fail") {
			return "", nil
		}
		sets = nil // RFC 8617 5.1.2: a seal that says "fail" covers its own set alone
	}
	results := fmt.Sprintf("ARC-Authentication-Results: i=%d; %s\r\n", instance,
		strings.ReplaceAll(Field(k.hostname, arrived), "; ", ";\r\n\t"))
	names := names(h)
	for range h.Count("DKIM-Signature") {
		names = append(names, "DKIM-Signature")
	}
	signature, err := key.sign(fmt.Sprintf("ARC-Message-Signature: i=%d;", instance), names, h, sum)
	if err != nil {
		return "", err
	}
	var covered []string
	for _, s := range append(sets, arcSet{results: results, signature: signature}) {
		covered = append(covered, s.results, s.signature)
		if s.seal != "" {
			covered = append(covered, s.seal)
		}
	}
	seal, err := key.signFields(
		fmt.Sprintf("ARC-Seal: i=%d; a=%s; cv=%s; d=%s; s=%s; t=%d;\r\n\tb=", instance, key.algorithm(), verdict, key.Domain, key.Selector,
			time.Now().Unix()),
		covered,
	)
	return seal + signature + results, err
}
