package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/message/crypt"
	"carteiro/core/ops/admin"
)

func keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Public keys of accounts and of other addresses, for encryption: add, rm, list",
	}
	var o options
	add := &cobra.Command{
		Use:   "add ADDRESS FILE",
		Short: "Add an armored OpenPGP key or a PEM certificate; it replaces one of the same kind; FILE may be -",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readKeyFile(args[1], cmd.InOrStdin())
			if err != nil {
				return err
			}
			return show(cmd, &o, "key.add", admin.KeyArgs{Address: args[0], File: file}, true, func(w io.Writer, k crypt.Key) {
				fmt.Fprintf(w, "%s: %s key %s of %s added, expires %s\n", k.Address, k.Kind, k.Fingerprint, strings.Join(k.Identities, ", "),
					stamp(k.Expires))
			})
		},
	}
	rm := &cobra.Command{
		Use:   "rm ADDRESS [openpgp|smime|FINGERPRINT]",
		Short: "Remove the keys of an address, or one of them",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := admin.KeyArgs{Address: args[0]}
			if len(args) == 2 {
				in.Which = args[1]
			}
			_, err := o.call(cmd.Context(), "key.rm", in, true)
			return err
		},
	}
	list := &cobra.Command{
		Use:   "list [ADDRESS]",
		Short: "List the keys of an address, or all",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var in admin.KeyArgs
			if len(args) == 1 {
				in.Address = args[0]
			}
			return show(cmd, &o, "key.list", in, true, func(w io.Writer, all []crypt.Key) {
				for _, k := range all {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\texpires %s\t%s\n", k.Address, k.Kind, k.Fingerprint, k.State, stamp(k.Expires),
						strings.Join(k.Identities, ", "))
				}
			})
		},
	}
	o.flags(add, true)
	o.flags(rm, false)
	o.flags(list, true)
	cmd.AddCommand(add, rm, list)
	return cmd
}

// readKeyFile reads a file, or standard input for "-". What is larger than a
// key is read so far that it is refused.
func readKeyFile(path string, stdin io.Reader) ([]byte, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usageError{err}
		}
		defer f.Close()
		stdin = f
	}
	return io.ReadAll(io.LimitReader(stdin, crypt.MaxKey+1))
}
