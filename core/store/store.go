// Package store defines the storage that the pipeline needs: a Spool for
// messages that are to be delivered, Mailboxes for delivered ones, a KV for
// policies and Data for what admins set. It has the interfaces, the sentinel
// errors and two pages, STATES.md and KEYS.md; badgerstore implements it, and
// storetest tests any backend.
//
// Writes are atomic within one partition only: one spooled message, one
// mailbox, one KV space. What crosses partitions, a local delivery or the
// effects of a policy, happens exactly once because of a key: a settlement that
// is repeated after a crash changes nothing twice.
package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"carteiro/core/message/envelope"
)

// Errors that callers test for. All others are internal errors.
var (
	// ErrNotFound: no such message, recipient, mailbox, item or key.
	ErrNotFound = errors.New("not found")
	// ErrFull: not enough free space is left; nothing was written. 452 4.3.1.
	ErrFull = errors.New("storage is full")
	// ErrFailed: the storage failed, so nothing is certain any more. No write is
	// accepted until the store is opened again. 451, then stop.
	ErrFailed = errors.New("storage failed")
	// ErrLocked: another process holds the store, or another session the
	// mailbox.
	ErrLocked = errors.New("in use")
	// ErrVersion: the store was written by a newer Carteiro.
	ErrVersion = errors.New("store of a newer version")
	// ErrCorrupt: stored octets do not match their checksum, or a record
	// cannot be read.
	ErrCorrupt = errors.New("stored data is corrupt")
	// ErrQuota: the delivery would exceed the mailbox's quota.
	ErrQuota = errors.New("mailbox is full")
	// ErrConflict: a compare-and-set found another value.
	ErrConflict = errors.New("changed meanwhile")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

// Store is the whole storage, opened once per process.
//
// Writes block until they are on disk. If their context ends first, they return
// its error: nothing was written if the write had not begun; otherwise the
// caller does not know the outcome, but it is still all or nothing.
type Store interface {
	Spool
	Mailboxes
	KV
	Data
	// Run does the periodic work (space guard, garbage collection, orphan
	// sweeping) until ctx ends or the store fails; then it returns an error
	// that is ErrFailed.
	Run(ctx context.Context) error
	// Close waits for writes in progress. Later calls return ErrClosed.
	Close() error
	// Stats is a cheap snapshot for metrics and `carteiro status`.
	Stats() Stats
}

// Stats describes the store; sizes in octets.
type Stats struct {
	Kind      string `json:"kind"`
	Dir       string `json:"dir"`
	Version   int    `json:"version"`
	Free      int64  `json:"free"`      // of the file system
	Reserved  int64  `json:"reserved"`  // promised to messages coming in
	Disk      int64  `json:"disk"`      // used by the store
	Commits   int64  `json:"commits"`   // transactions written since the start
	Committed int64  `json:"committed"` // writes that those carried
	Failed    bool   `json:"failed"`
}

// Spool keeps messages from the commit before "250" to their last recipient.
type Spool interface {
	// Reserve reserves room for a message of size octets (0: unknown; then the
	// caller passes the listener's limit). It does not block and returns ErrFull
	// or ErrFailed. Call release once, when the message is committed or discarded.
	Reserve(size int64) (release func(), err error)

	// Draft starts a body. Its octets go to disk in chunks as they come, so that a
	// large body is never in memory as a whole. Until a Commit names them they are
	// garbage that is swept later.
	Draft(ctx context.Context) Draft

	// Commit makes messages durable and due, all or none, each with its
	// groups, recipients and trail, and applies the effects. It blocks until
	// they are on disk. A crash before it returns leaves either nothing or
	// everything; the sender that saw no 250 sends again. A message whose ID is
	// already in the spool is not written again; a commit that has only such
	// messages changes nothing. ErrFull, ErrFailed; ErrNotFound when the message
	// that shares its body has gone.
	Commit(ctx context.Context, effects []envelope.Effect, messages ...*Message) error

	// Due yields due-index entries of one class in the order of their due
	// time, up to before, as they were when the call began. It is cheap: it reads
	// keys and small values, beginning at a remembered watermark.
	Due(ctx context.Context, class envelope.Class, before time.Time) iter.Seq2[DueEntry, error]

	// Load reads a message's envelope and one group with those of its
	// recipients that are not Done. ErrNotFound when it has gone meanwhile.
	Load(ctx context.Context, id envelope.ID, block uint32) (*envelope.Envelope, *envelope.Group, error)

	// Settle records what an attempt changed, in one commit together with the
	// messages that it caused (a DSN, a policy's mail), so that neither is lost or
	// made twice. The message is removed when the last recipient of its last group
	// is Done. Recipients that are already Done stay as they are; a settlement
	// that names only such recipients was made before and changes nothing.
	// ErrFailed, ErrFull, ErrNotFound; if deliveries would exceed a quota, a
	// *QuotaError that lists them, and nothing is written.
	Settle(ctx context.Context, s *Settlement) error

	// Header and Body read a spooled message's octets: the header section
	// with its blank line, and what follows. Body verifies the checksum and
	// returns ErrCorrupt instead of io.EOF if it does not match.
	Header(ctx context.Context, e *envelope.Envelope) ([]byte, error)
	Body(ctx context.Context, e *envelope.Envelope) (io.ReadCloser, error)

	// Envelope reads one message's envelope; Groups all its groups, with
	// all recipients, Done ones included. ErrNotFound.
	Envelope(ctx context.Context, id envelope.ID) (*envelope.Envelope, error)
	Groups(ctx context.Context, id envelope.ID) ([]*envelope.Group, error)

	// Messages yields every spooled message in the order of arrival. It
	// holds a snapshot: stop within seconds.
	Messages(ctx context.Context) iter.Seq2[*envelope.Envelope, error]

	// Remove removes a whole message without a DSN (`queue drop`).
	Remove(ctx context.Context, id envelope.ID) error

	// Trail reads the decision trail of a message, which outlives it by
	// [storage].trail. Append adds entries outside of a commit.
	Trail(ctx context.Context, id envelope.ID) ([]envelope.TrailEntry, error)
	AppendTrail(ctx context.Context, id envelope.ID, entries []envelope.TrailEntry) error
	// Trails yields ids of messages that have a trail, the newest first, and
	// stops after limit.
	Trails(ctx context.Context, limit int) iter.Seq2[envelope.ID, error]
}

// Draft is a message body being written, by one goroutine.
type Draft interface {
	// Write takes body octets (what follows the blank line). It may block on
	// the disk and returns ErrFull or ErrFailed.
	io.Writer
	// Size is the number of octets written so far.
	Size() int64
	// Open reads back what was written so far, for content policies.
	Open() (io.ReadCloser, error)
	// Discard abandons the draft; after a Commit it does nothing.
	Discard()
}

// Message is one message to be committed. Exactly one of Draft and Share
// gives the body.
type Message struct {
	Envelope envelope.Envelope // Commit fills in Body, Size, HeaderSize, CRC, Chunks, NoCRLF
	Header   []byte            // the header section with its blank line, CRLF
	Draft    Draft
	Share    *envelope.Envelope // takes the body of this spooled message
	Groups   []*envelope.Group  // Commit numbers blocks and recipients
	Trail    []envelope.TrailEntry
}

// DueEntry is one entry of the due index.
type DueEntry struct {
	ID    envelope.ID
	Block uint32
	Due   time.Time
	Class envelope.Class
	// Kind, Key and Domain are those of the group, so that limits need no Load.
	Kind   envelope.GroupKind
	Key    string
	Domain string
}

// EntryOf returns the entry of the due index of a group of message id.
func EntryOf(id envelope.ID, g *envelope.Group) DueEntry {
	return DueEntry{ID: id, Block: g.Block, Due: g.Due, Class: g.Priority.Class(), Kind: g.Kind, Key: g.Key, Domain: g.Domain}
}

// Settlement is the outcome of work on one group.
type Settlement struct {
	ID    envelope.ID
	Block uint32
	// Group is its new state: Due, Held, Priority and Attempts are used, and
	// Recipients has those that changed. No other recipient is written.
	Group *envelope.Group
	// Add are groups that replace or join this one (expansion, reroute).
	// Their recipients get new numbers.
	Add []*envelope.Group
	// Deliveries go to mailboxes, each exactly once for its key.
	Deliveries []Delivery
	// Messages are new ones, committed with this.
	Messages []*Message
	Effects  []envelope.Effect
	Trail    []envelope.TrailEntry
}

// KV is the storage of policies.
type KV interface {
	// Get returns ErrNotFound for absent and expired keys. The caller owns
	// the value.
	Get(ctx context.Context, space, key string) ([]byte, error)
	// Apply performs effects in order and atomically, and blocks until they
	// are on disk. It returns one result per effect: the new number of an Incr,
	// and 1 or 0 for a CAS that did or did not happen. An Incr without a TTL keeps
	// the key's. An Incr of something that is not a number fails the call; in a
	// Commit or Settle it is left out, so that a policy's mistake never delays
	// mail.
	Apply(ctx context.Context, effects []envelope.Effect) ([]int64, error)
	// Scan yields at most limit keys with a prefix, in order.
	Scan(ctx context.Context, space, prefix string, limit int) iter.Seq2[Pair, error]
}

// Pair is a key and its value.
type Pair struct {
	Key   string
	Value []byte
}

// Data is what admins set: accounts, aliases, grants, groups, generations.
// Kinds and names are short texts without NUL.
type Data interface {
	// Record returns ErrNotFound.
	Record(ctx context.Context, kind, name string) ([]byte, error)
	// PutRecords writes all or none; a nil Value deletes.
	PutRecords(ctx context.Context, records ...Record) error
	// Records yields all of a kind in the order of names.
	Records(ctx context.Context, kind, prefix string) iter.Seq2[Record, error]
}

// Record is one named value.
type Record struct {
	Kind  string
	Name  string
	Value []byte
	// Check makes PutRecords return ErrConflict unless the record is still
	// Old (nil: absent).
	Check bool
	Old   []byte
}
