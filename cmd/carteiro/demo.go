package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"carteiro/core/service/dns/dnsserver"
)

// The demo is the lecture: two complete servers, example.org and example.com,
// each a process of its own, and a DNS server with their MX records. Every
// step does something that a user, a server or an operator would do and
// verifies what came of it.

func demoCommand() *cobra.Command {
	return &cobra.Command{Use: "demo", Short: "The whole pipeline on loopback, verified step by step", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), cmd.OutOrStdout()) }}
}

// When a demo, or a step of it, that does not end is given up.
const (
	demoLimit = 3 * time.Minute
	stepLimit = 40 * time.Second
)

// demoZone has MX records with preferences: mx1 is preferred, but nothing
// listens at its address, so that mail goes to mx2.
const demoZone = `
example.com.       300 IN MX 10 mx1.example.com.
example.com.       300 IN MX 20 mx2.example.com.
mx1.example.com.   300 IN AAAA ::1
mx2.example.com.   300 IN A 127.0.0.1
example.org.       300 IN MX 10 relay.example.org.
relay.example.org. 300 IN A 127.0.0.1
`

// step is one row of the table at the end.
type step struct {
	name string
	run  func(context.Context, *stage) (string, error)
	said string // what was verified
	err  error
	took time.Duration
}

// demoSteps are all steps in their order; each builds on those before.
func demoSteps() []*step {
	return []*step{
		{name: "a user submits with STARTTLS and AUTH; spool, queue, MX, SMTP, mailbox, POP3 with APOP", run: stepSubmission},
		{name: "the SMTP dialogue of the lecture", run: stepSMTPDialogue},
		{name: "the POP3 dialogue of the lecture", run: stepPOP3Dialogue},
		{name: "MIME with base64 and quoted-printable arrives byte for byte", run: stepMIME},
		{name: "a policy acts at receive, queue, route and deliver", run: stepPolicy},
		{name: "the model of unwanted mail learns, judges and forgets", run: stepSpam},
		{name: "the policy is reloaded between two messages; a broken one is refused", run: stepReload},
		{name: "an unknown recipient bounces with a DSN", run: stepBounce},
		{name: "a user who is away answers once, from the day that was set", run: stepAutoreply},
		{name: "an assistant sends for the boss: refused, on behalf, as the boss, and no more", run: stepDelegation},
		{name: "a mailing list: one post, a copy for each member, one click to leave", run: stepList},
		{name: "forwarding: the target agrees, SRS on the way, a report comes home", run: stepForward},
		{name: "killed with SIGKILL with mail in the queue, delivered after the restart", run: stepKill},
	}
}

// stage is what the steps play on.
type stage struct {
	out      io.Writer
	dir      string
	dns      *dnsserver.Server
	org, com *actor
}

func demo(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "carteiro-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	st := &stage{out: &lineWriter{w: out}, dir: dir}
	if err := st.raise(ctx); err != nil {
		return err
	}
	defer st.strike()
	steps, failed := demoSteps(), false
	for i, s := range steps {
		fmt.Fprintf(st.out, "\n=== %d. %s\n", i+1, s.name)
		start := time.Now()
		if failed {
			s.err = errors.New("not tried")
			continue
		}
		limited, done := context.WithTimeout(ctx, stepLimit)
		s.said, s.err = s.run(limited, st)
		done()
		s.took = time.Since(start)
		failed = s.err != nil
		if failed {
			fmt.Fprintf(st.out, "FAILED: %v\n", s.err)
		}
	}
	table(st.out, steps)
	if failed {
		return errors.New("the demo failed")
	}
	return nil
}

func table(w io.Writer, steps []*step) {
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	done := 0
	for i, s := range steps {
		result, said := "ok", s.said
		if s.err != nil {
			result, said = "FAILED", s.err.Error()
		} else {
			done++
		}
		fmt.Fprintf(tw, "%d\t%s\t%s\t%.2f s\n\t\t  %s\n", i+1, result, s.name, s.took.Seconds(), said)
	}
	tw.Flush()
	fmt.Fprintf(w, "\n%d of %d steps verified\n", done, len(steps))
}

// raise starts DNS and both servers.
func (st *stage) raise(ctx context.Context) error {
	var err error
	if st.dns, err = dnsserver.Start(demoZone); err != nil {
		return err
	}
	fmt.Fprintf(st.out, "DNS at %s serves%s", st.dns.Addr, demoZone)
	st.org = &actor{stage: st, name: "example.org", hostname: "relay.example.org", dir: filepath.Join(st.dir, "org")}
	st.com = &actor{stage: st, name: "example.com", hostname: "mx2.example.com", dir: filepath.Join(st.dir, "com")}
	for _, a := range []*actor{st.org, st.com} {
		if err := a.ports.pick(); err != nil {
			return err
		}
	}
	if err := st.org.prepare(ctx, st.com.ports.mx, demoOrgPolicy, "bob@example.org"); err != nil {
		return err
	}
	if err := st.com.prepare(ctx, st.org.ports.mx, demoComPolicy, "alice@example.com", "theboss@example.com", "mrose@example.com"); err != nil {
		return err
	}
	for _, a := range []*actor{st.org, st.com} {
		if err := a.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (st *stage) strike() {
	for _, a := range []*actor{st.org, st.com} {
		a.stop()
	}
	st.dns.Close()
}

// The policy of example.com: it acts at receive, queue and deliver.
const demoComPolicy = `
on("receive.data", function(session, tx, msg)
  log.info("saw a message", { subject = msg:subject(), from = msg:from(), size = msg.size })
  if msg:find("lottery") then
    msg:score("LOTTERY", 6, "talks of a lottery")
  end
  if msg:score() >= 5 then
    msg:set_header("X-Spam", "yes")
    for _, rcpt in ipairs(tx:recipients()) do rcpt.meta.folder = "Junk" end
  end
end)
on("queue.commit", function(msg, group)
  if msg:header("Importance") == "high" then group:priority(5) end
end)
on("deliver.local", function(msg, rcpt, box)
  rcpt:set_header("X-Delivered-By", "policy one")
end)
`

// The policy of example.org: it chooses a route for one domain, which has no
// MX record and could not be reached otherwise.
const demoOrgPolicy = `
on("route.resolve", function(domain, key)
  if domain == "partner.example" then
    return route { hosts = { "mx2.example.com" }, tls = "may" }
  end
end)
`
