package policytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"carteiro/core/store"
)

// faults are the errors of the store that the test set.
type faults struct {
	mu   sync.Mutex
	left map[string]int // how often each still happens; -1: always
}

// faulty are the operations that can fail, and how.
var faulty = map[string]error{
	"kv.get":  errors.New("the test has kv.get fail"),
	"kv.scan": errors.New("the test has kv.scan fail"),
	"commit":  store.ErrFull,
}

const faultsKnown = `known are "dns", "dns.mx", "dns.mx NAME" and so on, with "nxdomain", "timeout" or "servfail", ` +
	`and "kv.get", "kv.scan" or "commit" with "once", "always" or "never"`

// set has an operation fail "once", "always" or "never" from here on.
func (f *faults) set(what, how string) error {
	n, ok := map[string]int{"once": 1, "always": -1, "never": 0}[how]
	if !ok || faulty[what] == nil {
		return fmt.Errorf("%w: t.fail: %q, %q; %s", errArguments, what, how, faultsKnown)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == nil {
		f.left = map[string]int{}
	}
	f.left[what] = n
	return nil
}

// of is the error of an operation that is to fail now, or nil.
func (f *faults) of(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.left[what]
	if n == 0 {
		return nil
	}
	f.left[what] = max(n-1, -1)
	return faulty[what]
}

// faultyKV is the KV of policies.
type faultyKV struct {
	store.KV
	faults *faults
}

// Get implements store.KV.
func (f faultyKV) Get(ctx context.Context, space, key string) ([]byte, error) {
	if err := f.faults.of("kv.get"); err != nil {
		return nil, err
	}
	return f.KV.Get(ctx, space, key)
}

// Scan implements store.KV.
func (f faultyKV) Scan(ctx context.Context, space, prefix string, limit int) iter.Seq2[store.Pair, error] {
	if err := f.faults.of("kv.scan"); err != nil {
		return func(yield func(store.Pair, error) bool) { yield(store.Pair{}, err) }
	}
	return f.KV.Scan(ctx, space, prefix, limit)
}

// fail makes the named part fail in some way, by default permanently.
func (w *World) fail(what, how string) error {
	if strings.HasPrefix(what, "dns") {
		return w.names.fail(what, cmp.Or(how, "servfail"))
	}
	return w.store.faults.set(what, cmp.Or(how, "always"))
}
