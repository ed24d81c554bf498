package badgerstore_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
)

// flip changes one bit inside text, in whichever file of the store has it.
func flip(t *testing.T, dir, text string) {
	t.Helper()
	flipped := 0
	for name, b := range contents(t, dir) {
		i := strings.Index(b, text)
		if i < 0 {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{b[i] ^ 4}, int64(i)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		flipped++
	}
	if flipped == 0 {
		t.Fatalf("no file holds %q", text)
	}
}

// TestFlippedBit: if any bit of a message changes on disk, reading it gives an error, and
// the message stored before it is unchanged.
func TestFlippedBit(t *testing.T) {
	body := strings.Repeat("some text of a body\r\n", 100) + "THE PLACE" + strings.Repeat("more text\r\n", 100)
	large := strings.Repeat("0123456789abcdef", 80_000) + "THE PLACE" + strings.Repeat("fedcba9876543210", 1000)
	for name, c := range map[string]struct{ body, flip string }{
		"body in the value log": {body, "THE PLACE"},
		"large body":            {large, "THE PLACE"},
		"short body":            {"only THE PLACE", "THE PLACE"},
		"header section":        {body, "Subject: flip me"},
	} {
		t.Run(name, func(t *testing.T) {
			o := badgerstore.Options{Dir: t.TempDir()}
			s := open(t, o)
			before := commit(t, s, "a neighbour\r\n", "b@example.com")
			m := message("b@example.com")
			m.Header = []byte("Subject: flip me\r\n\r\n")
			m.Draft = s.Draft(t.Context())
			_, err := io.WriteString(m.Draft, c.body)
			if err := errors.Join(err, s.Commit(t.Context(), nil, m)); err != nil {
				t.Fatal(err)
			}
			d := store.Delivery{Owner: "b@example.com", Message: m.Envelope.ID, Source: &m.Envelope, Size: m.Envelope.Size}
			if err := errors.Join(s.Deliver(t.Context(), d), s.Close()); err != nil {
				t.Fatal(err)
			}
			flip(t, o.Dir, c.flip)
			s = open(t, o)
			if err := readError(s.Body(t.Context(), &m.Envelope)); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("body: %v", err)
			}
			info, err := s.Mailbox(t.Context(), "b@example.com", "")
			if err != nil {
				t.Fatal(err)
			}
			if err := readError(s.Open(t.Context(), info.ID, 1)); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("item: %v", err)
			}
			if got := readAll(t, s, &before.Envelope); string(got) != "a neighbour\r\n" {
				t.Errorf("the neighbour reads %q", got)
			}
		})
	}
}

func readError(r io.ReadCloser, err error) error {
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// TestLostChunk: a body in use without one of its chunks is damage, not the
// end of the message.
func TestLostChunk(t *testing.T) {
	s := open(t, badgerstore.Options{Dir: t.TempDir()})
	m := commit(t, s, strings.Repeat("0123456789abcdef", 80_000), "b@example.com")
	keys := s.RawKeys("b/" + string(m.Envelope.Body[:]))
	if len(keys) != 3 {
		t.Fatalf("%d chunks", len(keys))
	}
	if err := s.DeleteRaw(keys[1]); err != nil {
		t.Fatal(err)
	}
	if err := readError(s.Body(t.Context(), &m.Envelope)); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("body without a chunk: %v", err)
	}
}

