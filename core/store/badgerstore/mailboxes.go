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
func (s *mailboxes) Mailbox(_ context.Context, owner envelope.Address, folder string) (info store.MailboxInfo, err error) {
	folder, err = folderName(folder)
	if err != nil {
		return info, err
	}
	err = s.view(func(txn *badger.Txn) error {
		v, err := getExisting(txn, folderKey(owner, folder))
		if err != nil {
			return err
		}
		b := &folderState{next: 1}
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
func (s *mailboxes) Folders(ctx context.Context, owner envelope.Address) iter.Seq2[store.MailboxInfo, error] {
	return func(yield func(store.MailboxInfo, error) bool) {
		err := s.each(ctx, folderKey(owner, ""), false, func(_ *badger.Txn, key, payload []byte) error {
			b, err := decodeBox(payload)
			if err != nil {
				return err
			}
			_, folder, err := splitFolderKey(key)
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
func (s *mailboxes) Items(ctx context.Context, id store.MailboxID) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		err := s.each(ctx, folderIDKey(keyItem, id), false, func(_ *badger.Txn, key, payload []byte) error {
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
func (s *mailboxes) Open(ctx context.Context, id store.MailboxID, uid uint32) (io.ReadCloser, error) {
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
func (s *mailboxes) Expunge(ctx context.Context, id store.MailboxID, uids []uint32) error {
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
			if err := (mailStage{st}).expunge(id, key, uid); err != nil {
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

func (st mailStage) expunge(id store.MailboxID, key []byte, uid uint32) error {
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
	owner, _, err := splitFolderKey(key)
	if err != nil {
		return err
	}
	b, err := st.folderState(key)
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
func (s *mailboxes) SetQuota(ctx context.Context, owner envelope.Address, limit int64) error {
	return s.commit(ctx, work, 0, func(st *stage) error {
		a, err := mailStage{st}.account(owner)
		if err == nil {
			a.limit = max(limit, 0)
		}
		return err
	})
}

// Usage implements store.Mailboxes.
func (s *mailboxes) Usage(_ context.Context, owner envelope.Address) (used, limit int64, err error) {
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
func (s *mailboxes) Lock(owner envelope.Address) (unlock func(), err error) {
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

// folderState is the state of a folder; its owner and name are also in its key.
type folderState struct {
	id       store.MailboxID
	validity uint32
	next     uint32 // UID of the next item
	count    int64
	bytes    int64
}

func (b *folderState) clone() counter { c := *b; return &c }

func (b *folderState) encode() []byte {
	v := make([]byte, 0, 32)
	v = binary.BigEndian.AppendUint64(v, uint64(b.id))
	v = binary.BigEndian.AppendUint32(v, b.validity)
	v = binary.BigEndian.AppendUint32(v, b.next)
	v = binary.BigEndian.AppendUint64(v, uint64(b.count))
	return binary.BigEndian.AppendUint64(v, uint64(b.bytes))
}

func decodeBox(v []byte) (*folderState, error) {
	if len(v) != 32 {
		return nil, fmt.Errorf("folder: %w", store.ErrCorrupt)
	}
	return &folderState{
		id: store.MailboxID(binary.BigEndian.Uint64(v)), validity: binary.BigEndian.Uint32(v[8:]),
		next: binary.BigEndian.Uint32(v[12:]), count: int64(binary.BigEndian.Uint64(v[16:])),
		bytes: int64(binary.BigEndian.Uint64(v[24:])),
	}, nil
}

func (b *folderState) info(owner envelope.Address, folder string) store.MailboxInfo {
	return store.MailboxInfo{
		ID: b.id, Owner: owner, Folder: folder, UIDValidity: b.validity, UIDNext: b.next,
		Count: b.count, Bytes: b.bytes,
	}
}

// usage is how many octets an owner uses and may use.
type usage struct{ used, limit int64 }

func (a *usage) clone() counter { c := *a; return &c }

func (a *usage) encode() []byte {
	v := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(a.used))
	return binary.BigEndian.AppendUint64(v, uint64(a.limit))
}

func decodeAccount(v []byte) (*usage, error) {
	if len(v) != 16 {
		return nil, fmt.Errorf("account: %w", store.ErrCorrupt)
	}
	return &usage{used: int64(binary.BigEndian.Uint64(v)), limit: int64(binary.BigEndian.Uint64(v[8:]))}, nil
}

// maxFolder is the longest name of a folder in octets.
const maxFolder = 1000

// folderName returns the name under which a folder is kept.
func folderName(folder string) (string, error) {
	switch {
	case folder == "" || strings.EqualFold(folder, store.Inbox):
		return store.Inbox, nil
	case len(folder) > maxFolder || strings.ContainsRune(folder, 0):
		return "", fmt.Errorf("folder name %.40q is too long or holds NUL", folder)
	}
	return folder, nil
}

// splitFolderKey reads owner and folder out of a key or a name record.
func splitFolderKey(key []byte) (owner envelope.Address, folder string, err error) {
	if len(key) < 2 {
		return "", "", fmt.Errorf("folder key: %w", store.ErrCorrupt)
	}
	o, f, ok := strings.Cut(string(key[2:]), "\x00")
	if !ok {
		return "", "", fmt.Errorf("folder key: %w", store.ErrCorrupt)
	}
	return envelope.Address(o), f, nil
}

// folderState returns the counter of a folder for change; without an ID it does not
// exist yet.
func (st mailStage) folderState(key []byte) (*folderState, error) {
	c, err := st.count(key,
		func(v []byte) (counter, error) { return decodeBox(v) },
		func() (counter, error) { return &folderState{next: 1}, nil })
	if err != nil {
		return nil, err
	}
	return c.(*folderState), nil
}

func (st mailStage) account(owner envelope.Address) (*usage, error) {
	c, err := st.count(ownerKey(owner),
		func(v []byte) (counter, error) { return decodeAccount(v) },
		func() (counter, error) { return &usage{}, nil })
	if err != nil {
		return nil, err
	}
	return c.(*usage), nil
}

// create gives a folder its ID and UIDVALIDITY.
func (st mailStage) create(b *folderState, key []byte) error {
	last, err := st.get(metaKey("boxes"))
	if err == nil && len(last) == 8 {
		b.id = store.MailboxID(binary.BigEndian.Uint64(last))
	} else if ok, herr := st.has(metaKey("boxes")); ok || herr != nil {
		return fmt.Errorf("number of folders: %w", store.ErrCorrupt)
	}
	b.id++
	b.validity = uint32(max(st.now.Unix(), 1))
	st.put(metaKey("boxes"), binary.BigEndian.AppendUint64(nil, uint64(b.id)))
	st.put(nameKey(b.id), key)
	return nil
}

const (
	crlf     = "\r\n"
	endedBit = 1 << 63 // of the size on disk
)

// item is one message in a folder.
type item struct {
	body, header envelope.ID
	ended        bool // by a CRLF that the body lacks
	store.Item
}

func (i *item) encode() []byte {
	v := make([]byte, 0, 2*idLen+24)
	v = append(append(v, i.body[:]...), i.header[:]...)
	size := uint64(i.Size)
	if i.ended {
		size |= endedBit
	}
	v = binary.BigEndian.AppendUint64(v, size)
	v = binary.BigEndian.AppendUint64(v, uint64(i.Date.UnixMilli()))
	return append(v, strings.Join(i.Flags, "\x00")...)
}
