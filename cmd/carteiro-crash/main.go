// Command carteiro-crash tests the first promise of the server: what it
// answered with 250 is not lost. It runs `carteiro serve` as a child on a
// temporary folder, loads it through SMTP, ends it with SIGKILL at random
// moments, starts it again, and in the end reads all mailboxes by POP3 and
// compares them with its ledger of what the server answered.
//
// After a kill, the kernel still has what the process wrote. Whether the disk
// has it too depends on fsync; a power cut would test that, this command does
// not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	carteiro    string // binary; empty: built from this module
	duration    time.Duration
	connections int
	maxSize     int
	seed        uint64
	keep        bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	f := flag.NewFlagSet("carteiro-crash", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.carteiro, "carteiro", "", "`binary` of the server (default: built with go build ./cmd/carteiro)")
	f.DurationVar(&o.duration, "duration", time.Minute, "how `long` to load and kill")
	f.IntVar(&o.connections, "connections", 8, "SMTP clients at once")
	f.IntVar(&o.maxSize, "max-size", 64<<10, "largest body in `octets`")
	f.Uint64Var(&o.seed, "seed", rand.Uint64(), "of the random moments and sizes")
	f.BoolVar(&o.keep, "keep", false, "keep the temporary folder")
	if err := f.Parse(args); err != nil || f.NArg() > 0 {
		return 2
	}
	verdict, err := crashTest(ctx, o, stdout, stderr)
	if err == nil {
		err = verdict.Err()
	}
	if err != nil {
		fmt.Fprintln(stderr, "carteiro-crash:", err)
		return 1
	}
	return 0
}

// crashTest runs the whole test and returns the result of the audit.
func crashTest(ctx context.Context, o options, stdout, stderr io.Writer) (AuditResult, error) {
	dir, err := os.MkdirTemp("", "carteiro-crash-")
	if err != nil {
		return AuditResult{}, err
	}
	if o.keep {
		fmt.Fprintln(stdout, "folder:", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	if o.carteiro == "" {
		o.carteiro = filepath.Join(dir, "carteiro")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.carteiro, "carteiro/cmd/carteiro")
		if out, err := build.CombinedOutput(); err != nil {
			return AuditResult{}, fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	h := &testServer{binary: o.carteiro, dir: dir, log: stderr}
	if err := h.prepare(ctx); err != nil {
		return AuditResult{}, err
	}
	fmt.Fprintf(stdout, "seed %d\n", o.seed)
	led, kills, slowest, err := loadAndKill(ctx, o, h, stdout)
	if err != nil {
		return AuditResult{}, err
	}
	found, err := readAll(ctx, h)
	if err != nil {
		return AuditResult{}, err
	}
	v := led.Audit(found)
	v.Kills, v.SlowestStart = kills, slowest
	fmt.Fprint(stdout, v)
	return v, nil
}

// loadAndKill starts, loads and kills the server again and again until the time
// is over.
func loadAndKill(ctx context.Context, o options, h *testServer, stdout io.Writer) (*Ledger, int, time.Duration, error) {
	rnd := rand.New(rand.NewPCG(o.seed, 0))
	led := &Ledger{}
	kills := 0
	var slowest time.Duration
	for end := time.Now().Add(o.duration); time.Now().Before(end); {
		life, err := h.start(ctx)
		if err != nil {
			return nil, 0, 0, fmt.Errorf("start %d: %w", kills+1, err)
		}
		slowest = max(slowest, life.took)
		// Most processes run for a short time: crashes within the first moments, while the
		// store recovers and the queue wakes up, are the harder ones.
		span := time.Duration(rnd.Int64N(int64(400 * time.Millisecond)))
		if rnd.IntN(3) == 0 {
			span = time.Duration(rnd.Int64N(int64(2 * time.Second)))
		}
		before := led.Count(kept)
		senders := sendAll(ctx, o, life.smtp, led, rnd.Uint64())
		select {
		case <-ctx.Done():
		case <-life.done:
		case <-time.After(span):
		}
		died := life.kill()
		senders.Wait()
		if err := ctx.Err(); err != nil {
			return nil, 0, 0, err
		}
		if !died {
			return nil, 0, 0, errors.New("the server ended by itself")
		}
		kills++
		fmt.Fprintf(stdout, "life %3d: up after %4d ms, killed after %4d ms, %5d messages accepted\n", kills, life.took.Milliseconds(),
			span.Milliseconds(), led.Count(kept)-before)
	}
	return led, kills, slowest, nil
}

// readAll reads and removes all messages, kills the server once more, and
// checks that they stay removed.
func readAll(ctx context.Context, h *testServer) ([]Found, error) {
	life, err := h.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("last start: %w", err)
	}
	defer life.kill()
	if err := h.untilDelivered(ctx, life); err != nil {
		return nil, err
	}
	var all []Found
	for _, who := range accounts {
		found, err := readMailbox(life.pop3, who)
		if err != nil {
			return nil, fmt.Errorf("mailbox of %s: %w", who, err)
		}
		all = append(all, found...)
	}
	life.kill()
	again, err := h.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start after the mailboxes were emptied: %w", err)
	}
	defer again.kill()
	for _, who := range accounts {
		found, err := readMailbox(again.pop3, who)
		if err != nil {
			return nil, fmt.Errorf("mailbox of %s: %w", who, err)
		}
		if len(found) > 0 {
			return nil, fmt.Errorf("%d messages of %s came back after QUIT had removed them", len(found), who)
		}
	}
	return all, nil
}
