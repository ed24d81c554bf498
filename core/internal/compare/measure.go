package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// figures are what one run of a binary told: by benchmark and unit, all values.
type figures map[string]map[string][]float64

var again = regexp.MustCompile(`#\d+`)

// parseFigures reads what benchmarks print. Rounds within one run (#01) are
// one benchmark; the number of processors is not part of the name.
func parseFigures(text []byte, processors int) figures {
	out := figures{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			continue
		}
		name := again.ReplaceAllString(fields[0], "")
		if processors > 1 {
			name = strings.TrimSuffix(name, "-"+strconv.Itoa(processors))
		}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				break
			}
			unit := fields[i+1]
			if unit == "msg/commit" && v > 0 { // as a cost, like the others
				unit, v = "commits/msg", 1/v
			}
			if out[name] == nil {
				out[name] = map[string][]float64{}
			}
			out[name][unit] = append(out[name][unit], v)
		}
	}
	return out
}

// pairOf is what a benchmark told of one unit of measure, round by round.
type pairOf struct{ old, new []float64 }

// measured is a benchmark with its units of measure.
type measured struct {
	packages string
	name     string
	units    map[string]*pairOf
}

// series collects rounds of a unit.
type series struct {
	byName map[string]*measured
	order  []*measured
}

// add takes a round of both sides. A benchmark that only one side ran is not
// part of it.
func (s *series) add(packages string, before, after figures) {
	names := make([]string, 0, len(before))
	for name := range before {
		if after[name] != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		m := s.byName[name]
		if m == nil {
			m = &measured{packages: packages, name: name, units: map[string]*pairOf{}}
			s.byName[name] = m
			s.order = append(s.order, m)
		}
		for unit, old := range before[name] {
			values := after[name][unit]
			if len(values) == 0 {
				continue
			}
			if m.units[unit] == nil {
				m.units[unit] = &pairOf{}
			}
			m.units[unit].old = append(m.units[unit].old, median(old))
			m.units[unit].new = append(m.units[unit].new, median(values))
		}
	}
}

// measure runs all units in turns.
func (t *trees) measure(ctx context.Context, s settings, progress io.Writer, r *report) {
	for _, u := range t.units {
		if u.failed {
			continue
		}
		packages := u.old.path
		if u.old.path != u.new.path {
			packages += " -> " + u.new.path
		}
		all := &series{byName: map[string]*measured{}}
		for round := range s.rounds {
			if ctx.Err() != nil {
				return
			}
			fmt.Fprintf(progress, "round %d of %d: %s\n", round+1, s.rounds, packages)
			before, after, err := u.round(ctx, s, round%2 == 1)
			if err != nil {
				r.failures = append(r.failures, err.Error())
				break
			}
			all.add(packages, before, after)
			if round == 0 {
				r.single(packages, before, after)
			}
		}
		r.measured = append(r.measured, all.order...)
	}
}

// round runs both sides of a unit once; swapped says that the new one is first.
func (u *unit) round(ctx context.Context, s settings, swapped bool) (before, after figures, err error) {
	if swapped {
		after, err = u.run(ctx, u.new, "new", s)
		if err == nil {
			before, err = u.run(ctx, u.old, "old", s)
		}
		return before, after, err
	}
	before, err = u.run(ctx, u.old, "old", s)
	if err == nil {
		after, err = u.run(ctx, u.new, "new", s)
	}
	return before, after, err
}

func (u *unit) run(ctx context.Context, p *testPackage, side string, s settings) (figures, error) {
	args := []string{"-test.run", "^$", "-test.bench", s.regexp, "-test.benchmem", "-test.benchtime", s.time, "-test.timeout", "60m"}
	if s.skip != "" {
		args = append(args, "-test.skip", s.skip)
	}
	cmd := exec.CommandContext(ctx, p.binary, args...)
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w\n%s", p.path, side, err, bytes.TrimSpace(out))
	}
	f := parseFigures(out, runtime.GOMAXPROCS(0))
	for name := range f {
		function, _, _ := strings.Cut(name, "/")
		if !slices.Contains(u.benchmarks, function) {
			delete(f, name) // it is part of another unit, or of one side alone
		}
	}
	return f, nil
}
