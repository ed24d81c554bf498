package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/smtp"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sendAll starts the SMTP clients; each sends until the server is gone.
func sendAll(ctx context.Context, o options, addr string, led *Ledger, seed uint64) *sync.WaitGroup {
	var clients sync.WaitGroup
	for i := range o.connections {
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				if session(ctx, o, addr, led, rnd) != nil {
					return
				}
			}
		})
	}
	return &clients
}

// session sends some messages over one connection. An error means that the
// server is gone; the ledger is complete.
func session(ctx context.Context, o options, addr string, led *Ledger, rnd *rand.Rand) error {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	c, err := smtp.NewClient(conn, "mx.crash.example")
	if err != nil {
		return err
	}
	if err := c.Hello("client.crash.example"); err != nil {
		return err
	}
	for range 1 + rnd.IntN(20) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := send(c, o, led, rnd); err != nil {
			return err
		}
	}
	return c.Quit()
}

// send sends one message to some of the accounts.
func send(c *smtp.Client, o options, led *Ledger, rnd *rand.Rand) error {
	to := []string{}
	for _, i := range rnd.Perm(len(accounts))[:1+rnd.IntN(len(accounts))] {
		to = append(to, accounts[i])
	}
	text := body(rnd, o.maxSize)
	n := led.Open(to, checksum(text))
	err := sendTransaction(c, n, to, text)
	var reply *textproto.Error
	switch {
	case err == nil:
		led.Record(n, kept)
	case errors.As(err, &reply) && reply.Code != 421:
		led.Record(n, refused)
		return c.Reset()
	}
	return err
}

func sendTransaction(c *smtp.Client, n int, to []string, text string) error {
	if err := c.Mail("client@there.example"); err != nil {
		return err
	}
	for _, r := range to {
		if err := c.Rcpt(r); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "From: client@there.example\r\nSubject: entry\r\nX-Ledger: %d\r\n\r\n%s", n, text); err != nil {
		return err
	}
	return w.Close()
}

// body is random lines, some with a leading dot.
func body(rnd *rand.Rand, most int) string {
	size := rnd.IntN(most)
	if rnd.IntN(4) > 0 {
		size = rnd.IntN(min(most, 2000)) // most mail is small
	}
	var b strings.Builder
	for b.Len() < size {
		if rnd.IntN(20) == 0 {
			b.WriteByte('.')
		}
		fmt.Fprintf(&b, "%x%x\r\n", rnd.Uint64(), rnd.Uint64())
	}
	b.WriteString("end\r\n")
	return b.String()
}

func checksum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// readMailbox reads all messages of an account by POP3 and removes them.
func readMailbox(addr, who string) ([]Found, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Minute))
	p := popClient{textproto.NewReader(bufio.NewReader(conn)), conn}
	if _, err := p.command(""); err != nil {
		return nil, err
	}
	for _, cmd := range []string{"USER " + who, "PASS " + password} {
		if _, err := p.command(cmd); err != nil {
			return nil, err
		}
	}
	stat, err := p.command("STAT")
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.Fields(stat + " x x")[1])
	if err != nil {
		return nil, fmt.Errorf("STAT: %q", stat)
	}
	var out []Found
	for i := 1; i <= n; i++ {
		if _, err := p.command(fmt.Sprintf("RETR %d", i)); err != nil {
			return nil, err
		}
		text, err := p.ReadDotLines()
		if err != nil {
			return nil, err
		}
		out = append(out, identify(who, text))
		if _, err := p.command(fmt.Sprintf("DELE %d", i)); err != nil {
			return nil, err
		}
	}
	_, err = p.command("QUIT")
	return out, err
}

// identify finds out which entry of the ledger a message is.
func identify(who string, lines []string) Found {
	f := Found{Account: who, Number: -1}
	for i, line := range lines {
		if v, ok := strings.CutPrefix(line, "X-Ledger: "); ok {
			if n, err := strconv.Atoi(v); err == nil {
				f.Number = n
			}
		}
		if line == "" {
			f.Sum = checksum(strings.Join(lines[i+1:], "\r\n") + "\r\n")
			break
		}
	}
	return f
}

// popClient is a POP3 dialogue.
type popClient struct {
	*textproto.Reader
	conn net.Conn
}

func (p popClient) command(command string) (string, error) {
	if command != "" {
		if _, err := p.conn.Write([]byte(command + "\r\n")); err != nil {
			return "", err
		}
	}
	line, err := p.ReadLine()
	if err == nil && !strings.HasPrefix(line, "+OK") {
		verb, _, _ := strings.Cut(command, " ")
		err = fmt.Errorf("%s: %q", verb, line)
	}
	return line, err
}
