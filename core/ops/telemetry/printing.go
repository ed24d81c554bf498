package telemetry

import (
	"context"
	"log/slog"

	"carteiro/core/message/printable"
)

// Most octets of a text in a log record; of errors, which may hold a
// traceback.
const (
	maxText  = 1000
	maxError = 8000
)

// printableHandler is a slog.Handler that makes every text of a record printable.
// Errors keep their line ends: tracebacks have them, and the formats of the
// log escape them.
type printableHandler struct{ slog.Handler }

func (h printableHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, printable.Line(r.Message, maxText), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(printableAttr(a))
		return true
	})
	return h.Handler.Handle(ctx, out)
}

func (h printableHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = printableAttr(a)
	}
	return printableHandler{h.Handler.WithAttrs(out)}
}

func (h printableHandler) WithGroup(name string) slog.Handler {
	return printableHandler{h.Handler.WithGroup(name)}
}

func printableAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		if a.Key == "err" || a.Key == "stack" {
			v = slog.StringValue(printable.Lines(v.String(), maxError))
		} else {
			v = slog.StringValue(printable.Line(v.String(), maxText))
		}
	case slog.KindGroup:
		var out []slog.Attr
		for _, member := range v.Group() {
			out = append(out, printableAttr(member))
		}
		v = slog.GroupValue(out...)
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			v = slog.StringValue(printable.Lines(err.Error(), maxError))
		} else if v.Any() != nil {
			v = slog.StringValue(printable.Line(v.String(), maxText))
		}
	}
	return slog.Attr{Key: a.Key, Value: v}
}
