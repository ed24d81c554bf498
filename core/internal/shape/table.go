package main

import (
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// row is a line of the table.
type row struct {
	title string
	cell  func(*shape) string
}

var rows = []row{
	{"product lines / files", func(s *shape) string { return fmt.Sprintf("%d / %d", s.productLines, len(s.files)) }},
	{"file median / p90 / max", func(s *shape) string { return spread(s.files) }},
	{fmt.Sprintf("files > %d lines", longFile), func(s *shape) string { return above(s.files, longFile) }},
	{"packages, longest import chain, edges", func(s *shape) string {
		return fmt.Sprintf("%d, %d, %d", len(s.packages), s.chain, s.edges)
	}},
	{"lines per package, largest", func(s *shape) string {
		bySize := func(a, b string) int { return s.packages[a] - s.packages[b] }
		largest := slices.MaxFunc(slices.Sorted(maps.Keys(s.packages)), bySize)
		return fmt.Sprintf("%d, %d (%s)", s.productLines/len(s.packages), s.packages[largest], largest)
	}},
	{"function median / p90 / max", func(s *shape) string { return spread(s.functions) }},
	{fmt.Sprintf("functions > %d lines", longFunction), func(s *shape) string { return above(s.functions, longFunction) }},
	{fmt.Sprintf("functions > %d lines", hugeFunction), func(s *shape) string { return above(s.functions, hugeFunction) }},
	{fmt.Sprintf("parameters > %d", manyParams), func(s *shape) string { return s.params.String() }},
	{fmt.Sprintf("nesting >= %d", deepNesting), func(s *shape) string { return s.nesting.String() }},
	{fmt.Sprintf("lines > %d columns", wideLine), func(s *shape) string { return share{s.wide, s.productLines}.String() }},
	{"widest line", func(s *shape) string { return fmt.Sprintf("%d (%s)", s.widest.n, s.widest.name) }},
	{"comment lines", func(s *shape) string { return percent(s.commentLines, s.productLines) }},
	{"exported / unexported documented", func(s *shape) string { return s.exported.percent() + " / " + s.unexported.percent() }},
	{"package comments", func(s *shape) string { return fmt.Sprintf("%d/%d", s.documentedPackages.n, s.documentedPackages.all) }},
	{"methods of the largest types", func(s *shape) string {
		var out []string
		for _, t := range s.shown() {
			out = append(out, fmt.Sprintf("%d (%s)", len(t.methods), t.name))
		}
		return strings.Join(out, ", ")
	}},
	{"call cycles between files", func(s *shape) string {
		if s.cyclesErr != nil {
			return "unknown: " + s.cyclesErr.Error()
		}
		return strconv.Itoa(len(s.cycles))
	}},
	{"test lines : product lines", func(s *shape) string {
		return fmt.Sprintf("%.2f", float64(s.testLines)/float64(max(s.productLines, 1)))
	}},
	{"Fuzz / Benchmark / Run / Parallel", func(s *shape) string {
		return fmt.Sprintf("%d / %d / %d / %d", s.fuzz, s.bench, s.subtests, s.parallel)
	}},
	{"go statements / package variables", func(s *shape) string { return fmt.Sprintf("%d / %d", s.goStatements, s.variables) }},
	{"TODO, FIXME, XXX", func(s *shape) string { return strconv.Itoa(s.todo) }},
}

// shown returns the types that are printed with their methods.
func (s *shape) shown() []*largeType { return s.types[:min(shownTypes, len(s.types))] }

// write prints the table, and below it what has no room in it.
func write(out io.Writer, shapes []*shape) error {
	var b strings.Builder
	cells := [][]string{{""}}
	for _, s := range shapes {
		cells[0] = append(cells[0], s.module)
	}
	for _, r := range rows {
		line := []string{r.title}
		for _, s := range shapes {
			line = append(line, r.cell(s))
		}
		cells = append(cells, line)
	}
	for i, line := range cells {
		b.WriteString("|")
		for column, cell := range line {
			fmt.Fprintf(&b, " %-*s |", width(cells, column), cell)
		}
		b.WriteString("\n")
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(line)) + "\n")
		}
	}
	for _, s := range shapes {
		for _, t := range s.shown() {
			slices.Sort(t.methods)
			fmt.Fprintf(&b, "\n%s: %s has %d methods in %d files: %s\n",
				s.module, t.name, len(t.methods), len(t.files), strings.Join(t.methods, " "))
		}
		for _, c := range s.cycles[:min(shownCycles, len(s.cycles))] {
			fmt.Fprintf(&b, "\n%s: %d functions of %d files call each other in a circle:\n  %s\n",
				s.module, len(c.functions), c.files, strings.Join(c.functions, "\n  "))
		}
		if n := len(s.cycles) - shownCycles; n > 0 {
			fmt.Fprintf(&b, "\n%s: %d more circles\n", s.module, n)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func width(cells [][]string, column int) int {
	widest := 0
	for _, line := range cells {
		widest = max(widest, len([]rune(line[column])))
	}
	return widest
}

// spread is median, 90th percentile and maximum, with the place of the last.
func spread(all []named) string {
	if len(all) == 0 {
		return "-"
	}
	sorted := slices.SortedStableFunc(slices.Values(all), func(a, b named) int { return a.n - b.n })
	last := sorted[len(sorted)-1]
	return fmt.Sprintf("%d / %d / %d (%s)", sorted[len(sorted)/2].n, sorted[len(sorted)*9/10].n, last.n, path.Clean(last.name))
}

// above returns how many are larger than a limit.
func above(all []named, limit int) string {
	var s share
	for _, a := range all {
		s.count(a.n > limit)
	}
	return s.String()
}

func (s share) String() string { return fmt.Sprintf("%d (%s)", s.n, s.percent()) }

func (s share) percent() string { return percent(s.n, s.all) }

func percent(n, all int) string {
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(max(all, 1)))
}
