package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

func (w *world) apply(effects ...envelope.Effect) []int64 {
	w.Helper()
	r, err := w.s.Apply(w.ctx, effects)
	w.must(err)
	return r
}

// wantValue compares a key's value; "" is an absent key.
func (w *world) wantValue(space, key, want string) {
	w.Helper()
	v, err := w.s.Get(w.ctx, space, key)
	if want == "" && !errors.Is(err, store.ErrNotFound) || want != "" && (err != nil || string(v) != want) {
		w.Errorf("%s/%s is %q, %v; want %q", space, key, v, err, want)
	}
}

func testKV(w *world) {
	w.apply(
		envelope.Effect{Space: "s", Op: envelope.Set, Key: "a/1", Value: []byte("one")},
		envelope.Effect{Space: "s", Op: envelope.Set, Key: "a/2", Value: []byte("two")},
		envelope.Effect{Space: "s", Op: envelope.Set, Key: "b", Value: []byte{}},
		envelope.Effect{Space: "st", Op: envelope.Set, Key: "a/3", Value: []byte("another space")},
		envelope.Effect{Space: "", Op: envelope.Set, Key: "sa/4", Value: []byte("another space")},
	)
	r := w.apply(
		envelope.Effect{Space: "s", Op: envelope.Incr, Key: "n", N: 5},
		envelope.Effect{Space: "s", Op: envelope.Incr, Key: "n", N: -7},
		envelope.Effect{Space: "s", Op: envelope.CAS, Key: "c", Value: []byte("x")},
		envelope.Effect{Space: "s", Op: envelope.CAS, Key: "c", Value: []byte("y")},
		envelope.Effect{Space: "s", Op: envelope.CAS, Key: "c", Old: []byte("x"), Value: []byte("z")},
		envelope.Effect{Space: "s", Op: envelope.CAS, Key: "b", Old: []byte{}, Value: []byte("was empty")},
		envelope.Effect{Space: "s", Op: envelope.Delete, Key: "a/2"},
	)
	if !slices.Equal(r[:6], []int64{5, -2, 1, 0, 1, 1}) || len(r) != 7 {
		w.Errorf("results %v", r)
	}
	w.reopen()
	w.wantValue("s", "a/1", "one")
	w.wantValue("s", "a/2", "")
	w.wantValue("s", "n", "-2")
	w.wantValue("s", "c", "z")
	w.wantValue("s", "b", "was empty")
	w.wantScan("a/", 10, "a/1=one")
	w.wantScan("", 3, "a/1=one", "b=was empty", "c=z")
	if _, err := w.s.Apply(w.ctx, []envelope.Effect{
		{Space: "s", Op: envelope.Set, Key: "new", Value: []byte("x")},
		{Space: "s", Op: envelope.Incr, Key: "c", N: 1},
	}); err == nil {
		w.Error("a text was incremented")
	}
	w.wantValue("s", "new", "")
}

func (w *world) wantScan(prefix string, limit int, want ...string) {
	w.Helper()
	var got []string
	for p, err := range w.s.Scan(w.ctx, "s", prefix, limit) {
		w.must(err)
		got = append(got, p.Key+"="+string(p.Value))
	}
	if !slices.Equal(got, want) {
		w.Errorf("scan of %q: %q, want %q", prefix, got, want)
	}
}

func testKVExpiry(w *world) {
	w.apply(
		envelope.Effect{Space: "s", Op: envelope.Set, Key: "short", Value: []byte("x"), TTL: time.Minute},
		envelope.Effect{Space: "s", Op: envelope.Set, Key: "long", Value: []byte("x"), TTL: time.Hour},
		envelope.Effect{Space: "s", Op: envelope.Incr, Key: "n", N: 3, TTL: time.Minute},
	)
	w.h.Clock.Advance(30 * time.Second)
	w.apply(envelope.Effect{Space: "s", Op: envelope.Incr, Key: "n", N: 1}) // keeps the minute
	w.wantValue("s", "short", "x")
	w.wantValue("s", "n", "4")
	w.h.Clock.Advance(30 * time.Second)
	w.wantValue("s", "short", "")
	w.wantValue("s", "n", "")
	w.wantScan("", 10, "long=x")
	r := w.apply(
		envelope.Effect{Space: "s", Op: envelope.CAS, Key: "short", Value: []byte("once"), TTL: time.Minute},
		envelope.Effect{Space: "s", Op: envelope.CAS, Key: "short", Value: []byte("twice"), TTL: time.Minute},
		envelope.Effect{Space: "s", Op: envelope.Incr, Key: "n", N: 1},
	)
	if !slices.Equal(r, []int64{1, 0, 1}) {
		w.Errorf("results on expired keys %v", r)
	}
	w.reopen()
	w.h.Clock.Advance(2 * time.Minute)
	w.wantValue("s", "short", "")
	w.wantValue("s", "n", "1")
}

func testKVAtomic(w *world) {
	const writers, each = 16, 20
	var wg sync.WaitGroup
	won := make([]int64, writers)
	for n := range writers {
		wg.Go(func() {
			for i := range each {
				r, err := w.s.Apply(w.ctx, []envelope.Effect{
					{Space: "s", Op: envelope.Incr, Key: "n", N: 1},
					{Space: "s", Op: envelope.CAS, Key: fmt.Sprint("once", i), Value: []byte("x")},
				})
				if err != nil {
					w.Error(err)
					return
				}
				won[n] += r[1]
			}
		})
	}
	wg.Wait()
	w.wantValue("s", "n", fmt.Sprint(writers*each))
	sum := int64(0)
	for _, n := range won {
		sum += n
	}
	if sum != each {
		w.Errorf("%d winners of %d swaps", sum, each)
	}
}

