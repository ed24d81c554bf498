package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"carteiro/core/ops/admin"
	"carteiro/core/ops/generations"
)

func generationsCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "generations",
		Short: "List the policies that were in force, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, &o, "generation.list", struct{}{}, false, func(w io.Writer, list []generations.Entry) {
				for _, e := range list {
					fmt.Fprintf(w, "%s\t%s\tby %s\t%s\n", e.ID, stamp(e.Since), e.By, stateText(e))
				}
			})
		},
	}
	o.flags(cmd, true)
	return cmd
}

func stateText(e generations.Entry) string {
	s := e.State
	if e.Pinned {
		s += ", pinned until the next reload"
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

func diffCommand() *cobra.Command {
	var o options
	var disk bool
	cmd := &cobra.Command{
		Use:   "diff [A] [B]",
		Short: "Compare two generations, by default the one before and the one in force",
		Args:  cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			args = append(args, "", "")
			if disk && args[1] != "" {
				return usage("--disk replaces the second generation")
			}
			raw, err := o.call(cmd.Context(), "generation.diff", admin.DiffArgs{A: args[0], B: args[1], Disk: disk}, false)
			if err != nil {
				return err
			}
			var r admin.DiffReport
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), r)
			}
			if r.Diff == "" {
				r.Diff = "no difference\n"
			}
			_, err = io.WriteString(cmd.OutOrStdout(), r.Diff)
			return err
		},
	}
	o.flags(cmd, true)
	cmd.Flags().BoolVar(&disk, "disk", false, "compare the one in force, or A, with the files on disk")
	return cmd
}

func rollbackCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "rollback [ID]",
		Short: "Put an earlier generation in force, by default the one before; it stays over restarts until the next reload",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd, &o, "generation.rollback", admin.RollbackArgs{ID: append(args, "")[0]}, false, func(w io.Writer, e generations.Entry) {
				fmt.Fprintf(w, "generation %s is in force; the files on disk are not, until the next reload\n", e.ID)
			})
		},
	}
	o.flags(cmd, true)
	return cmd
}
