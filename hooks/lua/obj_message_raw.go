package lua

import (
	"errors"
	"io"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/dsn"
	"carteiro/core/message/mime"
	"carteiro/hooks"
)

func msgRaw(L *glua.LState) int {
	st, o := bodyOf(L, "raw")
	st.source.requireRight(L, hooks.HeadersRead, "msg:raw")
	m := msgOf(o)
	limit := maxArgument(L, st, 2, m.Size)
	if m.Body == nil {
		L.RaiseError("the body is still coming at %s", o.call.event.Point)
	}
	body, err := m.Body()
	if err != nil {
		L.RaiseError("the body cannot be read: %s", err.Error())
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(io.MultiReader(strings.NewReader(string(m.Header.Bytes())), body), limit))
	if err != nil {
		L.RaiseError("the body cannot be read: %s", err.Error())
	}
	L.Push(glua.LString(b))
	return 1
}

func msgAppendText(L *glua.LState) int {
	st, o := self(L, "msg")
	st.source.requireRight(L, hooks.BodyWrite, "msg:append_text")
	s := stringArgument(L, 2, "msg:append_text", "text")
	st.budget.chargeMemory(L, 2*int64(len(s)))
	raiseIf(L, o.call.event.AppendText(msgOf(o), pieces(L, strings.ToValidUTF8(s, "\uFFFD"), L.Get(3))...))
	return 0
}

// maxMarks is how many places of an appended text, or of its names, can differ
// from copy to copy.
const maxMarks = 50

// pieces finds the marks in a text: "%(NAME)" for each name of a table, whose
// values are what stands there for those who have nothing of their own.
func pieces(L *glua.LState, text string, marks glua.LValue) []mime.Text {
	st := stateOf(L)
	names, ok := marks.(*glua.LTable)
	if marks == glua.LNil || ok && text == "" {
		return []mime.Text{{Text: text}}
	}
	if !ok {
		L.RaiseError("msg:append_text: marks must be a table, got %s", typeOf(marks))
	}
	var out []mime.Text
	for text != "" {
		literal, rest, found := strings.Cut(text, "%(")
		name, after, closed := strings.Cut(rest, ")")
		value, known := names.RawGetString(name).(glua.LString)
		switch {
		case !found:
			return append(out, mime.Text{Text: text})
		case closed && known && name != "":
			if st.budget.chargeMemory(L, int64(len(value))+64); len(out) > 2*maxMarks {
				L.RaiseError("msg:append_text: more than %d marks", maxMarks)
			}
			out, text = append(out, mime.Text{Text: literal}, mime.Text{Name: name, Text: strings.ToValidUTF8(string(value), "\uFFFD")}), after
		default:
			out, text = append(out, mime.Text{Text: literal + "%("}), rest
		}
	}
	return out
}

// maxTold is how many recipients of a report scripts are told of.
const maxTold = 100

func msgReport(L *glua.LState) int {
	st, o := bodyOf(L, "report")
	m := msgOf(o)
	if m.Body == nil {
		L.RaiseError("the body is still coming at %s", o.call.event.Point)
	}
	st.budget.chargeMemory(L, min(m.Size, 1<<20))
	n, err := dsn.Parse(m.Header, m.Body)
	if errors.Is(err, dsn.ErrNotDSN) {
		L.Push(glua.LNil)
		return 1
	}
	raiseIf(L, err)
	out := []any{}
	for _, r := range n.Rcpts[:min(len(n.Rcpts), maxTold)] {
		one := map[string]any{"action": r.Action, "status": r.Status, "diagnostic": r.Diagnostic}
		for name, v := range map[string]string{"address": string(r.Final), "original": string(r.Original), "class": string(r.Class)} {
			if v != "" {
				one[name] = v
			}
		}
		out = append(out, one)
	}
	L.Push(st.toLua(L, out))
	return 1
}
