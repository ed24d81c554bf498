package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// preparedMessage is a message that the caller's goroutine has encoded, so that
// the committer only has to copy pointers.
type preparedMessage struct {
	id      envelope.ID
	draft   *draft
	share   *envelope.Envelope
	state   state
	visible []entry // envelope, header section, edge, last chunk, trail
	early   []entry // groups and recipients
	due     []entry
	size    int64
}

// Commit implements store.Spool. A crash before the transaction leaves chunks
// and records that nothing names; after it, everything.
func (s *spool) Commit(ctx context.Context, effects []envelope.Effect, messages ...*store.Message) error {
	prepared, size, err := s.prepare(messages)
	if err != nil {
		return err
	}
	effects = cloneEffects(effects)
	err = s.commit(ctx, intake, size, func(st *stage) error {
		fresh, err := st.messages(prepared)
		if err != nil || len(prepared) > 0 && fresh == 0 {
			return err // all were there: this commit is a repetition
		}
		_, err = st.effects(effects, false)
		return err
	})
	if err != nil {
		return err
	}
	releaseDrafts(prepared)
	return nil
}

func releaseDrafts(prepared []*preparedMessage) {
	for _, p := range prepared {
		if p.draft != nil {
			p.draft.release()
		}
	}
}

func (s *spool) prepare(messages []*store.Message) (prepared []*preparedMessage, size int64, err error) {
	known := make(map[envelope.ID]*header)
	for _, m := range messages {
		p, err := s.prepareOne(m, known)
		if err != nil {
			return nil, 0, fmt.Errorf("message %s: %w", m.Envelope.ID, err)
		}
		prepared = append(prepared, p)
		size += p.size
	}
	return prepared, size, nil
}

func (s *spool) prepareOne(m *store.Message, known map[envelope.ID]*header) (*preparedMessage, error) {
	env := &m.Envelope
	if env.ID.IsZero() {
		return nil, errors.New("no id")
	}
	p := &preparedMessage{id: env.ID, share: m.Share}
	h, err := s.prepareBody(p, m, known)
	if err != nil {
		return nil, err
	}
	known[env.ID] = h
	env.HeaderSize, env.Size = int64(len(m.Header)), int64(len(m.Header))+h.size
	env.CRC, env.Chunks = h.crc, h.chunks
	if err := p.addGroups(m.Groups); err != nil {
		return nil, err
	}
	j, err := encodeJSON(env)
	if err != nil {
		return nil, err
	}
	p.state.body, p.state.chunks, p.state.shared = env.Body, env.Chunks, m.Share != nil
	p.add(&p.visible, envelopeKey(p.id), j)
	p.add(&p.visible, headerKey(p.id), h.encode())
	p.add(&p.visible, spoolEdge(env.Body, p.id), nil)
	trail, err := s.trailEntry(p.id, m.Trail)
	p.visible = append(p.visible, trail...)
	p.size += env.HeaderSize
	return p, err
}

func (p *preparedMessage) add(to *[]entry, key, payload []byte) {
	*to = append(*to, entry{key: key, value: seal(key, payload)})
}

// prepareBody decides where the octets are and computes their checksum.
func (s *spool) prepareBody(p *preparedMessage, m *store.Message, known map[envelope.ID]*header) (*header, error) {
	h := &header{section: m.Header}
	switch {
	case (m.Draft == nil) == (m.Share == nil):
		return nil, errors.New("not exactly one of draft and shared body")
	case m.Share != nil:
		from := known[m.Share.ID]
		if from == nil {
			var err error
			if from, err = s.readHeader(m.Share.ID); err != nil {
				return nil, fmt.Errorf("body of %s: %w", m.Share.ID, err)
			}
		}
		m.Envelope.Body, m.Envelope.NoCRLF = m.Share.Body, m.Share.NoCRLF
		h.bodyCRC, h.size, h.chunks = from.bodyCRC, from.size, from.chunks
	default:
		d, ok := m.Draft.(*draft)
		if !ok || d.s != s.bodies {
			return nil, errors.New("draft of another store")
		}
		if d.ended {
			return nil, errDraftEnded
		}
		if d.err != nil {
			return nil, d.err
		}
		p.draft, m.Envelope.Body = d, d.id
		m.Envelope.NoCRLF = d.size > 0 && string(d.tail[:]) != "\r\n"
		h.bodyCRC, h.size, h.chunks = d.crc, d.size, d.n
		if len(d.buf) > 1 {
			e := d.chunk()
			p.visible = append(p.visible, e)
			p.size += int64(len(e.value))
			h.chunks++
		}
	}
	h.body = m.Envelope.Body
	h.crc = joinCRC(crc32.Checksum(m.Header, castagnoli), h.bodyCRC, h.size)
	return h, nil
}

