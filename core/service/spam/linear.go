package spam

import "math"

// sign is 1 for spam and -1 for ham.
func (r *row) sign() float64 {
	if r.spam {
		return 1
	}
	return -1
}

// trainSVM trains a linear support vector machine with squared hinge loss by
// dual coordinate descent (Hsieh et al. 2008) and adds share of its weights to
// those of all; it returns that share of its bias.
func trainSVM(rows []row, all []float32, share float64, biased bool) float64 {
	const (
		rounds = 15
		cost   = 10.0
	)
	weights := make([]float32, len(all))
	alpha := make([]float64, len(rows))
	bias := 0.0
	norm := 1.0 // of a row, squared
	if biased {
		norm = 2
	}
	for range rounds {
		for i := range rows {
			r := &rows[i]
			if len(r.features) == 0 {
				continue
			}
			margin := (dot(weights, r.features)*r.scale + bias) * r.sign()
			gradient := margin - 1 + alpha[i]/(2*cost)
			next := math.Max(alpha[i]-gradient/(norm+1/(2*cost)), 0)
			step := (next - alpha[i]) * r.sign()
			alpha[i] = next
			if step == 0 {
				continue
			}
			d := float32(step * r.scale)
			for _, f := range r.features {
				weights[f] += d
			}
			if biased {
				bias += step
			}
		}
	}
	for i, w := range weights {
		all[i] += float32(share) * w
	}
	return share * bias
}

// trainRegression trains logistic regression over features that weigh as much as
// the logarithm of their ratio of counts, by steps that shrink for each weight
// (Duchi et al. 2011), and adds share of its weights to those of all; it
// returns that share of its bias.
func trainRegression(rows []row, all []float32, share float64, biased bool) float64 {
	const (
		rounds = 10
		rate   = 0.3
		slow   = 0.01 // of the bias
		sure   = 1e-4 // an error that is not worth a step
	)
	ratio := ratios(rows, len(all))
	weights, squares := make([]float32, len(all)), make([]float32, len(all))
	bias := 0.0
	for range rounds {
		for i := range rows {
			r := &rows[i]
			sum := float32(0)
			for _, f := range r.features {
				sum += weights[f] * ratio[f]
			}
			miss := sigmoid(float64(sum)*r.scale + bias)
			if r.spam {
				miss--
			}
			if math.Abs(miss) < sure {
				continue
			}
			if biased {
				bias -= slow * miss
			}
			step := float32(miss * r.scale)
			for _, f := range r.features {
				g := step * ratio[f]
				squares[f] += g * g
				weights[f] -= rate * g / (float32(math.Sqrt(float64(squares[f]))) + 1e-4)
			}
		}
	}
	for i, w := range weights {
		all[i] += float32(share) * w * ratio[i]
	}
	return share * bias
}

func dot(weights []float32, features []int32) float64 {
	sum := float32(0)
	for _, f := range features {
		sum += weights[f]
	}
	return float64(sum)
}

// ratios are, for each feature, the absolute logarithm of its share of the
// spam over its share of the ham.
func ratios(rows []row, n int) []float32 {
	counts := [2][]float32{make([]float32, n), make([]float32, n)}
	totals := [2]float64{1, 1}
	for i := range rows {
		class := 0
		if rows[i].spam {
			class = 1
		}
		totals[class]++
		for _, f := range rows[i].features {
			counts[class][f]++
		}
	}
	out := make([]float32, n)
	for f := range out {
		ham, spam := float64(counts[0][f]), float64(counts[1][f])
		if ham+spam > 0 {
			out[f] = float32(math.Abs(math.Log((spam + .5) / totals[1] * totals[0] / (ham + .5))))
		}
	}
	return out
}
