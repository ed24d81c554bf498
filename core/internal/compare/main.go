// Command compare measures the benchmarks of the checkout against those of
// another commit:
//
//	compare [-rounds 10] [-time 200ms] [-packages ./...] OLD [REGEXP]
//
// It builds the test binaries of both and runs them in turns, in the order old
// new new old old new, so that a machine that slowly gets busier or hotter does
// not count for one of them. For each benchmark it prints the ratio of the
// medians, new to old, with its 95 % interval. The exit status is 1 when the
// interval of ns/op lies wholly above 1.03, when that of allocations, commits,
// syncs or processor time lies wholly above 1.01, and when a benchmark fails; 2
// when the command is wrong. An interval is one point where a figure does not
// vary, as the number of allocations.
//
// Both sides see the same input, because the benchmarks of this module make it
// from fixed seeds; the intervals are computed with a fixed seed too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// slow are benchmarks that take minutes or compare servers with each other;
// they run when REGEXP asks for them.
const slow = "OpenMillion|Peers|PeopleBundles"

// settings are the arguments.
type settings struct {
	old, regexp, skip string
	packages          []string
	rounds            int
	time              string
}

var errUsage = errors.New("usage: compare [-rounds 10] [-time 200ms] [-packages ./...] OLD [REGEXP]")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	case !ok:
		os.Exit(1)
	}
}

// parseArgs reads the command line. All its errors are errUsage.
func parseArgs(args []string) (settings, error) {
	var s settings
	var packages string
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&s.rounds, "rounds", 10, "")
	flags.StringVar(&s.time, "time", "200ms", "")
	flags.StringVar(&packages, "packages", "./...", "")
	if err := flags.Parse(args); err != nil {
		return s, fmt.Errorf("%w: %w", err, errUsage)
	}
	s.packages = strings.Fields(packages)
	switch {
	case flags.NArg() < 1 || flags.NArg() > 2:
		return s, errUsage
	case s.rounds < 1:
		return s, fmt.Errorf("-rounds is %d: %w", s.rounds, errUsage)
	case len(s.packages) == 0:
		return s, fmt.Errorf("-packages is empty: %w", errUsage)
	}
	s.old, s.regexp, s.skip = flags.Arg(0), flags.Arg(1), ""
	if s.regexp == "" {
		s.regexp, s.skip = ".", slow
	}
	if _, err := newMatcher(s.regexp); err != nil {
		return s, fmt.Errorf("%w: %w", err, errUsage)
	}
	return s, nil
}

// run compares in the repository of the working directory. It returns false
// when something is slower or failed.
func run(ctx context.Context, args []string, out, progress io.Writer) (bool, error) {
	s, err := parseArgs(args)
	if err != nil {
		return false, err
	}
	root, err := output(ctx, ".", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return false, err
	}
	commit, err := output(ctx, root, "git", "rev-parse", "--verify", "--quiet", s.old+"^{commit}")
	if err != nil {
		return false, fmt.Errorf("there is no commit %q: %w", s.old, errUsage)
	}
	dir, err := os.MkdirTemp("", "compare-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	worktree := filepath.Join(dir, "old")
	if _, err := output(ctx, root, "git", "worktree", "add", "--detach", worktree, commit); err != nil {
		return false, err
	}
	// The worktree goes even where ctx was cancelled.
	defer func() {
		_, _ = output(context.WithoutCancel(ctx), root, "git", "worktree", "remove", "--force", worktree)
	}()
	t := trees{old: &tree{name: "old", root: worktree}, new: &tree{name: "new", root: root}}
	r := report{settings: s, rounds: s.rounds}
	if err := t.find(ctx, s, &r); err != nil {
		return false, err
	}
	if len(t.units) == 0 && len(r.onlyOld)+len(r.onlyNew) == 0 {
		return false, fmt.Errorf("no benchmark fits %q in %s: %w", s.regexp, strings.Join(s.packages, " "), errUsage)
	}
	r.begin(ctx, root, commit)
	t.build(ctx, dir, progress, &r)
	t.measure(ctx, s, progress, &r)
	if err := ctx.Err(); err != nil {
		return false, err
	}
	return r.write(out)
}
