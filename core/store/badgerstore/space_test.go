package badgerstore_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
)

func TestFullDisk(t *testing.T) {
	const reserve = 200 << 20
	s := open(t, badgerstore.Options{Dir: t.TempDir(), Reserve: reserve})
	m := commit(t, s, "x", "b@example.com")
	ready := message("b@example.com")
	ready.Draft = s.Draft(t.Context())

	s.SetProbe(func() int64 { return reserve + 10<<20 })
	release, err := s.Reserve(8 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Reserved; got != 8<<20 {
		t.Errorf("%d octets reserved", got)
	}
	if _, err := s.Reserve(3 << 20); !errors.Is(err, store.ErrFull) {
		t.Errorf("promise of more than there is: %v", err)
	}
	release()
	release()
	if release, err = s.Reserve(3 << 20); err != nil {
		t.Errorf("after a release: %v", err)
	} else {
		release()
	}

	s.SetProbe(func() int64 { return reserve - 1 })
	if _, err := s.Reserve(0); !errors.Is(err, store.ErrFull) {
		t.Errorf("reserve: %v", err)
	}
	if _, err := io.WriteString(s.Draft(t.Context()), "x"); !errors.Is(err, store.ErrFull) {
		t.Errorf("draft: %v", err)
	}
	if err := s.Commit(t.Context(), nil, ready); !errors.Is(err, store.ErrFull) {
		t.Errorf("commit: %v", err)
	}
	x := settled(m)
	x.Group.Recipients[0].State = envelope.Queued
	if err := s.Settle(t.Context(), x); err != nil {
		t.Errorf("settle in the reserve: %v", err)
	}

	s.SetProbe(func() int64 { return reserve/2 - 1 })
	if err := s.Settle(t.Context(), settled(m)); !errors.Is(err, store.ErrFull) {
		t.Errorf("settle on a full disk: %v", err)
	}
	if err := s.Run(ended(t)); err != nil {
		t.Errorf("Run on a full disk: %v", err)
	}

	s.SetProbe(func() int64 { return 10 * reserve })
	if err := errors.Join(s.Commit(t.Context(), nil, ready), s.Settle(t.Context(), settled(m))); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// ended returns a context that is over after a moment.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestBallast(t *testing.T) {
	dir := t.TempDir()
	s := open(t, badgerstore.Options{Dir: dir, Reserve: 1 << 30})
	var free atomic.Int64
	free.Store(1 << 40)
	s.SetProbe(free.Load)
	if err := s.Run(ended(t)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ballast")); err != nil || info.Size() < 32<<20 {
		t.Fatalf("no ballast: %v", err)
	}
	free.Store(1 << 20)
	s.SetProbe(free.Load)
	if err := s.Run(ended(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ballast")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ballast is kept on a full disk: %v", err)
	}
}

// TestFailedFlush: Badger only logs that the value log was not flushed. The
// message must not be acknowledged, nor any later one, and Run must end.
func TestFailedFlush(t *testing.T) {
	s := open(t, badgerstore.Options{Dir: t.TempDir()})
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	m := message("b@example.com")
	m.Draft = s.Draft(t.Context())
	s.FailSync()
	if err := s.Commit(t.Context(), nil, m); !errors.Is(err, store.ErrFailed) {
		t.Errorf("commit with a failed flush: %v", err)
	}
	if err := <-done; !errors.Is(err, store.ErrFailed) {
		t.Errorf("Run after a failed flush: %v", err)
	}
	if _, err := s.Draft(t.Context()).Write(make([]byte, 2<<20)); !errors.Is(err, store.ErrFailed) {
		t.Errorf("draft after a failed flush: %v", err)
	}
}

// TestNeighbours: a write that is refused does not harm those that share its
// batch.
func TestNeighbours(t *testing.T) {
	s := open(t, badgerstore.Options{Dir: t.TempDir()})
	const n = 200
	errs := make(chan error, n)
	for i := range n {
		go func() {
			m := message("b@example.com")
			m.Draft = s.Draft(context.Background())
			if i%2 == 0 {
				errs <- s.Commit(context.Background(), nil, m)
				return
			}
			err := s.Remove(context.Background(), m.Envelope.ID)
			if errors.Is(err, store.ErrNotFound) {
				err = nil
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	count := 0
	for range s.Messages(t.Context()) {
		count++
	}
	if count != n/2 {
		t.Errorf("%d messages of %d", count, n/2)
	}
	if st := s.Stats(); st.Commits >= st.Committed {
		t.Errorf("%d commits for %d writes", st.Commits, st.Committed)
	}
}
