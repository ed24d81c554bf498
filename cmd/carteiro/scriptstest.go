package main

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carteiro/core/ops/policytest"
	"carteiro/hooks/lua/source"
)

func scriptsTestCommand() *cobra.Command {
	var o options
	var cover bool
	var run string
	cmd := &cobra.Command{
		Use:   "test [DIR|FILE]",
		Short: "Run tests/*.lua of a folder of scripts, or only tests/NAME.lua of NAME.lua; each case in a server of its own, in memory",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := o.readTree(args)
			if err != nil {
				return err
			}
			options := policytest.Options{Cover: cover}
			if run != "" {
				if options.Run, err = regexp.Compile(run); err != nil {
					return usageError{err}
				}
			}
			return o.runTests(cmd, t, options)
		},
	}
	o.flags(cmd, true)
	cmd.Flags().BoolVar(&cover, "cover", false, "print which lines ran")
	cmd.Flags().StringVar(&run, "run", "", "only cases whose \"file: name\" matches this `regexp`")
	return cmd
}

// runTests runs the tests of a tree and prints what came of them.
func (o *options) runTests(cmd *cobra.Command, t *tree, options policytest.Options) error {
	options.Sources, options.Tests, options.Domains = t.sources, t.tests, t.domains
	report, err := policytest.Test(cmd.Context(), options)
	if err != nil {
		return withSource(err)
	}
	return o.report(cmd, report, "")
}

// report prints what came of tests. It is an error when some failed; of is the
// bundle that they belong to.
func (o *options) report(cmd *cobra.Command, r *policytest.Report, of string) error {
	if o.json {
		if err := printJSON(cmd.OutOrStdout(), r); err != nil {
			return err
		}
	} else {
		printTests(cmd.OutOrStdout(), r)
	}
	return testsError(r, of)
}

func testsError(r *policytest.Report, of string) error {
	if n := r.Failed(); n > 0 {
		return fmt.Errorf("%s%d of %s failed", of, n, count(len(r.Cases), "case"))
	}
	return nil
}

// withSource is an error with its faults as a compiler shows them.
func withSource(err error) error {
	if faults, _ := source.Faults(err); len(faults) == 0 {
		return err
	}
	return fmt.Errorf("policies do not load\n%s", source.Diagnostic(err))
}

func printTests(w io.Writer, r *policytest.Report) {
	for _, c := range r.Cases {
		word := "ok  "
		if c.Err != "" {
			word = "FAIL"
		}
		fmt.Fprintf(w, "%s  %s:%d  %s  %.2f s\n", word, c.File, c.Line, c.Name, c.Took.Round(10*time.Millisecond).Seconds())
		if c.Err == "" {
			continue
		}
		for line := range strings.Lines(source.Diagnostic(c.Fault)) {
			fmt.Fprintf(w, "      %s\n", strings.TrimSuffix(line, "\n"))
		}
		for _, line := range c.Log {
			fmt.Fprintf(w, "      | %s\n", strings.ReplaceAll(line, "\n", "\n      | "))
		}
	}
	fmt.Fprintf(w, "%s, %d failed\n", count(len(r.Cases), "case"), r.Failed())
	for _, c := range r.Coverage {
		fmt.Fprintf(w, "%s: %d of %d lines ran", c.File, c.Ran, c.Lines)
		if len(c.Missed) > 0 {
			fmt.Fprintf(w, ", not %s", ranges(c.Missed))
		}
		fmt.Fprintln(w)
	}
}

// count is a number of things.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// ranges writes sorted numbers as "3-5, 9".
func ranges(list []int) string {
	var parts []string
	for i := 0; i < len(list); i++ {
		from := i
		for i+1 < len(list) && list[i+1] == list[i]+1 {
			i++
		}
		part := strconv.Itoa(list[from])
		if i > from {
			part += "-" + strconv.Itoa(list[i])
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}
