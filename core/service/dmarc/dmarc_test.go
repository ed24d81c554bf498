package dmarc

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// memory is a KV that can fail. The server's test has the real one.
type memory struct {
	data map[string][]byte
	err  error
}

func (m *memory) Get(_ context.Context, space, key string) ([]byte, error) {
	if v, ok := m.data[space+key]; ok {
		return v, nil
	}
	return nil, store.ErrNotFound
}

func (m *memory) Apply(_ context.Context, effects []envelope.Effect) ([]int64, error) {
	if m.err != nil {
		return nil, m.err
	}
	for _, e := range effects {
		if e.Op == envelope.Delete {
			delete(m.data, e.Space+e.Key)
		} else {
			m.data[e.Space+e.Key] = e.Value
		}
	}
	return make([]int64, len(effects)), nil
}

func (m *memory) Scan(_ context.Context, space, prefix string, limit int) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		n := 0
		for _, k := range slices.Sorted(maps.Keys(m.data)) {
			if strings.HasPrefix(k, space+prefix) && n < limit {
				n++
				if !yield(store.Pair{Key: strings.TrimPrefix(k, space), Value: m.data[k]}, nil) {
					return
				}
			}
		}
	}
}

var (
	morning   = time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)
	published = envelope.DMARCRecord{
		Domain: "a.example",
		P:      "reject",
		SP:     "reject",
		NP:     "reject",
		ADKIM:  "r",
		ASPF:   "r",
		FO:     "0",
		RUA:    []string{"mailto:x@a.example"},
	}
)

func TestLedger(t *testing.T) {
	m := &memory{data: map[string][]byte{}}
	l := NewLedger(m)
	row := Row{IP: "192.0.2.1", Disposition: "none", HeaderFrom: "a.example"}
	l.Add(morning, published, row)
	l.Add(morning, published, row)
	m.err = errors.New("disk is full")
	if err := l.Flush(t.Context()); !errors.Is(err, m.err) {
		t.Fatalf("flush to a full disk: %v", err)
	}
	m.err = nil
	l.Add(morning, published, row)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	later := NewLedger(m) // after a restart
	changed := published
	changed.P = "none"
	later.Add(morning.Add(time.Hour), changed, row)
	later.Add(morning.Add(20*time.Hour), published, row) // the day after
	for _, skipped := range []envelope.DMARCRecord{
		{Domain: "a.example"}, {Domain: "a!b.example", RUA: published.RUA}, {Domain: "ä.example", RUA: published.RUA},
	} {
		later.Add(morning, skipped, row)
	}
	if err := later.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ended, err := later.EndedPeriods(t.Context(), morning.Add(15*time.Hour)); err != nil || len(ended) != 0 {
		t.Errorf("ended on the same day: %v, %v", ended, err)
	}
	ended, err := later.EndedPeriods(t.Context(), morning.Add(24*time.Hour))
	if err != nil || len(ended) != 1 || ended[0].Domain != "a.example" || !ended[0].Day.Equal(morning.Truncate(24*time.Hour)) {
		t.Fatalf("ended %v, %v", ended, err)
	}
	r, gone, err := later.Report(t.Context(), ended[0])
	if err != nil || len(r.Rows) != 1 || r.Messages() != 4 || r.Published.P != "none" || len(gone) != 1 {
		t.Fatalf("report %+v, %d rows to delete, %v", r, len(gone), err)
	}
	if _, err := m.Apply(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if ended, _ := later.EndedPeriods(t.Context(), morning.Add(72*time.Hour)); len(ended) != 1 || day(ended[0].Day) != "2026-11-03" {
		t.Errorf("left: %v", ended)
	}
}

// TestLedgerIsBounded: forged mail cannot fill the disk.
func TestLedgerIsBounded(t *testing.T) {
	m := &memory{data: map[string][]byte{}}
	l := NewLedger(m)
	for n := range 2*MaxRows + 1 {
		l.Add(morning, published, Row{IP: "192.0.2.1", HeaderFrom: fmt.Sprintf("%d.a.example", n)})
	}
	for d := range maxAll/MaxRows + 3 {
		other := published
		other.Domain = fmt.Sprintf("%d.example", d)
		for n := range MaxRows {
			l.Add(morning, other, Row{IP: fmt.Sprint(n)})
		}
	}
	huge := Row{IP: "192.0.2.9", HeaderFrom: strings.Repeat("x", 1<<20), Keys: make([]Key, 1000)}
	huge.Keys[0].Selector = strings.Repeat("\xff", 1<<20)
	l.Add(morning.Add(24*time.Hour), published, huge)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(m.data) != maxAll+1 {
		t.Errorf("%d rows", len(m.data))
	}
	var first, largest int
	for k, v := range m.data {
		if strings.HasPrefix(k, space+"2026-11-02 a.example ") {
			first++
		}
		largest = max(largest, len(v))
	}
	if first != MaxRows || largest > 8<<10 {
		t.Errorf("%d rows of one domain, the largest of %d octets", first, largest)
	}
}

// TestReportIsBounded: a server that starts anew forgets how many rows a domain
// has; its report has no more for that, and takes all of them out.
func TestReportIsBounded(t *testing.T) {
	m := &memory{data: map[string][]byte{}}
	for start := range 3 {
		l := NewLedger(m)
		for n := range MaxRows {
			l.Add(morning, published, Row{IP: fmt.Sprint(start, n)})
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, gone, err := NewLedger(m).Report(t.Context(), Period{morning.Truncate(24 * time.Hour), "a.example"})
	if err != nil || len(r.Rows) != MaxRows || len(gone) != 3*MaxRows {
		t.Errorf("%d rows, %d taken out, %v", len(r.Rows), len(gone), err)
	}
}

// TestReportIsXML: a report is valid XML with any content of messages.
func TestReportIsXML(t *testing.T) {
	r := &Report{Hostname: "mx.example", From: "r@mx.example", Begin: morning.Truncate(24 * time.Hour), Published: published,
		Rows: []CountedRow{
			{Row{IP: "2001:db8::1", Disposition: "none", HeaderFrom: "<&]]>\x00\xff\u2028", Keys: []Key{{"d", "<s>", "fail"}}}, 3},
		}}
	text, err := r.XML()
	if err != nil {
		t.Fatal(err)
	}
	var back feedback
	if err := xml.Unmarshal(text, &back); err != nil || len(back.Records) != 1 || back.Records[0].Row.Count != 3 ||
		back.Records[0].Results.DKIM[0].Selector != "<s>" {
		t.Errorf("%v: %+v from\n%s", err, back, text)
	}
	if back.Metadata.Range.End-back.Metadata.Range.Begin != 86399 || back.Metadata.ID != "1793577600.a.example@mx.example" {
		t.Errorf("metadata %+v", back.Metadata)
	}
	_, body, err := r.Compose()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(body), "\r\n") {
		if len(line) > 78 && !strings.Contains(line, "filename=") || strings.ContainsAny(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
}
