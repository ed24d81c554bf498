package spam

// table is a hash table by features that is made once.
type table[V any] struct {
	entries []entry[V] // a power of two, at least half of them empty
	shift   uint
}

type entry[V any] struct {
	feature uint32 // 0: empty
	value   V
}

func newTable[V any](n int) table[V] {
	bits := uint(4)
	for 1<<bits < 2*n {
		bits++
	}
	return table[V]{entries: make([]entry[V], 1<<bits), shift: 32 - bits}
}

func (t *table[V]) slot(f uint32) *entry[V] {
	at := (f * 0x9E3779B1) >> t.shift
	for t.entries[at].feature != 0 && t.entries[at].feature != f {
		at = (at + 1) & uint32(len(t.entries)-1)
	}
	return &t.entries[at]
}

func (t *table[V]) get(f uint32) (V, bool) {
	e := t.slot(f)
	return e.value, e.feature != 0
}

func (t *table[V]) put(f uint32, v V) { *t.slot(f) = entry[V]{f, v} }

// dictionary numbers the features of samples.
type dictionary struct {
	numbers  map[uint32]int32
	features []uint32
}

func newDictionary(samples []*sample) *dictionary {
	d := &dictionary{numbers: map[uint32]int32{}}
	for _, s := range samples {
		for k := words; k <= kinds; k++ {
			for _, id := range s.ids[k] {
				f := feature(k, id)
				if _, ok := d.numbers[f]; !ok {
					d.numbers[f] = int32(len(d.features))
					d.features = append(d.features, f)
				}
			}
		}
	}
	return d
}

// row is one sample for the linear learners.
type row struct {
	spam     bool
	features []int32
	scale    float64
}

func (d *dictionary) rows(samples []*sample, kinds []int) []row {
	out := make([]row, len(samples))
	for i, s := range samples {
		n := 0
		for _, k := range kinds {
			n += len(s.ids[k])
		}
		r := row{spam: s.class == Spam, features: make([]int32, 0, n), scale: scale(float64(n))}
		for _, k := range kinds {
			for _, id := range s.ids[k] {
				r.features = append(r.features, d.numbers[feature(k, id)])
			}
		}
		out[i] = r
	}
	return out
}

func (d *dictionary) table(weights []float32) table[float32] {
	t := newTable[float32](len(d.features))
	for i, f := range d.features {
		t.put(f, weights[i])
	}
	return t
}
