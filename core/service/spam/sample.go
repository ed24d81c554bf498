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
	key    string
	class  Class
	at     time.Time
	sketch sketch
	ids    [kinds + 1][]uint32
}

// Versions of a kept sample: the first had no sketch.
const (
	sampleWithoutSketch = 1
	sampleVersion       = 2
)

// newSample is f as it is kept: the ids in their order, for the models depend
// on it to the last bit.
func newSample(f *Features, class Class, at time.Time) *sample {
	s := &sample{key: f.key, class: class, at: at, sketch: f.sketch}
	for k := range f.ids {
		s.ids[k] = slices.Clone(f.ids[k])
		slices.Sort(s.ids[k])
	}
	return s
}

// encode writes a sample: version, class, seconds, the sketch, and of each
// kind the number of ids and the distances between them in their order.
func (s *sample) encode() []byte {
	out := []byte{sampleVersion, byte(s.class)}
	out = binary.AppendUvarint(out, uint64(s.at.Unix()))
	out = s.sketch.append(out)
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

func corruptSample(key string) error {
	return fmt.Errorf("%w: taught message %s", store.ErrCorrupt, key)
}

// decodeFront reads a sample without its ids. It returns store.ErrCorrupt for
// what encode did not write.
func decodeFront(key string, b []byte) (*sample, error) {
	s, _, err := front(key, b)
	return s, err
}

// front reads a sample up to its ids, and returns their octets.
func front(key string, b []byte) (*sample, []byte, error) {
	if len(b) < 2 || b[0] != sampleWithoutSketch && b[0] != sampleVersion || Class(b[1]) != Ham && Class(b[1]) != Spam {
		return nil, nil, corruptSample(key)
	}
	s, version := &sample{key: key, class: Class(b[1])}, b[0]
	seconds, n := binary.Uvarint(b[2:])
	if n <= 0 {
		return nil, nil, corruptSample(key)
	}
	s.at, b = time.Unix(int64(seconds), 0), b[2+n:]
	if version == sampleWithoutSketch {
		return s, b, nil
	}
	if len(b) < sketchSize {
		return nil, nil, corruptSample(key)
	}
	s.sketch = readSketch(b)
	return s, b[sketchSize:], nil
}

// decode returns store.ErrCorrupt for what encode did not write.
func decode(key string, b []byte) (*sample, error) {
	s, b, err := front(key, b)
	if err != nil {
		return nil, err
	}
	next := func() (uint64, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, false
		}
		b = b[n:]
		return v, true
	}
	for k := words; k <= kinds; k++ {
		n, ok := next()
		if !ok || n > uint64(len(b)) {
			return nil, corruptSample(key)
		}
		s.ids[k] = make([]uint32, n)
		id := uint64(0)
		for i := range s.ids[k] {
			d, ok := next()
			if id += d; !ok || id >= 1<<idBits {
				return nil, corruptSample(key)
			}
			s.ids[k][i] = uint32(id)
		}
	}
	return s, nil
}
