package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"carteiro/core/config"
	"carteiro/hooks"
	"carteiro/hooks/lua"
)

func checkCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{Use: "check -c FILE", Short: "Check configuration, certificates, scripts and bundles; nothing is changed", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config)
			if err != nil {
				return err
			}
			gen, err := check(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			for _, name := range cfg.Idle() {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: %s has no effect in this version\n", name)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is good: %d listeners, %d sources, %d handlers, generation %s\n", cfg.Path, len(cfg.Listeners), len(gen.Sources), handlers(gen), gen.ID)
			return nil
		}}
	o.flags(cmd, false)
	return cmd
}

// check loads everything that a server would, but for the store.
func check(ctx context.Context, cfg *config.Config) (*hooks.Generation, error) {
	if err := cfg.CheckFiles(); err != nil {
		return nil, err
	}
	if _, err := readKey(cfg.Storage.KeyFile); err != nil {
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
		return nil, usageError{pictured(err)}
	}
	return gen, nil
}

func handlers(g *hooks.Generation) int {
	n := 0
	for _, spec := range hooks.Specs() {
		n += len(g.Chain.Handlers(spec.Point))
	}
	return n
}
