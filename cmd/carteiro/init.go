package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/scripts"
)

func initCommand() *cobra.Command {
	var dir, hostname string
	var stdin bool
	cmd := &cobra.Command{Use: "init YOU@EXAMPLE.COM [--dir D]", Short: "Write a configuration, a certificate, keys and the first account; print what DNS needs", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := envelope.ParseAddress(args[0])
			if err != nil {
				return usageError{err}
			}
			password := randomPassword()
			if stdin {
				if password, err = secretFrom(cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if hostname == "" {
				hostname = "mx." + a.Domain()
			}
			return initialise(cmd.Context(), cmd.OutOrStdout(), dir, hostname, a, password, stdin)
		}}
	cmd.Flags().StringVar(&dir, "dir", "/etc/carteiro", "`folder` for the configuration")
	cmd.Flags().StringVar(&hostname, "hostname", "", "name of this server (default mx.DOMAIN)")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the account's password from standard input")
	return cmd
}

// initialise writes a new house. It refuses to touch one that is there.
func initialise(ctx context.Context, w io.Writer, dir, hostname string, a envelope.Address, password string, ownPassword bool) error {
	path := filepath.Join(dir, "carteiro.toml")
	if _, err := os.Stat(path); err == nil {
		return usage("%s exists already; nothing was changed", path)
	}
	data := filepath.Join(dir, "data")
	if dir == "/etc/carteiro" {
		data = "/var/lib/carteiro"
	}
	told := data
	if !filepath.IsAbs(data) {
		told = "data" // what is not absolute counts from the configuration's folder
	}
	if err := os.MkdirAll(filepath.Join(dir, "scripts"), 0o755); err != nil {
		return usageError{err}
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return usageError{err}
	}
	cert, key, err := selfSigned(hostname)
	if err != nil {
		return err
	}
	files := map[string][]byte{"cert.pem": cert, "key.pem": key, "store.key": []byte(randomHex(32) + "\n"),
		"scripts/policy.lua": scripts.Policy(), "carteiro.toml": []byte(fmt.Sprintf(configTemplate, hostname, a.Domain(), a, told))}
	for _, name := range []string{"cert.pem", "key.pem", "store.key", "scripts/policy.lua", "carteiro.toml"} {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], modeOf(name)); err != nil {
			return err
		}
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	if _, err := callOffline(ctx, cfg, "account.add", map[string]string{"address": string(a.Base()), "password": password}); err != nil {
		return err
	}
	fmt.Fprintf(w, initReport, path, a.Base())
	if !ownPassword {
		fmt.Fprintf(w, "Its password: %s\n", password)
	}
	fmt.Fprintf(w, dnsReport, a.Domain(), hostname, hostname, a.Domain())
	if whole, err := filepath.Abs(path); err == nil {
		path = whole
	}
	fmt.Fprintf(w, unitReport, path)
	return nil
}

func modeOf(name string) os.FileMode {
	switch name {
	case "key.pem", "store.key":
		return 0o600
	}
	return 0o644
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func randomPassword() string { return rand.Text() }

// selfSigned makes a certificate for a year, good enough for opportunistic
// TLS between servers until a real one is there.
func selfSigned(names ...string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
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
