package badgerstore

import (
	"bytes"
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
func (s *bodies) Header(_ context.Context, e *envelope.Envelope) ([]byte, error) {
	h, err := s.readHeader(e.ID)
	if err != nil {
		return nil, fmt.Errorf("header of %s: %w", e.ID, err)
	}
	return h.section, nil
}

// Body implements store.Spool.
func (s *bodies) Body(ctx context.Context, e *envelope.Envelope) (io.ReadCloser, error) {
	h, err := s.readHeader(e.ID)
	if err != nil {
		return nil, fmt.Errorf("body of %s: %w", e.ID, err)
	}
	return s.body(ctx, e.Body, h), nil
}

func (s *bodies) body(ctx context.Context, id envelope.ID, h *header) *bodyReader {
	return &bodyReader{
		s: s, ctx: ctx, id: id, chunks: h.chunks,
		verify: true, crc: crc32.Checksum(h.section, castagnoli), want: h.crc, left: h.size,
	}
}

// bodyReader reads a body chunk by chunk, each in a separate snapshot, so that
// a slow reader keeps no old data alive.
type bodyReader struct {
	s      *bodies
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

// Read verifies each chunk before it returns any octet of it, and the whole
// body before io.EOF.
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

// hasPrefix reports whether a key begins with prefix.
func hasPrefix(txn *badger.Txn, prefix []byte) (found bool) {
	eachKey(txn, prefix, prefix, func([]byte) bool {
		found = true
		return false
	})
	return found
}

// chunkSize is how many octets of a body are stored under one key. A body up to
// that size is in the transaction of its envelope.
const chunkSize = 512 << 10

// draft is a body being written.
type draft struct {
	s     *bodies
	ctx   context.Context // of the transaction that the draft belongs to
	id    envelope.ID
	buf   []byte // the chunk that is being filled, sealed when it is full
	n     uint32 // chunks on disk
	size  int64
	tail  [2]byte // the last octets
	crc   uint32
	ended bool
	err   error // that a write ended with; the draft is of no use then
}

var errDraftEnded = errors.New("draft was committed or discarded")

// Draft implements store.Spool.
func (s *bodies) Draft(ctx context.Context) store.Draft {
	d := &draft{s: s, ctx: ctx, id: envelope.NewID(s.opt.Clock.Now()), buf: []byte{formatPlain}}
	s.draftMu.Lock()
	defer s.draftMu.Unlock()
	s.drafts[d.id] = struct{}{}
	return d
}

// drafting reports whether this process is still writing a body.
func (s *bodies) drafting(id envelope.ID) bool {
	s.draftMu.Lock()
	defer s.draftMu.Unlock()
	_, ok := s.drafts[id]
	return ok
}

// Write implements store.Draft.
func (d *draft) Write(p []byte) (int, error) {
	if d.ended {
		return 0, errDraftEnded
	}
	for n := 0; n < len(p); {
		if d.err != nil {
			return n, d.err
		}
		part := p[n:min(len(p), n+chunkSize+1-len(d.buf))]
		d.buf = append(d.buf, part...)
		d.crc = crc32.Update(d.crc, castagnoli, part)
		d.size += int64(len(part))
		d.end(part)
		n += len(part)
		// A full chunk stays until more comes, so that a body of just that
		// size needs no extra transaction.
		if len(d.buf) > chunkSize && n < len(p) {
			d.err = d.flush()
		}
	}
	if d.err != nil {
		return len(p), d.err
	}
	if err := d.s.space.check(intake, int64(len(d.buf))); err != nil {
		return len(p), err
	}
	return len(p), nil
}

// end keeps the last octets of the body; part is what was just written.
func (d *draft) end(part []byte) {
	for _, b := range part[max(len(part)-2, 0):] {
		d.tail = [2]byte{d.tail[1], b}
	}
}

// flush writes the current chunk. A crash after it leaves an orphan, which the
// next start sweeps.
func (d *draft) flush() error {
	e := d.chunk()
	err := d.s.commit(d.ctx, intake, int64(len(e.value)), func(st *stage) error {
		st.add(e)
		return nil
	})
	if err != nil {
		return fmt.Errorf("body %s: %w", d.id, err)
	}
	d.n++
	d.buf = make([]byte, 1, chunkSize+1+sealTail)
	d.buf[0] = formatPlain
	return nil
}

// chunk seals the current octets without copying them.
func (d *draft) chunk() entry {
	key := chunkKey(d.id, d.n)
	return entry{key: key, value: sealTo(key, d.buf)}
}

// Size implements store.Draft.
func (d *draft) Size() int64 { return d.size }

// Open implements store.Draft.
func (d *draft) Open() (io.ReadCloser, error) {
	if d.ended {
		return nil, errDraftEnded
	}
	if d.err != nil {
		return nil, d.err
	}
	stored := &bodyReader{s: d.s, ctx: d.ctx, id: d.id, chunks: d.n}
	tail := bytes.NewReader(bytes.Clone(d.buf[1:]))
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(stored, tail), stored}, nil
}

// Discard implements store.Draft. Chunks on disk are left to the sweeper.
func (d *draft) Discard() {
	if !d.ended {
		d.release()
		if d.n > 0 {
			d.s.abandon(d.id)
		}
	}
}

// abandon leaves the chunks of a draft to the sweeper.
func (s *bodies) abandon(id envelope.ID) {
	s.draftMu.Lock()
	defer s.draftMu.Unlock()
	s.abandoned = append(s.abandoned, id)
}

// release ends the draft's protection from the sweeper.
func (d *draft) release() {
	d.ended, d.buf = true, nil
	d.s.draftMu.Lock()
	defer d.s.draftMu.Unlock()
	delete(d.s.drafts, d.id)
}
