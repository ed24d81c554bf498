package main

import (
	"carteiro/core/ops/admin"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	var o options
	var limit int
	cmd := &cobra.Command{
		Use:   "explain ID|ADDRESS",
		Short: "Print where a message is and why, step by step",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd, &o, "explain", admin.ExplainArgs{What: args[0], Limit: limit}, false, printTrails)
		},
	}
	o.flags(cmd, true)
	cmd.Flags().IntVar(&limit, "limit", 10, "at most so many messages of an address")
	return cmd
}

// printTrails prints the trails of messages, a step a line.
func printTrails(w io.Writer, trails []admin.MessageTrail) {
	for _, s := range trails {
		where := "gone from the queue"
		if s.Queued {
			where = "in the queue"
		} else if s.Refused() {
			where = "refused"
		}
		fmt.Fprintf(w, "message %s, received %s, %s\n", s.ID, stamp(s.Received), where)
		for _, t := range s.Trail {
			fmt.Fprintf(w, "  %s  %-8s", t.Time.Local().Format("15:04:05.000"), t.Step)
			if t.Hook != "" {
				by := t.Handler
				if t.Bundle != "" {
					by = t.Bundle + " " + by
				}
				fmt.Fprintf(w, " %s %s (generation %s, %v, %d instructions)", t.Hook, by, t.Generation, t.Cost.Round(time.Microsecond), t.Instructions)
			}
			if t.Rcpt != "" {
				fmt.Fprintf(w, " <%s>", t.Rcpt)
			}
			if t.Verdict != "" {
				fmt.Fprintf(w, " %s", t.Verdict)
			}
			if t.Text != "" {
				fmt.Fprintf(w, " %s", t.Text)
			}
			fmt.Fprintln(w)
			for _, c := range t.Changes {
				fmt.Fprintf(w, "      changed: %s\n", c)
			}
			if t.Err != "" {
				fmt.Fprintf(w, "      failed: %s\n", t.Err)
			}
		}
	}
}
