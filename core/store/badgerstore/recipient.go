package badgerstore

import (
	"encoding/binary"
	"fmt"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// encodeRecipient puts in front of the record whether the recipient is Done,
// so that the committer need not decode it. Its number is in the key.
func encodeRecipient(r envelope.Recipient) ([]byte, error) {
	done := byte(0)
	if r.State.Done() {
		done = 1
	}
	r.N = 0
	b, err := encodeJSON(&r)
	if err != nil {
		return nil, err
	}
	return append([]byte{done}, b...), nil
}

func recipientDone(b []byte) bool { return len(b) > 0 && b[0] == 1 }

func decodeRecipient(b []byte, n uint32) (envelope.Recipient, error) {
	var r envelope.Recipient
	if len(b) == 0 || b[0] > 1 {
		return r, fmt.Errorf("recipient %d: %w", n, store.ErrCorrupt)
	}
	err := decodeJSON(b[1:], &r)
	r.N = n
	return r, err
}

// group is a stored group: its recipients have the numbers from first on.
type group struct {
	first, count uint32
	left         uint32 // recipients that are not Done
	envelope.Group
}

func (g *group) encode() ([]byte, error) {
	b := binary.BigEndian.AppendUint32(nil, g.first)
	b = binary.BigEndian.AppendUint32(b, g.count)
	b = binary.BigEndian.AppendUint32(b, g.left)
	j, err := encodeJSON(&g.Group)
	return append(b, j...), err
}

func decodeGroup(b []byte, block uint32) (*group, error) {
	if len(b) < 12 {
		return nil, fmt.Errorf("group %d: %w", block, store.ErrCorrupt)
	}
	g := &group{
		first: binary.BigEndian.Uint32(b), count: binary.BigEndian.Uint32(b[4:]),
		left: binary.BigEndian.Uint32(b[8:]),
	}
	if g.left > g.count {
		return nil, fmt.Errorf("group %d: %w", block, store.ErrCorrupt)
	}
	err := decodeJSON(b[12:], &g.Group)
	g.Block = block
	return g, err
}

// dueKey is the group's place in the due index, nil when it has none.
func (g *group) dueKey(id envelope.ID) []byte {
	if g.Held || g.left == 0 {
		return nil
	}
	return dueKey(g.Priority.Class(), g.Due, id, g.Block)
}

// dueValue is what the scheduler learns without a Load: the number of the
// kind, the key, and behind a NUL the domain where it is another.
func (g *group) dueValue() []byte {
	kind := max(slices.Index(envelope.GroupKinds(), g.Kind), 0)
	v := append([]byte{byte(kind)}, g.Key...)
	if g.Domain != g.Key {
		v = append(append(v, 0), g.Domain...)
	}
	return v
}
