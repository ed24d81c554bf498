package badgerstore

import (
	"encoding/binary"
	"fmt"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// box is the state of a folder; its owner and name are in its key as well.
type box struct {
	id       store.MailboxID
	validity uint32
	next     uint32 // UID of the next item
	count    int64
	bytes    int64
}

func (b *box) clone() counter { c := *b; return &c }

func (b *box) encode() []byte {
	v := make([]byte, 0, 32)
	v = binary.BigEndian.AppendUint64(v, uint64(b.id))
	v = binary.BigEndian.AppendUint32(v, b.validity)
	v = binary.BigEndian.AppendUint32(v, b.next)
	v = binary.BigEndian.AppendUint64(v, uint64(b.count))
	return binary.BigEndian.AppendUint64(v, uint64(b.bytes))
}

func decodeBox(v []byte) (*box, error) {
	if len(v) != 32 {
		return nil, fmt.Errorf("folder: %w", store.ErrCorrupt)
	}
	return &box{
		id: store.MailboxID(binary.BigEndian.Uint64(v)), validity: binary.BigEndian.Uint32(v[8:]),
		next: binary.BigEndian.Uint32(v[12:]), count: int64(binary.BigEndian.Uint64(v[16:])),
		bytes: int64(binary.BigEndian.Uint64(v[24:])),
	}, nil
}

func (b *box) info(owner envelope.Address, folder string) store.MailboxInfo {
	return store.MailboxInfo{
		ID: b.id, Owner: owner, Folder: folder, UIDValidity: b.validity, UIDNext: b.next,
		Count: b.count, Bytes: b.bytes,
	}
}

// account is what an owner uses and may use.
type account struct{ used, limit int64 }

func (a *account) clone() counter { c := *a; return &c }

func (a *account) encode() []byte {
	v := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(a.used))
	return binary.BigEndian.AppendUint64(v, uint64(a.limit))
}

func decodeAccount(v []byte) (*account, error) {
	if len(v) != 16 {
		return nil, fmt.Errorf("account: %w", store.ErrCorrupt)
	}
	return &account{used: int64(binary.BigEndian.Uint64(v)), limit: int64(binary.BigEndian.Uint64(v[8:]))}, nil
}

// maxFolder is the longest name of a folder in octets.
const maxFolder = 1000

// folderName is the name under which a folder is kept.
func folderName(folder string) (string, error) {
	switch {
	case folder == "" || strings.EqualFold(folder, store.Inbox):
		return store.Inbox, nil
	case len(folder) > maxFolder || strings.ContainsRune(folder, 0):
		return "", fmt.Errorf("folder name %.40q is too long or holds NUL", folder)
	}
	return folder, nil
}

// splitBoxKey reads owner and folder out of a key or a name record.
func splitBoxKey(key []byte) (owner envelope.Address, folder string, err error) {
	if len(key) < 2 {
		return "", "", fmt.Errorf("folder key: %w", store.ErrCorrupt)
	}
	o, f, ok := strings.Cut(string(key[2:]), "\x00")
	if !ok {
		return "", "", fmt.Errorf("folder key: %w", store.ErrCorrupt)
	}
	return envelope.Address(o), f, nil
}

// box returns the counter of a folder for change; without an ID it does not
// exist yet.
func (st *stage) box(key []byte) (*box, error) {
	c, err := st.count(key,
		func(v []byte) (counter, error) { return decodeBox(v) },
		func() (counter, error) { return &box{next: 1}, nil })
	if err != nil {
		return nil, err
	}
	return c.(*box), nil
}

func (st *stage) account(owner envelope.Address) (*account, error) {
	c, err := st.count(ownerKey(owner),
		func(v []byte) (counter, error) { return decodeAccount(v) },
		func() (counter, error) { return &account{}, nil })
	if err != nil {
		return nil, err
	}
	return c.(*account), nil
}

// create gives a folder its ID and UIDVALIDITY.
func (st *stage) create(b *box, key []byte) error {
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
