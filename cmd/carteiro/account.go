package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/ops/admin"
	"carteiro/core/service/audit"
	"carteiro/core/service/auth"
)

func accountCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Mailbox owners: add, rm, list, show, password, set, grant, revoke, audit",
	}
	cmd.AddCommand(accountAdd(), accountRemove(), accountList(), accountShow(), accountPassword(), accountSet(), accountGrant(),
		accountRevoke(), accountAudit())
	return cmd
}

func accountAdd() *cobra.Command {
	var o options
	var stdin bool
	cmd := &cobra.Command{
		Use:   "add ADDRESS [--password-stdin]",
		Short: "Add an account; without a password nobody can log in",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := admin.AccountArgs{Address: args[0]}
			var err error
			if stdin {
				if in.Password, err = secretFrom(cmd.InOrStdin()); err != nil {
					return err
				}
			}
			return show(cmd, &o, "account.add", in, true, func(w io.Writer, a auth.Summary) { fmt.Fprintf(w, "%s added\n", a.Address) })
		},
	}
	o.flags(cmd, true)
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

func accountRemove() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "rm ADDRESS",
		Short: "Remove an account; its mail stays on disk",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := o.call(cmd.Context(), "account.rm", admin.AccountArgs{Address: args[0]}, true)
			return err
		},
	}
	o.flags(cmd, false)
	return cmd
}

func accountList() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all accounts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, &o, "account.list", struct{}{}, true, func(w io.Writer, all []auth.Summary) {
				for _, a := range all {
					fmt.Fprintf(w, "%s\t%s\tpassword %s\tapop %s\n", a.Address, stamp(a.Created), yesNo(a.Password), yesNo(a.APOP))
				}
			})
		},
	}
	o.flags(cmd, true)
	return cmd
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func accountShow() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "show ADDRESS",
		Short: "Show an account with its settings, grants and folders",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd, &o, "account.show", admin.AccountArgs{Address: args[0]}, true, func(w io.Writer, a admin.AccountReport) {
				fmt.Fprintf(w, "address\t%s\ncreated\t%s\npassword\t%s\napop\t%s\nused\t%s", a.Address, stamp(a.Created), yesNo(a.Password),
					yesNo(a.APOP), octets(a.Used))
				if a.Quota > 0 {
					fmt.Fprintf(w, " of %s", octets(a.Quota))
				}
				fmt.Fprintf(w, "\nmessages\t%d\n", a.Messages)
				for _, f := range a.Folders {
					fmt.Fprintf(w, "folder\t%s: %d messages, %s\n", f.Name, f.Messages, octets(f.Bytes))
				}
				for k, v := range a.Settings {
					fmt.Fprintf(w, "setting\t%s = %s", k, v)
					if a.Confirmed[k] {
						fmt.Fprint(w, " (confirmed)")
					}
					fmt.Fprintln(w)
				}
				for _, g := range a.Grants {
					fmt.Fprintf(w, "grant\t%s to %s until %s\n", g.Right, g.Delegate, stamp(g.Until))
				}
			})
		},
	}
	o.flags(cmd, true)
	return cmd
}

func accountPassword() *cobra.Command {
	var o options
	var stdin, apop bool
	cmd := &cobra.Command{
		Use:   "password ADDRESS [--apop] --password-stdin",
		Short: "Set the password, or the separate APOP secret",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !stdin {
				return usage("give --password-stdin and the password on standard input")
			}
			secret, err := secretFrom(cmd.InOrStdin())
			if err != nil {
				return err
			}
			_, err = o.call(cmd.Context(), "account.password", admin.AccountArgs{Address: args[0], Password: secret, APOP: apop}, true)
			return err
		},
	}
	o.flags(cmd, false)
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVar(&apop, "apop", false, "set the APOP secret")
	return cmd
}

func accountSet() *cobra.Command {
	var o options
	var confirmed bool
	cmd := &cobra.Command{
		Use:   "set ADDRESS KEY VALUE|@FILE",
		Short: "Set what policies read as box:setting(KEY); quota is the server's own",
		Args:  cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := readValue(args[2])
			if err != nil {
				return err
			}
			_, err = o.call(cmd.Context(), "account.set", admin.SetArgs{Address: args[0], Key: args[1], Value: value, Confirmed: confirmed}, true)
			return err
		},
	}
	o.flags(cmd, false)
	cmd.Flags().BoolVar(&confirmed, "confirmed", false, "the people whom the setting names have agreed, such as the target of a forward")
	return cmd
}

func accountGrant() *cobra.Command {
	var o options
	var until string
	cmd := &cobra.Command{
		Use:   "grant OWNER DELEGATE send-as|send-on-behalf|read|full [--until DAY]",
		Short: "Let a delegate act for an owner",
		Args:  cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := o.call(cmd.Context(), "account.grant", admin.GrantArgs{Owner: args[0], Delegate: args[1], Right: args[2], Until: until}, true)
			return err
		},
	}
	o.flags(cmd, false)
	cmd.Flags().StringVar(&until, "until", "", "the last `day`, as 2026-12-31")
	return cmd
}

func accountAudit() *cobra.Command {
	var o options
	var limit int
	cmd := &cobra.Command{
		Use:   "audit OWNER",
		Short: "Print what others did in an owner's name, the newest first",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd, &o, "account.audit", admin.AuditArgs{Owner: args[0], Limit: limit}, true, func(w io.Writer, list []audit.Entry) {
				for _, e := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", stamp(e.Time), e.Who, strings.TrimSpace(e.Action+" "+e.Right), e.As, e.IP, e.MessageID)
				}
			})
		},
	}
	o.flags(cmd, true)
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many entries")
	return cmd
}

func accountRevoke() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "revoke OWNER DELEGATE [RIGHT]",
		Short: "Revoke a right, or all rights of a delegate",
		Args:  cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := admin.GrantArgs{Owner: args[0], Delegate: args[1]}
			if len(args) == 3 {
				in.Right = args[2]
			}
			_, err := o.call(cmd.Context(), "account.revoke", in, true)
			return err
		},
	}
	o.flags(cmd, false)
	return cmd
}
