package lua_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

const benchHook = `
on("receive.data", function(session, tx, msg)
  local from = msg:header("From")
  local id = msg:header("Message-ID")
  if not from or not id then return reject(550, "5.6.0", "no From or Message-ID") end
  if from:match("^[^<]*<[^@>]+@[^>]+>$") == nil then return reject(550, "5.6.0", "bad From") end
end)
`

// BenchmarkHook is one handler by itself: two header reads and a pattern.
func BenchmarkHook(b *testing.B) {
	w := hookstest.New(b).Script(benchHook)
	h := w.Generation.Chain.Handlers(hooks.ReceiveData)[0]
	spec, _ := hooks.Lookup(hooks.ReceiveData)
	e := &hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example", "bob@our.example"),
		Msg: hookstest.Message("a@a.example", plainMail)}
	b.ReportAllocs()
	for b.Loop() {
		if v, _, err := h.Call(context.Background(), spec, e); err != nil || v.Action != hooks.Continue {
			b.Fatal(v, err)
		}
	}
}

// BenchmarkChain20 is a chain of 20 such handlers.
func BenchmarkChain20(b *testing.B) {
	w := hookstest.New(b).Script(strings.Repeat(benchHook, 20))
	e := &hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example", "bob@our.example"),
		Msg: hookstest.Message("a@a.example", plainMail)}
	b.ReportAllocs()
	for b.Loop() {
		if v, trail := w.Generation.Chain.Run(context.Background(), e); v.Action != hooks.Continue || len(trail) != 0 {
			b.Fatal(v, trail)
		}
	}
}

// BenchmarkLoad loads 50 scripts of 100 lines each.
func BenchmarkLoad(b *testing.B) {
	var sources []hooks.Source
	for i := range 50 {
		var text strings.Builder
		text.WriteString(benchHook)
		for j := strings.Count(benchHook, "\n"); j < 100; j += 5 {
			fmt.Fprintf(&text, "local function f%d(a, b)\n  local t = { a, b, key = \"v\" .. a }\n  if a == b then return t.key end\n  return t[1] .. \":\" .. string.lower(t[2])\nend\n", j)
		}
		sources = append(sources, hookstest.Bundle(fmt.Sprintf("acme/b%d", i), map[string]string{"init.lua": text.String()}))
	}
	e := lua.New(lua.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Load(context.Background(), sources); err != nil {
			b.Fatal(err)
		}
	}
}
