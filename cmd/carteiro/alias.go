package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/ops/admin"
	"carteiro/core/service/auth"
)

func aliasCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alias",
		Short: "Addresses that lead to other addresses: add, rm, list, import",
	}
	var o options
	add := &cobra.Command{
		Use:   "add ADDRESS|@DOMAIN|/PATTERN/@DOMAIN TARGET...",
		Short: "Add an alias or replace its targets; @DOMAIN is the catch-all, /PATTERN/ a regular expression over local parts",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := o.call(cmd.Context(), "alias.add", admin.AliasArgs{Address: args[0], Targets: args[1:]}, true)
			return err
		},
	}
	rm := &cobra.Command{
		Use:   "rm ADDRESS|@DOMAIN|/PATTERN/@DOMAIN",
		Short: "Remove an alias",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := o.call(cmd.Context(), "alias.rm", admin.AliasArgs{Address: args[0]}, true)
			return err
		},
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "List all aliases",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, &o, "alias.list", struct{}{}, true, func(w io.Writer, all []auth.Alias) {
				for _, a := range all {
					targets := make([]string, len(a.Targets))
					for i, t := range a.Targets {
						targets[i] = string(t)
					}
					fmt.Fprintf(w, "%s\t%s\n", a.Address, strings.Join(targets, " "))
				}
			})
		},
	}
	o.flags(add, false)
	o.flags(rm, false)
	o.flags(list, true)
	cmd.AddCommand(add, rm, list, aliasImport())
	return cmd
}
