package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/plugins"
)

// bundleRow is a bundle with what it cost, where a server runs.
type bundleRow struct {
	plugins.Info
	Usage []admin.BundleUsage `json:"usage,omitempty"`
}

func bundleListCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the bundles: shipped, installed and of the configuration, and what they cost",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config)
			if err != nil {
				return err
			}
			installed, err := plugins.OpenStore(bundleDir(cfg))
			if err != nil {
				return err
			}
			all := o.withUsage(cmd, plugins.List(bundleOptions(cfg, installed)))
			raw, err := json.Marshal(all)
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), raw, func(w io.Writer) error { return printBundles(w, all) })
		},
	}
	o.flags(cmd, true)
	return cmd
}

// withUsage asks the running server what each bundle cost.
func (o *options) withUsage(cmd *cobra.Command, infos []plugins.Info) []bundleRow {
	var rows []admin.BundleUsage
	if raw, err := o.call(cmd.Context(), "bundle.usage", struct{}{}, false); err == nil {
		if err := json.Unmarshal(raw, &rows); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: usage: %v\n", err)
		}
	}
	out := make([]bundleRow, len(infos))
	for i, info := range infos {
		out[i].Info = info
		for _, row := range rows {
			if row.Bundle == info.Name {
				out[i].Usage = append(out[i].Usage, row)
			}
		}
	}
	return out
}

// keptText says that a bundle has rights which nobody was asked for.
func keptText(rights []string) string {
	return "keeps the right " + strings.Join(rights, ", ") + " until its next upgrade: an earlier version of the server installed it"
}

func printBundles(w io.Writer, all []bundleRow) error {
	fmt.Fprintln(w, "NAME\tVERSION\tSOURCE\tENABLED FOR\tCALLS\tERRORS")
	for _, b := range all {
		where := "-"
		switch {
		case b.On && b.Domains == nil && len(b.Except) > 0:
			where = "all but " + strings.Join(b.Except, ", ")
		case b.On && b.Domains == nil:
			where = "all"
		case b.On:
			where = strings.Join(b.Domains, ", ")
		}
		var calls, failed int64
		for _, u := range b.Usage {
			calls, failed = calls+u.Calls, failed+u.Errors
		}
		source := b.Source
		if b.Source == "installed" && !b.Signed {
			source += ", unsigned"
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\n", b.Name, b.Version, source, where, calls, failed); err != nil {
			return err
		}
		if len(b.Kept) > 0 {
			fmt.Fprintf(w, "  %s\n", keptText(b.Kept))
		}
		if b.Fault != "" {
			fmt.Fprintf(w, "  does not load: %s\n", b.Fault)
		}
	}
	return nil
}
