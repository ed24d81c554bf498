// Package policytest runs policies without a server: a whole pipeline over a store in
// memory, with a clock, a DNS, a web and next hops of the test's making. It
// is what `carteiro scripts test`, `scripts run` and `bundle test` stand on.
// It opens no sockets and writes no files.
package policytest

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/lua"
)

// LocalDomain is local in every world.
const LocalDomain = "our.example"

// Options say which policies are tested, and with which tests.
type Options struct {
	Sources []hooks.Source
	// Tests holds the test files, "tests/*.lua", and the files that they read, by path.
	Tests map[string][]byte
	// Only names files (without folder and .lua) or tags; nil: all cases.
	Only []string
	// Run, if set, must match "file: case".
	Run *regexp.Regexp
	// Cover counts the lines of the sources that run.
	Cover bool
	// Domains are local besides LocalDomain.
	Domains []string
	// Small makes each case run in a world with little memory, for a server that tests
	// policies while it works. A case that needs more memory runs again with more.
	Small bool

	like *lua.Engine // that compiled the sources
}

// Case is what became of one case.
type Case struct {
	Name  string        `json:"name"`
	File  string        `json:"file"`
	Line  int           `json:"line"`
	Err   string        `json:"error,omitempty"` // "file:line: what"
	Took  time.Duration `json:"took"`            // nanoseconds
	Fault error         `json:"-"`               // Err with the line's text
	Log   []string      `json:"log,omitempty"`   // what a failed case printed and logged, and the policies in it
}

// Covered says which lines of a file ran.
type Covered struct {
	File   string `json:"file"`
	Lines  int    `json:"lines"` // that hold code
	Ran    int    `json:"ran"`
	Missed []int  `json:"missed,omitempty"`
}

// Report is the outcome of Test.
type Report struct {
	Cases    []Case    `json:"cases"`
	Coverage []Covered `json:"coverage,omitempty"`
}

// Failed counts the cases that failed.
func (r *Report) Failed() int {
	n := 0
	for _, c := range r.Cases {
		if c.Err != "" {
			n++
		}
	}
	return n
}

// Test runs the cases of all test files, each in a separate World. Its error is about
// tests or sources that do not load; results of cases are in the Report. It blocks until
// all have run or ctx ends.
func Test(ctx context.Context, o Options) (*Report, error) {
	r := &Report{Cases: []Case{}}
	var cover *lua.Coverage
	if o.Cover {
		cover = lua.NewCoverage()
	}
	// Once without a World: load errors are reported before any case runs.
	o.like = lua.New(lua.Options{Hostname: hostname, Cover: cover})
	if _, err := o.like.Load(ctx, o.Sources); err != nil {
		return nil, err
	}
	lister := &lister{o: o, cover: cover}
	defer lister.close()
	var errs []error
	for _, name := range testFiles(o.Tests) {
		cases, err := o.file(ctx, name, cover, lister)
		r.Cases = append(r.Cases, cases...)
		errs = append(errs, err)
	}
	if cover != nil {
		r.Coverage = covered(cover.Files())
	}
	return r, errors.Join(errs...)
}