// testEffects: effects come with their commit, and a mistake among them does
// not hold the mail up.
func testEffects(w *world) {
	m := w.sample("x", "b@example.com")
	w.must(w.s.Commit(w.ctx, []envelope.Effect{
		{Space: "s", Op: envelope.Set, Key: "text", Value: []byte("abc")},
		{Space: "s", Op: envelope.Incr, Key: "text", N: 1},
		{Space: "s", Op: envelope.Incr, Key: "n", N: 2},
	}, m))
	x := w.done(m.Envelope.ID, 0)
	x.Effects = []envelope.Effect{{Space: "s", Op: envelope.Incr, Key: "n", N: 2}, {Space: "s", Op: envelope.Delete, Key: "text"}}
	w.must(w.s.Settle(w.ctx, x))
	w.wantValue("s", "n", "4")
	w.wantValue("s", "text", "")
}

func testRecords(w *world) {
	put := func(kind, name, value string) store.Record {
		return store.Record{Kind: kind, Name: name, Value: []byte(value)}
	}
	w.must(w.s.PutRecords(w.ctx, put("account", "b@x", "B"), put("account", "a@x", "A"), put("accounts", "c", "C")))
	w.reopen()
	if v, err := w.s.Record(w.ctx, "account", "a@x"); err != nil || string(v) != "A" {
		w.Errorf("record is %q, %v", v, err)
	}
	if _, err := w.s.Record(w.ctx, "account", "z"); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("record that is not there: %v", err)
	}
	v, err := w.s.Record(w.ctx, "account", "a@x")
	w.must(err)
	v[0] = 'Z' // it is the caller's
	if v, err := w.s.Record(w.ctx, "account", "a@x"); err != nil || string(v) != "A" {
		w.Errorf("record that was read before is %q, %v", v, err)
	}
	swap := put("account", "a@x", "A2")
	swap.Check, swap.Old = true, []byte("A")
	w.must(w.s.PutRecords(w.ctx, swap))
	if v, err := w.s.Record(w.ctx, "account", "a@x"); err != nil || string(v) != "A2" {
		w.Errorf("record that was changed is %q, %v", v, err)
	}
	w.must(w.s.PutRecords(w.ctx, put("account", "z", "Z")))
	if v, err := w.s.Record(w.ctx, "account", "z"); err != nil || string(v) != "Z" {
		w.Errorf("record that was not there is %q, %v", v, err)
	}
	w.must(w.s.PutRecords(w.ctx, store.Record{Kind: "account", Name: "z"}))
	if _, err := w.s.Record(w.ctx, "account", "z"); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("record that was removed: %v", err)
	}
	if err := w.s.PutRecords(w.ctx, put("account", "new", "N"), swap); !errors.Is(err, store.ErrConflict) {
		w.Errorf("swap of a changed record: %v", err)
	}
	fresh := put("account", "a@x", "A3")
	fresh.Check = true
	if err := w.s.PutRecords(w.ctx, fresh); !errors.Is(err, store.ErrConflict) {
		w.Errorf("making a record that exists: %v", err)
	}
	w.must(w.s.PutRecords(w.ctx, store.Record{Kind: "account", Name: "b@x"}))
	var got []string
	for r, err := range w.s.Records(w.ctx, "account", "") {
		w.must(err)
		got = append(got, r.Kind+" "+r.Name+"="+string(r.Value))
	}
	if !slices.Equal(got, []string{"account a@x=A2"}) {
		w.Errorf("records %q", got)
	}
	if err := w.s.PutRecords(w.ctx, put("account", "a\x00b", "x")); err == nil {
		w.Error("a name with NUL was taken")
	}
}

// testRecordsAtOnce: a caller that wrote a record reads the new one, also while others
// read; a write whose caller gave up is visible too, when it is done.
func testRecordsAtOnce(w *world) {
	ctx, stop := context.WithCancel(w.ctx)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if _, err := w.s.Record(w.ctx, "account", "a@x"); err != nil && !errors.Is(err, store.ErrNotFound) {
					w.Error(err)
				}
			}
		})
	}
	defer func() { stop(); readers.Wait() }()
	for i := range 300 {
		want := strconv.Itoa(i)
		r := store.Record{Kind: "account", Name: "a@x", Value: []byte(want)}
		short, cancel := context.WithTimeout(w.ctx, time.Duration(i%3)*100*time.Microsecond)
		if i%2 == 0 {
			short = w.ctx
		}
		err := w.s.PutRecords(short, r)
		cancel()
		got := func() string {
			v, err := w.s.Record(w.ctx, r.Kind, r.Name)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				w.Fatal(err)
			}
			return string(v)
		}
		if err == nil && got() != want {
			w.Fatalf("read %q after writing %q", got(), want)
		}
		if err != nil { // it is written before the next write, or not at all
			w.apply(envelope.Effect{Space: "s", Op: envelope.Incr, Key: "n", N: 1})
			for stored, err := range w.s.Records(w.ctx, r.Kind, r.Name) {
				w.must(err)
				if got() != string(stored.Value) {
					w.Fatalf("read %q, stored is %q", got(), stored.Value)
				}
			}
		}
	}
}
