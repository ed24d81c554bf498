// Command carteiro-load measures mail servers, ours and others, over the
// network and the same way:
//
//	carteiro-load smtp  sends messages and reports rate and latency
//	carteiro-load pop3  logs in and reads maildrops
//	carteiro-load sink  accepts all mail by SMTP and drops it
//
// A run ends with one JSON object on standard output. It reports what the
// client saw; it does not measure what the server did with the mail afterwards.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const usage = "usage: carteiro-load smtp|pop3|sink [FLAGS]; carteiro-load COMMAND -h prints the flags"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errUsage is for errors of the command line.
var errUsage = errors.New("usage")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(stderr, usage)
		return 2
	}
	commands := map[string]func(context.Context, *flag.FlagSet, []string, io.Writer) error{
		"smtp": sendCommand,
		"pop3": readCommand,
		"sink": sinkCommand,
	}
	command, ok := commands[args[0]]
	if !ok {
		fmt.Fprintln(stderr, usage)
		return 2
	}
	f := flag.NewFlagSet("carteiro-load "+args[0], flag.ContinueOnError)
	f.SetOutput(stderr)
	err := command(ctx, f, args[1:], stdout)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		if err != errUsage { // flag has said it otherwise
			fmt.Fprintln(stderr, "carteiro-load:", err)
		}
		return 2
	}
	fmt.Fprintln(stderr, "carteiro-load:", err)
	return 1
}

func parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return errUsage
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%w: %q is no flag", errUsage, f.Arg(0))
	}
	return nil
}

// Report is the result of a run.
type Report struct {
	Messages    int     `json:"messages"` // accepted, or read
	Failed      int     `json:"failed"`   // refused, or lost with their connection
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"`
	PerSecond   float64 `json:"messages_per_second"`
	Bytes       int64   `json:"bytes"`
	P50         float64 `json:"p50_ms"` // of one message
	P99         float64 `json:"p99_ms"`
	Max         float64 `json:"max_ms"`
	FirstError  string  `json:"first_error,omitempty"`
}

// meter counts what the connections of a run do. Its clock starts with the
// first message: logins to POP3 before it do not count.
type meter struct {
	once   sync.Once
	start  time.Time
	left   atomic.Int64 // messages still to be done
	mu     sync.Mutex
	times  []time.Duration
	bytes  int64
	failed int
	first  error
}

func newMeter(messages int) *meter {
	m := &meter{}
	m.left.Store(int64(messages))
	return m
}

// next reports whether there is one more message to do.
func (m *meter) next() bool {
	m.begin()
	return m.left.Add(-1) >= 0
}

func (m *meter) begin() { m.once.Do(func() { m.start = time.Now() }) }

func (m *meter) done(took time.Duration, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times = append(m.times, took)
	m.bytes += bytes
}

func (m *meter) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed++
	if m.first == nil {
		m.first = err
	}
}

func (m *meter) report(connections int) Report {
	m.begin()
	m.mu.Lock()
	defer m.mu.Unlock()
	took := time.Since(m.start)
	r := Report{Messages: len(m.times), Failed: m.failed, Connections: connections, Seconds: took.Seconds(), Bytes: m.bytes,
		PerSecond: float64(len(m.times)) / took.Seconds()}
	slices.Sort(m.times)
	r.P50, r.P99, r.Max = percentile(m.times, 50), percentile(m.times, 99), percentile(m.times, 100)
	if m.first != nil {
		r.FirstError = m.first.Error()
	}
	return r
}

// percentile returns the smallest value that p percent do not exceed, in
// milliseconds.
func percentile(sorted []time.Duration, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := (len(sorted)*p + 99) / 100
	return float64(sorted[max(i, 1)-1].Microseconds()) / 1000
}

// print writes a report and returns an error if there were failures.
func (r Report) print(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return err
	}
	if r.Failed > 0 {
		return fmt.Errorf("%d messages failed; the first: %s", r.Failed, strings.TrimSpace(r.FirstError))
	}
	return nil
}
