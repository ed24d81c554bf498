package source_test

import (
	"strings"
	"testing"

	"carteiro/hooks/lua/source"
)

// compile returns what is wrong with a text.
func compile(text string) error {
	f := &source.File{Path: "a.lua", Name: "a.lua", Text: text}
	_, err := f.Compile(source.Checks{})
	return err
}

// TestSyntaxHints: what people write who come from another language has a
// hint, and a block that is open is named with its line.
func TestSyntaxHints(t *testing.T) {
	for _, c := range [][2]string{
		{"local a\nif a = 1 then end", "a.lua:2: syntax error near '='; to compare, write =="},
		{"while a = 1 do end", "to compare, write =="},
		{"repeat until a = 1", "to compare, write =="},
		{"if not a = b then end", "to compare, write =="},
		{"if a != b then end", "not equal is written ~="},
		{"return a != b", "not equal is written ~="},
		{"if !a then end", "it is written not"},
		{"if a && b then end", "it is written and"},
		{"if a || b then end", "it is written or"},
		{"local x = a ? 1 : 2", "write: condition and a or b"},
		{"x += 1", "write x = x + ..."},
		{"t.x -= 1", "write x = x - ..."},
		{"s ..= 'x'", "write x = x .. ..."},
		{"x++", "write x = x + 1"},
		{"// a comment", "a comment begins with --"},
		{"local x == 1", "to assign, write ="},
		{"local t = { a: 1 }", "a key of a table is followed by ="},
		{"if a == 1 { f() }", "write then, and end for the closing brace"},
		{"if a do f() end", "write then"},
		{"while a then f() end", "write do"},
		{"if a then f() elif b then end", "it is written elseif"},
		{"if a then f() else if b then f() end", "elseif is one word; an if after else needs its own end"},
		{"for i = 1, 2 do f() end end", "this end closes nothing"},
		{"local t = { 1, 2\nlocal x = 1", "the { of line 1 is open: a bracket or a comma is missing"},
		{"f(1, 2\ng()", "the ( of line 1 is open"},
		{"local x = f(1", "the ( of line 1 is open"},
		{"repeat f()", `"until" is missing, the repeat at line 1 is open`},
		{"\nfunction f() return 1", `a.lua:2: the file ends too early: "end" is missing, the function at line 2 is open`},
		{"on('receive.mail', function(s)\n  if s.helo then\n    f()\nend)",
			`a.lua:4: syntax error near ')': "end" is missing, the function at line 1 is open; ` + "perhaps the if at line 2 has no end"},
		{"local function f()\n  while true do\n    if x then\n      y()\n  end\nend\nlocal z = 1",
			"perhaps the if at line 3 has no end"},
		{"if x then\nelse\n  for i = 1, 2 do\n    f()\nend\n", "perhaps the for at line 3 has no end"},
		{"if x then\n  while y do\n    f()\nelse\nend", `"end" is missing, the while at line 2 is open`},
	} {
		text, want := c[0], c[1]
		err := compile(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
	// A word inside of a text or a comment opens nothing.
	err := compile("-- if x then\nlocal s = 'function ('\nx = = 1")
	if err == nil || strings.Contains(err.Error(), "open") {
		t.Errorf("%v", err)
	}
}
