package telemetry

import (
	"bytes"
	"encoding/json"
	"regexp"
	"testing"
)

func TestStepIsOneLineWithFixedKeys(t *testing.T) {
	var b bytes.Buffer
	j := New(&b, "json", "info")
	j.Step(t.Context(), "delivery", "id1", "to", "a@b.example", "host", "", "err", nil, "attempt", 2)
	j.Debug("not told")
	var e map[string]any
	if err := json.Unmarshal(b.Bytes(), &e); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	if e["msg"] != "delivery" || e["id"] != "id1" || e["to"] != "a@b.example" || e["attempt"] != 2.0 {
		t.Errorf("event %v", e)
	}
	for _, empty := range []string{"host", "err"} {
		if _, ok := e[empty]; ok {
			t.Errorf("empty %s is told", empty)
		}
	}
}

func TestFormatsAndLevels(t *testing.T) {
	for _, tt := range []struct {
		format, level string
		want          bool // whether an info line comes out
	}{{"json", "info", true}, {"text", "debug", true}, {"json", "warn", false}, {"odd", "odd", true}} {
		var b bytes.Buffer
		New(&b, tt.format, tt.level).Info("x")
		if got := b.Len() > 0; got != tt.want {
			t.Errorf("%s, %s: %q", tt.format, tt.level, b.String())
		}
	}
	Discard().Error("nobody hears")
}

var metricName = regexp.MustCompile(`^carteiro_(smtp|queue|delivery|pop3|script|bundle|auth|spam|list|tls)_[a-z0-9_]+$`)

func TestMetricNames(t *testing.T) {
	j := Discard()
	j.Metrics.Received.WithLabelValues("mx", "accepted").Inc()
	j.Metrics.HookSeconds.WithLabelValues("receive.mail").Observe(1)
	j.Metrics.Connections.WithLabelValues("mx").Inc()
	families, err := j.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < 5 {
		t.Errorf("%d metrics", len(families))
	}
	for _, f := range families {
		if !metricName.MatchString(f.GetName()) {
			t.Errorf("metric %s", f.GetName())
		}
		if f.GetHelp() == "" {
			t.Errorf("metric %s has no help", f.GetName())
		}
	}
}
