package intake

import (
	"context"
	"io"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Body is a body that several messages of one commit can share. It is stored once,
// with the first of them; the others refer to that message.
type Body struct {
	// Open reads the body from its beginning.
	Open func() (io.ReadCloser, error)
	// Draft holds the body; nil: the body is in the store.
	Draft store.Draft
	// owner is the message that the body is stored with, nil: none yet.
	owner *envelope.Envelope
}

// NewBody returns a body that is not stored yet.
func NewBody(d store.Draft) *Body { return &Body{Open: d.Open, Draft: d} }

// StoredBody returns the body of a message in the store. It is read with ctx.
func StoredBody(ctx context.Context, s BodyReader, env *envelope.Envelope) *Body {
	return &Body{Open: func() (io.ReadCloser, error) { return s.Body(ctx, env) }, owner: env}
}

// newMessage returns the message to commit, and makes it the owner of its body if
// the body has none.
func (in *Incoming) newMessage() *store.Message {
	m := &store.Message{Envelope: in.Envelope, Header: in.Header.Bytes(), Groups: in.groups}
	if in.Body.owner != nil {
		m.Share = in.Body.owner
	} else {
		m.Draft, in.Body.owner = in.Body.Draft, &m.Envelope
	}
	return m
}
