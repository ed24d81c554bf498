package spam

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"carteiro/core/store"
)

// sample is one taught message as it is kept.
type sample struct {
	key   string
	class Class
	at    time.Time
	ids   [kinds + 1][]uint32
}

const sampleVersion = 1

// newSample is f as it is kept: the ids in their order, for the models depend
// on it to the last bit.
func newSample(f *Features, class Class, at time.Time) *sample {
	s := &sample{key: f.key, class: class, at: at}
	for k := range f.ids {
		s.ids[k] = slices.Clone(f.ids[k])
		slices.Sort(s.ids[k])
	}
	return s
}

// encode writes a sample: version, class, seconds, and of each kind the number
// of ids and the distances between them in their order.
func (s *sample) encode() []byte {
	out := []byte{sampleVersion, byte(s.class)}
	out = binary.AppendUvarint(out, uint64(s.at.Unix()))
	for k := words; k <= kinds; k++ {
		out = binary.AppendUvarint(out, uint64(len(s.ids[k])))
		before := uint32(0)
		for _, id := range s.ids[k] {
			out = binary.AppendUvarint(out, uint64(id-before))
			before = id
		}
	}
	return out
}

// decode returns store.ErrCorrupt for what encode did not write.
func decode(key string, b []byte) (*sample, error) {
	bad := fmt.Errorf("%w: taught message %s", store.ErrCorrupt, key)
	if len(b) < 2 || b[0] != sampleVersion || Class(b[1]) != Ham && Class(b[1]) != Spam {
		return nil, bad
	}
	s := &sample{key: key, class: Class(b[1])}
	b = b[2:]
	next := func() (uint64, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, false
		}
		b = b[n:]
		return v, true
	}
	seconds, ok := next()
	if !ok {
		return nil, bad
	}
	s.at = time.Unix(int64(seconds), 0)
	for k := words; k <= kinds; k++ {
		n, ok := next()
		if !ok || n > uint64(len(b)) {
			return nil, bad
		}
		s.ids[k] = make([]uint32, n)
		id := uint64(0)
		for i := range s.ids[k] {
			d, ok := next()
			if id += d; !ok || id >= 1<<idBits {
				return nil, bad
			}
			s.ids[k][i] = uint32(id)
		}
	}
	return s, nil
}
