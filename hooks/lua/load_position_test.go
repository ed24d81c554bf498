package lua_test

import (
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua/source"
)

// TestColumns: a fault points at the word that is meant, not at one in a text
// or a comment, nor at a member of the same name.
func TestColumns(t *testing.T) {
	for text, want := range map[string]int{
		`local s = "rejct" .. rejct("rejct")`:                                         22,
		`local z = "string.fnd" .. string.fnd("x", 1)`:                                34,
		`local z = 'é' .. rejct`:                                                      19, // in octets
		`on("receive.nail", function() end)`:                                          5,
		`local nail = "x"; on("receive.nail", function() end)`:                        23,
		`on("receive.mail", { order = 1, ordr = 2 }, function() end)`:                 33,
		`on("receive.mail", function() local a = "discard"; return discard("x") end)`: 59,
		`on("receive.mail", function() return discard("x") end) -- discard`:           38,
		`on("receive.mail", function() local t = { x = 1 }; count = t.x end)`:         52,
	} {
		_, err := hookstest.New(t).Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"a.lua": text})})
		faults, rest := source.Faults(err)
		if len(faults) != 1 || rest != nil || faults[0].Column != want {
			t.Errorf("%s\nwant column %d, got %+v %v", text, want, faults, rest)
		}
	}
}

// TestUnknownOptions: all are told, each in its place, with other faults.
func TestUnknownOptions(t *testing.T) {
	_, err := hookstest.New(t).Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{
		"a.lua": "on(\"receive.mail\", {\n  ordr = 1,\n  tire = \"after\",\n}, function() x = 1 end)"})})
	faults, _ := source.Faults(err)
	if len(faults) != 3 || faults[0].Line != 2 || faults[0].Column != 3 || faults[0].Hint != "did you mean order?" || faults[1].Line != 3 {
		t.Errorf("%v", err)
	}
}
