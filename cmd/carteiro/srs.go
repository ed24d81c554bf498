package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"carteiro/core/service/srs"
)

func srsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "srs",
		Short: "Keys that sign the return addresses of forwarded mail: list, rotate",
	}
	keys := func(use, short, call string) *cobra.Command {
		var o options
		c := &cobra.Command{
			Use:   use,
			Short: short,
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return show(cmd, &o, call, struct{}{}, true, func(w io.Writer, all []srs.KeyInfo) {
					for _, k := range all {
						state := "signs"
						if !k.Retired.IsZero() {
							state = "verifies until " + stamp(k.Ends)
						}
						fmt.Fprintf(w, "%s\tmade %s\t%s\n", k.Name, stamp(k.Made), state)
					}
				})
			},
		}
		o.flags(c, true)
		return c
	}
	cmd.AddCommand(keys("list", "List the keys; the first one signs", "srs.list"),
		keys("rotate", "Sign with a new key; the old ones verify for as long as an address lives", "srs.rotate"))
	return cmd
}
