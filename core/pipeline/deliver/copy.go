package deliver

import (
	"context"
	"io"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// bodyOf returns the body of a recipient's copy, and how many octets longer it is than
// the stored one.
func (a *attempt) bodyOf(ctx context.Context, r *envelope.Recipient) (open func() (io.ReadCloser, error), longer int64) {
	stored := func() (io.ReadCloser, error) { return a.store.Body(ctx, a.env) }
	if !a.hasPlaceholders(r) {
		return stored, 0
	}
	_, longer = mime.Filled(nil, a.env.Placeholders, r.Values)
	return func() (io.ReadCloser, error) {
		body, err := stored()
		if err != nil {
			return nil, err
		}
		filled, _ := mime.Filled(body, a.env.Placeholders, r.Values)
		return struct {
			io.Reader
			io.Closer
		}{filled, body}, nil
	}, longer
}

// hasPlaceholders reports whether values are filled into the body of a recipient's
// copy.
func (a *attempt) hasPlaceholders(r *envelope.Recipient) bool {
	return slices.ContainsFunc(a.env.Placeholders, func(m envelope.Placeholder) bool { _, ok := r.Values[m.Name]; return ok })
}
