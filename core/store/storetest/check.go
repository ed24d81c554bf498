package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// far is beyond every due time of the suite.
var far = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// check sweeps and audits everything.
func (w *world) check() {
	w.Helper()
	w.must(w.h.Sweep(w.s))
	var owners []envelope.Address
	for r, err := range w.s.Records(w.ctx, ownerKind, "") {
		w.must(err)
		owners = append(owners, envelope.Address(r.Name))
	}
	owners = append(owners, "b@example.com", "c@example.com", "d@example.com")
	if err := Check(w.ctx, w.s, owners...); err != nil {
		w.Errorf("audit: %v", err)
	}
	if w.h.Audit != nil {
		if err := w.h.Audit(w.s); err != nil {
			w.Errorf("audit of the backend: %v", err)
		}
	}
}

// ownerKind is the kind of records under which tests note further owners.
const ownerKind = "storetest-owner"

// Check audits what a store says of itself: every recipient that is queued
// can be reached through the due index, every entry there leads to a group,
// octets are what the envelopes say, and the counters of the owners' folders
// equal their items. It returns all that is wrong.
func Check(ctx context.Context, s store.Store, owners ...envelope.Address) error {
	c := &checker{ctx: ctx, s: s, due: map[place]int{}}
	c.dueIndex()
	for e, err := range s.Messages(ctx) {
		if err != nil {
			c.failf("messages: %v", err)
			break
		}
		c.message(e)
	}
	for p, n := range c.due {
		c.failf("%d due entries for %s/%d, which needs none", n, p.id, p.block)
	}
	for _, o := range owners {
		c.owner(o)
	}
	return errors.Join(c.errs...)
}

type place struct {
	id    envelope.ID
	block uint32
}

type checker struct {
	ctx  context.Context
	s    store.Store
	due  map[place]int
	errs []error
}

func (c *checker) failf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

func (c *checker) dueIndex() {
	for class := range envelope.Classes {
		last := time.Time{}
		for e, err := range c.s.Due(c.ctx, envelope.Class(class), far) {
			if err != nil {
				c.failf("due: %v", err)
				break
			}
			if e.Due.Before(last) || e.Class != envelope.Class(class) {
				c.failf("due entry of %s out of order", e.ID)
			}
			last = e.Due
			c.due[place{e.ID, e.Block}]++
		}
	}
}

func (c *checker) message(e *envelope.Envelope) {
	groups, err := c.s.Groups(c.ctx, e.ID)
	if err != nil {
		c.failf("groups of %s: %v", e.ID, err)
		return
	}
	open, numbers := 0, map[uint32]bool{}
	for _, g := range groups {
		open += c.group(e.ID, g, numbers)
	}
	if open == 0 {
		c.failf("message %s has nothing left to do and is still there", e.ID)
	}
	h, err := c.s.Header(c.ctx, e)
	if err != nil || int64(len(h)) != e.HeaderSize {
		c.failf("header of %s: %d octets instead of %d, %v", e.ID, len(h), e.HeaderSize, err)
	}
	r, err := c.s.Body(c.ctx, e)
	if err != nil {
		c.failf("body of %s: %v", e.ID, err)
		return
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n+e.HeaderSize != e.Size {
		c.failf("body of %s: %d octets and a header of %d make %d? %v", e.ID, n, e.HeaderSize, e.Size, err)
	}
}

func (c *checker) group(id envelope.ID, g *envelope.Group, numbers map[uint32]bool) (open int) {
	for i := range g.Recipients {
		r := &g.Recipients[i]
		if numbers[r.N] {
			c.failf("number %d of %s given twice", r.N, id)
		}
		numbers[r.N] = true
		if !r.State.Done() {
			open++
		}
	}
	p := place{id, g.Block}
	want := 0
	if open > 0 && !g.Held {
		want = 1
	}
	if c.due[p] != want {
		c.failf("group %s/%d has %d due entries instead of %d", id, g.Block, c.due[p], want)
	}
	delete(c.due, p)
	if _, loaded, err := c.s.Load(c.ctx, id, g.Block); err != nil || len(loaded.Recipients) != open {
		c.failf("load %s/%d: %v", id, g.Block, err)
	}
	return open
}

func (c *checker) owner(owner envelope.Address) {
	var total int64
	for info, err := range c.s.Folders(c.ctx, owner) {
		if err != nil {
			c.failf("folders of %s: %v", owner, err)
			return
		}
		total += info.Bytes
		c.folder(info)
	}
	used, _, err := c.s.Usage(c.ctx, owner)
	if err != nil || used != total {
		c.failf("%s uses %d octets, its folders hold %d, %v", owner, used, total, err)
	}
}

func (c *checker) folder(info store.MailboxInfo) {
	var count, bytes int64
	last := uint32(0)
	for i, err := range c.s.Items(c.ctx, info.ID) {
		if err != nil {
			c.failf("items of %s %s: %v", info.Owner, info.Folder, err)
			return
		}
		if i.UID <= last || i.UID >= info.UIDNext {
			c.failf("%s %s: uid %d after %d, next is %d", info.Owner, info.Folder, i.UID, last, info.UIDNext)
		}
		last = i.UID
		count, bytes = count+1, bytes+i.Size
		c.item(info, i)
	}
	if count != info.Count || bytes != info.Bytes {
		c.failf("%s %s says %d items of %d octets, has %d of %d",
			info.Owner, info.Folder, info.Count, info.Bytes, count, bytes)
	}
}

func (c *checker) item(info store.MailboxInfo, i store.Item) {
	r, err := c.s.Open(c.ctx, info.ID, i.UID)
	if err != nil {
		c.failf("open %s %s %d: %v", info.Owner, info.Folder, i.UID, err)
		return
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n != i.Size {
		c.failf("item %s %s %d has %d octets instead of %d, %v", info.Owner, info.Folder, i.UID, n, i.Size, err)
	}
}
