package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"
)

// readOptions are the flags of pop3.
type readOptions struct {
	server, tls    string
	user, password string
	connections    int
	messages       int
	remove         bool
	timeout        time.Duration
}

func readCommand(ctx context.Context, f *flag.FlagSet, args []string, stdout io.Writer) error {
	var o readOptions
	f.StringVar(&o.server, "server", "127.0.0.1:110", "`host:port`")
	f.StringVar(&o.tls, "tls", "none", "none or implicit; certificates are not verified")
	f.StringVar(&o.user, "user", "", "account; %d in it is the number of the connection, from 0 (must be set)")
	f.StringVar(&o.password, "password", "", "")
	f.IntVar(&o.connections, "connections", 1, "at once, each with a maildrop of its own")
	f.IntVar(&o.messages, "messages", 1000, "at most, in all; each maildrop is read once")
	f.BoolVar(&o.remove, "remove", false, "remove what was read")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "for one message")
	if err := parse(f, args); err != nil {
		return err
	}
	switch {
	case o.user == "":
		return fmt.Errorf("%w: --user must be set", errUsage)
	case o.connections < 1 || o.messages < 1:
		return fmt.Errorf("%w: --connections and --messages are at least 1", errUsage)
	case o.connections > 1 && !strings.Contains(o.user, "%d"):
		return fmt.Errorf("%w: a maildrop is open once; several connections need a %%d in --user", errUsage)
	case o.tls != "none" && o.tls != "implicit":
		return fmt.Errorf("%w: --tls %q is neither none nor implicit", errUsage, o.tls)
	}
	m := newMeter(o.messages)
	var clients sync.WaitGroup
	for i := range o.connections {
		clients.Go(func() {
			if err := o.session(ctx, m, strings.ReplaceAll(o.user, "%d", strconv.Itoa(i))); err != nil {
				m.fail(err)
			}
		})
	}
	clients.Wait()
	return m.report(o.connections).print(stdout)
}

// session reads one maildrop.
func (o *readOptions) session(ctx context.Context, m *meter, user string) error {
	conn, err := dial(ctx, o.server, o.tls == "implicit", o.timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := textproto.NewReader(bufio.NewReaderSize(conn, 64<<10))
	ask := func(command string) (string, error) {
		conn.SetDeadline(time.Now().Add(o.timeout))
		if command != "" {
			if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
				return "", err
			}
		}
		line, err := r.ReadLine()
		if err == nil && !strings.HasPrefix(line, "+OK") {
			verb, _, _ := strings.Cut(command, " ")
			err = fmt.Errorf("%s: %s", verb, line)
		}
		return line, err
	}
	stat := ""
	for _, c := range []string{"", "USER " + user, "PASS " + o.password, "STAT"} {
		if stat, err = ask(c); err != nil {
			return err
		}
	}
	var n, size int
	if _, err := fmt.Sscanf(stat, "+OK %d %d", &n, &size); err != nil {
		return fmt.Errorf("STAT: %s", stat)
	}
	for i := 1; i <= n && ctx.Err() == nil && m.next(); i++ {
		began := time.Now()
		if _, err := ask("RETR " + strconv.Itoa(i)); err != nil {
			return err
		}
		read, err := io.Copy(io.Discard, r.DotReader())
		if err != nil {
			return err
		}
		m.done(time.Since(began), read)
		if o.remove {
			if _, err := ask("DELE " + strconv.Itoa(i)); err != nil {
				return err
			}
		}
	}
	_, err = ask("QUIT")
	return err
}
