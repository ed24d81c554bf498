package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// median returns the middle of the values, which are not changed. It is 0 for none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// divide is b/a where two zeros are equal.
func divide(a, b float64) float64 {
	if a == b {
		return 1
	}
	return b / a // +Inf where a is 0
}

const resamples = 10_000

// ratio returns the quotient of the medians, new to old, with the bounds between
// which it lies in 95 of 100 cases. They come from a bootstrap: rounds are drawn
// with replacement, and always old and new of a round together, because what else
// the machine did in a round concerns both.
func (p *pairOf) ratio() (r, low, high float64) {
	r = divide(median(p.old), median(p.new))
	random := rand.New(rand.NewPCG(1, 2))
	n := len(p.old)
	drawn := pairOf{old: make([]float64, n), new: make([]float64, n)}
	ratios := make([]float64, resamples)
	for i := range ratios {
		for j := range n {
			k := random.IntN(n)
			drawn.old[j], drawn.new[j] = p.old[k], p.new[k]
		}
		ratios[i] = divide(median(drawn.old), median(drawn.new))
	}
	slices.Sort(ratios)
	return r, ratios[resamples*25/1000], ratios[resamples*975/1000-1]
}

// limit returns how far the ratio of a unit of measure may rise. Where nothing is
// said about it, as for messages in a second, which ns/op says already, it is
// infinite.
func limit(unit string) float64 {
	switch {
	case unit == "ns/op":
		return 1.03
	case unit == "allocs/op", strings.HasPrefix(unit, "commits/"), strings.HasPrefix(unit, "syncs/"), strings.HasPrefix(unit, "cpu-"):
		return 1.01
	}
	return math.Inf(1)
}
