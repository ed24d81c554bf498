// Package demo runs two complete servers, example.org and example.com, each a
// process of its own, and a DNS server with their MX records. Every step does
// something that a user, a server or an operator would do, prints it, and
// verifies what came of it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"carteiro/core/ops/admin"
	"carteiro/core/service/dns/dnsserver"
)

// After these times the demo, or one of its steps, is given up.
const (
	runLimit  = 3 * time.Minute
	stepLimit = 40 * time.Second
)

// zone has MX records with preferences: mx1 is preferred, but nothing
// listens at its address, so that mail goes to mx2.
const zone = `
example.com.       300 IN MX 10 mx1.example.com.
example.com.       300 IN MX 20 mx2.example.com.
mx1.example.com.   300 IN AAAA ::1
mx2.example.com.   300 IN A 127.0.0.1
example.org.       300 IN MX 10 relay.example.org.
relay.example.org. 300 IN A 127.0.0.1
`

// step is one row of the table at the end.
type step struct {
	name     string
	run      func(context.Context, *demo) (string, error)
	verified string // what was found to be true
	err      error
	took     time.Duration
}

// allSteps are all steps in their order; each builds on those before.
func allSteps() []*step {
	return []*step{
		{name: "a user submits with STARTTLS and AUTH; spool, queue, MX, SMTP, mailbox, POP3 with APOP", run: stepSubmission},
		{name: "an SMTP dialogue with two recipients, as in a textbook", run: stepSMTPDialogue},
		{name: "a POP3 dialogue, as in a textbook", run: stepPOP3Dialogue},
		{name: "MIME with base64 and quoted-printable arrives byte for byte", run: stepMIME},
		{name: "a policy acts at receive, queue, route and deliver", run: stepPolicy},
		{name: "the model of unwanted mail learns, classifies and unlearns", run: stepSpam},
		{name: "the policy is reloaded between two messages; a broken one is refused", run: stepReload},
		{name: "an unknown recipient bounces with a DSN", run: stepBounce},
		{name: "a user who is away answers once, from the day that was set", run: stepAutoreply},
		{name: "an assistant sends for the boss: refused, on behalf, as the boss, and no more", run: stepDelegation},
		{name: "a mailing list: one post, a copy for each member, one click to leave", run: stepList},
		{name: "forwarding: the target agrees, SRS on the way, a DSN finds the way back", run: stepForward},
		{name: "killed with SIGKILL with mail in the queue, delivered after the restart", run: stepKill},
	}
}

// Steps are the names of the steps, in their order.
func Steps() []string {
	var out []string
	for _, s := range allSteps() {
		out = append(out, s.name)
	}
	return out
}

// demo is what the steps work with.
type demo struct {
	out         io.Writer
	dir         string
	dns         *dnsserver.Server
	org, com    *server
	printTrails func(w io.Writer, trails []admin.MessageTrail)
}

// Run runs the demo and prints what happens; an error says that a step failed.
// printTrails prints as `carteiro explain` does.
func Run(ctx context.Context, out io.Writer, printTrails func(w io.Writer, trails []admin.MessageTrail)) error {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "carteiro-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{out: &lineWriter{w: out}, dir: dir, printTrails: printTrails}
	defer d.stop()
	if err := d.start(ctx); err != nil {
		return err
	}
	steps, failed := allSteps(), false
	for i, s := range steps {
		fmt.Fprintf(d.out, "\n=== %d. %s\n", i+1, s.name)
		start := time.Now()
		if failed {
			s.err = errors.New("not tried")
			continue
		}
		limited, done := context.WithTimeout(ctx, stepLimit)
		s.verified, s.err = s.run(limited, d)
		done()
		s.took = time.Since(start)
		failed = s.err != nil
		if failed {
			fmt.Fprintf(d.out, "FAILED: %v\n", s.err)
		}
	}
	printTable(d.out, steps)
	if failed {
		return errors.New("the demo failed")
	}
	return nil
}

// printTable prints what came of each step.
func printTable(w io.Writer, steps []*step) {
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	done := 0
	for i, s := range steps {
		result, text := "ok", s.verified
		if s.err != nil {
			result, text = "FAILED", s.err.Error()
		} else {
			done++
		}
		fmt.Fprintf(tw, "%d\t%s\t%s\t%.2f s\n\t\t  %s\n", i+1, result, s.name, s.took.Seconds(), text)
	}
	tw.Flush()
	fmt.Fprintf(w, "\n%d of %d steps verified\n", done, len(steps))
}

// start starts DNS and both servers.
func (d *demo) start(ctx context.Context) error {
	var err error
	if d.dns, err = dnsserver.Start(zone); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "DNS at %s serves%s", d.dns.Addr, zone)
	d.org = &server{demo: d, name: "example.org", hostname: "relay.example.org", dir: filepath.Join(d.dir, "org")}
	d.com = &server{demo: d, name: "example.com", hostname: "mx2.example.com", dir: filepath.Join(d.dir, "com")}
	for _, s := range []*server{d.org, d.com} {
		if err := s.ports.pick(); err != nil {
			return err
		}
	}
	if err := d.org.prepare(ctx, d.com.ports.mx, orgPolicy, "bob@example.org"); err != nil {
		return err
	}
	if err := d.com.prepare(ctx, d.org.ports.mx, comPolicy, "alice@example.com", "theboss@example.com", "mrose@example.com"); err != nil {
		return err
	}
	for _, s := range []*server{d.org, d.com} {
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop ends what start started.
func (d *demo) stop() {
	for _, s := range []*server{d.org, d.com} {
		if s != nil {
			s.stop()
		}
	}
	if d.dns != nil {
		d.dns.Close()
	}
}

// The policy of example.com: it acts at receive, queue and deliver.
const comPolicy = `
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
const orgPolicy = `
on("route.resolve", function(domain, key)
  if domain == "partner.example" then
    return route { hosts = { "mx2.example.com" }, tls = "may" }
  end
end)
`
