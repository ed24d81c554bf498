package deliver

import (
	"context"
	"fmt"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/pipeline/intake"
)

// copySigner signs the copies of one attempt. Their header sections differ; the body
// that most copies share is hashed once for each signature.
type copySigner struct {
	a    *attempt
	made map[string]intake.SignFunc // for the shared body, by signature
}

// sign returns the fields for a copy with this header section: the signatures that
// policies asked for, and on top the ARC set of r.ARC, if the copy leaves the server.
// It returns "" for a message that was signed when it came in.
func (s copySigner) sign(ctx context.Context, r *envelope.Recipient, section []byte, leaves bool) (string, *envelope.Status) {
	a := s.a
	seal := r.ARC != "" && leaves && !a.env.Ours
	if a.signer == nil || len(a.env.Sign) == 0 && !seal {
		return "", nil
	}
	h, all := mime.ParseHeader(section), ""
	body, _ := a.bodyOf(ctx, r)
	for i, wanted := range a.env.Sign {
		err := s.add(r, fmt.Sprint(i), h, &all, func() (intake.SignFunc, error) { return a.signer.Sign(wanted, body) })
		if err != nil {
			return "", intake.Unsigned(err)
		}
	}
	if !seal {
		return all, nil
	}
	err := s.add(r, "arc "+r.ARC, h, &all, func() (intake.SignFunc, error) {
		if a.msg.Auth == nil { // no client sent it
			return noFields, nil
		}
		arrived, err := a.msg.Auth(ctx)
		if err != nil || arrived == nil {
			return noFields, err
		}
		return a.signer.Seal(r.ARC, arrived, body)
	})
	if err != nil {
		return "", intake.Unsigned(err)
	}
	return all, nil
}

// add puts the fields of one signature on top of h and of all.
func (s copySigner) add(
	r *envelope.Recipient, signature string, h *mime.Header, all *string, prepare func() (intake.SignFunc, error),
) error {
	sign := s.made[signature]
	if sign == nil || s.a.hasPlaceholders(r) {
		prepared, err := prepare()
		if err != nil {
			return err
		}
		if sign = prepared; !s.a.hasPlaceholders(r) {
			s.made[signature] = prepared
		}
	}
	fields, err := sign(h)
	if err == nil && fields != "" {
		h.PrependRaw(fields)
		*all = fields + *all
	}
	return err
}

func noFields(*mime.Header) (string, error) { return "", nil }