// addGroups numbers blocks and recipients and encodes them.
func (p *preparedMessage) addGroups(groups []*envelope.Group) error {
	if len(groups) == 0 {
		return errors.New("no groups")
	}
	for _, g := range groups {
		packed, err := prepareGroup(g)
		if err != nil {
			return err
		}
		g.Block = p.state.nextBlock
		for i := range g.Recipients {
			g.Recipients[i].N = p.state.nextRcpt + uint32(i)
		}
		early, due, err := packed.place(p.id, &p.state)
		if err != nil {
			return err
		}
		p.early = append(p.early, early...)
		p.due = append(p.due, due...)
	}
	return nil
}

// preparedGroup is a new group before it has numbers.
type preparedGroup struct {
	group
	recipients [][]byte
}

func prepareGroup(g *envelope.Group) (*preparedGroup, error) {
	if n := len(g.Recipients); n == 0 || n > envelope.MaxGroup {
		return nil, fmt.Errorf("group of %d recipients", n)
	}
	p := &preparedGroup{group: group{Group: *g, count: uint32(len(g.Recipients))}}
	p.Recipients = nil
	for i := range g.Recipients {
		b, err := encodeRecipient(g.Recipients[i])
		if err != nil {
			return nil, err
		}
		if !recipientDone(b) {
			p.left++
		}
		p.recipients = append(p.recipients, b)
	}
	return p, nil
}

// place gives a new group the next numbers of its message. Its records may be
// written early; with the due entry and the state it becomes visible.
func (p *preparedGroup) place(id envelope.ID, q *state) (early, due []entry, err error) {
	p.Block, p.first = q.nextBlock, q.nextRcpt
	for i, r := range p.recipients {
		key := rcptKey(id, p.first+uint32(i))
		early = append(early, entry{key: key, value: seal(key, r)})
	}
	b, err := p.encode()
	if err != nil {
		return nil, nil, err
	}
	key := groupKey(id, p.Block)
	early = append(early, entry{key: key, value: seal(key, b)})
	if k := p.dueKey(id); k != nil {
		due = append(due, entry{key: k, value: seal(k, p.dueValue())})
	}
	q.nextBlock++
	q.nextRcpt += p.count
	if p.left > 0 {
		q.open++
	}
	return early, due, nil
}

// messages stages new messages and returns how many are new: a
// message whose ID is in the spool already is the repetition of a commit.
func (st *stage) messages(prepared []*preparedMessage) (fresh int, err error) {
	for _, p := range prepared {
		if _, err := st.state(p.id); err == nil {
			continue
		} else if !errors.Is(err, store.ErrNotFound) {
			return 0, err
		}
		if err := st.message(p); err != nil {
			return 0, err
		}
		fresh++
	}
	return fresh, nil
}

func (st *stage) message(p *preparedMessage) error {
	if p.share != nil {
		q, err := st.state(p.share.ID)
		if err != nil {
			return notFound(p.share.ID, err)
		}
		q.shared = true
	}
	if p.state.open == 0 {
		return fmt.Errorf("message %s: all recipients are done", p.id)
	}
	st.early = append(st.early, p.early...)
	for _, e := range p.visible {
		st.add(e)
	}
	st.addDues(p.due)
	q := p.state
	st.setState(p.id, &q)
	return nil
}

func (s *bodies) readHeader(id envelope.ID) (h *header, err error) {
	err = s.view(func(txn *badger.Txn) error {
		b, err := get(txn, headerKey(id))
		if err == nil {
			h, err = decodeHeader(b)
		}
		return err
	})
	return h, err
}
