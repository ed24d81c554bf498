package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/core/ops/telemetry"
	"carteiro/hooks"
)

func traceCommand() *cobra.Command {
	var o options
	var only admin.TraceFilter
	var n int
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show what clients send, the replies, and what each policy decides, as it happens",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config)
			if err != nil {
				return err
			}
			client, err := admin.Dial(cmd.Context(), socketPath(cfg))
			if err != nil {
				return fmt.Errorf("%w (is `carteiro serve -c %s` running?)", err, o.config)
			}
			seen := 0
			return client.Trace(cmd.Context(), only, func(l telemetry.Line) bool {
				if o.json {
					json.NewEncoder(cmd.OutOrStdout()).Encode(l)
				} else {
					printTraceLine(cmd.OutOrStdout(), l)
				}
				seen++
				return n == 0 || seen < n
			})
		},
	}
	o.flags(cmd, true)
	cmd.Flags().StringVar(&only.IP, "ip", "", "only clients in this `network`, or at this address")
	cmd.Flags().StringVar(&only.Hook, "hook", "", "only calls at this `hook`, such as receive.rcpt")
	cmd.Flags().StringVar(&only.Handler, "handler", "", "only calls of handlers whose `name` holds this: a file, file:line or bundle")
	cmd.Flags().StringVar(&only.Address, "address", "", "only what is about this `address`")
	cmd.Flags().IntVar(&n, "lines", 0, "end after so many lines; 0: never")
	return cmd
}

func printTraceLine(w io.Writer, l telemetry.Line) {
	who := l.Message
	if l.Session != "" {
		who = l.Session
	}
	fmt.Fprintf(w, "%s %s", l.Time.Local().Format("15:04:05.000"), who)
	if l.Client.IsValid() {
		fmt.Fprintf(w, " %s", l.Client)
	}
	if l.What == "hook" {
		fmt.Fprintf(w, "  %s %s: %s (%v)", l.Text, l.Handler, l.Reply, l.Cost.Round(time.Microsecond))
		if len(l.Changes) > 0 {
			fmt.Fprintf(w, " changed %s", strings.Join(l.Changes, "; "))
		}
		if l.Err != "" {
			fmt.Fprintf(w, " failed: %s", l.Err)
		}
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, "  %s > %s\n", l.Text, l.Reply)
}

// traceHook sends a call of a handler to `carteiro trace`.
func (s *server) traceHook(c hooks.Call) {
	l := telemetry.Line{
		Time:    s.clock.Now(),
		What:    "hook",
		Text:    string(c.Info.Point),
		Handler: c.Info.Name(),
		Reply:   c.Verdict.String(),
		Changes: c.Changes,
		Cost:    c.Cost,
	}
	if e := c.Event; e.Session != nil {
		l.Session, l.Client, l.Listener = e.Session.ID, e.Session.Remote.Addr(), e.Session.Listener
	}
	if c.Event.Msg != nil {
		l.Message = c.Event.Msg.ID.String()
	}
	l.About = addressesOf(c.Event)
	if c.Err != nil {
		l.Err, _, _ = strings.Cut(c.Err.Error(), "\n")
	}
	s.journal.Tracer.Publish(l)
}

// addressesOf are the addresses of an event.
func addressesOf(e *hooks.Event) (out []string) {
	add := func(a envelope.Address) {
		if a != "" && !slices.Contains(out, string(a)) {
			out = append(out, string(a))
		}
	}
	if e.Cred != nil {
		add(envelope.Address(e.Cred.User))
	}
	if e.Tx != nil {
		add(e.Tx.Sender)
		for _, r := range e.Tx.Recipients {
			add(r.Address)
		}
	}
	if e.Msg != nil {
		add(e.Msg.Sender)
	}
	if e.Rcpt != nil {
		add(e.Rcpt.Address)
		add(e.Rcpt.Orig)
	}
	for _, r := range e.Rcpts {
		add(r.Address)
	}
	if e.Group != nil {
		for i := range e.Group.Recipients {
			add(e.Group.Recipients[i].Address)
		}
	}
	return out
}

// dialogue is where commands and replies go while somebody looks, or nil.
func (s *server) dialogue() func(*envelope.Session, string, *envelope.Status) {
	if !s.journal.Tracer.On() {
		return nil
	}
	return s.traceDialogue
}

// traceDialogue sends a command and its reply to `carteiro trace`.
func (s *server) traceDialogue(session *envelope.Session, command string, reply *envelope.Status) {
	l := telemetry.Line{
		Time:     s.clock.Now(),
		What:     "command",
		Text:     command,
		Session:  session.ID,
		Client:   session.Remote.Addr(),
		Listener: session.Listener,
	}
	if reply != nil {
		l.Reply = reply.Reply()
	}
	s.journal.Tracer.Publish(l)
}
