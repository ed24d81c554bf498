package lua_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// FuzzLoad: no text brings the engine down or keeps it long; what loads, runs
// within its limits; what does not, is told with its file.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{greylisting, benchHook, "return 1 .. 2 .. {}", "local a <const> = 1", "goto x ::x::",
		"for i = 1, 2 do local t = { i, f = i, ... } end",
		"function a.b:c(...) return ... end", "local s = [==[\n]] ]==] --[[ x ]] --y",
		"on('receive.mail', function(...) return reject(select(2, ...).sender) end)",
		"repeat local x = 1 until x", "if a then elseif b then else end", "x = -2 ^ -3 .. 'a' .. (1)",
		"on(('receive.mail'), { order = -1 }, function() return pcall(error, {}) end)"} {
		f.Add(s)
	}
	e := lua.New(lua.Options{})
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4000 {
			return
		}
		src := hookstest.Scripts(map[string]string{"a.lua": text})
		src.Limits = hooks.Limits{Wall: 200 * time.Millisecond, Instructions: 10_000, Alloc: 1 << 20}
		start := time.Now()
		g, err := e.Load(context.Background(), []hooks.Source{src})
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("took %v", took)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "a.lua") {
				t.Errorf("no file in %v", err)
			}
			return
		}
		g.Chain.Run(context.Background(), mailEvent("a@a.example"))
	})
}
