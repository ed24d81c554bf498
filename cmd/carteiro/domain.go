package main

import (
	"carteiro/core/ops/admin"
	"carteiro/core/service/auth"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func domainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "domain",
		Short: "Domains whose mail ends here: add, rm, list",
	}
	var o options
	one := func(use, short, call string) *cobra.Command {
		c := &cobra.Command{
			Use:   use,
			Short: short,
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				_, err := o.call(cmd.Context(), call, admin.DomainArgs{Domain: args[0]}, true)
				return err
			},
		}
		o.flags(c, false)
		return c
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "List all local domains",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, &o, "domain.list", struct{}{}, true, func(w io.Writer, all []auth.Domain) {
				for _, d := range all {
					where := "added"
					if d.Fixed {
						where = "configuration"
					}
					fmt.Fprintf(w, "%s\t%s\n", d.Name, where)
				}
			})
		},
	}
	o.flags(list, true)
	cmd.AddCommand(one("add DOMAIN", "Make a domain local", "domain.add"), one("rm DOMAIN", "Make a domain foreign again", "domain.rm"), list)
	return cmd
}
