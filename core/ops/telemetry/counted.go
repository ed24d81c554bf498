package telemetry

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of what policies count, for each owner and each name.
const (
	maxCounted = 100
	maxSeries  = 100
	otherLabel = "other"
)

// ErrMetric wraps what is wrong with a policy's metric.
var ErrMetric = errors.New("metric")

// Counted are the metrics of policies: made when they are first used, and
// bounded. A name keeps the kind and the labels of its first use. It is safe
// for concurrent use.
type Counted struct {
	mu       sync.Mutex
	families map[string]*family // by full name
	owned    map[string]int     // how many an owner has
}

// family is one name with its kind and labels.
type family struct {
	kind   string
	labels []string
	series map[string]bool
	count  *prometheus.CounterVec
	gauge  *prometheus.GaugeVec
	hist   *prometheus.HistogramVec
}

// Metric finds or makes a metric of an owner, "" being the scripts, and
// returns what adds to it ("counter", "histogram") or sets it ("gauge"). A
// counter's name gets "_total". ErrMetric: the name has another kind or other
// labels, or there are too many.
func (c *Counted) Metric(kind, owner, name string, labels map[string]string) (record func(v float64), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, values, err := c.use(kind, owner, name, labels)
	switch {
	case err != nil:
		return nil, err
	case f.count != nil:
		return f.count.WithLabelValues(values...).Add, nil
	case f.gauge != nil:
		return f.gauge.WithLabelValues(values...).Set, nil
	}
	return f.hist.WithLabelValues(values...).Observe, nil
}

// fullName returns the name that the world sees.
func fullName(owner, name string) string {
	if owner == "" {
		return "carteiro_script_policy_" + name
	}
	return "carteiro_bundle_policy_" + strings.NewReplacer("/", "_", "-", "_", ".", "_").Replace(owner) + "_" + name
}

// use finds the family and the values of its labels, in their order.
func (c *Counted) use(kind, owner, name string, labels map[string]string) (*family, []string, error) {
	full := fullName(owner, name)
	if kind == "counter" {
		full += "_total"
	}
	names := slices.Sorted(maps.Keys(labels))
	f := c.families[full]
	if f == nil {
		if c.owned[owner] >= maxCounted {
			return nil, nil, fmt.Errorf("%w: more than %d of one owner", ErrMetric, maxCounted)
		}
		f = newFamily(kind, full, names)
		c.families[full] = f
		c.owned[owner]++
	}
	if f.kind != kind || !slices.Equal(f.labels, names) {
		return nil, nil, fmt.Errorf("%w: %s is a %s with labels (%s), not a %s with (%s)", ErrMetric, name, f.kind,
			strings.Join(f.labels, ", "), kind, strings.Join(names, ", "))
	}
	values := make([]string, len(names))
	for i, n := range names {
		values[i] = labels[n]
	}
	key := strings.Join(values, "\x00")
	if !f.series[key] {
		if len(f.series) >= maxSeries {
			for i := range values {
				values[i] = otherLabel
			}
		} else {
			f.series[key] = true
		}
	}
	return f, values, nil
}

func newFamily(kind, full string, labels []string) *family {
	const help = "Counted by a policy."
	f := &family{kind: kind, labels: labels, series: map[string]bool{}}
	switch kind {
	case "counter":
		f.count = prometheus.NewCounterVec(prometheus.CounterOpts{Name: full, Help: help}, labels)
	case "gauge":
		f.gauge = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: full, Help: help}, labels)
	default:
		f.hist = prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Name: full, Help: help, Buckets: prometheus.ExponentialBuckets(1e-6, 10, 16)},
			labels,
		)
	}
	return f
}

// Describe implements prometheus.Collector: what there will be is not known.
func (c *Counted) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *Counted) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	families := slices.Collect(maps.Values(c.families))
	c.mu.Unlock()
	for _, f := range families {
		switch {
		case f.count != nil:
			f.count.Collect(out)
		case f.gauge != nil:
			f.gauge.Collect(out)
		default:
			f.hist.Collect(out)
		}
	}
}
