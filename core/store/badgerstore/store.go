// Package badgerstore keeps mail in a Badger database on one disk. It is the
// only home of Badger.
//
// One goroutine, the committer, writes. It puts the waiting writes into one
// transaction, flushes it, and only then lets the callers continue. So a
// thousand waiting messages cost two flushes, not two thousand, and two
// transactions never conflict. Reads do not use it.
//
// Guarantees: the data of a call that returned nil is on disk; a call that
// returned an error other than ErrFailed or that of its context wrote nothing;
// after a failed flush no write is accepted any more. Octets and records have
// checksums, because Badger silently drops what follows a flipped bit in its
// logs. Reading detects what is missing of a body or a record that way; it
// cannot detect that a whole transaction is missing.
//
// What it does not do: share its directory with another process, survive the
// loss of the disk, or hold bodies in memory.
package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
)

// Options say where a store is and how it behaves.
type Options struct {
	Dir string
	// Reserve is the free space in octets below which no message is accepted:
	// Reserve, Draft and Commit return ErrFull. Work that finishes messages
	// continues down to half of it. Less than 64 MiB counts as 64 MiB, because
	// Badger's memory-mapped files need free space.
	Reserve int64
	// Key encrypts everything at rest with AES-256; it is nil or 32 octets.
	Key []byte
	// Trail is how long decision trails are kept; 0 means 30 days.
	Trail time.Duration
	// Clock measures the lifetime of keys and trails; nil is the system's.
	Clock *clock.Clock
	// Log gets Badger's errors and damage that no caller can be informed
	// about; nil is slog.Default.
	Log *slog.Logger
	// InMemory keeps everything in memory, for tests; Dir is not used.
	InMemory bool
	// Small, with InMemory: the store uses a sixteenth of the memory, and a commit
	// of more than half a megabyte fails.
	Small bool

	upgradeHook func(*upgrade) // tests cut upgrades off
}

// Outgrown reports whether a commit was refused for its size, so that a store
// that is not Small may take it.
func (s *Store) Outgrown() bool { return s.outgrown.Load() }

// DefaultTrail is how long trails are kept if Options do not say.
const DefaultTrail = 30 * 24 * time.Hour

// Store implements store.Store. It is safe for concurrent use. Its parts, one for
// each interface of package store and one for the sweeper, share an engine.
type Store struct {
	*engine
	*bodies
	*spool
	*mailboxes
	*keyValues
	*adminData
	*sweeper
}

// engine is Badger, the goroutine that commits, and what both need.
type engine struct {
	opt     Options
	db      *badger.DB
	log     *slog.Logger
	failure *failure
	space   *space
	marks   watermarks
	records recordCache
	queue   chan *write
	done    chan struct{} // closed when the committer has ended
	seq     atomic.Uint64 // of trail records
	fault   atomic.Pointer[faultFunc]

	mu     sync.Mutex
	idle   *sync.Cond // active became 0
	active int        // calls that use db
	closed bool

	commits, committed atomic.Int64
	tombs              atomic.Int64 // deletions since the last Flatten
	garbage            atomic.Bool  // notes for the sweeper were written
	outgrown           atomic.Bool  // see Outgrown
}

// bodies are the octets of messages, in the spool and in mailboxes.
type bodies struct {
	*engine

	draftMu   sync.Mutex
	drafts    map[envelope.ID]struct{} // bodies being written by this process
	abandoned []envelope.ID            // those given up after chunks of them went to disk
}

// spool implements store.Spool.
type spool struct{ *bodies }

// mailboxes implements store.Mailboxes.
type mailboxes struct {
	*bodies

	lockMu sync.Mutex
	locks  map[envelope.Address]struct{} // maildrops in use
}

// keyValues implements store.KV.
type keyValues struct{ *engine }

// adminData implements store.Data.
type adminData struct{ *engine }

// sweeper removes what nothing names any more.
type sweeper struct{ *bodies }

var _ store.Store = (*Store)(nil)

// Open opens the store in o.Dir, or makes one. It returns an error that is
// ErrLocked when another process has it, ErrVersion when a newer Carteiro
// wrote it, ErrCorrupt when it cannot be read, and a plain one for a wrong
// key; none of these changes what is stored. A store of an older format is
// brought to the present one first, which reads all records of some kinds and
// may take minutes; the log shows the progress. Close it.
func Open(o Options) (*Store, error) {
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	if s.db, err = openBadger(s.opt, s.failure); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	marks, have, err := s.readMeta()
	if err == nil {
		err = s.upgrade(have)
	}
	if err != nil {
		s.db.Close()
		return nil, fmt.Errorf("open store %s: %w", o.Dir, err)
	}
	s.marks.set(marks)
	go s.commitLoop(&committer{store: s.engine, persisted: marks[:], cache: map[string]counter{}})
	return s, nil
}

