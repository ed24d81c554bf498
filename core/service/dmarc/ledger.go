// Package dmarc collects the data of aggregate reports (RFC 9990) for the
// owners of domains: how much mail in their name arrived from which hosts, how
// it was authenticated and what happened to it. A Ledger counts in the store's
// KV, for each day (UTC) and domain; a Report is the result for one domain and
// day.
// A Reporter sends the reports once a day.
package dmarc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// space is the KV space of the counts; no space of a policy has this name.
const space = "#dmarc"

// Limits of what is kept. Those who forge mail choose domains, addresses and
// selectors, so there may be as many rows as forged messages.
const (
	MaxRows = 2000   // of one domain and day; what comes on top is not reported
	maxAll  = 50_000 // of one day
	maxKeys = 20     // DKIM signatures of a row
	maxName = 253    // octets of a name that a message chose
	// Counts for which no report could be sent expire.
	life      = 7 * 24 * time.Hour
	maxStored = 8 * maxAll
)

// Row is what messages that a report counts together have in common.
type Row struct {
	IP           string `json:"ip"`
	Disposition  string `json:"disposition"`  // none, pass, quarantine, reject
	Override     string `json:"why,omitzero"` // why that is not what the domain asks for
	DKIMAligned  bool   `json:"dkim_aligned,omitzero"`
	SPFAligned   bool   `json:"spf_aligned,omitzero"`
	HeaderFrom   string `json:"from"`
	EnvelopeFrom string `json:"envelope,omitzero"`
	SPFDomain    string `json:"spf_domain,omitzero"`
	SPF          string `json:"spf,omitzero"`
	Keys         []Key  `json:"keys,omitzero"`
}

// Key is the result of one DKIM signature.
type Key struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	Result   string `json:"result"`
}

// storedRow is a Row as it is stored.
type storedRow struct {
	Row
	Count     int64                `json:"count"`
	Published envelope.DMARCRecord `json:"published"`
	Last      time.Time            `json:"last"`
}

// Store is the part of the store that a Ledger uses.
type Store interface {
	Get(ctx context.Context, space, key string) ([]byte, error)
	Apply(ctx context.Context, effects []envelope.Effect) ([]int64, error)
	Scan(ctx context.Context, space, prefix string, limit int) iter.Seq2[store.Pair, error]
}

// Ledger counts. It is safe for concurrent use. What was added since the last
// Flush is in memory and lost in a crash: reports are statistics.
type Ledger struct {
	kv Store

	mu    sync.Mutex
	fresh map[string]*storedRow // by key, since the last Flush
	rows  map[string]int        // how many a day, and a day and domain, have
	known map[string]bool       // keys that rows counts
	today string
}

// NewLedger keeps its counts in a store.
func NewLedger(kv Store) *Ledger {
	return &Ledger{kv: kv, fresh: map[string]*storedRow{}}
}

// Add counts a message. It does not block. Mail of domains that want no
// reports is not counted, nor is what goes beyond the limits.
func (l *Ledger) Add(now time.Time, published envelope.DMARCRecord, row Row) {
	if len(published.RUA) == 0 || !isPlainName(published.Domain) {
		return
	}
	row.shorten()
	day := day(now)
	key := key(day, published.Domain, row)
	l.mu.Lock()
	defer l.mu.Unlock()
	if day != l.today {
		l.today, l.rows, l.known = day, map[string]int{}, map[string]bool{}
	}
	if !l.known[key] {
		if l.rows[""] >= maxAll || l.rows[published.Domain] >= MaxRows {
			return
		}
		l.known[key] = true
		l.rows[""]++
		l.rows[published.Domain]++
	}
	c := l.fresh[key]
	if c == nil {
		c = &storedRow{Row: row}
		l.fresh[key] = c
	}
	c.Count++
	c.Published, c.Last = published, now
}

// shorten limits the length of a value that a message chose.
func (r *Row) shorten() {
	for _, s := range []*string{&r.HeaderFrom, &r.EnvelopeFrom, &r.SPFDomain} {
		*s = truncate(*s)
	}
	r.Keys = slices.Clone(r.Keys[:min(len(r.Keys), maxKeys)])
	for i := range r.Keys {
		r.Keys[i].Domain, r.Keys[i].Selector = truncate(r.Keys[i].Domain), truncate(r.Keys[i].Selector)
	}
}

func truncate(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxName)], "?") }

