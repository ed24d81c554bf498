package lua

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"carteiro/hooks"
)

// separator stands between the outputs of programs of a batch.
const separator = "\n\x01\n"

// prelude are what programs use. text and number make texts and numbers of
// anything, without the addresses of tables.
const prelude = `local lines = {}
local fuel
local function spend()
  fuel = fuel - 1
  if fuel < 0 then error("an end", 0) end
end
local function text(v)
  spend()
  local kind = type(v)
  if kind == "table" or kind == "function" then return kind end
  if v ~= v then return "nan" end
  if v == 0 then return "0" end
  v = tostring(v)
  if v:find("^[%w%.]*:%d+: ") then return "an error" end
  return v:sub(1, 40)
end
local function number(v)
  if type(v) == "number" and v > -1e6 and v < 1e6 then return v end
  return string.len(text(v))
end
local function list(v) if type(v) == "table" then return v end return { v } end
local function out(...)
  local p = {}
  for i = 1, select("#", ...) do p[i] = text((select(i, ...))) end
  lines[#lines + 1] = table.concat(p, ",")
end
local function pass(...) return ... end
local function pick(x, y) if x then return y, x, 3 end return y end
local meta = {
  __index = function(t, k) return k end,
  __call = function(self, ...) return select("#", ...), ... end,
  __eq = function(a, b) return rawget(a, "v") == rawget(b, "v") end,
  __lt = function(a, b) return text(rawget(a, "v")) < text(rawget(b, "v")) end,
  __le = function(a, b) return text(rawget(a, "v")) <= text(rawget(b, "v")) end,
  __add = function(a, b) return 7 end,
  __unm = function(a) return 8 end,
  __concat = function(a, b) return "joined" end,
}
local function class(v)
  local o = { v = v }
  function o:get(x) return self.v, x end
  return setmetatable(o, meta)
end
`

// together is a chunk that runs programs one after the other and gives their
// outputs.
func together(programs []string) string {
	var b strings.Builder
	b.WriteString(prelude)
	b.WriteString("local results = {}\n")
	for _, p := range programs {
		b.WriteString("lines, fuel = {}, 5000\nif not pcall(function(...)\n" + p + "\nend, 1, nil, \"v\") then fuel = 100 out(\"error\") end\n")
		b.WriteString("results[#results + 1] = table.concat(lines, \"\\n\")\n")
	}
	b.WriteString("return table.concat(results, \"\\n\\1\\n\")\n")
	return b.String()
}

// runHere runs a chunk in the engine.
func runHere(chunk string) (string, error) {
	e := New(Options{})
	src := hooks.Source{Name: "scripts", Tier: hooks.Admin, Main: []string{"a.lua"},
		Files: map[string][]byte{"a.lua": []byte("on(\"receive.helo\", function()\n" + chunk + "\nend)\n")}}
	u, err := compileSource(src, false, nil, programs{})
	if err != nil {
		return "", err
	}
	s := &generation{engine: e, id: "test", sources: []*loadedSource{u}, maps: map[tableKey]*table{}}
	st := newState(s)
	defer st.L.Close()
	if _, err := load(context.Background(), st); err != nil {
		return "", err
	}
	st.source = u
	st.budget.reset(context.Background(), time.Minute, int64(1+strings.Count(chunk, "if not pcall("))*3_000_000,
		&hooks.Limits{Alloc: 1 << 30, Granted: true})
	st.L.Push(st.handlers[0])
	if err := st.protect(0, 1); err != nil {
		return "", err
	}
	if st.budget.err != nil {
		return "", st.budget.err
	}
	return tostringPlain(st.L.Get(-1)), nil
}

// lua51 is the path of the reference implementation.
func lua51(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("lua5.1")
	if err != nil {
		t.Skip("lua5.1 is not installed; what it answered is in testdata, and TestCompiled holds it")
	}
	return path
}

// runThere runs a chunk in the reference implementation.
func runThere(path, chunk string) (string, error) {
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, path, "-")
	cmd.Stdin = strings.NewReader("local function chunk()\n" + chunk + "\nend\nio.write(chunk())\n")
	var problem strings.Builder
	cmd.Stderr = &problem
	answer, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, problem.String())
	}
	return string(answer), nil
}

// errReference: the reference implementation does not take a program.
var errReference = errors.New("not a program")

// both runs programs here and there, and tells for each whether it differs. One
// that ends the whole batch here is found by running halves.
func both(path string, programs []string) (differs []bool, err error) {
	chunk := together(programs)
	they, err := runThere(path, chunk)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errReference, err)
	}
	we, err := runHere(chunk)
	if err == nil && we == they {
		return make([]bool, len(programs)), nil
	}
	theirs, ours := strings.Split(they, separator), strings.Split(we, separator)
	if err == nil && len(ours) == len(programs) && len(theirs) == len(programs) {
		for i := range programs {
			differs = append(differs, ours[i] != theirs[i])
		}
		return differs, nil
	}
	if len(programs) == 1 {
		return []bool{true}, nil
	}
	half := len(programs) / 2
	first, err := both(path, programs[:half])
	if err != nil {
		return nil, err
	}
	second, err := both(path, programs[half:])
	return append(first, second...), err
}