func newStore(o Options) (*Store, error) {
	if len(o.Key) != 0 && len(o.Key) != 32 {
		return nil, fmt.Errorf("open store: the key has %d octets instead of 32", len(o.Key))
	}
	if o.Trail == 0 {
		o.Trail = DefaultTrail
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	e := &engine{
		opt: o, log: o.Log, failure: newFailure(o.Log), space: newSpace(o),
		queue: make(chan *write, maxWrites), done: make(chan struct{}),
	}
	b := &bodies{engine: e, drafts: map[envelope.ID]struct{}{}}
	s := &Store{e, b, &spool{b}, &mailboxes{bodies: b, locks: map[envelope.Address]struct{}{}}, &keyValues{e}, &adminData{e}, &sweeper{b}}
	s.idle = sync.NewCond(&s.mu)
	return s, s.space.makeRoom()
}

// Close waits for calls in progress, including iterators that are still in use,
// and closes the database.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	s.closed = true
	for s.active > 0 {
		s.idle.Wait()
	}
	s.mu.Unlock()
	close(s.queue)
	<-s.done
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// enter is called before db or queue are used, leave afterwards. A counter
// and not a read lock, because a consumer of an iterator may enter again
// while Close waits.
func (s *engine) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	s.active++
	return nil
}

func (s *engine) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active--; s.active == 0 && s.closed {
		s.idle.Broadcast()
	}
}

// view runs f on a snapshot.
func (s *engine) view(f func(*badger.Txn) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.db.View(f)
}

// Stats implements store.Store.
func (s *Store) Stats() store.Stats {
	free, reserved := s.space.figures()
	return store.Stats{
		Kind: "badger", Dir: s.opt.Dir, Version: format,
		Free: free, Reserved: reserved, Disk: s.space.disk.Load(),
		Commits: s.commits.Load(), Committed: s.committed.Load(),
		Failed: s.failure.err() != nil,
	}
}

// These sizes determine the memory, the space that garbage takes and the time
// to open. With Badger's defaults the collector never does anything, because
// only compactions find garbage, and only small tables make them frequent.
const (
	memTable = 8 << 20
	vlogFile = 32 << 20
	// valueThreshold is from where on a value is stored apart from its key,
	// which keeps bodies out of compactions.
	valueThreshold = 1 << 10
	// maxInMemory is the largest value of a store in memory, as Badger has it.
	maxInMemory = 1 << 20
	// A small store in memory has room for a chunk of a body in a transaction,
	// and for little else.
	smallTable = 4 << 20
	smallValue = 600 << 10
)

func badgerOptions(o Options, l *failure) badger.Options {
	b := badger.DefaultOptions(o.Dir).
		WithSyncWrites(true).WithDetectConflicts(false).WithNumVersionsToKeep(1).
		WithValueThreshold(valueThreshold).WithMemTableSize(memTable).WithValueLogFileSize(vlogFile).
		WithNumLevelZeroTables(1).WithBaseLevelSize(2 << 20).WithNumCompactors(2).
		WithCompression(options.None).WithBlockCacheSize(32 << 20).
		WithVerifyValueChecksum(true).WithMetricsEnabled(false).WithLogger(l)
	if o.Key != nil {
		b = b.WithEncryptionKey(o.Key).WithIndexCacheSize(32 << 20)
	}
	if o.InMemory {
		// Bodies count towards a transaction's size here, so it has to be large.
		b = b.WithDir("").WithValueDir("").WithInMemory(true).
			WithMemTableSize(64 << 20).WithValueThreshold(maxInMemory)
		if o.Small {
			b = b.WithMemTableSize(smallTable).WithNumMemtables(1).WithBlockCacheSize(0).WithValueThreshold(smallValue).
				WithBaseTableSize(smallTable / 8).WithNumCompactors(2)
		}
	}
	return b
}

func openBadger(o Options, l *failure) (db *badger.DB, err error) {
	if !o.InMemory {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, err
		}
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: %w: %v", o.Dir, store.ErrCorrupt, r)
		}
	}()
	db, err = badger.Open(badgerOptions(o, l))
	if err != nil {
		return nil, openError(o.Dir, err)
	}
	return db, nil
}

// openError classifies Badger's error on opening. Every error that is not from
// the operating system is damage.
func openError(dir string, err error) error {
	refused := []error{fs.ErrPermission, syscall.ENOSPC, syscall.EROFS, syscall.ENOTDIR, syscall.EMFILE, syscall.ENOMEM}
	switch {
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return fmt.Errorf("%s is %w by another process", dir, store.ErrLocked)
	case errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return fmt.Errorf("%s: the key does not fit the store", dir)
	case slices.ContainsFunc(refused, func(r error) bool { return errors.Is(err, r) }):
		return fmt.Errorf("%s: %w", dir, err)
	}
	return fmt.Errorf("%s: %w, restore it from a backup: %w", dir, store.ErrCorrupt, err)
}

// readMeta reads the format of the store, or writes it into a new one, and the
// watermarks of the due index. ErrVersion.
func (s *engine) readMeta() (marks [envelope.Classes][]byte, have uint32, err error) {
	key := metaKey("version")
	have = format
	err = s.db.View(func(txn *badger.Txn) error {
		for c := range marks {
			v, err := get(txn, markKey(envelope.Class(c)))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			marks[c] = v
		}
		v, err := get(txn, key)
		if err != nil {
			return err
		}
		have, err = readFormat(v)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		// A crash before this leaves an empty store without a version, which
		// the next start takes for new, as it is.
		err = s.db.Update(func(txn *badger.Txn) error {
			return setFormat(txn, format)
		})
	}
	return marks, have, err
}
