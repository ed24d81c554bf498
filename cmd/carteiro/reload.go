package main

import (
	"carteiro/core/ops/admin"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func reloadCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Read scripts, bundles and certificates again; on any error nothing changes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, &o, "reload", admin.ReloadArgs{By: "cli"}, false, func(w io.Writer, g admin.Generation) {
				fmt.Fprintf(w, "generation %s, %d handlers\n", g.ID, g.Handlers)
			})
		},
	}
	o.flags(cmd, true)
	return cmd
}
