package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/scripts"
)

func initCommand() *cobra.Command {
	var in newSite
	var stdin bool
	cmd := &cobra.Command{
		Use:   "init YOU@EXAMPLE.COM [--dir D]",
		Short: "Write a configuration, a certificate, keys and the first account; print what DNS needs",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.account, err = envelope.ParseAddress(args[0]); err != nil {
				return usageError{err}
			}
			in.password, in.printPassword = rand.Text(), true
			if stdin {
				in.printPassword = false
				if in.password, err = secretFrom(cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if in.hostname == "" {
				in.hostname = "mx." + in.account.Domain()
			}
			return in.install(cmd.Context(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&in.dir, "dir", "/etc/carteiro", "`folder` for the configuration")
	cmd.Flags().StringVar(&in.hostname, "hostname", "", "name of this server (default mx.DOMAIN)")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the account's password from standard input")
	return cmd
}

// newSite is what `carteiro init` sets up.
type newSite struct {
	dir, hostname string
	account       envelope.Address // the first account, and the postmaster
	password      string
	printPassword bool // because nobody has seen it
}

// install writes a new folder and makes the first account. It refuses a folder
// that has a configuration.
func (in *newSite) install(ctx context.Context, w io.Writer) error {
	path := filepath.Join(in.dir, site.Config)
	if _, err := os.Stat(path); err == nil {
		return usage("%s exists already; nothing was changed", path)
	}
	data := filepath.Join(in.dir, "data")
	if in.dir == "/etc/carteiro" {
		data = "/var/lib/carteiro"
	}
	setting := data
	if !filepath.IsAbs(data) {
		setting = "data" // a relative path is one from the configuration's folder
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return usageError{err}
	}
	files := site.Files{
		Config:    fmt.Sprintf(configTemplate, in.hostname, in.account.Domain(), in.account, setting),
		CertNames: []string{in.hostname},
		Scripts:   map[string]string{"policy.lua": string(scripts.Policy())},
	}
	if _, err := files.Write(in.dir); err != nil {
		return usageError{err}
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	account := map[string]string{"address": string(in.account.Base()), "password": in.password}
	if _, err := callOffline(ctx, cfg, "account.add", account); err != nil {
		return err
	}
	fmt.Fprintf(w, initReport, path, in.account.Base())
	if in.printPassword {
		fmt.Fprintf(w, "Its password: %s\n", in.password)
	}
	fmt.Fprintf(w, dnsReport, in.account.Domain(), in.hostname, in.hostname, in.account.Domain())
	if whole, err := filepath.Abs(path); err == nil {
		path = whole
	}
	fmt.Fprintf(w, unitReport, path)
	return nil
}

const configTemplate = `# Written by "carteiro init"; "carteiro help config" explains every setting.
hostname   = "%[1]s"
postmaster = "%[3]s"
domains    = ["%[2]s"]

[storage]
dir      = "%[4]s"
key_file = "store.key"

[tls]
cert = "cert.pem"
key  = "key.pem"

[[listener]]
name     = "mx"
protocol = "smtp"
addr     = ":25"

[[listener]]
name     = "submissions"
protocol = "submission"
addr     = ":465"
tls      = "implicit"

[[listener]]
name     = "submission"
protocol = "submission"
addr     = ":587"

[[listener]]
name     = "pop3s"
protocol = "pop3"
addr     = ":995"
tls      = "implicit"

[[listener]]
name     = "pop3"
protocol = "pop3"
addr     = ":110"
apop     = true

# For a reverse proxy that answers at https://%[1]s ([web] url names another):
# pages of policies, such as the one that takes a member out of a mailing list.
[[listener]]
name     = "web"
protocol = "http"
addr     = "127.0.0.1:8080"

[scripts]
dir = "scripts"

# Answers for users who are away: carteiro help autoreply.
[[bundle]]
name = "carteiro/autoreply"

# What delegates do for others: carteiro help delegation.
[[bundle]]
name = "carteiro/delegate"

# Mailing lists: carteiro help lists.
[[bundle]]
name = "carteiro/mailinglist"

# Users' mail goes on to where they want it: carteiro help forwarding.
[[bundle]]
name = "carteiro/forward"

# Scores unwanted mail, says why, and acts: carteiro help spam.
# [[bundle]]
# name = "carteiro/spamscore"
`

const initReport = `Wrote %[1]s, a self-signed certificate, the store's key and scripts/policy.lua beside it.
Keep store.key: without it the mail cannot be read.
First account: %[2]s
`

const dnsReport = `
Publish in DNS:
  %[1]s.      MX   10 %[2]s.
  %[3]s.   A    (this server's address; its PTR record should say %[3]s)
  %[4]s.      TXT  "v=spf1 mx -all"
`

const unitReport = `
A unit for systemd (/etc/systemd/system/carteiro.service):
  [Unit]
  Description=Carteiro mail server
  After=network-online.target
  [Service]
  ExecStart=/usr/local/bin/carteiro serve -c %[1]s
  ExecReload=/bin/kill -HUP $MAINPID
  Restart=on-failure
  LimitNOFILE=65536
  [Install]
  WantedBy=multi-user.target

Then: carteiro check -c %[1]s
`
