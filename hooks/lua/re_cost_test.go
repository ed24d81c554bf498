package lua_test

import (
	"fmt"
	"strings"
	"testing"

	"carteiro/hooks/hookstest"
)

// instructionsOf is how many instructions a handler takes, and what it finds.
func instructionsOf(t *testing.T, body string) int64 {
	t.Helper()
	src := hookstest.Scripts(map[string]string{"a.lua": "local r = re.compile([[<a href=\"([^\"]{1,300})\">([^<]*)</a>]])\n" +
		"local word = re.compile(\"[a-z]+!\")\n" +
		"on(\"receive.mail\", function(session, tx)\n" + body + "\nend)"})
	src.Limits.Instructions, src.Limits.Granted = 1<<40, true
	w := hookstest.New(t).Load(src)
	got := w.Ask(mailEvent("a@a.example"))
	if got.Err() != "" {
		t.Fatalf("%.200s: %s", body, got.Err())
	}
	return got.Trail[0].Instructions
}

// TestMatchesPayForWhatTheyRead: to find all matches of a text takes as much
// for each octet, however long the text is.
func TestMatchesPayForWhatTheyRead(t *testing.T) {
	for name, loop := range map[string]string{
		"regex:gmatch":  `for a, b in r:gmatch(s) do n = n + 1 end`,
		"regex:gsub":    `n = select(2, r:gsub(s, "%1"))`,
		"regex:find":    `local at = 1 while true do local i, j = r:find(s, at) if not i then break end n, at = n + 1, j + 1 end`,
		"regex:match":   `while true do local a, b = r:match(s) if not a or n == 100 then break end n = n + 1 end`,
		"string.gmatch": `for a in s:gmatch("href") do n = n + 1 end`,
		"string.gsub":   `n = select(2, s:gsub("href", "x"))`,
		"string.find":   `local at = 1 while true do local i, j = s:find("href=\"([^\"]*)", at) if not i then break end n, at = n + 1, j + 1 end`,
		"plain find":    `local at = 1 while true do local i, j = s:find("href", at, true) if not i then break end n, at = n + 1, j + 1 end`,
	} {
		cost := func(links int) int64 {
			return instructionsOf(t,
				fmt.Sprintf("local s, n = string.rep(%q, %d), 0\n%s\nif n ~= %d and n ~= 100 then error(n) end return reject(\"found\")",
					`<p>some words</p><a href="https://click.example/`+strings.Repeat("T", 180)+`">https://news.example/</a>`, links, loop, links))
		}
		small, large := cost(100), cost(800)
		if large > small*10 {
			t.Errorf("%s: 100 matches take %d instructions, 800 take %d", name, small, large)
		}
	}
}

// TestReadingOnIsPaid: a match that reads the whole text pays for it, also
// where what it finds is short.
func TestReadingOnIsPaid(t *testing.T) {
	cost := func(n int) int64 {
		return instructionsOf(t, fmt.Sprintf(`local s, n = string.rep("a", %d), 0
local far = re.compile("a[^!]*!|a")
for a in far:gmatch(s) do n = n + 1 if n == 20 then break end end
return reject("found")`, n))
	}
	if small, large := cost(5_000), cost(50_000); large < small*8 {
		t.Errorf("20 matches that read 5,000 octets each take %d instructions, of 50,000 octets %d", small, large)
	}
}
