package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// FailNext has the next transaction fail: before it is persisted, or after.
func (s *Store) FailNext(persisted bool) {
	mode := faultLost
	if persisted {
		mode = faultReported
	}
	f := faultFunc(func() faultMode { return mode })
	s.fault.Store(&f)
}

// FailSync has the next transaction pass although Badger logs that the value
// log was not flushed, which is all that Badger does about it.
func (s *Store) FailSync() {
	f := faultFunc(func() faultMode {
		s.failure.Errorf("Error while curlf sync: %v\n", errors.New("input/output error"))
		return faultNone
	})
	s.fault.Store(&f)
}

// SetProbe replaces the look at the file system.
func (s *Store) SetProbe(free func() int64) {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	s.space.probe = func(string) (int64, error) { return free(), nil }
	s.space.at = s.space.at.AddDate(-1, 0, 0)
}

// PutRaw writes a key without the checks of the store, to simulate a deleted key that
// comes back.
func (s *Store) PutRaw(key, payload []byte) error {
	return s.db.Update(func(txn *badger.Txn) error { return txn.Set(key, seal(key, payload)) })
}

// RawKeys returns the keys under a prefix.
func (s *Store) RawKeys(prefix string) (keys [][]byte) {
	_ = s.db.View(func(txn *badger.Txn) error {
		eachKey(txn, []byte(prefix), []byte(prefix), func(k []byte) bool {
			keys = append(keys, k)
			return true
		})
		return nil
	})
	return keys
}

// RawValue returns the stored payload of a key.
func (s *Store) RawValue(key []byte) (p []byte, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		p, err = get(txn, key)
		return err
	})
	return p, err
}

// Mark returns the watermark of a class in memory.
func (s *Store) Mark(c envelope.Class) []byte { return s.marks.get()[c] }

// SaveMarks writes the watermarks.
func (s *Store) SaveMarks(ctx context.Context) error { return s.saveMarks(ctx) }

// Flatten does what Run does at night.
func (s *Store) Flatten() error { return s.flatten() }

// Audit checks what must hold between the keys after a full sweep: bodies,
// header sections and edges belong together, counters equal items, and
// nothing is left of messages that have gone.
func (s *Store) Audit() error {
	a := &auditor{bodies: map[envelope.ID]bool{}, headers: map[envelope.ID]bool{}, spooled: map[envelope.ID]bool{}}
	return errors.Join(s.db.View(func(txn *badger.Txn) error {
		for _, prefix := range []string{"q/", "x/", "b/", "h/", "m/", "g/", "r/", "d/", "i/", "M/", "U/"} {
			eachKey(txn, []byte(prefix), []byte(prefix), func(k []byte) bool {
				a.key(txn, k)
				return true
			})
		}
		return nil
	}), errors.Join(a.errs...))
}

type auditor struct {
	bodies, headers, spooled map[envelope.ID]bool
	errs                     []error
}

func (a *auditor) failf(format string, args ...any) {
	a.errs = append(a.errs, fmt.Errorf(format, args...))
}

func (a *auditor) key(txn *badger.Txn, k []byte) {
	id, _ := idAt(k)
	switch k[0] {
	case 'q':
		a.spooled[id] = true
	case 'x':
		a.edge(txn, k, id)
	case 'b':
		if !a.bodies[id] {
			a.failf("chunk of %s without an edge", id)
		}
	case 'h':
		if !a.headers[id] {
			a.failf("header section %s without an edge", id)
		}
	case 'm', 'g', 'r':
		if !a.spooled[id] {
			a.failf("record %q of a message that has gone", k)
		}
	case 'd':
		e, err := parseDueKey(k)
		if known, kerr := dueKnown(txn, k, e); err != nil || kerr != nil || !known {
			a.failf("due entry %x dangles: %v %v", k, err, kerr)
		}
	case 'i':
		a.item(txn, k)
	case 'M':
		a.box(txn, k)
	case 'U':
		a.owner(txn, k)
	}
}

