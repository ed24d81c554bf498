package core

import (
	"context"
	"io"

	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/store"
	"carteiro/hooks"
)

// rewritten is a new body with what policies want done to it, and the header
// section to use with it; marks are those of the text that was appended. First
// come the edits of parts, then the text for the end, and at last all of it is
// encrypted: with an error there is no body, so that what was to be encrypted
// never goes on as it was.
func (p *Pipeline) rewritten(ctx context.Context, m *hooks.Message) (*mime.Header, store.Draft, []envelope.Mark, error) {
	r := rewriting{p: p, header: m.Header, open: m.Body}
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
			h, r.marks, err = mime.AppendText(r.header, index, m.Footer, body, w)
			return h, err
		})
	}
	if m.Encrypt != nil {
		r.marks = nil // nobody can fill in what is encrypted
		r.step(ctx, func(body io.Reader, w io.Writer) (*mime.Header, error) {
			return crypt.Encrypt(ctx, *m.Encrypt, r.header, body, w, p.clock.Now())
		})
	}
	return r.header, r.draft, r.marks, r.err
}

// rewriting is a message between two steps.
type rewriting struct {
	p      *Pipeline
	header *mime.Header
	open   func() (io.ReadCloser, error)
	draft  store.Draft // what open reads, unless that is the body that came
	marks  []envelope.Mark
	err    error
}

// step copies the body through change into a new draft. The one before is
// given up; with an error none is left.
func (r *rewriting) step(ctx context.Context, change func(io.Reader, io.Writer) (*mime.Header, error)) {
	if r.err != nil {
		return
	}
	draft, header, err := r.changed(ctx, change)
	if r.draft != nil {
		r.draft.Discard()
	}
	if err != nil {
		r.draft, r.err = nil, err
		return
	}
	r.draft, r.header, r.open = draft, header, draft.Open
}

func (r *rewriting) changed(ctx context.Context, change func(io.Reader, io.Writer) (*mime.Header, error)) (store.Draft, *mime.Header, error) {
	body, err := r.open()
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	draft := r.p.store.Draft(context.WithoutCancel(ctx))
	header, err := change(inTime{ctx, body}, draft)
	if err != nil {
		draft.Discard()
		return nil, nil, err
	}
	return draft, header, nil
}

// index is that of the body as it is between two steps.
func (r *rewriting) index() (*mime.Index, error) {
	body, err := r.open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return mime.ReadIndex(r.header, body)
}

// inTime reads until ctx ends: the answer to a message has a limit.
type inTime struct {
	ctx context.Context
	r   io.Reader
}

func (t inTime) Read(b []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	return t.r.Read(b)
}
