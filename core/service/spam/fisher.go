package spam

import "math"

// fisher combines the probabilities of words by Fisher's method, as Robinson
// has it for mail: once as evidence for spam, once for ham.
type fisher struct{ words table[odds] }

// odds are the logarithms of a word's probability to mean spam, and of the
// opposite.
type odds struct{ spam, ham float32 }

// What a word is worth.
const (
	strength  = 0.02 // of the assumption that an unknown word means nothing
	undecided = 0.1  // distance from one half below which a word is left out
)

func newFisher(samples []*sample, spam, ham int) fisher {
	type count struct{ spam, ham int }
	counts := map[uint32]count{}
	for _, s := range samples {
		for _, id := range s.ids[words] {
			c := counts[id]
			if s.class == Spam {
				c.spam++
			} else {
				c.ham++
			}
			counts[id] = c
		}
	}
	f := fisher{newTable[odds](len(counts))}
	for id, c := range counts {
		a, b := float64(c.spam)/float64(spam), float64(c.ham)/float64(ham)
		n := float64(c.spam + c.ham)
		p := (strength/2 + n*a/(a+b)) / (strength + n)
		if math.Abs(p-.5) < undecided {
			continue
		}
		f.words.put(feature(words, id), odds{float32(math.Log(p)), float32(math.Log(1 - p))})
	}
	return f
}

// score returns the evidence for spam less that for ham, as standard deviations.
func (f *fisher) score(ids []uint32) float64 {
	var spam, ham float64
	n := 0
	for _, id := range ids {
		if o, ok := f.words.get(feature(words, id)); ok {
			spam += float64(o.spam)
			ham += float64(o.ham)
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return deviations(-2*ham, 2*n) - deviations(-2*spam, 2*n)
}

// deviations returns how far x is out for a chi-squared variable with that many
// degrees of freedom (Wilson and Hilferty 1931): it has no end, as a
// probability has that rounds to 1.
func deviations(x float64, degrees int) float64 {
	v := 2 / (9 * float64(degrees))
	return (math.Cbrt(x/float64(degrees)) - (1 - v)) / math.Sqrt(v)
}
