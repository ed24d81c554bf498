package lua

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// sums has for each place what lua5.1 gives for all expressions there, as a
// digest; CARTEIRO_LUA_FREEZE=1 writes it anew, where lua5.1 is installed.
const sums = "testdata/expressions.sum"

// operands of small expressions, the first ones also in those of three.
var operands = []string{"l", "n", "pass(false)", "t.x", "l == 1", "not n", "false", "2", "nil", "true", "\"s\"", "t.y", "pass(3)",
	"not t.x"}

const operandsOfThree = 6

// places are where a value may go; @ is the expression.
var places = []string{
	"local v = @ return v",
	"local v = 7 v = @ return v",
	"local v = 7 local function f() v = @ end f() return v",
	"local v = 7 local function f() return v end v = @ return f()",
	"local v = {} v.k = @ return v.k",
	"local v = { 7 } v[1] = @ return v[1]",
	"return @",
	"return (pass(@))",
	"return select(2, 7, @)",
	"if @ then return 1 else return 2 end",
	"if not (@) then return 1 end return 2",
	"if l and (@) then return 1 elseif @ then return 2 end return 3",
	"local c = 0 while @ do c = c + 1 if c > 1 then break end end return c",
	"local c = 0 while not (@) do c = c + 1 if c > 1 then break end end return c",
	"local c = 0 repeat c = c + 1 until c > 2 or (@) return c",
	"local c = 0 repeat local v = @ c = c + 1 until v or c > 1 return c",
	"local v = { @, 7 } return v[1]",
	"local v = { 7, (@) } return v[2]",
	"local v = { k = @ } return v.k",
	"local v, w = @, 7 return v",
	"local v, w = 7, 8 v, w = w, @ return w",
	"return (@) == true",
	"return not (@)",
	"return #text(@)",
	"return text(@) .. \"x\"",
	"for i = 1, 2 do local v = @ if i == 2 then return v end end",
	"local v = 7 for i = 1, 2 do v = @ end return v",
	"for _, w in ipairs({ 1 }) do local v = @ return v end",
	"local v = 7 for _, w in ipairs({ 1 }) do v = @ end return v",
	"for _, w in ipairs({ 1 }) do if @ then return 1 end return 2 end",
	"for _, w in next, { @ } do return w end return 7",
	"local l, n = l, n l = @ return l",
	"local l, n = l, n n = @ return n",
	"local l = l local function f() return l end l = @ return f()",
	"return t[(@) and \"x\" or \"y\"]",
	"return (function(p) p = @ return p end)(3)",
	"return (function(...) local v = ... v = @ return v end)(3)",
	"return pcall(pass, @)",
	"local v = (function() return @ end)() return v",
	"local c = 0 while l == (@) do c = c + 1 if c > 1 then break end end return c",
	"local c = 0 while l ~= not (@) do c = c + 1 if c > 1 then break end end return c",
	"local c = 0 while not (l ~= (n == (@))) do c = c + 1 if c > 1 then break end end return c",
	"local c = 0 while 2 * -1 ~= (@) do c = c + 1 if c > 1 then break end end return c",
	"local c = 0 while t[l == (@)] == n do c = c + 1 if c > 1 then break end end return c",
	"local c = 0 while l + ((@) and 0 or 1) == 1 and c < 3 do c = c + 1 end return c",
	"local c = 0 repeat local v = l == (@) c = c + 1 until v or c > 1 return c",
	"local c = 0 for _ in next, { 1, 2 } do local v = l == (@) if v then c = c + 1 end end return c",
	"local c = 0 while true do while l == (@) do c = c + 1 if c > 1 then break end end c = c + 1 if c > 3 then break end end return c",
}

// smallExpressions are all of two operands, and all of three of some.
func smallExpressions() []string {
	var out []string
	for _, a := range operands {
		for _, b := range operands {
			for _, op := range []string{"and", "or"} {
				out = append(out, a+" "+op+" "+b)
			}
		}
	}
	some := operands[:operandsOfThree]
	for _, a := range some {
		for _, b := range some {
			for _, c := range some {
				for _, ops := range [][2]string{{"and", "and"}, {"and", "or"}, {"or", "and"}, {"or", "or"}} {
					out = append(out, fmt.Sprintf("%s %s %s %s %s", a, ops[0], b, ops[1], c), fmt.Sprintf("%s %s (%s %s %s)", a, ops[0], b, ops[1], c),
						fmt.Sprintf("(%s %s %s) %s %s", a, ops[0], b, ops[1], c))
				}
			}
		}
	}
	return out
}

// TestSmallExpressions has each small expression in each place.
func TestSmallExpressions(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: 120,000 expressions")
	}
	path, _ := exec.LookPath("lua5.1")
	known := map[string]string{}
	text, err := os.ReadFile(sums)
	if err != nil && os.Getenv("CARTEIRO_LUA_FREEZE") == "" {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		sum, place, _ := strings.Cut(line, " ")
		known[place] = sum
	}
	var frozen strings.Builder
	all := smallExpressions()
	for _, place := range places {
		ours, theirs := sha256.New(), sha256.New()
		for from := 0; from < len(all); from += 1000 {
			some := all[from:min(from+1000, len(all))]
			chunk := inPlace(place, some)
			we, err := runHere(chunk)
			if err != nil {
				t.Fatalf("%s: %v", place, err)
			}
			fmt.Fprint(ours, we)
			if path == "" {
				continue
			}
			they, err := runThere(path, chunk)
			if err != nil {
				t.Fatalf("%s: %v", place, err)
			}
			fmt.Fprint(theirs, they)
			if we != they {
				firstDifference(t, place, some, we, they)
			}
		}
		sum := hex.EncodeToString(ours.Sum(nil))
		if path != "" {
			sum = hex.EncodeToString(theirs.Sum(nil))
		}
		fmt.Fprintf(&frozen, "%s %s\n", sum, place)
		if os.Getenv("CARTEIRO_LUA_FREEZE") == "" && known[place] != sum {
			t.Errorf("%s: not what %s has", place, sums)
		}
	}
	if os.Getenv("CARTEIRO_LUA_FREEZE") != "" && path != "" {
		if err := os.WriteFile(sums, []byte(frozen.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// inPlace is a chunk that gives a line for each expression.
func inPlace(place string, some []string) string {
	var b strings.Builder
	b.WriteString(prelude + "fuel = 1e9\nlocal results = {}\nlocal t = { x = 5 }\n" +
		"local function note(...) local v, w = ... results[#results + 1] = text(v) .. \" \" .. text(w) end\n")
	for _, e := range some {
		b.WriteString("note((function(l, n) " + strings.ReplaceAll(place, "@", e) + " end)(1))\n")
	}
	b.WriteString("return table.concat(results, \"\\n\")\n")
	return b.String()
}

func firstDifference(t *testing.T, place string, some []string, we, they string) {
	t.Helper()
	ours, theirs := strings.Split(we, "\n"), strings.Split(they, "\n")
	for i := range some {
		if i < len(ours) && i < len(theirs) && ours[i] != theirs[i] {
			t.Errorf("%s: got %s, want %s", strings.ReplaceAll(place, "@", some[i]), ours[i], theirs[i])
			return
		}
	}
	t.Errorf("%s: %d and %d lines", place, len(ours), len(theirs))
}
