package spam

import (
	"encoding/binary"
	"math/bits"
)

// sketch is a summary of the text of a message, by which two texts can be compared: the
// least hashes of its runs of words in bins, an octet each (Broder 1997; Li, Owen and
// Zhang 2012; Li and König 2010). The share of bins in which two sketches agree is about
// the share of runs that both texts have, of those that either has. The zero sketch is
// for texts that are too short to compare.
type sketch [sketchFunctions]uint64

const (
	sketchFunctions = 8  // hash functions; each has eight bins, one word of octets
	sketchRun       = 2  // words in a row
	sketchFull      = 56 // of the 64 bins, which some 16 different runs fill: of shorter texts there is none

	sketchSize = 8 * sketchFunctions // octets as it is kept
)

// sketchFactors are odd numbers, one for each hash function.
var sketchFactors = [sketchFunctions]uint64{
	0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93,
	0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3,
}

// sketcher makes one sketch of the words that it is given.
type sketcher struct {
	run  [sketchRun]uint64 // the last words, the newest at its end
	n    int
	bins [sketchFunctions][8]uint64 // least hash plus one, 0: empty
}

func (s *sketcher) reset() { s.n, s.bins = 0, [sketchFunctions][8]uint64{} }

func (s *sketcher) word(h hash) {
	copy(s.run[:], s.run[1:])
	s.run[sketchRun-1] = uint64(h)
	if s.n++; s.n < sketchRun {
		return
	}
	v := uint64(0)
	for _, w := range s.run {
		v = bits.RotateLeft64(v, 23) ^ w
		v *= 0xFF51AFD7ED558CCD
		v ^= v >> 32
	}
	for i, factor := range sketchFactors {
		u := v * factor
		bin := &s.bins[i][u>>61]
		if u = u<<3>>3 + 1; *bin == 0 || u < *bin {
			*bin = u
		}
	}
}

func (s *sketcher) sketch() sketch {
	var out sketch
	full := 0
	for i := range s.bins {
		for j, least := range s.bins[i] {
			if least == 0 {
				continue
			}
			full++
			// The least hashes have their zeros in front: mixed again.
			octet := 1 + (least*0x9E3779B97F4A7C15>>32)%255
			out[i] |= octet << (8 * j)
		}
	}
	if full < sketchFull {
		return sketch{}
	}
	return out
}

// zeroOctets counts the octets of w that are 0.
func zeroOctets(w uint64) int {
	const low = 0x7F7F7F7F7F7F7F7F
	return bits.OnesCount64(^((w&low + low) | w | low))
}

// share returns how much two texts have in common, 0 to 1: an estimate of the runs
// that both have among those that either has, with a standard deviation of
// 0.06 where it is one half.
func (s *sketch) share(t *sketch) float64 {
	same, empty := 0, 0
	for i := range s {
		same += zeroOctets(s[i] ^ t[i])
		empty += zeroOctets(s[i] | t[i])
	}
	if empty == sketchSize {
		return 0
	}
	return float64(same-empty) / float64(sketchSize-empty)
}

// isZero reports the sketch of a text that is too short.
func (s *sketch) isZero() bool { return *s == sketch{} }

func (s *sketch) append(out []byte) []byte {
	for _, w := range s {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return out
}

func readSketch(b []byte) (s sketch) {
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return s
}
