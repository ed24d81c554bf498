package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"carteiro/core/ops/admin"
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
