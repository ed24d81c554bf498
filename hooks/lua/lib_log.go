package lua

import (
	"log/slog"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

var logModule = module{name: "log", doc: "writes to the server's log", functions: []function{
	{name: "debug", call: logAt(slog.LevelDebug), sig: "debug(text, [fields])", doc: "writes a line with fields, a table of plain data"},
	{name: "info", call: logAt(slog.LevelInfo), sig: "info(text, [fields])", doc: "writes a line with fields"},
	{name: "warn", call: logAt(slog.LevelWarn), sig: "warn(text, [fields])", doc: "writes a line with fields"},
	{name: "error", call: logAt(slog.LevelError), sig: "error(text, [fields])", doc: "writes a line with fields"},
}}

const (
	logInfo  = slog.LevelInfo
	maxLine  = 4 << 10 // octets of one line
	logSteps = 50      // instructions that a line costs, so that a loop cannot fill the disk
)

func logAt(level slog.Level) glua.LGFunction {
	return func(L *glua.LState) int {
		s := tostring(L, L.CheckAny(1))
		var fields map[string]any
		if L.Get(2) != glua.LNil {
			v, err := toPlain(L.Get(2))
			raiseIf(L, err)
			m, ok := v.(map[string]any)
			if !ok {
				L.RaiseError("log: fields must be a table with names, got %s", typeOf(L.Get(2)))
			}
			fields = m
		}
		writeLog(L, level, s, fields)
		return 0
	}
}

func writeLog(L *glua.LState, level slog.Level, s string, fields map[string]any) {
	st := stateOf(L)
	st.budget.chargeSteps(L, logSteps+int64(len(s))/16)
	if len(s) > maxLine {
		s = s[:maxLine]
	}
	attrs := []slog.Attr{slog.String("text", strings.ToValidUTF8(s, "\uFFFD"))}
	if c := st.call; c != nil {
		attrs = append(attrs, slog.String("hook", string(c.event.Point)), slog.String("handler", c.handler.info.Name()))
		if id := c.message(); id != "" {
			attrs = append(attrs, slog.String("id", id))
		} else if c.event.Session != nil {
			attrs = append(attrs, slog.String("session", c.event.Session.ID))
		}
	}
	if len(fields) > 0 && plainSize(fields) <= maxLine {
		var group []any
		for _, k := range sortedKeys(fields) {
			group = append(group, slog.Any(k, fields[k]))
		}
		attrs = append(attrs, slog.Group("fields", group...))
	}
	st.generation.engine.Log.LogAttrs(st.budget.ctx, level, "script", attrs...)
}
