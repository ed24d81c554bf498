package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestRecordsArePrintable: in the record that reaches the handler, wherever
// the text is.
func TestRecordsArePrintable(t *testing.T) {
	var out bytes.Buffer
	raw := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if s := a.Value.String(); strings.ContainsAny(s, "\x1b\r") || strings.Contains(s, "\n") && a.Key != "err" {
			t.Errorf("%s: %q", a.Key, s)
		}
		return a
	}})
	evil := "\x1b[31m\r\nEvil: 1"
	j := With(slog.New(raw))
	j.With("with", evil).
		WithGroup("g").
		Error("x"+evil, "text", evil, "err", errors.New("line\nline"+evil), "list", []string{evil}, slog.Group("h", "in", evil), "n", 3,
			"nil", nil)
	j.Step(t.Context(), "step", evil, "from", evil, "err", error(nil))
	if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), "n=3") {
		t.Errorf("%d lines: %s", n, out.String())
	}
}
