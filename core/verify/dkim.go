package verify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"carteiro/core/mail"
)

// maxSignatures is how many signatures of a message are looked at.
const maxSignatures = 10

// checkDKIM verifies the signatures of a message in one pass over its octets.
func checkDKIM(ctx context.Context, r Resolver, m Message) ([]mail.AuthResult, error) {
	fields := m.Header.All("DKIM-Signature")
	if len(fields) == 0 {
		return nil, nil
	}
	body, err := m.Body()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	names := spfNames{r}
	found, err := dkim.VerifyWithOptions(io.MultiReader(bytes.NewReader(m.Header.Bytes()), body), &dkim.VerifyOptions{
		MaxVerifications: maxSignatures,
		LookupTXT:        func(name string) ([]string, error) { return names.LookupTXT(ctx, name) },
	})
	if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) {
		if len(found) == 0 {
			return []mail.AuthResult{{Result: "permerror", Reason: "message cannot be canonicalised"}}, nil
		}
	}
	var out []mail.AuthResult
	for i, v := range found {
		s := mail.AuthResult{Domain: strings.ToLower(v.Domain), Result: dkimResult(v.Err)}
		if i < len(fields) {
			tags := parseTags(fields[i])
			s.Selector = tags["s"]
			if s.Domain == "" {
				s.Domain = strings.ToLower(tags["d"])
			}
			if _, limited := tags["l"]; limited && s.Result == "pass" {
				// Anything may have been added behind what was signed.
				s.Result, s.Reason = "policy", "signature covers a part of the body"
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func dkimResult(err error) string {
	switch {
	case err == nil:
		return "pass"
	case dkim.IsTempFail(err):
		return "temperror"
	case dkim.IsPermFail(err):
		return "permerror"
	}
	return "fail"
}

// parseTags reads "a=b; c=d" (RFC 6376 3.2), names in lower case; of a name
// given twice the first counts.
func parseTags(s string) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := out[name]; ok && !twice && name != "" {
			out[name] = strings.Join(strings.Fields(value), "")
		}
	}
	return out
}
