package dmarc

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"carteiro/core/internal/panics"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/service/verify"
)

// Config says who sends aggregate reports to the owners of domains in whose name
// mail arrived.
type Config struct {
	Hostname     string
	From         envelope.Address
	Organization string
}

// Mail is the message of a report.
type Mail struct {
	Sender envelope.Address
	Rcpts  []envelope.Address
	Header []byte
	Body   []byte
}

// Submit queues the message of a report (nil: none) and commits effects with it.
// It blocks until both are on disk.
type Submit func(ctx context.Context, effects []envelope.Effect, m *Mail) error

// How often counts go to disk, how long a report waits whose destination could
// not be looked up, and how long a look-up may take.
const (
	flushEvery   = time.Minute
	retryAfter   = time.Hour
	lookupWithin = 30 * time.Second
)

// Reporter sends the reports of a Ledger.
type Reporter struct {
	cfg      Config
	ledger   *Ledger
	resolver verify.Resolver
	submit   Submit
	log      *telemetry.Journal
	clock    *clock.Clock
}

// NewReporter makes a Reporter.
func NewReporter(cfg Config, l *Ledger, r verify.Resolver, submit Submit, log *telemetry.Journal, c *clock.Clock) *Reporter {
	return &Reporter{cfg: cfg, ledger: l, resolver: r, submit: submit, log: log, clock: c}
}

// Run keeps the counts and sends the reports of days that are over, until ctx
// ends. It returns nil.
func (r *Reporter) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	waits := map[Period]time.Time{}
	for {
		moved := r.clock.Moved()
		if err := panics.Catch(func() error { return r.sendDue(ctx, waits) }); err != nil && ctx.Err() == nil {
			r.log.ErrorContext(ctx, "dmarc reports failed", "err", err)
		}
		select {
		case <-ctx.Done():
			if err := r.ledger.Flush(context.WithoutCancel(ctx)); err != nil {
				r.log.ErrorContext(ctx, "dmarc counts lost", "err", err)
			}
			return nil
		case <-tick.C:
		case <-moved:
		}
	}
}

// sendDue sends the reports that are due: some time after midnight (UTC), which
// differs from host to host, so that not all hosts of the world report at once.
// waits says until when those wait that could not be sent.
//
// Crash: a report and the end of its counts are one commit. Before it: the report
// is made again, with the same identifier. After it: it is not.
func (r *Reporter) sendDue(ctx context.Context, waits map[Period]time.Time) error {
	if err := r.ledger.Flush(ctx); err != nil {
		return err
	}
	h := fnv.New32a()
	h.Write([]byte(r.cfg.Hostname))
	after := 5*time.Minute + time.Duration(h.Sum32()%3000)*time.Second
	ended, err := r.ledger.EndedPeriods(ctx, r.clock.Now().Add(-after))
	if err != nil {
		return err
	}
	maps.DeleteFunc(waits, func(period Period, _ time.Time) bool { return !slices.Contains(ended, period) })
	for _, period := range ended {
		now := r.clock.Now()
		if now.Before(waits[period]) {
			continue
		}
		if err := r.sendPeriod(ctx, period); errors.Is(err, errNoAnswer) {
			// The counts stay until they expire.
			r.log.WarnContext(ctx, "dmarc report waits", "domain", period.Domain, "err", err)
			waits[period] = now.Add(retryAfter)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// errNoAnswer: the destination of a report could not be looked up.
var errNoAnswer = errors.New("destination not known yet")

func (r *Reporter) sendPeriod(ctx context.Context, period Period) error {
	report, gone, err := r.ledger.Report(ctx, period)
	if err != nil || len(gone) == 0 {
		return err
	}
	report.Hostname, report.Organization, report.From = r.cfg.Hostname, r.cfg.Organization, r.cfg.From
	m, err := r.compose(ctx, report)
	if err != nil {
		return err
	}
	if m == nil || len(report.Rows) == 0 {
		r.log.Step(ctx, "dmarc report dropped", period.Domain, "reason", "its destination takes none")
		return r.submit(ctx, gone, nil)
	}
	if err := r.submit(ctx, gone, m); err != nil {
		return err
	}
	r.log.Step(ctx, "dmarc report", period.Domain, "to", m.Rcpts, "messages", report.Messages())
	return nil
}

// compose makes the message of a report, nil when no destination wants it.
// errNoAnswer.
func (r *Reporter) compose(ctx context.Context, report *Report) (*Mail, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupWithin)
	defer cancel()
	fields, body, err := report.Compose()
	if err != nil {
		return nil, err
	}
	to, err := verify.Destinations(ctx, r.resolver, report.Published.Domain, report.Published.RUA, int64(len(body)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if len(to) == 0 {
		return nil, nil
	}
	now := r.clock.Now()
	h := &mime.Header{}
	list := make([]string, len(to))
	for i, a := range to {
		list[i] = string(a)
	}
	fields = append(fields, [2]string{"To", strings.Join(list, ", ")}, [2]string{"Date", now.Format(time.RFC1123Z)},
		[2]string{"Message-ID", "<" + envelope.NewID(now).String() + "@" + r.cfg.Hostname + ">"})
	for _, f := range fields {
		if err := h.Append(f[0], f[1]); err != nil {
			return nil, err
		}
	}
	return &Mail{Sender: r.cfg.From, Rcpts: to, Header: h.Bytes(), Body: body}, nil
}
