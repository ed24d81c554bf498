package lua

import (
	"math"
	"regexp"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// Metrics takes what scripts count.
type Metrics interface {
	// Metric finds or makes a "counter", "gauge" or "histogram" of a bundle,
	// "" for scripts, and returns what adds to it or sets it. It returns an
	// error where the name is used with another kind or other labels, or there
	// are too many. Neither blocks.
	Metric(kind, owner, name string, labels map[string]string) (record func(v float64), err error)
}

// Limits of names and labels.
const (
	maxMetricLabels = 4
	maxLabelValue   = 64
)

var metricName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

var metricsModule = module{
	name: "metrics",
	doc: "metrics at /metrics, named carteiro_script_policy_NAME or carteiro_bundle_policy_PUBLISHER_BUNDLE_NAME; they count when the " +
		"handler returns. Names and labels have lower case letters, digits and _; at most 4 labels. After 100 different sets " +
		`of label values, further ones count as "other"`,
	functions: []function{
		{name: "counter", call: metric("counter"), sig: "counter(name, [n], [labels])", doc: "adds n, 1 by default; the name gets the " +
			"suffix _total"},
		{name: "gauge", call: metric("gauge"), sig: "gauge(name, value, [labels])", doc: "sets a value"},
		{
			name: "histogram",
			call: metric("histogram"),
			sig:  "histogram(name, value, [labels])",
			doc:  "adds one observation; the buckets suit seconds and octets",
		},
	},
}

func metric(kind string) glua.LGFunction {
	what := "metrics." + kind
	return func(L *glua.LState) int {
		st := stateOf(L)
		c := st.currentCall(L, what)
		st.budget.chargeSteps(L, 20)
		name := stringArgument(L, 1, what, "name")
		if !metricName.MatchString(name) {
			L.RaiseError("%s: %q is not a name for a metric", what, name)
		}
		value, labels := L.Get(2), L.Get(3)
		if kind == "counter" {
			if _, isTable := value.(*glua.LTable); isTable && labels == glua.LNil {
				value, labels = glua.LNil, value
			}
			if value == glua.LNil {
				value = glua.LNumber(1)
			}
		}
		n, ok := value.(glua.LNumber)
		v := float64(n)
		if !ok || math.IsNaN(v) || math.IsInf(v, 0) || kind == "counter" && v < 0 {
			L.RaiseError("%s: a finite number expected, got %s", what, tostringPlain(value))
		}
		m := metricLabels(L, what, labels)
		if sink := st.generation.engine.Metrics; sink != nil {
			record, err := sink.Metric(kind, c.source.src.Bundle, name, m)
			raiseIf(L, err)
			c.after = append(c.after, func() { record(v) })
		}
		return 0
	}
}

func metricLabels(L *glua.LState, what string, v glua.LValue) map[string]string {
	if v == glua.LNil {
		return nil
	}
	t, ok := v.(*glua.LTable)
	if !ok {
		L.RaiseError("%s: labels must be a table, got %s", what, typeOf(v))
	}
	labels := map[string]string{}
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		name := tostringPlain(k)
		if !metricName.MatchString(name) || strings.HasPrefix(name, "__") || len(labels) >= maxMetricLabels {
			L.RaiseError("%s: %q is not a name for a label, or there are more than %d labels", what, name, maxMetricLabels)
		}
		if !stringable(v) {
			L.RaiseError("%s: label %s must be a text, got %s", what, name, typeOf(v))
		}
		s := strings.ToValidUTF8(tostringPlain(v), "\uFFFD")
		if len(s) > maxLabelValue {
			L.RaiseError("%s: label %s has more than %d octets", what, name, maxLabelValue)
		}
		labels[name] = s
	}
	return labels
}
