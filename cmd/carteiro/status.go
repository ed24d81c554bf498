package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
)

func statusCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the running server is doing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, &o, "status", struct{}{}, false, func(w io.Writer, s admin.StatusReport) {
				fmt.Fprintf(w, "server\t%s, version %s, up %s\n", s.Hostname, s.Version, s.Now.Sub(s.Started).Round(time.Second))
				fallback := ""
				if s.Generation.Fallback {
					fallback = ", the last good one: the files on disk are broken"
				}
				if why := s.Generation.Pinned; why != "" {
					fallback += ", pinned by a rollback until the next reload: " + why
				}
				if p := s.Generation.Probation; !p.IsZero() {
					fallback += ", on probation until " + stamp(p)
				}
				fmt.Fprintf(w, "policies\tgeneration %s, %d handlers%s\n", s.Generation.ID, s.Generation.Handlers, fallback)
				fmt.Fprintf(w, "queue\t%d being tried\n", s.InFlight)
				fmt.Fprintf(w, "store\t%s %s, %s used, %s free\n", s.Store.Kind, s.Store.Dir, octets(s.Store.Disk), octets(s.Store.Free))
				if e := s.Events; e.Waiting+e.Parked > 0 {
					fmt.Fprintf(w, "events\t%d waiting, %d parked\n", e.Waiting, e.Parked)
					for _, p := range e.Latest {
						fmt.Fprintf(w, "parked\t%s of %s for %s\n", p.Name, stamp(p.Time), p.Handler)
					}
				}
				for _, h := range s.PrivateHosts {
					fmt.Fprintf(w, "http\t%s leads to a private network, requests are refused; %q under http of the configuration allows them\n",
						h, h+" private")
				}
				if s.Watched > 0 {
					fmt.Fprintf(w, "trace\t%d watched\n", s.Watched)
				}
				for _, l := range s.Listeners {
					fmt.Fprintf(w, "listener\t%s\t%s\t%s\ttls %s\n", l.Name, l.Protocol, l.Addr, l.TLS)
				}
			})
		},
	}
	o.flags(cmd, true)
	return cmd
}

func reloadCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Read scripts, bundles and certificates anew; on any error nothing changes",
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

func versionCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, err := json.Marshal(map[string]string{"version": version(), "go": runtime.Version()})
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), raw, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "carteiro %s (%s)\n", version(), runtime.Version())
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

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

func explainCommand() *cobra.Command {
	var o options
	var limit int
	cmd := &cobra.Command{
		Use:   "explain ID|ADDRESS",
		Short: "Tell where a message is and why, step by step",
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
func printTrails(w io.Writer, stories []admin.Story) {
	for _, s := range stories {
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