// TestReappearing: keys of a message that has gone come back, as deleted keys
// did in past versions of Badger. Nothing is sent or delivered again.
func TestReappearing(t *testing.T) {
	s := open(t, badgerstore.Options{Dir: t.TempDir()})
	m := commit(t, s, "hello\r\n", "b@example.com")
	saved := map[string][]byte{}
	for _, prefix := range []string{"m/", "g/", "r/", "d/", "b/", "h/"} {
		for _, k := range s.RawKeys(prefix) {
			v, err := s.RawValue(k)
			if err != nil {
				t.Fatal(err)
			}
			saved[string(k)] = v
		}
	}
	x := settled(m)
	x.Deliveries = []store.Delivery{{Owner: "b@example.com", Message: m.Envelope.ID, Source: &m.Envelope, Size: m.Envelope.Size}}
	if err := s.Settle(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	for k, v := range saved {
		if err := s.PutRaw([]byte(k), v); err != nil {
			t.Fatal(err)
		}
	}
	for e := range s.Messages(t.Context()) {
		t.Errorf("message %s is back", e.ID)
	}
	if _, _, err := s.Load(t.Context(), m.Envelope.ID, 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("load: %v", err)
	}
	if err := s.Settle(t.Context(), x); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("settle: %v", err)
	}
	if err := s.Deliver(t.Context(), x.Deliveries...); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Mailbox(t.Context(), "b@example.com", ""); err != nil || info.Count != 1 {
		t.Errorf("%d items, %v", info.Count, err)
	}
	if err := errors.Join(s.Sweep(t.Context(), true), s.Audit()); err != nil {
		t.Error(err)
	}
	for _, prefix := range []string{"m/", "g/", "r/", "d/"} {
		if keys := s.RawKeys(prefix); len(keys) != 0 {
			t.Errorf("%d keys %s after the sweep", len(keys), prefix)
		}
	}
}

// TestWatermark: the index is not read from its start again, and an entry
// below a mark on disk is found after a new start.
func TestWatermark(t *testing.T) {
	o := badgerstore.Options{Dir: t.TempDir()}
	s := open(t, o)
	m := commit(t, s, "x", "b@example.com")
	if err := s.Settle(t.Context(), settled(m)); err != nil {
		t.Fatal(err)
	}
	late := commit(t, s, "x", "b@example.com")
	key := s.RawKeys("d/")[0]
	for range s.Due(t.Context(), envelope.Normal, late.Groups[0].Due) {
	}
	if !bytes.Equal(s.Mark(envelope.Normal), key) {
		t.Errorf("the mark is %x, the first entry %x", s.Mark(envelope.Normal), key)
	}
	if err := s.SaveMarks(t.Context()); err != nil {
		t.Fatal(err)
	}
	early := message("b@example.com")
	early.Share, early.Groups[0].Due = &late.Envelope, late.Groups[0].Due.AddDate(0, 0, -1)
	if err := errors.Join(s.Commit(t.Context(), nil, early), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	if !bytes.Equal(s.Mark(envelope.Normal), s.RawKeys("d/")[0]) {
		t.Errorf("after a new start the mark is %x", s.Mark(envelope.Normal))
	}
}

// TestForget: the keys of deliveries go a week after their message.
func TestForget(t *testing.T) {
	h := harness(badgerstore.Options{})(t)
	s := h.Open(t).(*badgerstore.Store)
	m := commit(t, s, "x", "b@example.com")
	x := settled(m)
	x.Deliveries = []store.Delivery{{Owner: "b@example.com", Message: m.Envelope.ID, Source: &m.Envelope, Size: m.Envelope.Size}}
	if err := errors.Join(s.Settle(t.Context(), x), s.Sweep(t.Context(), true)); err != nil {
		t.Fatal(err)
	}
	if n := len(s.RawKeys("u/")); n != 1 {
		t.Fatalf("%d delivery keys", n)
	}
	h.Clock.Advance(8 * 24 * 60 * 60 * 1e9)
	if err := s.Sweep(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if n := len(s.RawKeys("u/")) + len(s.RawKeys("w/")); n != 0 {
		t.Errorf("%d delivery keys after a week", n)
	}
}

// TestReclaim: the space of bodies that have gone comes back while the store
// is open. A transaction that is left open, or tables of another size, would
// prevent that.
func TestReclaim(t *testing.T) {
	const messages, size = 8000, 16 << 10
	s := open(t, badgerstore.Options{Dir: t.TempDir()})
	body := strings.Repeat("0123456789abcdef", size/16)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range messages / 64 {
				if err := s.Settle(t.Context(), settled(commit(t, s, body, "b@example.com"))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := s.Flatten(); err != nil {
		t.Fatal(err)
	}
	var disk int64
	for range 20 {
		var err error
		if disk, err = s.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d MiB in use", disk>>20)
	if disk > messages*size*2/3 {
		t.Errorf("%d MiB are in use after %d MiB have gone", disk>>20, messages*size>>20)
	}
}
