package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// report is what a comparison found.
type report struct {
	settings
	rounds           int
	title            string
	measured         []*measured
	onlyOld, onlyNew []string // "PACKAGE BENCHMARK"
	left             []string // benchmarks that run only when asked for
	failures         []string
}

// begin notes what is measured, and where.
func (r *report) begin(ctx context.Context, root, commit string) {
	head, _ := output(ctx, root, "git", "rev-parse", "--short", "HEAD")
	old, _ := output(ctx, root, "git", "rev-parse", "--short", commit)
	if changes, _ := output(ctx, root, "git", "status", "--porcelain", "--untracked-files=no"); changes != "" {
		head += " with changes that are not committed"
	}
	r.title = fmt.Sprintf("old %s, new %s; rounds: %d of %s\n%s %s/%s, %d processors; load before the run %s",
		old, head, r.rounds, r.time, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), load())
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// single lists parts of benchmarks that only one side ran.
func (r *report) single(packages string, before, after figures) {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if after[name] == nil {
			r.onlyOld = append(r.onlyOld, packages+" "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if before[name] == nil {
			r.onlyNew = append(r.onlyNew, packages+" "+name)
		}
	}
}

// write prints the table and the verdict. It returns false when something is
// slower or failed.
func (r *report) write(out io.Writer) (bool, error) {
	var b strings.Builder
	fmt.Fprintln(&b, r.title)
	var worse, unclear []string
	packages := ""
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, m := range r.measured {
		if m.packages != packages {
			packages = m.packages
			table.Flush()
			fmt.Fprintf(&b, "\n%s\n", packages)
			fmt.Fprintln(table, "benchmark\told ns/op\tnew ns/op\tnew/old\t95 % interval\tallocs/op\tB/op\tother")
		}
		fmt.Fprintln(table, m.line(&worse, &unclear))
	}
	table.Flush()
	list := func(title string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "\n%s\n  %s\n", title, strings.Join(lines, "\n  "))
		}
	}
	list("only in the old commit:", r.onlyOld)
	list("only in the new one:", r.onlyNew)
	list("left out, for they take long; name them to run them:", r.left)
	list("FAILED:", r.failures)
	list("unclear, the medians are above the limit and the interval is not; more rounds would tell:", unclear)
	list("WORSE:", worse)
	if r.rounds < 6 {
		fmt.Fprintf(&b, "\n%d rounds are too few for an interval of 95 %%\n", r.rounds)
	}
	ok := len(worse) == 0 && len(r.failures) == 0
	if ok {
		fmt.Fprintf(&b, "\nnothing is worse, of %d benchmarks\n", len(r.measured))
	}
	_, err := io.WriteString(out, b.String())
	return ok, err
}

// line returns a row of the table. It adds what is beyond its limit to worse, and
// what may be to unclear.
func (m *measured) line(worse, unclear *[]string) string {
	cell := map[string]string{}
	var others []string
	for _, unit := range slices.Sorted(maps.Keys(m.units)) {
		ratio, low, high := m.units[unit].ratio()
		interval := fmt.Sprintf("%.3f to %.3f", low, high)
		before, now := short(median(m.units[unit].old)), short(median(m.units[unit].new))
		found := fmt.Sprintf("%s %s: %.3f (%s), %s before, %s now", m.name, unit, ratio, interval, before, now)
		switch most := limit(unit); {
		case low > most:
			*worse = append(*worse, found)
		case ratio > most:
			*unclear = append(*unclear, found)
		}
		switch unit {
		case "ns/op":
			cell[unit] = fmt.Sprintf("%s\t%s\t%.3f\t%s", before, now, ratio, interval)
		case "allocs/op", "B/op":
			cell[unit] = fmt.Sprintf("%.3f of %s", ratio, before)
		default:
			others = append(others, fmt.Sprintf("%s %.3f (%s)", unit, ratio, interval))
		}
	}
	if cell["ns/op"] == "" {
		cell["ns/op"] = "\t\t\t"
	}
	name := strings.TrimPrefix(m.name, "Benchmark")
	return strings.Join([]string{name, cell["ns/op"], cell["allocs/op"], cell["B/op"], strings.Join(others, ", ")}, "\t")
}

// short returns a figure with four digits at least.
func short(v float64) string {
	if v >= 1000 || v == float64(int64(v)) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
