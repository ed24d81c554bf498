package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// maxARC is the length of a chain (RFC 8617 4.2.1).
const maxARC = 50

// The fields of an ARC set.
const (
	arcResults   = "arc-authentication-results"
	arcSignature = "arc-message-signature"
	arcSeal      = "arc-seal"
)

// arcSet is what one host on the way added.
type arcSet struct{ results, signature, seal string }

// checkARC verifies the chain of a message (RFC 8617 5.2): the newest message
// signature, then every seal from the newest to the first. The result has the domain
// and selector of the newest seal, which covers the others.
func checkARC(ctx context.Context, r Resolver, m Message) (envelope.AuthResult, error) {
	sets, err := arcSets(m.Header)
	if err != nil {
		return envelope.AuthResult{Result: "fail", Reason: err.Error()}, nil
	}
	if len(sets) == 0 {
		return envelope.AuthResult{Result: "none"}, nil
	}
	newest := tagsOf(sets[len(sets)-1].seal)
	out := envelope.AuthResult{Domain: strings.ToLower(newest["d"]), Selector: newest["s"]}
	for i, s := range sets {
		want := "pass"
		if i == 0 {
			want = "none"
		}
		if cv := strings.ToLower(tagsOf(s.seal)["cv"]); cv != want {
			out.Result, out.Reason = "fail", fmt.Sprintf("seal %d says cv=%s", i+1, onlyNameOctets(cv))
			return out, nil
		}
	}
	k := keys{ctx: ctx, r: r}
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

func tagsOf(raw string) map[string]string {
	_, value, _ := strings.Cut(raw, ":")
	tags, _ := parseTags(value)
	return tags
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
		to := map[string]*string{arcResults: &sets[i-1].results, arcSignature: &sets[i-1].signature, arcSeal: &sets[i-1].seal}[name]
		if *to != "" {
			return nil, fmt.Errorf("two fields of one kind have the instance %d", i)
		}
		*to = f.Raw
	}
	for i, s := range sets {
		if s.results == "" || s.signature == "" || s.seal == "" {
			return nil, fmt.Errorf("set %d is incomplete", i+1)
		}
	}
	return sets, nil
}

// arcMessage verifies a message signature, which is like one of DKIM.
func arcMessage(k keys, m Message, field string) error {
	s, err := readSignature(field)
	switch {
	case err != nil:
		return err
	case slices.Contains(s.names, arcSeal):
		return permanent("the message signature covers a seal")
	case s.limit >= 0:
		return permanent("the message signature covers a part of the body")
	}
	if s.record, err = k.get(s.tags); err != nil {
		return err
	}
	if err := hashBodies(m, []*signature{s}); err != nil {
		return err
	}
	return s.verify(m.Header)
}

// arcSealed verifies the newest of some seals: it covers all of them, and the
// fields that they seal, always relaxed.
func arcSealed(k keys, sets []arcSet) error {
	h := sha256.New()
	for i, s := range sets {
		io.WriteString(h, canonicalField(s.results, true))
		io.WriteString(h, canonicalField(s.signature, true))
		if i < len(sets)-1 {
			io.WriteString(h, canonicalField(s.seal, true))
		}
	}
	seal := sets[len(sets)-1].seal
	tags := tagsOf(seal)
	if tags["h"] != "" {
		return permanent("has a tag h")
	}
	key, err := k.get(tags)
	if err != nil {
		return err
	}
	io.WriteString(h, strings.TrimSuffix(canonicalField(withoutSignature(seal), true), "\r\n"))
	return key.verify(tags, h.Sum(nil))
}
