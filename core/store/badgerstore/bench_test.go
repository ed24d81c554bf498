package badgerstore_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
)

// share runs b.N calls on a number of goroutines.
func share(b *testing.B, writers int, call func(n int64) error) {
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if err := call(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func eachLoad(b *testing.B, f func(b *testing.B, body []byte, writers int)) {
	for _, size := range []int{2 << 10, 64 << 10} {
		for _, writers := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, writers), func(b *testing.B) {
				f(b, make([]byte, size), writers)
			})
		}
	}
}

// BenchmarkCommit accepts messages; see BenchmarkFileFsync in the same run.
func BenchmarkCommit(b *testing.B) {
	eachLoad(b, func(b *testing.B, body []byte, writers int) {
		s := open(b, badgerstore.Options{Dir: b.TempDir()})
		before := cpu()
		share(b, writers, func(int64) error {
			m := message("b@example.com")
			m.Draft = s.Draft(context.Background())
			if _, err := m.Draft.Write(body); err != nil {
				return err
			}
			return s.Commit(context.Background(), nil, m)
		})
		st := s.Stats()
		b.ReportMetric(float64(st.Committed)/float64(st.Commits), "msg/commit")
		reportCPU(b, before)
	})
}

// BenchmarkFileFsync is a file and an fsync per message.
func BenchmarkFileFsync(b *testing.B) {
	eachLoad(b, func(b *testing.B, body []byte, writers int) {
		dir := b.TempDir()
		share(b, writers, func(n int64) error {
			f, err := os.Create(filepath.Join(dir, strconv.FormatInt(n, 10)))
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.Write(body); err != nil {
				return err
			}
			return f.Sync()
		})
	})
}

// BenchmarkChurn accepts messages and delivers them to one mailbox.
func BenchmarkChurn(b *testing.B) {
	s := open(b, badgerstore.Options{Dir: b.TempDir()})
	body := make([]byte, 10<<10)
	before := cpu()
	share(b, 64, func(int64) error {
		m := message("b@example.com")
		m.Draft = s.Draft(context.Background())
		if _, err := m.Draft.Write(body); err != nil {
			return err
		}
		if err := s.Commit(context.Background(), nil, m); err != nil {
			return err
		}
		x := settled(m)
		x.Deliveries = []store.Delivery{{Owner: "b@example.com", Message: m.Envelope.ID, Source: &m.Envelope, Size: m.Envelope.Size}}
		return s.Settle(context.Background(), x)
	})
	// Each commit waits for the disk twice, once for each of Badger's logs.
	b.ReportMetric(float64(s.Stats().Commits)/float64(b.N), "commits/msg")
	reportCPU(b, before)
}

// cpu returns the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, before time.Duration) {
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/msg")
}

// BenchmarkLargeBody streams 50 MiB.
func BenchmarkLargeBody(b *testing.B) {
	s := open(b, badgerstore.Options{Dir: b.TempDir()})
	piece := make([]byte, 32<<10)
	b.SetBytes(50 << 20)
	for b.Loop() {
		m := message("b@example.com")
		m.Draft = s.Draft(b.Context())
		for m.Draft.Size() < 50<<20 {
			if _, err := m.Draft.Write(piece); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Commit(b.Context(), nil, m); err != nil {
			b.Fatal(err)
		}
		if err := s.Remove(b.Context(), m.Envelope.ID); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rss(b, "VmHWM"))/(1<<20), "peak-MiB")
}

// BenchmarkMailbox reads a folder of 100,000 messages.
func BenchmarkMailbox(b *testing.B) {
	const items = 100_000
	s := open(b, badgerstore.Options{Dir: b.TempDir()})
	m := commit(b, s, strings.Repeat("x", 10<<10), "b@example.com")
	for n := 0; n < items; {
		var ds []store.Delivery
		for range 1000 {
			ds = append(ds,
				store.Delivery{Owner: "b@example.com", Message: m.Envelope.ID, Rcpt: uint32(n), Source: &m.Envelope, Size: m.Envelope.Size})
			n++
		}
		if err := s.Deliver(b.Context(), ds...); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Stat", func(b *testing.B) {
		for b.Loop() {
			if info, err := s.Mailbox(b.Context(), "b@example.com", ""); err != nil || info.Count != items {
				b.Fatalf("%d items, %v", info.Count, err)
			}
		}
	})
	info, err := s.Mailbox(b.Context(), "b@example.com", "")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Uidl", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for range s.Items(b.Context(), info.ID) {
				n++
			}
			if n != items {
				b.Fatalf("%d items", n)
			}
		}
	})
	b.Run("Retr", func(b *testing.B) {
		for uid := uint32(0); b.Loop(); uid++ {
			r, err := s.Open(b.Context(), info.ID, uid*7919%items+1)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				b.Fatal(err)
			}
			r.Close()
		}
	})
}

// BenchmarkOpenMillion opens a spool of 1,000,000 queued recipients and looks
// at the first 10,000 that are due.
func BenchmarkOpenMillion(b *testing.B) {
	o := badgerstore.Options{Dir: b.TempDir()}
	s := open(b, o)
	fillMillion(b, s)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	debug.FreeOSMemory() // what filling took is not what opening takes
	var opening, window time.Duration
	var anon int64
	for b.Loop() {
		begun := time.Now()
		s := open(b, o)
		opening += time.Since(begun)
		begun = time.Now()
		n := 0
		for _, err := range s.Due(b.Context(), envelope.Normal, time.Now().Add(time.Hour)) {
			if err != nil {
				b.Fatal(err)
			}
			if n++; n == 10_000 {
				break
			}
		}
		window += time.Since(begun)
		b.StopTimer()
		anon = max(anon, rss(b, "RssAnon"))
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(opening.Milliseconds())/float64(b.N), "open-ms")
	b.ReportMetric(float64(window.Milliseconds())/float64(b.N), "window-ms")
	b.ReportMetric(float64(anon)/(1<<20), "anon-MiB")
}

// fillMillion commits 50,000 messages for 20 recipients in as many groups.
func fillMillion(b *testing.B, s *badgerstore.Store) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for next.Add(1) <= 50_000 {
				m := message()
				m.Groups = nil
				for i := range 20 {
					m.Groups = append(m.Groups, message(envelope.Address(fmt.Sprintf("b%d@example.com", i))).Groups...)
				}
				m.Draft = s.Draft(context.Background())
				if err := s.Commit(context.Background(), nil, m); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// rss reads a figure of this process in octets.
func rss(b *testing.B, field string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc")
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}
