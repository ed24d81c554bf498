package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/core/ops/config"
	"carteiro/core/ops/policytest"
	"carteiro/hooks"
	"carteiro/hooks/lua"
	"carteiro/plugins"
)

func checkCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Check configuration, certificates, scripts and bundles, and run their tests; nothing is changed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config)
			if err != nil {
				return err
			}
			gen, err := check(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			for _, name := range cfg.IgnoredSettings() {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: %s has no effect in this version\n", name)
			}
			if err := printBundleNotes(cmd.ErrOrStderr(), cfg); err != nil {
				return err
			}
			hosts, err := checkHosts(cmd.Context(), cfg, gen.Sources)
			if err != nil {
				return err
			}
			for _, h := range hosts {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", h.note())
			}
			cases, err := checkTests(cmd.Context(), cmd.ErrOrStderr(), cfg, gen.Sources)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is good: %d listeners, %d sources, %d handlers, generation %s", cfg.Path, len(cfg.Listeners),
				len(gen.Sources), countHandlers(gen), gen.ID)
			if cases > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), ", %s passed", count(cases, "test"))
			}
			fmt.Fprintln(cmd.OutOrStdout())
			return nil
		},
	}
	o.flags(cmd, false)
	return cmd
}

// check loads everything that a server would, but for the store.
func check(ctx context.Context, cfg *config.Config) (*hooks.Generation, error) {
	if err := cfg.CheckFiles(); err != nil {
		return nil, err
	}
	if err := cfg.CheckScripts(); err != nil {
		return nil, err
	}
	if _, err := site.ReadKey(cfg.Storage.KeyFile); err != nil {
		return nil, err
	}
	if _, err := loadCertificates(cfg.TLS); err != nil {
		return nil, err
	}
	sources, err := readSources(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	gen, err := lua.New(lua.Options{Hostname: cfg.Hostname}).Load(ctx, sources)
	if err != nil {
		return nil, usageError{withSource(err)}
	}
	return gen, nil
}

// printBundleNotes prints which installed bundles have rights that nobody was asked
// for, and which pages are not plain although their bundle asks for it.
func printBundleNotes(w io.Writer, cfg *config.Config) error {
	installed, err := plugins.OpenStore(bundleDir(cfg))
	if err != nil {
		return err
	}
	kept := installed.Kept()
	for _, title := range slices.Sorted(maps.Keys(kept)) {
		fmt.Fprintf(w, "note: %s %s\n", title, keptText(kept[title]))
	}
	for _, i := range plugins.List(bundleOptions(cfg, installed)) {
		asked := slices.Contains(i.Capabilities, "web plain")
		allowed := slices.ContainsFunc(cfg.Bundles, func(b config.Bundle) bool {
			return (b.Name == i.Name || b.Path != "" && b.Path == i.Path) && b.AllowWeb != ""
		})
		if i.On && asked && !allowed {
			fmt.Fprintf(w, "note: %s asks for pages without the sandbox; allow_web = \"plain\" in its [[bundle]] lets it have them\n", i.Name)
		}
		if allowed && !asked && i.Fault == "" {
			fmt.Fprintf(w, "note: allow_web has no effect: %s does not ask for pages without the sandbox\n", i.Name)
		}
	}
	return nil
}

// checkTests runs the tests of the scripts' folder and of the enabled bundles,
// except those that this program ships, and returns how many cases there
// were. What failed is written to w.
func checkTests(ctx context.Context, w io.Writer, cfg *config.Config, sources []hooks.Source) (cases int, err error) {
	if cfg.Scripts.Dir != "" {
		t := &tree{tests: map[string][]byte{}}
		if err := t.addTests(cfg.Scripts.Dir); err != nil {
			return 0, err
		}
		if len(t.tests) > 0 {
			report, err := policytest.Test(ctx, policytest.Options{Sources: sources, Tests: t.tests, Domains: cfg.Domains})
			if err != nil {
				return 0, err
			}
			if err := printBundleTests(w, report, ""); err != nil {
				return 0, err
			}
			cases += len(report.Cases)
		}
	}
	installed, err := plugins.OpenStore(bundleDir(cfg))
	if err != nil {
		return 0, err
	}
	trees, err := plugins.Trees(bundleOptions(cfg, installed))
	if err != nil {
		return 0, err
	}
	for _, t := range trees {
		if t.Shipped {
			continue
		}
		report, err := runBundleTests(ctx, cfg, t, policytest.Options{})
		if err == nil {
			err = printBundleTests(w, report, t.Title()+": ")
		}
		if err != nil {
			return 0, err
		}
		cases += len(report.Cases)
	}
	return cases, nil
}

func countHandlers(g *hooks.Generation) int {
	n := 0
	for _, spec := range hooks.Specs() {
		n += len(g.Chain.Handlers(spec.Point))
	}
	return n
}
