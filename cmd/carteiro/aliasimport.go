package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"carteiro/cmd/carteiro/internal/importer"
	"carteiro/core/ops/admin"
)

func aliasImport() *cobra.Command {
	var o options
	var domain string
	cmd := &cobra.Command{
		Use:   "import FILE [--domain D]",
		Short: "Import a table of aliases, Postfix's virtual or /etc/aliases, all or nothing",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			table, skipped, err := importer.ParseAliases(string(text), domain)
			if err != nil {
				return fmt.Errorf("%s:%w", args[0], err)
			}
			return show(cmd, &o, "alias.import", admin.ImportArgs{Aliases: table}, true, func(w io.Writer, r admin.ImportReport) {
				fmt.Fprintf(w, "%d aliases\n", r.Aliases)
				for _, s := range skipped {
					fmt.Fprintf(w, "line %d left out: %s names a domain; `carteiro domain add` makes it local\n", s.Number, s.Key)
				}
			})
		},
	}
	o.flags(cmd, true)
	cmd.Flags().StringVar(&domain, "domain", "", "`domain` of names without one")
	return cmd
}
