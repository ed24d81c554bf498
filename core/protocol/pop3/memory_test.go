package pop3

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"carteiro/core/internal/dialogtest"
	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is store.Mailboxes with one folder per owner, in memory.
type memory struct {
	mu       sync.Mutex
	boxes    map[envelope.Address]*box
	locked   map[envelope.Address]bool
	expunges int
	opens    int
	walks    int
	err      error // of every call, when set
	panicAt  string
}

type box struct {
	info  store.MailboxInfo
	items []store.Item
	text  map[uint32]string
}

func newMemory() *memory {
	return &memory{boxes: make(map[envelope.Address]*box), locked: make(map[envelope.Address]bool)}
}

// put delivers texts.
func (m *memory) put(owner envelope.Address, texts ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.boxes[owner]
	if b == nil {
		b = &box{info: store.MailboxInfo{ID: store.MailboxID(len(m.boxes) + 1), Owner: owner, Folder: store.Inbox,
			UIDValidity: 7, UIDNext: 1}, text: make(map[uint32]string)}
		m.boxes[owner] = b
	}
	for _, text := range texts {
		uid := b.info.UIDNext
		b.info.UIDNext++
		b.info.Count++
		b.info.Bytes += int64(len(text))
		b.items = append(b.items, store.Item{UID: uid, Size: int64(len(text))})
		b.text[uid] = text
	}
}

// fault panics if the test asked for it at this point; the caller holds the lock.
func (m *memory) fault(at string) {
	if m.panicAt == at {
		panic(at)
	}
}

func (m *memory) Mailbox(_ context.Context, owner envelope.Address, folder string) (store.MailboxInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault("Mailbox")
	if b := m.boxes[owner]; b != nil && m.err == nil {
		return b.info, nil
	}
	return store.MailboxInfo{Owner: owner, Folder: folder}, m.err
}

func (m *memory) find(id store.MailboxID) *box {
	for _, b := range m.boxes {
		if b.info.ID == id {
			return b
		}
	}
	return nil
}

func (m *memory) Items(_ context.Context, id store.MailboxID) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		m.fault("Items")
		m.mu.Lock()
		m.walks++
		items := append([]store.Item(nil), m.find(id).items...)
		err := m.err
		m.mu.Unlock()
		for _, it := range items {
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// Open gives a message; one whose text holds "broken" cannot be read whole.
func (m *memory) Open(_ context.Context, id store.MailboxID, uid uint32) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault("Open")
	m.opens++
	text, found := m.find(id).text[uid]
	switch {
	case m.err != nil:
		return nil, m.err
	case !found:
		return nil, store.ErrNotFound
	case strings.Contains(text, "panic"):
		panic("open")
	}
	if head, _, cut := strings.Cut(text, "broken"); cut {
		return io.NopCloser(io.MultiReader(strings.NewReader(head), brokenReader{})), nil
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, store.ErrCorrupt }

func (m *memory) Expunge(_ context.Context, id store.MailboxID, uids []uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault("Expunge")
	if m.err != nil {
		return m.err
	}
	if len(uids) > store.MaxExpunge {
		return errors.New("write too large for one transaction")
	}
	m.expunges++
	b := m.find(id)
	for _, uid := range uids {
		for i, it := range b.items {
			if it.UID == uid {
				b.items = append(b.items[:i], b.items[i+1:]...)
				b.info.Count--
				b.info.Bytes -= it.Size
				delete(b.text, uid)
				break
			}
		}
	}
	return nil
}

func (m *memory) Lock(owner envelope.Address) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault("Lock")
	if m.locked[owner] {
		return nil, store.ErrLocked
	}
	m.locked[owner] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.locked[owner] = false
	}, nil
}

// What POP3 does not use.
func (m *memory) Deliver(context.Context, ...store.Delivery) error { panic("not for POP3") }
func (m *memory) Folders(context.Context, envelope.Address) iter.Seq2[store.MailboxInfo, error] {
	panic("not for POP3")
}
func (m *memory) SetQuota(context.Context, envelope.Address, int64) error { panic("not for POP3") }
func (m *memory) Usage(context.Context, envelope.Address) (int64, int64, error) {
	panic("not for POP3")
}

// memoryBackend is a Backend with one account: mrose, whose password and APOP secret
// are "tan staaf" and, as in RFC 1939, "tanstaaf".
type memoryBackend struct {
	dialogtest.PasswordsOnly

	mu     sync.Mutex
	open   int
	closed int
}

func (p *memoryBackend) Connect(context.Context, *envelope.Session) *envelope.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
	return nil
}

func (p *memoryBackend) Auth(_ context.Context, _ *envelope.Session, c *envelope.Credentials) (*envelope.Identity, *envelope.Status) {
	id := &envelope.Identity{User: "mrose@example.com"}
	switch {
	case c.User == "busy":
		return nil, envelope.Defer(454, "4.7.0", "try later", nil)
	case c.User == "panic":
		panic("auth")
	case c.User == "empty":
		return &envelope.Identity{User: "empty@example.com"}, nil
	case c.User == "mrose*reader" && c.Password == "x":
		id.Extra = map[string]any{"readonly": true}
		return id, nil
	case c.Mechanism == "APOP" && c.User == "mrose":
		sum := md5.Sum([]byte(c.Challenge + "tanstaaf"))
		if hex.EncodeToString(sum[:]) == c.Digest {
			return id, nil
		}
	case c.User == "mrose" && c.Password == "tan staaf":
		return id, nil
	}
	return nil, envelope.Reject(535, "5.7.8", "wrong name or password")
}

func (p *memoryBackend) Close(*envelope.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed++
}
