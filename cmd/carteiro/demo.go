package main

import (
	"github.com/spf13/cobra"

	"carteiro/cmd/carteiro/internal/demo"
)

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "The whole pipeline on loopback, verified step by step",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Run(cmd.Context(), cmd.OutOrStdout(), printTrails)
		},
	}
}
