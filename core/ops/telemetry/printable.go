package telemetry

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Most octets of a text in a log record; of errors, which may hold a
// traceback.
const (
	maxText  = 1000
	maxError = 8000
)

// Printable makes what a stranger may have sent fit for people's eyes: one
// line of UTF-8 without characters that steer a terminal or turn the
// direction of text, those being escaped, and at most limit octets long, but
// for the dots that say that it was cut.
func Printable(s string, limit int) string { return printable(s, limit, "") }

func printable(s string, limit int, keep string) string {
	if len(s) <= limit && clean(s, keep) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		piece := s[:n]
		switch {
		case r == utf8.RuneError && n == 1:
			piece = `\x` + strconv.FormatUint(uint64(s[0])|0x100, 16)[1:]
		case !shown(r, keep):
			piece = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if b.Len()+len(piece) > limit {
			b.WriteString("...")
			break
		}
		b.WriteString(piece)
		s = s[n:]
	}
	return b.String()
}

func clean(s, keep string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !shown(r, keep) {
			return false
		}
	}
	return true
}

func shown(r rune, keep string) bool {
	if r < 0x7f {
		return r >= ' ' || strings.IndexByte(keep, byte(r)) >= 0
	}
	return unicode.IsGraphic(r)
}

// printing is a slog.Handler that makes every text of a record printable.
// Errors keep their line ends: tracebacks have them, and the formats of the
// log escape them.
type printing struct{ slog.Handler }

func (h printing) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, printable(r.Message, maxText, ""), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(printableAttr(a))
		return true
	})
	return h.Handler.Handle(ctx, out)
}

func (h printing) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = printableAttr(a)
	}
	return printing{h.Handler.WithAttrs(out)}
}

func (h printing) WithGroup(name string) slog.Handler {
	return printing{h.Handler.WithGroup(name)}
}

func printableAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		if a.Key == "err" || a.Key == "stack" {
			v = slog.StringValue(printable(v.String(), maxError, "\n\t"))
		} else {
			v = slog.StringValue(printable(v.String(), maxText, ""))
		}
	case slog.KindGroup:
		var out []slog.Attr
		for _, member := range v.Group() {
			out = append(out, printableAttr(member))
		}
		v = slog.GroupValue(out...)
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			v = slog.StringValue(printable(err.Error(), maxError, "\n\t"))
		} else if v.Any() != nil {
			v = slog.StringValue(printable(v.String(), maxText, ""))
		}
	}
	return slog.Attr{Key: a.Key, Value: v}
}
