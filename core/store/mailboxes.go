package store

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"carteiro/core/message/envelope"
)

// Inbox is the folder that POP3 reads and where mail goes by default. Its
// name is compared without regard to case, as IMAP does.
const Inbox = "INBOX"

// MaxExpunge is the number of entries that always fit into one commit.
const MaxExpunge = 1000

// Mailboxes keeps delivered mail. The first delivery into a folder creates it.
type Mailboxes interface {
	// Deliver puts mail into mailboxes; each Delivery happens exactly once for its
	// key, however often it is repeated. It blocks until they are on disk. Either
	// all happen or none: if some would exceed their quota, the error is a
	// *QuotaError that lists them. ErrNotFound (a body that has gone), ErrFull,
	// ErrFailed.
	Deliver(ctx context.Context, deliveries ...Delivery) error

	// Mailbox describes a folder in one read, without walking it. A folder without
	// any delivery is empty; it is not ErrNotFound.
	Mailbox(ctx context.Context, owner envelope.Address, folder string) (MailboxInfo, error)

	// Folders yields the folders of an owner.
	Folders(ctx context.Context, owner envelope.Address) iter.Seq2[MailboxInfo, error]

	// Items yields the entries of a folder in the order of their UIDs.
	Items(ctx context.Context, box MailboxID) iter.Seq2[Item, error]

	// Open reads one message as its owner sees it: the header section with
	// this delivery's edits, then the body. ErrNotFound, ErrCorrupt.
	Open(ctx context.Context, box MailboxID, uid uint32) (io.ReadCloser, error)

	// Expunge removes at most MaxExpunge entries, all or none, in one commit;
	// those that are gone already do not matter.
	Expunge(ctx context.Context, box MailboxID, uids []uint32) error

	// SetQuota limits the size of all folders of an owner together, in octets; 0
	// removes the limit. Usage returns the size and the limit.
	SetQuota(ctx context.Context, owner envelope.Address, limit int64) error
	Usage(ctx context.Context, owner envelope.Address) (used, limit int64, err error)

	// Lock gives one session the maildrop (RFC 1939 section 3). It does not
	// block and returns ErrLocked. Deliveries go on meanwhile.
	Lock(owner envelope.Address) (unlock func(), err error)
}

// MailboxID names a folder inside the store; 0 is a folder that does not
// exist yet.
type MailboxID uint64

// MailboxInfo is the state of a folder.
type MailboxInfo struct {
	ID          MailboxID
	Owner       envelope.Address
	Folder      string
	UIDValidity uint32
	UIDNext     uint32
	Count       int64
	Bytes       int64
}

// Item is one message in a folder.
type Item struct {
	UID   uint32
	Size  int64 // octets of the message as Open gives it, a final CRLF included
	Flags []string
	Date  time.Time // of the delivery
}

// Delivery is one message for one mailbox.
type Delivery struct {
	Owner  envelope.Address
	Folder string
	// Message and Rcpt are the key: the same pair is delivered once to a
	// folder, even if both deliveries are in one call.
	Message envelope.ID
	Rcpt    uint32
	Source  *envelope.Envelope // whose body is shared
	Edit    envelope.HeaderEdit
	Size    int64 // of the edited message; 0: the store computes it
	Flags   []string
	Date    time.Time
}

// QuotaError lists the deliveries of a Deliver or Settle that would exceed
// their owners' quotas. Nothing of that call was written. Without these
// deliveries the call succeeds, unless the mailboxes became fuller meanwhile.
// It wraps ErrQuota.
type QuotaError struct {
	Deliveries []int              // their places in the call
	Owners     []envelope.Address // whose they are, one for each
}

// Error names the owners.
func (e *QuotaError) Error() string { return fmt.Sprintf("%v: %v", ErrQuota, e.Owners) }

// Unwrap makes it ErrQuota.
func (e *QuotaError) Unwrap() error { return ErrQuota }
