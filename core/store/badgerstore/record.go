package badgerstore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A sealed value is one octet of format, eight octets of expiry in
// milliseconds where the format says so, the payload, and a CRC-32C over the
// key and all of these, so that a value under a wrong key is noticed too.
const (
	formatPlain  = 1
	formatExpiry = 2
	sealTail     = 4
)

func seal(key, payload []byte) []byte {
	v := make([]byte, 0, 1+len(payload)+sealTail)
	return sealTo(key, append(append(v, formatPlain), payload...))
}

func sealExpiring(key, payload []byte, expires time.Time) []byte {
	if expires.IsZero() {
		return seal(key, payload)
	}
	v := make([]byte, 0, 9+len(payload)+sealTail)
	v = binary.BigEndian.AppendUint64(append(v, formatExpiry), uint64(expires.UnixMilli()))
	return sealTo(key, append(v, payload...))
}

// sealTo appends the checksum to a value that begins with its format.
func sealTo(key, v []byte) []byte {
	return binary.BigEndian.AppendUint32(v, checksum(key, v))
}

func checksum(key, v []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v)
}

// unseal returns the payload, which shares v's memory, and the expiry or the
// zero time. It returns ErrCorrupt.
func unseal(key, v []byte) (payload []byte, expires time.Time, err error) {
	n := len(v) - sealTail
	if n < 1 || binary.BigEndian.Uint32(v[n:]) != checksum(key, v[:n]) {
		return nil, expires, fmt.Errorf("record %.40q: %w", key, store.ErrCorrupt)
	}
	switch {
	case v[0] == formatPlain:
		return v[1:n], expires, nil
	case v[0] == formatExpiry && n >= 9:
		return v[9:n], time.UnixMilli(int64(binary.BigEndian.Uint64(v[1:]))), nil
	}
	return nil, expires, fmt.Errorf("record %.40q of format %d: %w", key, v[0], store.ErrCorrupt)
}

// get reads the payload under key, expired or not. The error may be ErrNotFound or
// ErrCorrupt.
func get(txn *badger.Txn, key []byte) ([]byte, error) {
	p, _, err := getExpiring(txn, key)
	return p, err
}

func getExpiring(txn *badger.Txn, key []byte) ([]byte, time.Time, error) {
	v, err := getRaw(txn, key)
	if err != nil {
		return nil, time.Time{}, err
	}
	return unseal(key, v)
}

func getRaw(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read %.40q: %w", key, err)
	}
	return copyValue(item, key)
}

// copyValue reads a value. A key whose value cannot be read is damage: the
// value log has lost its end or an octet of it.
func copyValue(item *badger.Item, key []byte) ([]byte, error) {
	v, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("value of %.40q: %w: %w", key, store.ErrCorrupt, err)
	}
	return v, nil
}

func encodeJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

func decodeJSON(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w: %w", v, store.ErrCorrupt, err)
	}
	return nil
}

// state is what changes about a spooled message while it is worked on.
type state struct {
	nextBlock uint32
	nextRcpt  uint32
	open      uint32 // groups with recipients that are not Done
	shared    bool   // other messages or items may refer to the body
	delivered bool   // there are u/ keys
	body      envelope.ID
	chunks    uint32
	gone      bool // not stored: to be deleted
}

func (q *state) encode() []byte {
	b := make([]byte, 0, 17+idLen)
	b = binary.BigEndian.AppendUint32(b, q.nextBlock)
	b = binary.BigEndian.AppendUint32(b, q.nextRcpt)
	b = binary.BigEndian.AppendUint32(b, q.open)
	b = binary.BigEndian.AppendUint32(b, q.chunks)
	var flags byte
	if q.shared {
		flags |= 1
	}
	if q.delivered {
		flags |= 2
	}
	return append(append(b, flags), q.body[:]...)
}

func decodeState(b []byte) (*state, error) {
	if len(b) != 17+idLen || b[16] > 3 {
		return nil, fmt.Errorf("state of a message: %w", store.ErrCorrupt)
	}
	return &state{
		nextBlock: binary.BigEndian.Uint32(b), nextRcpt: binary.BigEndian.Uint32(b[4:]),
		open: binary.BigEndian.Uint32(b[8:]), chunks: binary.BigEndian.Uint32(b[12:]),
		shared: b[16]&1 != 0, delivered: b[16]&2 != 0, body: envelope.ID(b[17:]),
	}, nil
}

// header is the header section of a message with the figures that reading
// its octets takes.
type header struct {
	body    envelope.ID
	crc     uint32 // over section and body
	bodyCRC uint32
	size    int64 // of the body
	chunks  uint32
	section []byte
}

func (h *header) encode() []byte {
	b := make([]byte, 0, idLen+20+len(h.section))
	b = append(b, h.body[:]...)
	b = binary.BigEndian.AppendUint32(b, h.crc)
	b = binary.BigEndian.AppendUint32(b, h.bodyCRC)
	b = binary.BigEndian.AppendUint64(b, uint64(h.size))
	b = binary.BigEndian.AppendUint32(b, h.chunks)
	return append(b, h.section...)
}

func decodeHeader(b []byte) (*header, error) {
	if len(b) < idLen+20 {
		return nil, fmt.Errorf("header section: %w", store.ErrCorrupt)
	}
	body := envelope.ID(b)
	b = b[idLen:]
	return &header{
		body: body, crc: binary.BigEndian.Uint32(b), bodyCRC: binary.BigEndian.Uint32(b[4:]),
		size: int64(binary.BigEndian.Uint64(b[8:])), chunks: binary.BigEndian.Uint32(b[16:]),
		section: b[20:],
	}, nil
}

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

// dueKey returns the group's place in the due index, nil when it has none.
func (g *group) dueKey(id envelope.ID) []byte {
	if g.Held || g.left == 0 {
		return nil
	}
	return dueKey(g.Priority.Class(), g.Due, id, g.Block)
}

// dueValue returns what the scheduler learns without a Load: the number of the
// kind, the key, and after a NUL the domain where it is another.
func (g *group) dueValue() []byte {
	kind := max(slices.Index(envelope.GroupKinds(), g.Kind), 0)
	v := append([]byte{byte(kind)}, g.Key...)
	if g.Domain != g.Key {
		v = append(append(v, 0), g.Domain...)
	}
	return v
}

// joinCRC gives the CRC-32C of two texts one after the other from those of
// the texts and the length of the second: a body is streamed before its
// header section is known.
func joinCRC(a, b uint32, lenB int64) uint32 { return shiftCRC(a, lenB) ^ b }

// shiftCRC multiplies a CRC by x^(8n) modulo the polynomial: what n zero
// octets after the text make of it.
func shiftCRC(crc uint32, n int64) uint32 {
	const x8 = 1 << (31 - 8) // x^8 where bit 31 is x^0
	for power := uint32(x8); n > 0; n >>= 1 {
		if n&1 != 0 {
			crc = mulCRC(crc, power)
		}
		power = mulCRC(power, power)
	}
	return crc
}

// mulCRC multiplies two polynomials over GF(2), bits reversed as in a CRC.
func mulCRC(a, b uint32) uint32 {
	const poly = 0x82f63b78 // Castagnoli
	var p uint32
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ poly
		} else {
			b >>= 1
		}
	}
	return p
}
