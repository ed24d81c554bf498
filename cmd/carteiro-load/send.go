package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"time"
)

// sending is what the flags of smtp say.
type sending struct {
	server, tls         string
	from, to            string
	user, password      string
	connections, rcpts  int
	messages, size, per int
	pipelining          bool
	timeout             time.Duration
}

func sendCommand(ctx context.Context, f *flag.FlagSet, args []string, stdout io.Writer) error {
	var o sending
	f.StringVar(&o.server, "server", "127.0.0.1:25", "`host:port`")
	f.StringVar(&o.tls, "tls", "none", "none, starttls or implicit; certificates are not verified")
	f.StringVar(&o.from, "from", "load@load.example", "envelope sender")
	f.StringVar(&o.to, "to", "", "recipient; %d in it counts from 0 where there are several (must be set)")
	f.StringVar(&o.user, "user", "", "log in with AUTH PLAIN")
	f.StringVar(&o.password, "password", "", "")
	f.IntVar(&o.connections, "connections", 10, "at once")
	f.IntVar(&o.messages, "messages", 1000, "in all")
	f.IntVar(&o.per, "per-connection", 0, "messages, then a new connection; 0: no limit")
	f.IntVar(&o.rcpts, "rcpts", 1, "recipients of each message")
	f.IntVar(&o.size, "size", 4096, "of a message in `octets`")
	f.BoolVar(&o.pipelining, "pipelining", false, "send MAIL, RCPT and DATA in one piece")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "for one message")
	if err := parse(f, args); err != nil {
		return err
	}
	switch {
	case o.to == "":
		return fmt.Errorf("%w: --to must be set", errUsage)
	case o.connections < 1 || o.messages < 1 || o.rcpts < 1:
		return fmt.Errorf("%w: --connections, --messages and --rcpts are at least 1", errUsage)
	case o.rcpts > 1 && !strings.Contains(o.to, "%d"):
		return fmt.Errorf("%w: several recipients need a %%d in --to", errUsage)
	case o.tls != "none" && o.tls != "starttls" && o.tls != "implicit":
		return fmt.Errorf("%w: --tls %q is none of none, starttls, implicit", errUsage, o.tls)
	}
	m := newMeter(o.messages)
	text := o.message()
	var clients sync.WaitGroup
	for range o.connections {
		clients.Go(func() { o.client(ctx, m, text) })
	}
	clients.Wait()
	return m.report(o.connections).print(stdout)
}

// message is a text of the wanted size, ready for the wire after DATA.
func (o *sending) message() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: load\r\n\r\n", o.from)
	for b.Len() < o.size {
		line := strings.Repeat("carteiro ", 8)
		fmt.Fprintf(&b, "%s\r\n", line[:max(0, min(len(line), o.size-b.Len()-2))])
	}
	return append(b.Bytes(), ".\r\n"...)
}

// client sends until nothing is left, over as many connections as it takes.
// A connection that breaks costs the message that was under way.
func (o *sending) client(ctx context.Context, m *meter, text []byte) {
	var c *smtpConn
	defer func() { c.quit() }()
	sent := 0
	for ctx.Err() == nil && m.next() {
		began := time.Now()
		err := error(nil)
		if c == nil {
			c, err = o.connect(ctx)
			sent = 0
		}
		if err == nil {
			err = c.send(o, text)
		}
		if err != nil {
			m.fail(err)
			c.close()
			c = nil
			continue
		}
		m.done(time.Since(began), int64(len(text)))
		if sent++; o.per > 0 && sent >= o.per {
			c.quit()
			c = nil
		}
	}
}

// smtpConn is one SMTP session of the client.
type smtpConn struct {
	net.Conn
	r *textproto.Reader
	w *bufio.Writer
}

func newConn(conn net.Conn) *smtpConn {
	return &smtpConn{conn, textproto.NewReader(bufio.NewReader(conn)), bufio.NewWriterSize(conn, 64<<10)}
}

// connect dials and says hello, encrypted and logged in if that is wanted.
func (o *sending) connect(ctx context.Context) (c *smtpConn, err error) {
	conn, err := dial(ctx, o.server, o.tls == "implicit", o.timeout)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	c = newConn(conn)
	if err := c.say("", 220); err != nil {
		return nil, err
	}
	if err := c.say("EHLO load.example", 250); err != nil {
		return nil, err
	}
	if o.tls == "starttls" {
		if err := c.say("STARTTLS", 220); err != nil {
			return nil, err
		}
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		c = newConn(conn)
		if err := c.say("EHLO load.example", 250); err != nil {
			return nil, err
		}
	}
	if o.user != "" {
		plain := base64.StdEncoding.EncodeToString([]byte("\x00" + o.user + "\x00" + o.password))
		if err := c.say("AUTH PLAIN "+plain, 235); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func dial(ctx context.Context, addr string, encrypted bool, timeout time.Duration) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(timeout))
	if encrypted {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}), nil
	}
	return conn, nil
}

// say sends a command ("" sends nothing) and expects a reply code.
func (c *smtpConn) say(command string, code int) error {
	if command != "" {
		if err := c.tell(command); err != nil {
			return err
		}
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	_, _, err := c.r.ReadResponse(code)
	return err
}

func (c *smtpConn) tell(command string) error {
	_, err := c.w.WriteString(command + "\r\n")
	return err
}

// send makes one transaction.
func (c *smtpConn) send(o *sending, text []byte) error {
	c.SetDeadline(time.Now().Add(o.timeout))
	commands := []string{"MAIL FROM:<" + o.from + ">"}
	for i := range o.rcpts {
		commands = append(commands, "RCPT TO:<"+strings.ReplaceAll(o.to, "%d", fmt.Sprint(i))+">")
	}
	codes := make([]int, len(commands))
	for i := range codes {
		codes[i] = 250
	}
	commands, codes = append(commands, "DATA"), append(codes, 354)
	if o.pipelining {
		for _, cmd := range commands {
			if err := c.tell(cmd); err != nil {
				return err
			}
		}
	}
	for i, cmd := range commands {
		if o.pipelining {
			cmd = ""
		}
		if err := c.say(cmd, codes[i]); err != nil {
			return err
		}
	}
	if _, err := c.w.Write(text); err != nil {
		return err
	}
	return c.say("", 250)
}

func (c *smtpConn) close() {
	if c != nil {
		c.Conn.Close()
	}
}

func (c *smtpConn) quit() {
	if c != nil {
		c.say("QUIT", 221)
		c.close()
	}
}
