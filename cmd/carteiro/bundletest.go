package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"carteiro/core/config"
	"carteiro/plugins"
)

func bundleTestCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{Use: "test DIR|FILE", Short: "Run a bundle's tests/*.lua", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.perhaps(cmd)
			if err != nil {
				return err
			}
			t, err := readBundle(args[0])
			if err == nil {
				err = lintBundle(cmd.Context(), cmd.ErrOrStderr(), cfg, t)
			}
			if err != nil {
				pictures(cmd.ErrOrStderr(), err)
				return err
			}
			return runTests(cmd.Context(), cmd.OutOrStdout(), cfg, t)
		}}
	o.flags(cmd, false)
	return cmd
}

// runTests runs a bundle's own tests.
func runTests(ctx context.Context, w io.Writer, cfg *config.Config, t *plugins.Tree) error {
	return nil
}
