package badgerstore

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// format is the format of keys and records that this program writes. A change
// of it adds a step to upgradeSteps; testdata/store-1 is of format 1 and must
// stay readable.
const format = 2

// upgradeSteps take a store from one format to the next: the first one from 1
// to 2, and so on.
//
// Crash: a step that was cut off runs again from its beginning at the next
// start. So a step leaves records that it changed already as they are.
var upgradeSteps = []upgradeStep{
	{"groups say what kind they are", setGroupKinds},
}

type upgradeStep struct {
	what string
	run  func(u *upgrade) error
}

// upgradeBatch is how many records one transaction of an upgrade changes.
const upgradeBatch = 500

// upgrade is one run of a step.
type upgrade struct {
	s       *engine
	txn     *badger.Txn
	pending int // records changed in txn
	done    int // records that the step has read
	batch   int
	commit  func(*badger.Txn) error
}

// upgrade brings a store of format have to the present one.
func (s *engine) upgrade(have uint32) error {
	for ; have < format; have++ {
		step := upgradeSteps[have-1]
		s.log.Info("store upgrade begins", "from", have, "to", have+1, "step", step.what)
		u := &upgrade{s: s, batch: upgradeBatch, commit: (*badger.Txn).Commit}
		if s.opt.upgradeHook != nil {
			s.opt.upgradeHook(u)
		}
		if err := u.run(step, have+1); err != nil {
			return fmt.Errorf("upgrade from format %d to %d (%s): %w", have, have+1, step.what, err)
		}
		s.log.Info("store upgrade done", "format", have+1, "records", u.done)
	}
	return nil
}

// run does a step and then writes the new format, as the last thing.
func (u *upgrade) run(step upgradeStep, to uint32) error {
	u.txn = u.s.db.NewTransaction(true)
	defer func() { u.txn.Discard() }()
	if err := step.run(u); err != nil {
		return err
	}
	if err := u.flush(); err != nil {
		return err
	}
	if err := setFormat(u.txn, to); err != nil {
		return err
	}
	return u.flush()
}

// put changes a record.
func (u *upgrade) put(key, payload []byte) error {
	if err := u.txn.Set(key, seal(key, payload)); err != nil {
		return err
	}
	if u.pending++; u.pending < u.batch {
		return nil
	}
	return u.flush()
}

// flush writes the changes so far.
func (u *upgrade) flush() error {
	if err := u.commit(u.txn); err != nil {
		return err
	}
	u.pending, u.txn = 0, u.s.db.NewTransaction(true)
	return nil
}

// each calls f with the records under a prefix, as they were when the step
// began, and logs now and then how many those were.
func (u *upgrade) each(kind byte, f func(key, payload []byte) error) error {
	return u.s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefixOf(kind), PrefetchValues: true, PrefetchSize: 100})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().KeyCopy(nil)
			v, err := copyValue(it.Item(), key)
			if err == nil {
				v, _, err = unseal(key, v)
			}
			if err == nil {
				err = f(key, v)
			}
			if err != nil {
				return err
			}
			if u.done++; u.done%100_000 == 0 {
				u.s.log.Info("store upgrade goes on", "records", u.done)
			}
		}
		return nil
	})
}

// setFormat writes the format of the store.
func setFormat(txn *badger.Txn, n uint32) error {
	key := metaKey("version")
	return txn.Set(key, seal(key, binary.BigEndian.AppendUint32(nil, n)))
}

// readFormat reads the record that setFormat writes: ErrVersion for a format
// that this program does not know, ErrCorrupt.
func readFormat(v []byte) (uint32, error) {
	if len(v) != 4 {
		return 0, fmt.Errorf("record of the format: %w", store.ErrCorrupt)
	}
	have := binary.BigEndian.Uint32(v)
	switch {
	case have > format:
		return have, fmt.Errorf("%w: it has format %d, this program knows formats up to %d; start the newer program again", store.ErrVersion,
			have, format)
	case have == 0:
		return have, fmt.Errorf("format 0: %w", store.ErrCorrupt)
	}
	return have, nil
}

// setGroupKinds is the step from format 1: groups had the fields local, expand
// and async, and the key of those for mailboxes, held ones and asynchronous
// ones was a word that a policy may choose too.
func setGroupKinds(u *upgrade) error {
	err := u.each(keyGroup, func(key, payload []byte) error {
		if len(payload) < 12 {
			return fmt.Errorf("group %x: %w", key, store.ErrCorrupt)
		}
		fields := map[string]json.RawMessage{}
		if err := decodeJSON(payload[12:], &fields); err != nil {
			return err
		}
		if fields["kind"] != nil {
			return nil
		}
		var err error
		if fields["kind"], err = json.Marshal(kindOfFormat1(fields)); err != nil {
			return err
		}
		delete(fields, "local")
		delete(fields, "expand")
		b, err := encodeJSON(fields)
		if err != nil {
			return err
		}
		return u.put(key, append(payload[:12:12], b...))
	})
	if err != nil {
		return err
	}
	if err := u.flush(); err != nil {
		return err
	}
	return u.each(keyDue, func(key, _ []byte) error {
		e, err := parseDueKey(key)
		if err != nil {
			return err
		}
		b, err := getExisting(u.txn, groupKey(e.ID, e.Block))
		if err != nil || b == nil {
			return err // the sweeper removes due entries of nothing
		}
		g, err := decodeGroup(b, e.Block)
		if err != nil {
			return err
		}
		return u.put(key, g.dueValue())
	})
}

func kindOfFormat1(fields map[string]json.RawMessage) envelope.GroupKind {
	is := func(name string) bool { return slices.Equal(fields[name], []byte("true")) }
	switch {
	case fields["async"] != nil:
		return envelope.Asynchronous
	case is("expand"):
		return envelope.HeldForGroup
	case is("local"):
		return envelope.Mailbox
	}
	return envelope.Remote
}
