package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/store"
)

// Mailbox implements store.Mailboxes.
func (s *Store) Mailbox(_ context.Context, owner envelope.Address, folder string) (info store.MailboxInfo, err error) {
	folder, err = folderName(folder)
	if err != nil {
		return info, err
	}
	err = s.view(func(txn *badger.Txn) error {
		v, err := getExisting(txn, boxKey(owner, folder))
		if err != nil {
			return err
		}
		b := &box{next: 1}
		if v != nil {
			if b, err = decodeBox(v); err != nil {
				return err
			}
		}
		info = b.info(owner, folder)
		return nil
	})
	return info, err
}

// Folders implements store.Mailboxes.
func (s *Store) Folders(ctx context.Context, owner envelope.Address) iter.Seq2[store.MailboxInfo, error] {
	return func(yield func(store.MailboxInfo, error) bool) {
		err := s.each(ctx, boxKey(owner, ""), false, func(_ *badger.Txn, key, payload []byte) error {
			b, err := decodeBox(payload)
			if err != nil {
				return err
			}
			_, folder, err := splitBoxKey(key)
			if err != nil {
				return err
			}
			if !yield(b.info(owner, folder), nil) {
				return errStop
			}
			return nil
		})
		if err != nil {
			yield(store.MailboxInfo{}, err)
		}
	}
}

// Items implements store.Mailboxes.
func (s *Store) Items(ctx context.Context, id store.MailboxID) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		err := s.each(ctx, boxIDKey(keyItem, id), false, func(_ *badger.Txn, key, payload []byte) error {
			i, err := decodeItem(payload, binary.BigEndian.Uint32(key[len(key)-4:]))
			if err != nil {
				return err
			}
			if !yield(i.Item, nil) {
				return errStop
			}
			return nil
		})
		if err != nil {
			yield(store.Item{}, err)
		}
	}
}

// Open implements store.Mailboxes.
func (s *Store) Open(ctx context.Context, id store.MailboxID, uid uint32) (io.ReadCloser, error) {
	var i *item
	var h *header
	var edit envelope.HeaderEdit
	err := s.view(func(txn *badger.Txn) error {
		v, err := get(txn, itemKey(id, uid))
		if err != nil {
			return err
		}
		if i, err = decodeItem(v, uid); err != nil {
			return err
		}
		if v, err = getExisting(txn, editKey(id, uid)); err != nil {
			return err
		}
		if v != nil {
			if err := decodeJSON(v, &edit); err != nil {
				return err
			}
		}
		if v, err = get(txn, headerKey(i.header)); err != nil {
			return fmt.Errorf("header section: %w: %w", store.ErrCorrupt, err)
		}
		h, err = decodeHeader(v)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("item %d: %w", uid, err)
	}
	body, end := s.body(ctx, i.body, h), ""
	if i.ended {
		end = crlf
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(mime.EditHeader(h.section, edit)), body, strings.NewReader(end)), body}, nil
}

// Expunge implements store.Mailboxes. A crash after the transaction leaves
// bodies that nobody refers to any more, and a note for the sweeper.
func (s *Store) Expunge(ctx context.Context, id store.MailboxID, uids []uint32) error {
	uids = append([]uint32(nil), uids...)
	err := s.commit(ctx, work, 0, func(st *stage) error {
		key, err := st.get(nameKey(id))
		if errors.Is(err, store.ErrNotFound) {
			return nil // nothing was ever delivered there
		}
		if err != nil {
			return err
		}
		for _, uid := range uids {
			if err := st.expunge(id, key, uid); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("expunge: %w", err)
	}
	s.garbage.Store(true)
	return nil
}

func (st *stage) expunge(id store.MailboxID, key []byte, uid uint32) error {
	v, err := st.get(itemKey(id, uid))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	i, err := decodeItem(v, uid)
	if err != nil {
		return err
	}
	owner, _, err := splitBoxKey(key)
	if err != nil {
		return err
	}
	b, err := st.box(key)
	if err != nil {
		return err
	}
	a, err := st.account(owner)
	if err != nil {
		return err
	}
	b.count--
	b.bytes -= i.Size
	a.used -= i.Size
	st.remove(itemKey(id, uid))
	st.remove(editKey(id, uid))
	st.remove(itemEdge(i.body, i.header, id, uid))
	st.put(garbageKey(i.body, i.header), nil)
	return nil
}

// SetQuota implements store.Mailboxes.
func (s *Store) SetQuota(ctx context.Context, owner envelope.Address, limit int64) error {
	return s.commit(ctx, work, 0, func(st *stage) error {
		a, err := st.account(owner)
		if err == nil {
			a.limit = max(limit, 0)
		}
		return err
	})
}

// Usage implements store.Mailboxes.
func (s *Store) Usage(_ context.Context, owner envelope.Address) (used, limit int64, err error) {
	err = s.view(func(txn *badger.Txn) error {
		v, err := getExisting(txn, ownerKey(owner))
		if err != nil || v == nil {
			return err
		}
		a, err := decodeAccount(v)
		if err == nil {
			used, limit = a.used, a.limit
		}
		return err
	})
	return used, limit, err
}

// Lock implements store.Mailboxes.
func (s *Store) Lock(owner envelope.Address) (unlock func(), err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	s.lockMu.Lock()
	defer s.lockMu.Unlock()
	if _, locked := s.locks[owner]; locked {
		return nil, fmt.Errorf("maildrop of %s: %w", owner, store.ErrLocked)
	}
	s.locks[owner] = struct{}{}
	// Idempotent, so that a late second call does not open another's lock.
	held := true
	return func() {
		s.lockMu.Lock()
		defer s.lockMu.Unlock()
		if held {
			delete(s.locks, owner)
			held = false
		}
	}, nil
}
