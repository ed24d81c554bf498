package badgerstore

import (
	"bytes"
	"errors"
	"hash/crc32"
	"reflect"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

func TestJoinCRC(t *testing.T) {
	text := bytes.Repeat([]byte("some text of a message\r\n"), 5000)
	for _, cut := range []int{0, 1, 7, 4096, len(text) - 1, len(text)} {
		a, b := text[:cut], text[cut:]
		got := joinCRC(crc32.Checksum(a, castagnoli), crc32.Checksum(b, castagnoli), int64(len(b)))
		if want := crc32.Checksum(text, castagnoli); got != want {
			t.Errorf("cut at %d: %x, want %x", cut, got, want)
		}
	}
}

// FuzzSeal: sealed data can be opened, and neither another key nor a flipped
// bit passes.
func FuzzSeal(f *testing.F) {
	f.Add([]byte("p/key"), []byte("value"), int64(0), uint16(3))
	f.Add([]byte("t/key"), []byte{}, int64(1<<41), uint16(77))
	f.Fuzz(func(t *testing.T, key, payload []byte, ms int64, bit uint16) {
		var expires time.Time
		if ms != 0 {
			expires = time.UnixMilli(ms)
		}
		v := sealExpiring(key, payload, expires)
		p, e, err := unseal(key, v)
		if err != nil || !bytes.Equal(p, payload) || !e.Equal(expires) {
			t.Fatalf("came back as %q, %v, %v", p, e, err)
		}
		if _, _, err := unseal(append([]byte("x"), key...), v); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("passed under another key: %v", err)
		}
		v[int(bit/8)%len(v)] ^= 1 << (bit % 8)
		if _, _, err := unseal(key, v); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("a flipped bit passed: %v", err)
		}
	})
}

// FuzzRecord: a record that can be decoded is encoded to what decodes the
// same, and everything else is ErrCorrupt.
func FuzzRecord(f *testing.F) {
	q := &state{nextBlock: 1, nextRcpt: 2, open: 1, shared: true, chunks: 3, body: envelope.ID{1, 2}}
	f.Add(uint8(0), q.encode())
	f.Add(uint8(1), (&header{crc: 1, bodyCRC: 2, size: 3, chunks: 1, section: []byte("A: b\r\n\r\n")}).encode())
	f.Add(uint8(2), (&folderState{id: 1, validity: 2, next: 3, count: 4, bytes: 5}).encode())
	f.Add(uint8(3), (&usage{used: 1, limit: 2}).encode())
	f.Add(uint8(4), (&item{body: envelope.ID{1}, Item: store.Item{Size: 7, Flags: []string{"a", "b"}, Date: time.UnixMilli(5)}}).encode())
	g, _ := (&group{first: 1, count: 2, left: 1, Group: envelope.Group{Key: "k", Due: time.Unix(9, 0).UTC()}}).encode()
	f.Add(uint8(5), g)
	r, _ := encodeRecipient(envelope.Recipient{Address: "a@b", State: envelope.Failed, Last: &envelope.Status{Code: 550}})
	f.Add(uint8(6), r)
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		first, again, err := recode(kind%7, b)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("kind %d: %v", kind%7, err)
			}
			return
		}
		second, _, err := recode(kind%7, again)
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Errorf("kind %d: %+v became %+v, %v", kind%7, first, second, err)
		}
	})
}

// recode decodes a record and encodes it again.
func recode(kind uint8, b []byte) (v any, again []byte, err error) {
	switch kind {
	case 0:
		q, err := decodeState(b)
		if err != nil {
			return nil, nil, err
		}
		return q, q.encode(), nil
	case 1:
		h, err := decodeHeader(b)
		if err != nil {
			return nil, nil, err
		}
		return h, h.encode(), nil
	case 2:
		x, err := decodeBox(b)
		if err != nil {
			return nil, nil, err
		}
		return x, x.encode(), nil
	case 3:
		a, err := decodeAccount(b)
		if err != nil {
			return nil, nil, err
		}
		return a, a.encode(), nil
	case 4:
		i, err := decodeItem(b, 1)
		if err != nil {
			return nil, nil, err
		}
		return i, i.encode(), nil
	case 5:
		g, err := decodeGroup(b, 1)
		if err != nil {
			return nil, nil, err
		}
		again, err := g.encode()
		return g, again, asDamage(err)
	}
	r, err := decodeRecipient(b, 0)
	if err != nil {
		return nil, nil, err
	}
	again, err = encodeRecipient(r)
	return r.Address, again, asDamage(err)
}

// asDamage: times that JSON can read but not write are no records of ours.
func asDamage(err error) error {
	if err != nil {
		return errors.Join(store.ErrCorrupt, err)
	}
	return nil
}

// FuzzKey: keys of the due index come back and sort by time, then message,
// then block; keys of the KV are different for different names, and a space's
// keys are no other's.
func FuzzKey(f *testing.F) {
	f.Add(uint8(2), int64(1_700_000_000_000), int64(1_700_000_000_001), []byte("0123456789abcdef"), uint32(1), "space", "key", "spa", "cekey")
	f.Fuzz(func(t *testing.T, class uint8, ms, other int64, id []byte, block uint32, s1, k1, s2, k2 string) {
		c := envelope.Class(class % uint8(envelope.Classes))
		var m envelope.ID
		copy(m[:], id)
		k := dueKey(c, time.UnixMilli(ms), m, block)
		e, err := parseDueKey(k)
		if err != nil || e.Class != c || e.ID != m || e.Block != block || millis(e.Due) != millis(time.UnixMilli(ms)) {
			t.Fatalf("key %x came back as %+v, %v", k, e, err)
		}
		o := dueKey(c, time.UnixMilli(other), m, block)
		if a, b := millis(time.UnixMilli(ms)), millis(time.UnixMilli(other)); (a < b) != (bytes.Compare(k, o) < 0) {
			t.Errorf("keys of %d and %d sort otherwise", a, b)
		}
		if len(s1) > 1000 || len(s2) > 1000 {
			return
		}
		if same := s1 == s2 && k1 == k2; same != bytes.Equal(kvKey(s1, k1), kvKey(s2, k2)) {
			t.Errorf("%q %q and %q %q: same key", s1, k1, s2, k2)
		}
		if s1 != s2 && bytes.HasPrefix(kvKey(s1, k1), kvKey(s2, "")) {
			t.Errorf("a key of space %q is in space %q", s1, s2)
		}
	})
}
