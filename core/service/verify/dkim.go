package verify

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"carteiro/core/message/envelope"
)

// maxSignatures is how many signatures of a message are looked at.
const maxSignatures = 10

func (m Message) now() time.Time {
	if m.Now.IsZero() {
		return time.Now()
	}
	return m.Now
}

// checkDKIM verifies the signatures of a message in one pass over its body.
func checkDKIM(ctx context.Context, r Resolver, m Message) ([]envelope.AuthResult, error) {
	var out []envelope.AuthResult
	var signatures []*signature
	for _, f := range m.Header.Fields() {
		if len(out) == maxSignatures || !strings.EqualFold(f.Name(), "DKIM-Signature") {
			continue
		}
		s, err := readDKIM(f.Raw, m.now())
		out = append(out, envelope.AuthResult{Domain: strings.ToLower(s.tags["d"]), Selector: s.tags["s"]})
		if s.err = err; err == nil {
			s.record, s.err = (keys{ctx: ctx, r: r}).get(s.tags)
		}
		signatures = append(signatures, s)
	}
	if err := hashBodies(m, signatures); err != nil {
		return nil, err
	}
	for i, s := range signatures {
		if s.err == nil {
			s.err = s.verify(m.Header)
		}
		out[i].Result, out[i].Reason = s.result()
	}
	return out, nil
}

// readDKIM reads a field as RFC 6376 6.1.1 has it. The tags that could be read
// are there with an error too.
func readDKIM(raw string, now time.Time) (*signature, error) {
	s, err := readSignature(raw)
	if err != nil {
		return s, err
	}
	identity, given := s.tags["i"]
	domain := strings.ToLower(s.tags["d"])
	_, at, _ := strings.Cut(strings.ToLower(identity), "@")
	switch {
	case s.tags["v"] != "1":
		return s, permanent("the version is not 1")
	case !slices.Contains(s.names, "from"):
		return s, permanent("From is not signed")
	case given && at != domain && !strings.HasSuffix(at, "."+domain):
		return s, permanent("the identity is not of the domain")
	}
	if methods, ok := s.tags["q"]; ok && !slices.Contains(strings.Split(methods, ":"), "dns/txt") {
		return s, permanent("the key cannot be asked for")
	}
	made, err := seconds(s.tags, "t")
	if err != nil {
		return s, err
	}
	ends, err := seconds(s.tags, "x")
	if err != nil {
		return s, err
	}
	if !ends.IsZero() && (now.After(ends) || !ends.After(made)) {
		return s, permanent("the signature has expired")
	}
	return s, nil
}

// seconds reads the time in a tag; it is zero if there is no such tag.
func seconds(tags map[string]string, name string) (time.Time, error) {
	v, ok := tags[name]
	if !ok {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, permanent(name + " is no time")
	}
	return time.Unix(n, 0), nil
}

// hashBodies reads the body once for all signatures that may still be good.
func hashBodies(m Message, signatures []*signature) error {
	var writers []io.Writer
	for _, s := range signatures {
		if s.err == nil {
			writers = append(writers, s.body())
		}
	}
	if len(writers) == 0 {
		return nil
	}
	body, err := m.Body()
	if err != nil {
		return fmt.Errorf("%w: %w", errBody, err)
	}
	defer body.Close()
	if _, err := io.Copy(io.MultiWriter(writers...), body); err != nil {
		return fmt.Errorf("%w: %w", errBody, err)
	}
	return nil
}

// result returns the word of RFC 8601 2.7.1, and why.
func (s *signature) result() (result, reason string) {
	var p permanent
	switch {
	case s.err == nil && s.limit >= 0:
		// Text may have been added after the signed part.
		return "policy", "signature covers a part of the body"
	case s.err == nil:
		return "pass", ""
	case errors.Is(s.err, errTemporary):
		return "temperror", s.err.Error()
	case errors.As(s.err, &p):
		return "permerror", s.err.Error()
	case s.record != nil && s.record.testing:
		// RFC 6376 3.6.1: as good as unsigned, although it fails.
		return "neutral", "the signer is testing, and " + s.err.Error()
	}
	return "fail", s.err.Error()
}

// parseTags reads "a=b; c=d" (RFC 6376 3.2), white space in values left out.
// ok is false where that is not what it is, or a name is given twice: then the
// first counts.
func parseTags(s string) (tags map[string]string, ok bool) {
	tags, ok = map[string]string{}, true
	for part := range strings.SplitSeq(s, ";") {
		name, value, cut := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if !cut || name == "" {
			ok = ok && strings.TrimSpace(part) == ""
			continue
		}
		if _, twice := tags[name]; twice {
			ok = false
			continue
		}
		tags[name] = strings.Join(strings.Fields(value), "")
	}
	return tags, ok
}

func decode64(s string) ([]byte, error) { return base64.StdEncoding.DecodeString(s) }