func (a *auditor) edge(txn *badger.Txn, k []byte, body envelope.ID) {
	header := envelope.ID(k[2+idLen:])
	a.bodies[body], a.headers[header] = true, true
	if rest := k[2+2*idLen:]; rest[0] == 'q' {
		if !a.spooled[header] {
			a.failf("edge of %s, which is not spooled", header)
		}
	} else if _, err := get(txn, append([]byte("i/"), rest[1:]...)); err != nil {
		a.failf("edge %x of no item: %v", k, err)
	}
}

func (a *auditor) item(txn *badger.Txn, k []byte) {
	box, uid := store.MailboxID(binary.BigEndian.Uint64(k[2:])), binary.BigEndian.Uint32(k[10:])
	v, err := get(txn, k)
	if err != nil {
		a.failf("item %d/%d: %v", box, uid, err)
		return
	}
	i, err := decodeItem(v, uid)
	if err != nil {
		a.failf("item %d/%d: %v", box, uid, err)
		return
	}
	if _, err := get(txn, itemEdge(i.body, i.header, box, uid)); err != nil {
		a.failf("item %d/%d has no edge: %v", box, uid, err)
	}
}

func (a *auditor) box(txn *badger.Txn, k []byte) {
	v, err := get(txn, k)
	if err != nil {
		a.failf("folder %q: %v", k, err)
		return
	}
	b, err := decodeBox(v)
	if err != nil {
		a.failf("folder %q: %v", k, err)
		return
	}
	var count, bytes int64
	prefix := folderIDKey('i', b.id)
	eachKey(txn, prefix, prefix, func(ik []byte) bool {
		v, _ := get(txn, ik)
		i, err := decodeItem(v, 0)
		if err != nil {
			a.failf("item %x: %v", ik, err)
			return true
		}
		count, bytes = count+1, bytes+i.Size
		return true
	})
	if count != b.count || bytes != b.bytes {
		a.failf("folder %q says %d items, %d octets; has %d, %d", k, b.count, b.bytes, count, bytes)
	}
}

func (a *auditor) owner(txn *badger.Txn, k []byte) {
	v, _ := get(txn, k)
	acc, err := decodeAccount(v)
	if err != nil {
		a.failf("account %q: %v", k, err)
		return
	}
	var used int64
	prefix := folderKey(envelope.Address(k[2:]), "")
	eachKey(txn, prefix, prefix, func(bk []byte) bool {
		v, _ := get(txn, bk)
		if b, err := decodeBox(v); err == nil {
			used += b.bytes
		}
		return true
	})
	if used != acc.used {
		a.failf("account %q says %d octets, has %d", k, acc.used, used)
	}
}

// DeleteRaw deletes a key without the checks of the store.
func (s *Store) DeleteRaw(key []byte) error {
	return s.db.Update(func(txn *badger.Txn) error { return txn.Delete(key) })
}

// Collect does what Run does every two seconds; it returns the disk space of the store
// after that.
func (s *Store) Collect(ctx context.Context) (disk int64, err error) {
	err = s.collect(ctx)
	s.space.measure()
	return s.space.disk.Load(), err
}

// ErrCutOff ends an upgrade that CutOffUpgrade cuts off.
var ErrCutOff = errors.New("cut off")

// CutOffUpgrade has an upgrade write a record in each commit and end at commit
// n, counted from 0: after it was written, or before.
func CutOffUpgrade(o Options, n int, persisted bool) Options {
	o.upgradeHook = func(u *upgrade) {
		u.batch = 1
		u.commit = func(txn *badger.Txn) error {
			if n--; n >= 0 {
				return txn.Commit()
			}
			if persisted {
				if err := txn.Commit(); err != nil {
					return err
				}
			}
			return ErrCutOff
		}
	}
	return o
}

// DamageDuringUpgrade writes a group that cannot be read before the upgrade
// looks at groups.
func DamageDuringUpgrade(o Options) Options {
	o.upgradeHook = func(u *upgrade) {
		key := groupKey(envelope.ID{1}, 0)
		_ = u.s.db.Update(func(txn *badger.Txn) error { return txn.Set(key, seal(key, []byte("short"))) })
	}
	return o
}
