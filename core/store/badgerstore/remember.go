package badgerstore

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"

	"carteiro/core/store"
)

// Records that are longer are read each time, and more than so many are not
// remembered.
const (
	longRecord = 4 << 10
	maxRecords = 10_000
)

// remembered are records as they were read: each message asks for the same
// accounts and aliases several times. What is not there is remembered too.
// They are of one revision; each commit that has any record in it begins
// another one before it is answered, so that whoever wrote a record never
// reads the one before.
type remembered struct {
	revision atomic.Uint64

	mu   sync.RWMutex
	of   uint64            // revision of seen
	seen map[string][]byte // nil: not there
}

// changed is called when a commit with records is over, however it went.
func (m *remembered) changed() { m.revision.Add(1) }

// get returns what is known of a record at the revision: ErrNotFound.
func (m *remembered) get(revision uint64, key []byte) (value []byte, known bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.of != revision {
		return nil, false, nil
	}
	if value, known = m.seen[string(key)]; known && value == nil {
		err = store.ErrNotFound
	}
	return bytes.Clone(value), known, err
}

// put remembers what was read after the revision was asked for.
func (m *remembered) put(revision uint64, key, value []byte, err error) {
	if len(value) > longRecord || err != nil && !errors.Is(err, store.ErrNotFound) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case revision < m.of:
		return
	case revision > m.of || m.seen == nil || len(m.seen) >= maxRecords:
		m.of, m.seen = revision, map[string][]byte{}
	}
	if err != nil {
		m.seen[string(key)] = nil
	} else {
		m.seen[string(key)] = append(make([]byte, 0, len(value)), value...)
	}
}