// testFiles are the Lua files directly in tests/, in order.
func testFiles(all map[string][]byte) []string {
	var names []string
	for name := range all {
		if path.Dir(name) == "tests" && strings.HasSuffix(name, ".lua") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// file runs the cases of one file.
func (o Options) file(ctx context.Context, name string, cover *lua.Coverage, lister *lister) ([]Case, error) {
	list, err := lister.cases(ctx, name)
	if err != nil {
		return nil, err
	}
	var out []Case
	for n, c := range list {
		if !o.wanted(name, c) {
			continue
		}
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		one := Case{Name: c.Name, File: name, Line: c.Line}
		start := time.Now()
		var said []string
		if said, one.Fault = o.one(ctx, name, n, cover); one.Fault != nil {
			one.Err, one.Log = one.Fault.Error(), said
		}
		one.Took = time.Since(start)
		out = append(out, one)
	}
	return out, nil
}

// lister lists the cases of files, in one world for all as long as none of
// them does anything there.
type lister struct {
	o     Options
	cover *lua.Coverage
	world *World
}

func (l *lister) cases(ctx context.Context, name string) ([]lua.TestCase, error) {
	if l.world != nil && l.world.used {
		l.close()
	}
	if l.world == nil {
		var err error
		if l.world, err = NewWorld(ctx, l.o, l.cover); err != nil {
			return nil, err
		}
	}
	f, err := l.world.engine.TestFile(name, l.o.Tests)
	if err != nil {
		return nil, err
	}
	return f.Cases(ctx, l.world)
}

func (l *lister) close() {
	if l.world != nil {
		l.world.Close()
		l.world = nil
	}
}

func (o Options) wanted(file string, c lua.TestCase) bool {
	if o.Only != nil {
		base := strings.TrimSuffix(path.Base(file), ".lua")
		if !slices.ContainsFunc(o.Only, func(s string) bool { return s == base || slices.Contains(c.Tags, s) }) {
			return false
		}
	}
	return o.Run == nil || o.Run.MatchString(file+": "+c.Name)
}

// one runs a case in a new world, and returns its output and log.
func (o Options) one(ctx context.Context, name string, n int, cover *lua.Coverage) ([]string, error) {
	w, err := NewWorld(ctx, o, cover)
	if err != nil {
		return nil, err
	}
	defer o.end(w)
	f, err := w.engine.TestFile(name, o.Tests)
	if err != nil {
		return nil, err
	}
	err = f.Run(ctx, n, w)
	if o.Small && w.badger.Outgrown() {
		o.Small = false
		return o.one(ctx, name, n, cover)
	}
	return w.said.all(), err
}

// end closes a world. Beside the work of a server what it held is given back
// at once: the collector would let many of them pile up.
func (o Options) end(w *World) {
	w.Close()
	if o.Small {
		runtime.GC()
	}
}

func covered(files map[string]map[int]int) []Covered {
	var out []Covered
	for name, lines := range files {
		c := Covered{File: name, Lines: len(lines)}
		for line, n := range lines {
			if n > 0 {
				c.Ran++
			} else {
				c.Missed = append(c.Missed, line)
			}
		}
		slices.Sort(c.Missed)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Covered) int { return strings.Compare(a.File, b.File) })
	return out
}

// statusOf is a status as a table; ok replaces one that is nil.
func statusOf(st *envelope.Status, ok envelope.Status) map[string]any {
	if st == nil {
		st = &ok
	}
	m := map[string]any{"code": float64(st.Code), "text": st.Text}
	if st.Enhanced != "" {
		m["enhanced"] = st.Enhanced
	}
	return m
}

var errArguments = errors.New("wrong arguments")

// asText is argument n, which must be a text.
func asText(args []any, n int, what string) (string, error) {
	if n < len(args) {
		if s, ok := args[n].(string); ok {
			return s, nil
		}
	}
	return "", fmt.Errorf("%w: %s must be a text", errArguments, what)
}

// asTable is argument n, a table or nothing.
func asTable(args []any, n int) (map[string]any, error) {
	if n >= len(args) || args[n] == nil {
		return map[string]any{}, nil
	}
	if m, ok := args[n].(map[string]any); ok {
		return m, nil
	}
	return nil, fmt.Errorf("%w: a table with names was expected, got %v", errArguments, args[n])
}

// only refuses names that an operation does not know.
func only(m map[string]any, known ...string) error {
	for k := range m {
		if !slices.Contains(known, k) {
			return fmt.Errorf("%w: there is no option %s; known are %s", errArguments, k, strings.Join(known, ", "))
		}
	}
	return nil
}

// texts is a text or a list of them.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, x := range v {
			out = append(out, fmt.Sprint(x))
		}
		return out
	}
	return nil
}

func text(m map[string]any, key, otherwise string) string {
	if s, ok := m[key].(string); ok {
		return s
	}
	return otherwise
}

func anyList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
