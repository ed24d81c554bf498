package lua

import (
	"errors"
	"io"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/mime"
	"carteiro/hooks"
)

func msgRaw(L *glua.LState) int {
	st, o := bodyOf(L, "raw")
	st.demand(L, hooks.HeadersRead, "msg:raw")
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
	st.demand(L, hooks.BodyWrite, "msg:append_text")
	s := stringArgument(L, 2, "msg:append_text", "text")
	st.budget.charge(L, int64(len(s)))
	st.must(L, o.call.event.AppendText(msgOf(o), strings.ToValidUTF8(s, "\uFFFD")))
	return 0
}

// maxTold is how many recipients of a report scripts are told of.
const maxTold = 100

func msgReport(L *glua.LState) int {
	st, o := bodyOf(L, "report")
	m := msgOf(o)
	if m.Body == nil {
		L.RaiseError("the body is still coming at %s", o.call.event.Point)
	}
	st.budget.charge(L, min(m.Size, 1<<20))
	n, err := mime.ParseReport(m.Header, m.Body)
	if errors.Is(err, mime.ErrNoReport) {
		L.Push(glua.LNil)
		return 1
	}
	st.must(L, err)
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
	L.Push(st.lift(L, out))
	return 1
}
