package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
)

// maxPiped bounds what sendmail reads from standard input; the server's own
// limits are below it.
const maxPiped = 256 << 20

// sendmailArgs are the options of /usr/sbin/sendmail that programs use.
type sendmailArgs struct {
	config     string
	recipients bool // -t
	ignoreDots bool // -i
	sender     string
	senderSet  bool
	name       string
	notify     string
	ret        string
	envid      string
	to         []string
}

// sendmailCommand parses its own arguments: sendmail's "-oi", "-f ADDRESS" and
// "-fADDRESS" are older than double dashes.
func sendmailCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "sendmail [-t] [-i] [-f SENDER] [RECIPIENT...]",
		Short:              "Submit a message from standard input, as /usr/sbin/sendmail does",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := parseSendmail(args)
			if err != nil {
				return err
			}
			return a.send(cmd.Context(), cmd.InOrStdin())
		},
	}
}

func parseSendmail(args []string) (*sendmailArgs, error) {
	a := &sendmailArgs{config: defaultConfig}
	values := map[string]*string{
		"-c": &a.config,
		"-f": &a.sender,
		"-r": &a.sender,
		"-F": &a.name,
		"-N": &a.notify,
		"-R": &a.ret,
		"-V": &a.envid,
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			a.to = append(a.to, args[i+1:]...)
			return a, nil
		case !strings.HasPrefix(arg, "-") || arg == "-":
			a.to = append(a.to, arg)
		case arg == "-t":
			a.recipients = true
		case arg == "-ti" || arg == "-it":
			a.recipients, a.ignoreDots = true, true
		case arg == "-i" || arg == "-oi":
			a.ignoreDots = true
		case strings.HasPrefix(arg, "-o") || strings.HasPrefix(arg, "-B") || arg == "-m" || arg == "-n" || arg == "-v" || arg == "-bm" ||
			arg == "-U" || arg == "-G":
			if arg == "-o" || arg == "-B" { // the value is an argument of its own
				i++
			}
		default:
			target, ok := values[arg[:2]]
			if !ok {
				return nil, usage("sendmail: option %s is not supported", arg)
			}
			if *target = arg[2:]; *target == "" {
				if i++; i >= len(args) {
					return nil, usage("sendmail: option %s needs a value", arg)
				}
				*target = args[i]
			}
			a.senderSet = a.senderSet || target == &a.sender
		}
	}
	return a, nil
}

// send reads the message, converts its lines and recipients for SMTP and
// hands it to the running server.
func (a *sendmailArgs) send(ctx context.Context, stdin io.Reader) error {
	cfg, err := config.Load(a.config)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(stdin, maxPiped+1))
	if err != nil {
		return err
	}
	if len(raw) > maxPiped {
		return fmt.Errorf("sendmail: message is larger than %d octets", maxPiped)
	}
	text := toCRLF(raw, a.ignoreDots)
	if err := a.complete(cfg, text); err != nil {
		return err
	}
	client, err := admin.Dial(ctx, socketPath(cfg))
	if err != nil {
		return err
	}
	id, err := client.Submit(ctx, admin.Submission{
		Sender:     a.sender,
		Recipients: a.to,
		Name:       a.name,
		Notify:     a.notify,
		Ret:        a.ret,
		EnvID:      a.envid,
	}, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("sendmail: %w", err)
	}
	_ = id // sendmail says nothing when all is well
	return nil
}

// complete finds sender and recipients.
func (a *sendmailArgs) complete(cfg *config.Config, text []byte) error {
	if !a.senderSet {
		a.sender = "nobody"
		if u, err := user.Current(); err == nil {
			a.sender = u.Username
		}
	}
	a.sender = qualify(strings.Trim(a.sender, "<>"), cfg)
	if a.recipients {
		h := mime.ParseHeader(headerOf(text))
		for _, m := range h.Addresses("To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc") {
			a.to = append(a.to, string(m.Address))
		}
	}
	if len(a.to) == 0 {
		return usage("sendmail: no recipients")
	}
	for i, to := range a.to {
		a.to[i] = qualify(to, cfg)
		if _, err := envelope.ParseAddress(a.to[i]); err != nil {
			return usage("sendmail: recipient %q: %w", to, err)
		}
	}
	return nil
}

// qualify completes a bare name, as Postfix does with $myorigin.
func qualify(a string, cfg *config.Config) string {
	if a == "" || strings.Contains(a, "@") {
		return a
	}
	domain := cfg.Hostname
	if len(cfg.Domains) > 0 {
		domain = cfg.Domains[0]
	}
	return a + "@" + domain
}

func headerOf(text []byte) []byte {
	if i := bytes.Index(text, []byte("\r\n\r\n")); i >= 0 {
		return text[:i+2]
	}
	return text
}

// toCRLF makes lines end in CRLF, and ends the message at a line with a lone
// dot unless dots are to be ignored.
func toCRLF(raw []byte, ignoreDots bool) []byte {
	out := make([]byte, 0, len(raw)+len(raw)/32+2)
	for len(raw) > 0 {
		line := raw
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			line = raw[:i+1]
		}
		raw = raw[len(line):]
		line = bytes.TrimRight(line, "\r\n")
		if !ignoreDots && len(line) == 1 && line[0] == '.' {
			break
		}
		out = append(append(out, line...), '\r', '\n')
	}
	return out
}
