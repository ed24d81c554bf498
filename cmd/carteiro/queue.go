package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/core/pipeline/operate"
)

// filterFlags are the flags that select messages.
type filterFlags struct {
	operate.Filter
	older string
}

func (f *filterFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.ID, "id", "", "one message")
	cmd.Flags().StringVar(&f.Sender, "sender", "", "from this envelope sender")
	cmd.Flags().StringVar(&f.To, "to", "", "for this recipient")
	cmd.Flags().StringVar(&f.Domain, "domain", "", "for recipients of this domain")
	cmd.Flags().StringVar(&f.older, "older", "", "received longer ago than this, as 2h or 3d")
	cmd.Flags().StringVar(&f.Status, "status", "", "queued, deferred, held or quarantine")
}

func (f *filterFlags) filter(args []string) (operate.Filter, error) {
	out := f.Filter
	if len(args) > 0 {
		out.ID = args[0]
	}
	if f.older != "" {
		d, err := config.ParseDuration(f.older)
		if err != nil {
			return out, usageError{err}
		}
		out.OlderThan = d
	}
	return out, nil
}

func queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Messages in the queue: list, show, summary, hold, release, retry, bounce, drop",
	}
	cmd.AddCommand(queueList(), queueShow(), queueSummary())
	for op, short := range map[operate.Operation]string{
		operate.OpHold:    "Keep messages in the queue until released",
		operate.OpRelease: "Let held or quarantined messages go on",
		operate.OpRetry:   "Try messages now",
		operate.OpBounce:  "Return messages to their senders",
		operate.OpDrop:    "Remove messages without telling anybody",
	} {
		cmd.AddCommand(queueOperate(op, short))
	}
	return cmd
}

func queueList() *cobra.Command {
	var o options
	var f filterFlags
	var limit int
	cmd := &cobra.Command{
		Use:   "list [ID]",
		Short: "List messages in the order of arrival",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := f.filter(args)
			if err != nil {
				return err
			}
			return show(cmd, &o, "queue.list", admin.QueueArgs{Filter: filter, Limit: limit}, false, func(w io.Writer, lines []admin.QueueLine) {
				for _, l := range lines {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\tdue %s\t%d tries\t%s\n", l.ID, l.Status, l.Class, octets(l.Size), "<"+l.Sender+">",
						shortList(l.Recipients), stamp(l.Due), l.Attempts, l.Reason)
				}
			})
		},
	}
	o.flags(cmd, true)
	f.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many messages")
	return cmd
}

func shortList(to []string) string {
	if len(to) > 3 {
		return strings.Join(to[:3], ",") + fmt.Sprintf(" and %d more", len(to)-3)
	}
	return strings.Join(to, ",")
}

func queueShow() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one message: envelope, recipients, header section",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := admin.QueueArgs{Filter: operate.Filter{ID: args[0]}}
			return show(cmd, &o, "queue.show", in, false, func(w io.Writer, m admin.QueueMessage) {
				e := m.Envelope
				fmt.Fprintf(w, "id\t%s\nsender\t%s\nreceived\t%s\nsize\t%s\nclient\t%s (%s)\n", e.ID, e.Sender.Path(), stamp(e.ReceivedAt),
					octets(e.Size), e.Client, e.Protocol)
				for _, r := range m.Recipients {
					last := ""
					if r.Last != nil {
						last = r.Last.Reply()
					}
					fmt.Fprintf(w, "recipient\t%s\t%s\t%d tries\t%s\n", r.Address, r.State, r.Attempts, last)
				}
				fmt.Fprintf(w, "\n%s", strings.ReplaceAll(m.Header, "\r\n", "\n"))
			})
		},
	}
	o.flags(cmd, true)
	return cmd
}

func queueSummary() *cobra.Command {
	var o options
	var f filterFlags
	cmd := &cobra.Command{
		Use:   "summary",
		Short: "Count messages by destination and status",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := f.filter(nil)
			if err != nil {
				return err
			}
			return show(cmd, &o, "queue.summary", admin.QueueArgs{Filter: filter}, false, func(w io.Writer, sums []admin.QueueSum) {
				for _, s := range sums {
					fmt.Fprintf(w, "%s\t%s\t%d messages\t%d recipients\t%s\toldest %s\n", s.Key, s.Status, s.Messages, s.Recipients, octets(s.Bytes),
						time.Since(s.Oldest).Round(time.Second))
				}
			})
		},
	}
	o.flags(cmd, true)
	f.flags(cmd)
	return cmd
}

func queueOperate(op operate.Operation, short string) *cobra.Command {
	var o options
	var f filterFlags
	var all bool
	var reason string
	cmd := &cobra.Command{
		Use:   string(op) + " [ID] [filter]",
		Short: short,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := f.filter(args)
			if err != nil {
				return err
			}
			if filter.Empty() && !all {
				return usage("queue %s: which messages? give an ID, a filter, or --all", op)
			}
			in := admin.OperateArgs{Filter: filter, Operation: op, Reason: reason, All: all}
			return show(cmd, &o, "queue.operate", in, false, func(w io.Writer, done admin.OperateReport) {
				for _, id := range done.Changed {
					fmt.Fprintln(w, id)
				}
			})
		},
	}
	o.flags(cmd, true)
	f.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every message")
	cmd.Flags().StringVar(&reason, "reason", "", "shown by `queue list` and `explain`")
	return cmd
}
