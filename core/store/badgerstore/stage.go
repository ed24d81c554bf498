package badgerstore

import (
	"bytes"
	"errors"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// entry is one key to be written; no value means that it is deleted.
type entry struct {
	key, value []byte
	ttl        time.Time // when Badger may forget it; zero is never
}

// counter is a record that many writes of a batch change: the committer keeps it in
// memory and writes it once per batch.
type counter interface {
	encode() []byte
	clone() counter
}

// stage holds the changes of one write until all of them are known to be
// possible, so that a refused write leaves nothing in the batch. It reads its
// own changes first, then those of the batch, then the database.
type stage struct {
	batch    *batch
	now      time.Time
	early    []entry // may be written before, nothing refers to them yet
	entries  []entry
	index    map[string]int // of entries
	states   map[envelope.ID]*state
	counters map[string]counter
	due      [][]byte // keys of the due index that are new
	finished bool
}

// mailStage stages changes of mailboxes.
type mailStage struct{ *stage }

func (st *stage) put(key, payload []byte) {
	st.add(entry{key: key, value: seal(key, payload)})
}

// putExpiring stores the time of expiry in the value, where it is compared with
// the store's clock. Badger's own expiry measures real time and is an hour
// later.
func (st *stage) putExpiring(key, payload []byte, expires time.Time) {
	e := entry{key: key, value: sealExpiring(key, payload, expires)}
	if !expires.IsZero() {
		e.ttl = time.Now().Add(max(expires.Sub(st.now), 0) + time.Hour)
	}
	st.add(e)
}

func (st *stage) remove(key []byte) { st.add(entry{key: key}) }

func (st *stage) add(e entry) {
	if i, ok := st.index[string(e.key)]; ok {
		st.entries[i] = e
		return
	}
	if st.index == nil {
		st.index = make(map[string]int)
	}
	st.index[string(e.key)] = len(st.entries)
	st.entries = append(st.entries, e)
}

// get returns the payload under key and its expiry: ErrNotFound, ErrCorrupt.
func (st *stage) getExpiring(key []byte) ([]byte, time.Time, error) {
	if i, ok := st.index[string(key)]; ok {
		if st.entries[i].value == nil {
			return nil, time.Time{}, store.ErrNotFound
		}
		return unseal(key, st.entries[i].value)
	}
	return getExpiring(st.batch.tx(), key)
}

func (st *stage) get(key []byte) ([]byte, error) {
	p, _, err := st.getExpiring(key)
	return p, err
}

// live is get for records that the clock ends.
func (st *stage) live(key []byte) ([]byte, error) {
	p, expires, err := st.getExpiring(key)
	if err == nil && isExpired(expires, st.now) {
		return nil, store.ErrNotFound
	}
	return p, err
}

func isExpired(expires, now time.Time) bool { return !expires.IsZero() && !now.Before(expires) }

func (st *stage) has(key []byte) (bool, error) {
	_, err := st.live(key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// hasPrefix reports whether a key with prefix exists, this stage's included.
func (st *stage) hasPrefix(prefix []byte) bool {
	for i := range st.entries {
		if st.entries[i].value != nil && bytes.HasPrefix(st.entries[i].key, prefix) {
			return true
		}
	}
	found := false
	st.keys(prefix, func(key []byte) bool {
		i, staged := st.index[string(key)]
		found = !staged || st.entries[i].value != nil
		return !found
	})
	return found
}

// keys calls f with the batch's keys under prefix until f returns false.
func (st *stage) keys(prefix []byte, f func(key []byte) bool) {
	eachKey(st.batch.tx(), prefix, prefix, f)
}

func eachKey(txn *badger.Txn, prefix, from []byte, f func(key []byte) bool) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		if !f(it.Item().KeyCopy(nil)) {
			return
		}
	}
}

// state reads a message's state; what is changed in it is written with the
// stage. ErrNotFound when the message is not in the spool.
func (st *stage) state(id envelope.ID) (*state, error) {
	if q := st.states[id]; q != nil {
		if q.gone {
			return nil, store.ErrNotFound
		}
		return q, nil
	}
	b, err := st.get(stateKey(id))
	if err != nil {
		return nil, err
	}
	q, err := decodeState(b)
	if err == nil {
		st.setState(id, q)
	}
	return q, err
}

func (st *stage) setState(id envelope.ID, q *state) {
	if st.states == nil {
		st.states = make(map[envelope.ID]*state)
	}
	st.states[id] = q
}

func (st *stage) group(id envelope.ID, block uint32) (*group, error) {
	b, err := st.get(groupKey(id, block))
	if err != nil {
		return nil, err
	}
	return decodeGroup(b, block)
}

// addDue puts a key into the due index.
func (st *stage) addDue(key, value []byte) {
	st.put(key, value)
	st.due = append(st.due, key)
}

// maxDueTogether is how many new due entries travel in their commit. More may be
// written early: what is due without a state cannot be loaded.
const maxDueTogether = 4000

func (st *stage) addDues(entries []entry) {
	early := len(st.due)+len(entries) > maxDueTogether
	for _, e := range entries {
		if early {
			st.early = append(st.early, e)
		} else {
			st.add(e)
		}
		st.due = append(st.due, e.key)
	}
}

// count returns a counter to change; fresh makes it if there is none.
func (st *stage) count(key []byte, decode func([]byte) (counter, error), fresh func() (counter, error)) (counter, error) {
	if c := st.counters[string(key)]; c != nil {
		return c, nil
	}
	c := st.batch.counter(key)
	if c == nil {
		b, err := getExisting(st.batch.tx(), key)
		switch {
		case err != nil:
			return nil, err
		case b == nil:
			c, err = fresh()
		default:
			c, err = decode(b)
		}
		if err != nil {
			return nil, err
		}
	}
	if st.counters == nil {
		st.counters = make(map[string]counter)
	}
	c = c.clone()
	st.counters[string(key)] = c
	return c, nil
}

// getExisting is get with nil instead of ErrNotFound.
func getExisting(txn *badger.Txn, key []byte) ([]byte, error) {
	b, err := get(txn, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return b, err
}

// finish turns changed states into entries.
func (st *stage) finish() {
	if st.finished {
		return
	}
	st.finished = true
	for id, q := range st.states {
		if q.gone {
			st.remove(stateKey(id))
		} else {
			st.put(stateKey(id), q.encode())
		}
	}
}
