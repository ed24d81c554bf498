package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"carteiro/core/store"
)

const (
	// minReserve is what Badger needs to write memory-mapped files, flush a
	// table and collect garbage at the same time.
	minReserve = 2*memTable + vlogFile + 16<<20
	// ballastSize is freed so that Badger can open on a full disk: its write-ahead
	// log, the head of a value log and a table.
	ballastSize = 2*memTable + vlogFile
	probeEvery  = time.Second
)

// urgency says how much of the free space a write may use.
type urgency uint8

const (
	// intake is what clients may send again later.
	intake urgency = iota
	// work finishes messages or is small; it may use half of the reserve.
	work
)

// space watches the file system. Badger writes through memory maps, where a
// full disk is a SIGBUS that kills the process, so the space is counted before
// anything is written.
type space struct {
	dir     string
	reserve int64
	ballast int64
	probe   func(dir string) (free int64, err error)
	disk    atomic.Int64 // octets the store takes, as last counted

	mu       sync.Mutex
	free     int64 // as last probed
	written  int64 // since then
	reserved int64 // promised to messages that come in
	at       time.Time
}

func newSpace(o Options) *space {
	s := &space{dir: o.Dir, reserve: max(o.Reserve, minReserve), probe: statfs}
	if o.Reserve >= 2*ballastSize {
		s.ballast = ballastSize
	}
	if o.InMemory {
		s.ballast, s.probe = 0, func(string) (int64, error) { return math.MaxInt64 / 2, nil }
	}
	return s
}

func statfs(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// look probes when the last probe is a second old. A probe that fails counts
// as a full disk. The caller holds mu.
func (s *space) look() {
	if now := time.Now(); s.at.IsZero() || now.Sub(s.at) >= probeEvery {
		free, err := s.probe(s.dir)
		if err != nil {
			free = 0
		}
		s.free, s.written, s.at = free, 0, now
	}
}

// take is check for octets that now wait for the committer: they are not on
// disk yet, but count. Once written they count twice until the next probe,
// which is the safe side.
func (s *space) take(u urgency, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.checkLocked(u, size)
	if err == nil {
		s.written += size
	}
	return err
}

// check returns ErrFull if size more octets would use space that is reserved.
func (s *space) check(u urgency, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkLocked(u, size)
}

func (s *space) checkLocked(u urgency, size int64) error {
	s.look()
	left, keep := s.free-s.written-size, s.reserve
	if u == work {
		keep /= 2
	}
	if left < keep {
		return fmt.Errorf("%d octets free: %w", s.free-s.written, store.ErrFull)
	}
	return nil
}

// promise reserves size octets for one message.
func (s *space) promise(size int64) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkLocked(intake, s.reserved+size); err != nil {
		return nil, err
	}
	s.reserved += size
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reserved -= size
	}), nil
}

// wrote counts octets until the next probe sees them.
func (s *space) wrote(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written += n
}

func (s *space) figures() (free, reserved int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	return s.free - s.written, s.reserved
}

func (s *space) ballastFile() string { return filepath.Join(s.dir, "ballast") }

// makeRoom removes the ballast before Badger opens, if there is too little
// space.
func (s *space) makeRoom() error {
	if s.ballast == 0 {
		return nil
	}
	free, err := s.probe(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if free < minReserve {
		if err := os.Remove(s.ballastFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop the ballast: %w", err)
		}
	}
	return nil
}

// keepBallast makes the ballast if there is enough space, and removes it in an
// emergency.
func (s *space) keepBallast() error {
	if s.ballast == 0 {
		return nil
	}
	free, _ := s.figures()
	if free < s.reserve/2 {
		return s.makeRoom()
	}
	if _, err := os.Stat(s.ballastFile()); err == nil || free < s.reserve+s.ballast {
		return nil
	}
	f, err := os.OpenFile(s.ballastFile(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make the ballast: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, s.ballast)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // a file system without it has to do without the ballast
	}
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(s.ballastFile())
		return fmt.Errorf("make the ballast: %w", err)
	}
	return nil
}

// measure counts the octets that the store's files take; Badger's files are
// sparse.
func (s *space) measure() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return // the figure stays as it was
	}
	var n int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
	}
	s.disk.Store(n)
}

// Reserve implements store.Spool.
func (s *spool) Reserve(size int64) (release func(), err error) {
	if err := s.failure.err(); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.space.promise(max(size, 0))
}