// isPlainName reports whether a domain can be named in a subject and a file's name
// as it is; what else the DNS can hold gets no reports.
func isPlainName(domain string) bool {
	return domain != "" && len(domain) <= maxName && !strings.ContainsFunc(domain, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// key sorts by day, then domain.
func key(day, domain string, row Row) string {
	raw, _ := json.Marshal(row) // strings and truth values
	sum := sha256.Sum256(raw)
	return day + " " + domain + " " + hex.EncodeToString(sum[:12])
}

// flushBatch bounds one transaction.
const flushBatch = 500

// Flush stores what was counted since the last Flush. It blocks until that is on disk,
// and keeps what it could not store. It must not be called concurrently.
func (l *Ledger) Flush(ctx context.Context) error {
	l.mu.Lock()
	fresh := l.fresh
	l.fresh = map[string]*storedRow{}
	l.mu.Unlock()
	var effects []envelope.Effect
	var done []string
	for key, c := range fresh {
		e, err := l.mergeStored(ctx, key, *c)
		if err != nil {
			l.restore(fresh)
			return err
		}
		effects, done = append(effects, e), append(done, key)
		if len(effects) < flushBatch && len(done) < len(fresh) {
			continue
		}
		if _, err := l.kv.Apply(ctx, effects); err != nil {
			l.restore(fresh)
			return err
		}
		for _, k := range done {
			delete(fresh, k)
		}
		effects, done = nil, nil
	}
	return nil
}

// mergeStored adds earlier counts from the store.
func (l *Ledger) mergeStored(ctx context.Context, key string, c storedRow) (envelope.Effect, error) {
	raw, err := l.kv.Get(ctx, space, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return envelope.Effect{}, err
	}
	var before storedRow
	if err == nil && json.Unmarshal(raw, &before) == nil {
		c.Count += before.Count
	}
	value, err := json.Marshal(c)
	if err != nil {
		return envelope.Effect{}, fmt.Errorf("dmarc: %w", err)
	}
	return envelope.Effect{Space: space, Op: envelope.Set, Key: key, Value: value, TTL: life}, nil
}

// restore adds counts that could not be stored to the current ones again.
func (l *Ledger) restore(fresh map[string]*storedRow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, c := range fresh {
		if again := l.fresh[key]; again != nil {
			again.Count += c.Count
		} else {
			l.fresh[key] = c
		}
	}
}

// Period is a domain's day.
type Period struct {
	Day    time.Time // its beginning, UTC
	Domain string
}

func (p Period) prefix() string { return day(p.Day) + " " + p.Domain + " " }

// EndedPeriods returns the periods with counts that were over at a time, oldest first.
func (l *Ledger) EndedPeriods(ctx context.Context, now time.Time) ([]Period, error) {
	var out []Period
	for pair, err := range l.kv.Scan(ctx, space, "", maxStored) {
		if err != nil {
			return nil, err
		}
		date, rest, _ := strings.Cut(pair.Key, " ")
		if date >= day(now) {
			break
		}
		domain, _, _ := strings.Cut(rest, " ")
		begin, err := time.Parse(time.DateOnly, date)
		if err != nil {
			continue
		}
		if p := (Period{begin, domain}); len(out) == 0 || out[len(out)-1] != p {
			out = append(out, p)
		}
	}
	return out, nil
}

// Report returns what was counted in a period, and what takes it out of the
// ledger, to be committed with the report's message.
func (l *Ledger) Report(ctx context.Context, p Period) (*Report, []envelope.Effect, error) {
	r := &Report{Begin: p.Day, Published: envelope.DMARCRecord{Domain: p.Domain}}
	var last time.Time
	var gone []envelope.Effect
	for pair, err := range l.kv.Scan(ctx, space, p.prefix(), maxStored) {
		if err != nil {
			return nil, nil, err
		}
		gone = append(gone, envelope.Effect{Space: space, Op: envelope.Delete, Key: pair.Key})
		var c storedRow
		if json.Unmarshal(pair.Value, &c) != nil {
			continue // written by a later version: it cannot be reported
		}
		if len(r.Rows) == MaxRows {
			continue // a server that started anew did not know how many there were
		}
		r.Rows = append(r.Rows, CountedRow{c.Row, c.Count})
		if c.Last.After(last) { // the final record of the day counts (RFC 9990 3.1.1)
			last, r.Published = c.Last, c.Published
		}
	}
	slices.SortFunc(r.Rows, func(a, b CountedRow) int { return strings.Compare(a.sortKey(), b.sortKey()) })
	return r, gone, nil
}

func (c CountedRow) sortKey() string {
	return c.IP + " " + c.HeaderFrom + " " + strconv.FormatInt(c.Count, 10)
}
