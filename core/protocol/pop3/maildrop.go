package pop3

import (
	"context"
	"fmt"
	"strconv"

	"carteiro/core/store"
)

// maildrop is the snapshot of one folder that a session works on.
type maildrop struct {
	info     store.MailboxInfo // at login
	unlock   func()
	readonly bool

	count  int64 // not marked as deleted
	octets int64

	loaded bool
	table  []entry // message number n is table[n-1]
	marked int
}

type entry struct {
	uid     uint32
	deleted bool
	size    int64
}

func newMaildrop(info store.MailboxInfo, unlock func()) *maildrop {
	return &maildrop{info: info, unlock: unlock, count: info.Count, octets: info.Bytes}
}

func (d *maildrop) describe(prefix string) string {
	return fmt.Sprintf("%s%d messages (%d octets)", prefix, d.count, d.octets)
}

// load reads the table. What arrived since the login is left out. Where the
// folder lost messages since then, the counters follow the table: numbers
// were not given out before.
func (d *maildrop) load(ctx context.Context, boxes store.Mailboxes) error {
	if d.loaded || d.info.ID == 0 {
		d.loaded = true
		return nil
	}
	table := make([]entry, 0, d.info.Count)
	octets := int64(0)
	for item, err := range boxes.Items(ctx, d.info.ID) {
		if err != nil {
			return fmt.Errorf("mailbox %d: %w", d.info.ID, err)
		}
		if item.UID >= d.info.UIDNext {
			break
		}
		table = append(table, entry{uid: item.UID, size: item.Size})
		octets += item.Size
	}
	d.table, d.loaded = table, true
	d.count, d.octets = int64(len(table)), octets
	return nil
}

// number reads a message number that is there and not deleted.
func (d *maildrop) number(arg string) (n int, ok bool) {
	u, err := strconv.ParseUint(arg, 10, 31)
	if err != nil || u < 1 || u > uint64(len(d.table)) || d.table[u-1].deleted {
		return 0, false
	}
	return int(u), true
}

func (d *maildrop) mark(n int) {
	e := &d.table[n-1]
	e.deleted = true
	d.marked++
	d.count--
	d.octets -= e.size
}

func (d *maildrop) reset() {
	if d.marked == 0 {
		return
	}
	for i := range d.table {
		if e := &d.table[i]; e.deleted {
			e.deleted = false
			d.count++
			d.octets += e.size
		}
	}
	d.marked = 0
}

func (d *maildrop) markedUIDs() []uint32 {
	uids := make([]uint32, 0, d.marked)
	for _, e := range d.table {
		if e.deleted {
			uids = append(uids, e.uid)
		}
	}
	return uids
}
