package intake

import (
	"context"
	"io"

	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/pipeline/commit"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Rewrite writes a new body with the changes of policies: first edits of parts, then
// appended text, then encryption. It returns the header section to use with it and
// the placeholders in the appended text. With an error it returns no draft, so that
// plain text is never sent instead of encrypted text. The draft belongs to the unit.
func (k *Intake) Rewrite(ctx context.Context, u *commit.Unit, m *hooks.Message) (*mime.Header, store.Draft, []envelope.Placeholder, error) {
	r := bodyRewriter{k: k, u: u, header: m.Header, open: m.Body}
	if len(m.Edits) > 0 {
		r.step(ctx, func(body io.Reader, w io.Writer) (*mime.Header, error) {
			index, err := m.Parts()
			if err != nil {
				return nil, err
			}
			return mime.Edit(m.Header, index, m.Edits, body, w)
		})
	}
	if len(m.Footer) > 0 {
		r.step(ctx, func(body io.Reader, w io.Writer) (h *mime.Header, err error) {
			index, err := r.index()
			if err != nil {
				return nil, err
			}
			h, r.placeholders, err = mime.AppendText(r.header, index, m.Footer, body, w)
			return h, err
		})
	}
	if m.Encrypt != nil {
		r.placeholders = nil // encrypted text cannot be filled in
		r.step(ctx, func(body io.Reader, w io.Writer) (*mime.Header, error) {
			return crypt.Encrypt(ctx, *m.Encrypt, r.header, body, w, k.clock.Now())
		})
	}
	return r.header, r.draft, r.placeholders, r.err
}

// bodyRewriter holds a message between two steps of Rewrite.
type bodyRewriter struct {
	k            *Intake
	u            *commit.Unit
	header       *mime.Header
	open         func() (io.ReadCloser, error)
	draft        store.Draft // what open reads; nil: open reads the original body
	placeholders []envelope.Placeholder
	err          error
}

// step copies the body through change into a new draft and discards the one
// before. With an error no draft is left.
func (r *bodyRewriter) step(ctx context.Context, change func(io.Reader, io.Writer) (*mime.Header, error)) {
	if r.err != nil {
		return
	}
	draft, header, err := r.apply(ctx, change)
	if r.draft != nil {
		r.draft.Discard()
	}
	if err != nil {
		r.draft, r.err = nil, err
		return
	}
	r.draft, r.header, r.open = draft, header, draft.Open
}

func (r *bodyRewriter) apply(
	ctx context.Context,
	change func(io.Reader, io.Writer) (*mime.Header, error),
) (store.Draft, *mime.Header, error) {
	body, err := r.open()
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	draft := r.u.Draft(ctx, r.k.store)
	header, err := change(contextReader{ctx, body}, draft)
	if err != nil {
		draft.Discard()
		return nil, nil, err
	}
	return draft, header, nil
}

// index returns the index of the body after the last step.
func (r *bodyRewriter) index() (*mime.Index, error) {
	body, err := r.open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return mime.ReadIndex(r.header, body)
}

// contextReader reads until ctx ends: the reply to a message has a time limit.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (t contextReader) Read(b []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	return t.r.Read(b)
}
