package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/config"
	"carteiro/scripts"
)

// devAccounts are there from the start, each with the password and the APOP
// secret "carteiro".
var devAccounts = []envelope.Address{"alice@dev.example", "bob@dev.example"}

const devPassword = "carteiro"

func devCommand() *cobra.Command {
	var dir string
	var offset int
	cmd := &cobra.Command{
		Use:   "dev [--dir D] [--port-offset 1000]",
		Short: "A server to try things out, on loopback, with accounts and a clock that can be moved",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				temporary, err := os.MkdirTemp("", "carteiro-dev-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(temporary)
				dir = temporary
			}
			return dev(cmd.Context(), cmd.OutOrStdout(), dir, offset)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`folder` to keep everything in (default: a temporary one)")
	cmd.Flags().IntVar(&offset, "port-offset", 1000, "added to the standard ports")
	return cmd
}

// dev sets up a server in dir, if there is none, and serves it.
func dev(ctx context.Context, w io.Writer, dir string, offset int) error {
	path := filepath.Join(dir, site.Config)
	fresh := false
	if _, err := os.Stat(path); err != nil {
		fresh = true
		if err := writeDev(dir, offset); err != nil {
			return err
		}
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	s, err := openServer(ctx, cfg, serverOptions{clock: &clock.Clock{}})
	if err != nil {
		return err
	}
	if fresh {
		for _, a := range devAccounts {
			if err := s.directory.AddAccount(ctx, a, devPassword); err != nil {
				return err
			}
			if err := s.directory.SetAPOP(ctx, a, devPassword); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(w, devReport, dir, devAccounts[0], devAccounts[1], devPassword, path,
		25+offset, 587+offset, 465+offset, 110+offset, 995+offset, 80+offset)
	return s.serve(ctx)
}

// writeDev writes a new folder for dev.
func writeDev(dir string, offset int) error {
	files := site.Files{
		Config:    fmt.Sprintf(devTemplate, 25+offset, 587+offset, 465+offset, 110+offset, 995+offset, 80+offset),
		CertNames: []string{"localhost", "127.0.0.1", "mx.dev.example"},
		Scripts:   map[string]string{"policy.lua": string(scripts.Policy())},
	}
	if _, err := files.Write(dir); err != nil {
		return usageError{err}
	}
	return nil
}

const devTemplate = `hostname   = "mx.dev.example"
postmaster = "alice@dev.example"
domains    = ["dev.example"]
[storage]
dir      = "data"
key_file = "store.key"
reserve  = "64MiB"
[tls]
cert = "cert.pem"
key  = "key.pem"
[[listener]]
name = "mx"
protocol = "smtp"
addr = "127.0.0.1:%d"
[[listener]]
name = "submission"
protocol = "submission"
addr = "127.0.0.1:%d"
insecure_auth = true
[[listener]]
name = "submissions"
protocol = "submission"
addr = "127.0.0.1:%d"
tls = "implicit"
[[listener]]
name = "pop3"
protocol = "pop3"
addr = "127.0.0.1:%d"
insecure_auth = true
apop = true
[[listener]]
name = "pop3s"
protocol = "pop3"
addr = "127.0.0.1:%d"
tls = "implicit"
[[listener]]
name = "web"
protocol = "http"
addr = "127.0.0.1:%d"
[scripts]
dir = "scripts"
[[bundle]]
name = "carteiro/mailinglist"
[[bundle]]
name = "carteiro/forward"
[[bundle]]
name = "carteiro/autoreply"
[[bundle]]
name = "carteiro/delegate"
[delivery]
allow_private = true
[log]
format = "text"
`

const devReport = `A server to try things out runs in %[1]s
  accounts     %[2]s and %[3]s, password and APOP secret %[4]q
  commands     carteiro status -c %[5]s
  SMTP         127.0.0.1:%[6]d
  submission   127.0.0.1:%[7]d (STARTTLS or plain), %[8]d (TLS)
  POP3         127.0.0.1:%[9]d (STLS, APOP or plain), %[10]d (TLS)
  web          http://127.0.0.1:%[11]d/metrics
Send it something:
  swaks --server 127.0.0.1:%[6]d --from you@there.example --to alice@dev.example
Edit scripts/policy.lua in that folder, then: carteiro reload -c %[5]s. Ctrl-C ends it.
`
