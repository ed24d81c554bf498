package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Header implements store.Spool.
func (s *Store) Header(_ context.Context, e *envelope.Envelope) ([]byte, error) {
	h, err := s.readHeader(e.ID)
	if err != nil {
		return nil, fmt.Errorf("header of %s: %w", e.ID, err)
	}
	return h.section, nil
}

// Body implements store.Spool.
func (s *Store) Body(ctx context.Context, e *envelope.Envelope) (io.ReadCloser, error) {
	h, err := s.readHeader(e.ID)
	if err != nil {
		return nil, fmt.Errorf("body of %s: %w", e.ID, err)
	}
	return s.body(ctx, e.Body, h), nil
}

func (s *Store) body(ctx context.Context, id envelope.ID, h *header) *bodyReader {
	return &bodyReader{
		s: s, ctx: ctx, id: id, chunks: h.chunks,
		verify: true, crc: crc32.Checksum(h.section, castagnoli), want: h.crc, left: h.size,
	}
}

// bodyReader reads a body chunk by chunk, each in a snapshot of its own, so
// that a slow reader pins nothing.
type bodyReader struct {
	s      *Store
	ctx    context.Context // of the call that opened it
	id     envelope.ID
	chunks uint32
	verify bool
	crc    uint32 // over what was read
	want   uint32
	left   int64
	next   uint32
	buf    []byte
	err    error
}

// Read checks each chunk before it gives anything of it away, and the whole
// before io.EOF.
func (r *bodyReader) Read(p []byte) (int, error) {
	for len(r.buf) == 0 && r.err == nil {
		r.fill()
	}
	if len(r.buf) == 0 {
		return 0, r.err
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

func (r *bodyReader) fill() {
	if r.err = r.ctx.Err(); r.err != nil {
		return
	}
	if r.next == r.chunks {
		r.err = io.EOF
		if r.verify && (r.crc != r.want || r.left != 0) {
			r.err = fmt.Errorf("body %s: %w", r.id, store.ErrCorrupt)
		}
		return
	}
	r.err = r.s.view(func(txn *badger.Txn) (err error) {
		r.buf, err = get(txn, chunkKey(r.id, r.next))
		if errors.Is(err, store.ErrNotFound) && hasPrefix(txn, idKey(keyEdge, r.id)) {
			err = store.ErrCorrupt // a body that is in use lacks a part
		}
		return err
	})
	if r.err != nil {
		r.err = fmt.Errorf("body %s: chunk %d: %w", r.id, r.next, r.err)
		return
	}
	r.crc = crc32.Update(r.crc, castagnoli, r.buf)
	r.left -= int64(len(r.buf))
	r.next++
}

// Close implements io.Closer.
func (r *bodyReader) Close() error {
	r.buf, r.err = nil, errors.New("body is closed")
	return nil
}

// hasPrefix tells whether a key begins with prefix.
func hasPrefix(txn *badger.Txn, prefix []byte) (found bool) {
	eachKey(txn, prefix, prefix, func([]byte) bool {
		found = true
		return false
	})
	return found
}
