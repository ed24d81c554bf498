package badgerstore_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"carteiro/core/ops/clock"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
	"carteiro/core/store/storetest"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t testing.TB, o badgerstore.Options) *badgerstore.Store {
	t.Helper()
	o.Log = quiet
	s, err := badgerstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func harness(o badgerstore.Options) func(testing.TB) *storetest.Harness {
	return func(t testing.TB) *storetest.Harness {
		o := o
		o.Dir, o.Clock = t.TempDir(), new(clock.Clock)
		return &storetest.Harness{
			Clock: o.Clock,
			Open:  func(t testing.TB) store.Store { return open(t, o) },
			Sweep: func(s store.Store) error { return s.(*badgerstore.Store).Sweep(context.Background(), true) },
			Fail:  func(s store.Store, persisted bool) { s.(*badgerstore.Store).FailNext(persisted) },
			Audit: func(s store.Store) error { return s.(*badgerstore.Store).Audit() },
		}
	}
}

func TestConformance(t *testing.T) { storetest.Run(t, harness(badgerstore.Options{})) }

func TestConformanceEncrypted(t *testing.T) {
	storetest.Run(t, harness(badgerstore.Options{Key: []byte("0123456789abcdef0123456789abcdef")}))
}
