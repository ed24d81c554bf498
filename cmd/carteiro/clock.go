package main

import (
	"carteiro/core/ops/config"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func clockCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clock",
		Short: "The test clock of `dev` and `serve --test-clock`",
	}
	var o options
	advance := &cobra.Command{
		Use:   "advance DURATION",
		Short: "Move the clock forward, as 6m or 3d",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := config.ParseDuration(args[0])
			if err != nil {
				return usageError{err}
			}
			return show(cmd, &o, "clock", map[string]time.Duration{"by": d}, false, func(w io.Writer, v map[string]time.Time) {
				fmt.Fprintln(w, v["now"].Format(time.RFC3339))
			})
		},
	}
	o.flags(advance, true)
	cmd.AddCommand(advance)
	return cmd
}
