package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
)

// options are what most commands share.
type options struct {
	config string
	json   bool
}

func (o *options) flags(cmd *cobra.Command, printsData bool) {
	cmd.Flags().StringVarP(&o.config, "config", "c", defaultConfig, "configuration `file`")
	if printsData {
		cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	}
}

// socketPath is where the server of a configuration listens.
func socketPath(c *config.Config) string { return filepath.Join(c.Storage.Dir, "admin.sock") }

// call asks the running server. Where there is none and offline is set, the
// store is opened by this process and answers itself.
func (o *options) call(ctx context.Context, name string, args any, offline bool) (json.RawMessage, error) {
	cfg, err := config.Load(o.config)
	if err != nil {
		return nil, err
	}
	client, err := admin.Dial(ctx, socketPath(cfg))
	if err == nil {
		return client.Call(ctx, name, args)
	}
	if !errors.Is(err, admin.ErrNoServer) || !offline {
		return nil, fmt.Errorf("%w (is `carteiro serve -c %s` running?)", err, o.config)
	}
	return callOffline(ctx, cfg, name, args)
}

// callOffline opens the store of a server that does not run.
func callOffline(ctx context.Context, cfg *config.Config, name string, args any) (json.RawMessage, error) {
	s, err := openServer(ctx, cfg, serverOptions{offline: true})
	if err != nil {
		return nil, err
	}
	defer s.close()
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	answer, err := s.service().Call(ctx, name, raw)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// print writes an answer as JSON, or lets table write it for people.
func (o *options) print(w io.Writer, raw json.RawMessage, table func(w io.Writer) error) error {
	if o.json {
		var out any
		if err := json.Unmarshal(raw, &out); err != nil {
			return err
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(out)
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if err := table(tw); err != nil {
		return err
	}
	return tw.Flush()
}

// show calls and prints: the whole of most commands.
func show[T any](cmd *cobra.Command, o *options, name string, args any, offline bool, table func(w io.Writer, v T)) error {
	raw, err := o.call(cmd.Context(), name, args, offline)
	if err != nil {
		return err
	}
	return o.print(cmd.OutOrStdout(), raw, func(w io.Writer) error {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return err
		}
		table(w, v)
		return nil
	})
}

// stamp is a time as people read it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// octets is a size as people read it.
func octets(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// secretFrom reads a password from standard input, without its line end.
func secretFrom(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return "", err
	}
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return "", usage("standard input holds no password")
	}
	return string(b), nil
}

// readValue is a value of the command line: @FILE stands for the file's text.
func readValue(v string) (string, error) {
	if len(v) > 1 && v[0] == '@' {
		b, err := os.ReadFile(v[1:])
		if err != nil {
			return "", usageError{err}
		}
		return string(b), nil
	}
	return v, nil
}
