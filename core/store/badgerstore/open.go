package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Sizes that the memory, the space that garbage takes and the time to open
// follow from. With Badger's defaults the collector never gets to work,
// because only compaction tells it what is garbage and tables this small are
// what makes compactions frequent.
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

func badgerOptions(o Options, l *latch) badger.Options {
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

func openBadger(o Options, l *latch) (db *badger.DB, err error) {
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

// openError sorts what Badger says on opening. Everything that is not the
// operating system's refusal is damage.
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
func (s *Store) readMeta() (marks [envelope.Classes][]byte, have uint32, err error) {
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
