package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/ops/policytest"
)

func scriptsRunCommand() *cobra.Command {
	var o options
	var eml string
	var client struct {
		ip, helo, sender, identity string
		to                         []string
	}
	cmd := &cobra.Command{
		Use:   "run FILE|DIR --eml M",
		Short: "Send one message through policies, in memory, and print what each handler saw and did",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if eml == "" {
				return usage("which message? --eml FILE")
			}
			raw, err := os.ReadFile(eml)
			if err != nil {
				return usageError{err}
			}
			t, err := o.readTree(args)
			if err != nil {
				return err
			}
			w, err := policytest.NewWorld(cmd.Context(), policytest.Options{Sources: t.sources}, nil)
			if err != nil {
				return err
			}
			defer w.Close()
			given := map[string]any{"raw": string(raw), "ip": client.ip, "sender": client.sender, "helo": client.helo}
			var to []any
			for _, a := range client.to {
				to = append(to, a)
				if _, domain, ok := strings.Cut(a, "@"); ok && client.identity == "" {
					if _, err := w.Do(cmd.Context(), "domain", []any{domain}); err != nil {
						return usageError{err}
					}
				}
			}
			given["to"] = to
			if client.identity != "" {
				_, domain, _ := strings.Cut(client.identity, "@")
				if _, err := w.Do(cmd.Context(), "domain", []any{domain}); err != nil {
					return usageError{err}
				}
				given["identity"] = client.identity
			}
			r, err := w.Deliver(given)
			if err != nil {
				return withSource(err)
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), r)
			}
			printRun(cmd.OutOrStdout(), r)
			return nil
		},
	}
	cmd.Flags().StringVar(&eml, "eml", "", "the message, a `file`")
	cmd.Flags().StringVar(&client.ip, "ip", "192.0.2.7", "address of the client")
	cmd.Flags().StringVar(&client.helo, "helo", "client.example", "what it says in EHLO")
	cmd.Flags().StringVar(&client.sender, "sender", "sender@a.example", "envelope sender, \"\" for the null sender")
	cmd.Flags().StringSliceVar(&client.to, "to", []string{"bob@" + policytest.LocalDomain},
		"recipients; their domains are local unless --identity is given")
	cmd.Flags().StringVar(&client.identity, "identity", "", "who logged in: the message is a submission")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// printRun prints what a message went through.
func printRun(w io.Writer, r map[string]any) {
	for _, one := range r["trail"].([]any) {
		c := one.(map[string]any)
		fmt.Fprintf(w, "%-16s %s", c["hook"], c["handler"])
		if saw, _ := c["saw"].(string); saw != "" {
			fmt.Fprintf(w, " saw %s", saw)
		}
		verdict, _ := c["verdict"].(string)
		fmt.Fprintf(w, ": %s (%v instructions, %v)\n", verdict, c["instructions"], c["cost"])
		for _, change := range c["changes"].([]any) {
			fmt.Fprintf(w, "    changed: %v\n", change)
		}
		if err, _ := c["error"].(string); err != "" {
			for line := range strings.Lines(err) {
				fmt.Fprintf(w, "    failed: %s\n", strings.TrimSuffix(line, "\n"))
			}
		}
	}
	fmt.Fprintf(w, "answer: %v", r["code"])
	if enhanced, ok := r["enhanced"].(string); ok {
		fmt.Fprintf(w, " %s", enhanced)
	}
	fmt.Fprintf(w, " %v\n", r["text"])
	refused, _ := r["refused"].(map[string]any)
	for _, to := range slices.Sorted(maps.Keys(refused)) {
		st := refused[to].(map[string]any)
		fmt.Fprintf(w, "refused: %s: %v %v\n", to, st["code"], st["text"])
	}
	boxes := r["mailboxes"].(map[string]any)
	for _, owner := range slices.Sorted(maps.Keys(boxes)) {
		folders := boxes[owner].(map[string]any)
		for _, f := range slices.Sorted(maps.Keys(folders)) {
			fmt.Fprintf(w, "mailbox: %s %s: %v\n", owner, f, folders[f])
		}
	}
	for _, kind := range []string{"sent", "submitted", "dsns"} {
		for _, one := range r[kind].([]any) {
			m := one.(map[string]any)
			fmt.Fprintf(w, "%s: from <%v> to %v: %v\n", kind, m["sender"], m["to"], m["subject"])
		}
	}
}
