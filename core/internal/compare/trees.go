package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// tree is one of the two states of the module.
type tree struct {
	name, root string
	packages   map[string]*testPackage // by import path
}

// testPackage is a package with benchmarks that were asked for.
type testPackage struct {
	path, dir  string
	benchmarks []string // names of functions, sorted
	binary     string
}

func (p *testPackage) has(benchmark string) bool {
	return slices.Contains(p.benchmarks, benchmark)
}

// unit is what runs together: benchmarks of a package, and of the package
// where the other tree has them.
type unit struct {
	old, new   *testPackage
	benchmarks []string
	failed     bool
}

// trees are both states.
type trees struct {
	old, new *tree
	units    []*unit
}

// output runs a program and returns what it prints without the end of line.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(exit.Stderr))
	}
	return strings.TrimSpace(string(out)), err
}

// matcher says which functions a -bench expression may run. Like the testing
// package it takes "A/x|B/y" as two alternatives of elements between slashes.
type matcher []*regexp.Regexp

func newMatcher(expression string) (matcher, error) {
	var m matcher
	for _, alternative := range splitOutside(expression, '|') {
		first, err := regexp.Compile(splitOutside(alternative, '/')[0])
		if err != nil {
			return nil, err
		}
		m = append(m, first)
	}
	return m, nil
}

func (m matcher) match(name string) bool {
	return slices.ContainsFunc(m, func(r *regexp.Regexp) bool { return r.MatchString(name) })
}

// splitOutside splits at sep where it is not within brackets or escaped.
func splitOutside(s string, sep byte) []string {
	var out []string
	class, group, begin := 0, 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '[':
			class++
		case c == ']' && class > 0:
			class--
		case c == '(' && class == 0:
			group++
		case c == ')' && class == 0:
			group--
		case c == sep && class == 0 && group == 0:
			out = append(out, s[begin:i])
			begin = i + 1
		}
	}
	return append(out, s[begin:])
}

var benchmarkFunc = regexp.MustCompile(`(?m)^func (Benchmark\w*)\(`)

// list finds the packages and benchmarks of the tree. A pattern that fits
// nothing is no error: the package may be new.
func (t *tree) list(ctx context.Context, s settings) error {
	m, err := newMatcher(s.regexp)
	if err != nil {
		return err
	}
	out, err := output(ctx, t.root, "go", append([]string{"list", "-e", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles"}, s.packages...)...)
	if err != nil {
		return err
	}
	t.packages = map[string]*testPackage{}
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var p struct {
			Dir, ImportPath           string
			TestGoFiles, XTestGoFiles []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		found := &testPackage{path: p.ImportPath, dir: p.Dir}
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return err
			}
			for _, f := range benchmarkFunc.FindAllSubmatch(text, -1) {
				if b := string(f[1]); m.match(b) {
					found.benchmarks = append(found.benchmarks, b)
				}
			}
		}
		if slices.Sort(found.benchmarks); len(found.benchmarks) > 0 {
			t.packages[p.ImportPath] = found
		}
	}
}

// find lists both trees and says what is compared with what.
func (t *trees) find(ctx context.Context, s settings, r *report) error {
	if err := t.old.list(ctx, s); err != nil {
		return err
	}
	if err := t.new.list(ctx, s); err != nil {
		return err
	}
	if s.skip != "" {
		skip := regexp.MustCompile(s.skip)
		for _, packages := range []map[string]*testPackage{t.old.packages, t.new.packages} {
			for _, p := range packages {
				p.benchmarks = slices.DeleteFunc(p.benchmarks, func(b string) bool {
					if skip.MatchString(b) {
						r.left = append(r.left, b)
						return true
					}
					return false
				})
			}
		}
		slices.Sort(r.left)
		r.left = slices.Compact(r.left)
	}
	t.pair(r)
	return nil
}

// pair puts each benchmark of the old tree beside that of the same package, or
// of the one package that has got it since: packages move.
func (t *trees) pair(r *report) {
	units := map[[2]string]*unit{}
	paired := map[string]bool{} // package and benchmark of the new tree
	for _, path := range slices.Sorted(maps.Keys(t.old.packages)) {
		p := t.old.packages[path]
		for _, b := range p.benchmarks {
			q := t.counterpart(p, b)
			if q == nil {
				r.onlyOld = append(r.onlyOld, path+" "+b)
				continue
			}
			key := [2]string{path, q.path}
			if units[key] == nil {
				units[key] = &unit{old: p, new: q}
				t.units = append(t.units, units[key])
			}
			units[key].benchmarks = append(units[key].benchmarks, b)
			paired[q.path+" "+b] = true
		}
	}
	for _, path := range slices.Sorted(maps.Keys(t.new.packages)) {
		for _, b := range t.new.packages[path].benchmarks {
			if !paired[path+" "+b] {
				r.onlyNew = append(r.onlyNew, path+" "+b)
			}
		}
	}
}

// counterpart returns the package of the new tree that has benchmark b of p, or
// nil.
func (t *trees) counterpart(p *testPackage, b string) *testPackage {
	if q := t.new.packages[p.path]; q != nil && q.has(b) {
		return q
	}
	// The benchmark moved when one package lost it and one got it.
	var lost, got []*testPackage
	for path, o := range t.old.packages {
		if n := t.new.packages[path]; o.has(b) && (n == nil || !n.has(b)) {
			lost = append(lost, o)
		}
	}
	for path, n := range t.new.packages {
		if o := t.old.packages[path]; n.has(b) && (o == nil || !o.has(b)) {
			got = append(got, n)
		}
	}
	if len(lost) == 1 && len(got) == 1 {
		return got[0]
	}
	return nil
}

// build builds the test binaries that units need. A unit that cannot be built
// is reported and left out.
func (t *trees) build(ctx context.Context, dir string, progress io.Writer, r *report) {
	n := 0
	build := func(tr *tree, p *testPackage) error {
		if p.binary != "" {
			return nil
		}
		n++
		binary := filepath.Join(dir, fmt.Sprintf("%d.test", n))
		fmt.Fprintf(progress, "build %s, %s\n", p.path, tr.name)
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, p.path)
		cmd.Dir = tr.root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s, %s: build: %w\n%s", p.path, tr.name, err, bytes.TrimSpace(out))
		}
		p.binary = binary
		return nil
	}
	for _, u := range t.units {
		err := build(t.old, u.old)
		if err == nil {
			err = build(t.new, u.new)
		}
		if err != nil {
			u.failed = true
			r.failures = append(r.failures, err.Error())
		}
	}
}
