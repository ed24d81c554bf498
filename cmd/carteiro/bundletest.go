package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/core/ops/policytest"
	"carteiro/plugins"
)

func bundleTestCommand() *cobra.Command {
	var o options
	var cover bool
	var domain string
	cmd := &cobra.Command{
		Use:   "test DIR|FILE",
		Short: "Run a bundle's tests/*.lua, each case in a server of its own, in memory",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, t, err := o.lintAnd(cmd, cmd.ErrOrStderr(), args[0], readBundle)
			if err != nil {
				return err
			}
			report, err := runBundleTests(cmd.Context(), cfg, t, policytest.Options{Cover: cover}, domain)
			if err != nil {
				return err
			}
			return o.report(cmd, report, t.Title()+": ")
		},
	}
	o.flags(cmd, true)
	cmd.Flags().BoolVar(&cover, "cover", false, "print which lines ran")
	cmd.Flags().StringVar(&domain, "domain", "", "run as if the bundle were enabled for this `domain` only")
	return cmd
}

// runBundleTests runs the tests of a bundle as o says, with what it requires, its
// settings' defaults and secrets of the tests' own. It is enabled for the
// domains given, or for all.
func runBundleTests(ctx context.Context, cfg *config.Config, t *plugins.Tree, o policytest.Options,
	domains ...string) (*policytest.Report, error) {
	sources, err := trialSources(cfg, t)
	if err != nil {
		return nil, err
	}
	for _, d := range domains {
		if d == "" {
			continue
		}
		if a, err := envelope.ParseAddress("x@" + d); err != nil || strings.Contains(d, "@") {
			return nil, usage("--domain %s: not a domain", d)
		} else {
			d = a.Domain()
		}
		if d != policytest.LocalDomain {
			o.Domains = append(o.Domains, d)
		}
		for i := range sources {
			if sources[i].Bundle == t.Manifest.Name() {
				sources[i].Domains = append(sources[i].Domains, d)
			}
		}
	}
	o.Sources, o.Tests = sources, t.Files // tests may read what lies beside them
	report, err := policytest.Test(ctx, o)
	if err != nil {
		return nil, withSource(err)
	}
	return report, nil
}

// testBundle runs a bundle's tests before it is installed; what failed is
// written to w.
func testBundle(ctx context.Context, w io.Writer, cfg *config.Config, t *plugins.Tree) error {
	report, err := runBundleTests(ctx, cfg, t, policytest.Options{})
	if err != nil {
		return err
	}
	return printBundleTests(w, report, t.Title()+": ")
}

// printBundleTests writes a report to w if a case failed, and returns that as an error.
func printBundleTests(w io.Writer, report *policytest.Report, of string) error {
	if report.Failed() > 0 {
		printTests(w, report)
	}
	return testsError(report, of)
}

// runBundleSmokeTests runs the tests that the manifests of the enabled bundles name
// for each reload.
func runBundleSmokeTests(ctx context.Context, cfg *config.Config) error {
	installed, err := plugins.OpenStore(bundleDir(cfg))
	if err != nil {
		return err
	}
	trees, err := plugins.Trees(bundleOptions(cfg, installed))
	if err != nil {
		return err
	}
	for _, t := range trees {
		if len(t.Manifest.Tests.Smoke) == 0 {
			continue
		}
		report, err := runBundleTests(ctx, cfg, t, policytest.Options{Only: t.Manifest.Tests.Smoke, Small: true})
		if err != nil {
			return err
		}
		if err := firstFailure(report, t.Title()+": "); err != nil {
			return err
		}
	}
	return nil
}
