package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// delivery returns one of a whole message.
func delivery(m *store.Message, rcpt uint32, owner envelope.Address, folder string) store.Delivery {
	return store.Delivery{
		Owner: owner, Folder: folder, Message: m.Envelope.ID, Rcpt: rcpt,
		Source: &m.Envelope, Size: m.Envelope.Size,
	}
}

func testDeliver(w *world) {
	m := w.commit("hello\r\n", "b@example.com")
	info, err := w.s.Mailbox(w.ctx, "b@example.com", "inbox")
	w.must(err)
	if info.Count != 0 || info.ID != 0 {
		w.Errorf("a folder that nobody delivered to: %+v", info)
	}
	date := w.now().Truncate(time.Millisecond)
	d := delivery(m, 0, "b@example.com", "Inbox")
	d.Flags, d.Date = []string{`\Flagged`, "$Junk"}, date
	w.must(w.s.Deliver(w.ctx, d, delivery(m, 0, "b@example.com", "Archive"), delivery(m, 1, "c@example.com", "")))
	w.must(w.s.Settle(w.ctx, w.done(m.Envelope.ID, 0)))
	w.must(w.h.Sweep(w.s))
	w.reopen()
	info, items := w.items("b@example.com", "INBOX")
	if len(items) != 1 || info.Count != 1 || info.Bytes != m.Envelope.Size || info.UIDNext != items[0].UID+1 || info.UIDValidity == 0 {
		w.Fatalf("folder %+v, items %+v", info, items)
	}
	if !slices.Equal(items[0].Flags, d.Flags) || !items[0].Date.Equal(date) {
		w.Errorf("item came back as %+v", items[0])
	}
	r, err := w.s.Open(w.ctx, info.ID, items[0].UID)
	w.must(err)
	if got := w.read(r); got != sampleHeader+"hello\r\n" {
		w.Errorf("the item reads %q", got)
	}
	var folders []string
	for f, err := range w.s.Folders(w.ctx, "b@example.com") {
		w.must(err)
		folders = append(folders, f.Folder)
	}
	if !slices.Equal(folders, []string{"Archive", "INBOX"}) {
		w.Errorf("folders %v", folders)
	}
	if _, err := w.s.Open(w.ctx, info.ID, 99); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("open of an item that is not there: %v", err)
	}
}

func testDeliverOnce(w *world) {
	m := w.commit("hello\r\n", "b@example.com")
	d := delivery(m, 0, "b@example.com", "")
	w.must(w.s.Deliver(w.ctx, d, d))
	w.must(w.s.Deliver(w.ctx, d))
	x := w.done(m.Envelope.ID, 0)
	x.Deliveries = []store.Delivery{d}
	w.must(w.s.Settle(w.ctx, x))
	w.reopen()
	w.must(w.s.Deliver(w.ctx, d)) // after the message has gone
	info, items := w.items("b@example.com", "")
	if len(items) != 1 {
		w.Fatalf("%d items instead of one", len(items))
	}
	w.must(w.s.Expunge(w.ctx, info.ID, []uint32{items[0].UID}))
	w.must(w.h.Sweep(w.s))
	w.must(w.s.Deliver(w.ctx, d)) // even after its reader has deleted it
	if _, items = w.items("b@example.com", ""); len(items) != 0 {
		w.Errorf("a delivery came back: %+v", items)
	}
	gone := delivery(m, 9, "b@example.com", "")
	if err := w.s.Deliver(w.ctx, gone); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("delivery of a body that has gone: %v", err)
	}
}

func testHeaderEdit(w *world) {
	m := w.commit("body\r\n", "b@example.com")
	edit := envelope.HeaderEdit{Prepend: "Return-Path: <a@example.org>\r\n", Remove: []string{"x-folded", "SUBJECT"}}
	want := "Return-Path: <a@example.org>\r\nFrom: a@example.org\r\nTo: b@example.com\r\n\r\nbody\r\n"
	d := delivery(m, 0, "b@example.com", "")
	d.Edit, d.Size = edit, int64(len(want))
	sized := d
	sized.Rcpt, sized.Size = 1, 0 // the store finds the size
	w.must(w.s.Deliver(w.ctx, d, sized))
	info, items := w.items("b@example.com", "")
	for _, i := range items {
		r, err := w.s.Open(w.ctx, info.ID, i.UID)
		w.must(err)
		if got := w.read(r); got != want || i.Size != int64(len(want)) {
			w.Errorf("the edited item has %d octets and reads %q", i.Size, got)
		}
	}
	h, err := w.s.Header(w.ctx, &m.Envelope)
	w.must(err)
	if string(h) != sampleHeader {
		w.Errorf("the edit reached the message: %q", h)
	}
}

// testFinalCRLF: a message whose body does not end in CRLF, nor those that
// share it, does end so in a mailbox, and its size counts that.
func testFinalCRLF(w *world) {
	for i, body := range []string{
		"\x00\x01binary", "half\r", "other half\n", "\n", strings.Repeat("x", 700<<10), strings.Repeat("y", 512<<10-1) + "\r\n",
	} {
		m := w.commit(body, "b@example.com")
		if got := m.Envelope.NoCRLF; got == strings.HasSuffix(body, "\r\n") {
			w.Errorf("body %d: no CRLF: %v", i, got)
		}
		d := delivery(m, uint32(i), "b@example.com", "")
		d.Edit, d.Size = envelope.HeaderEdit{Prepend: "Return-Path: <>\r\n"}, 0
		w.must(w.s.Deliver(w.ctx, d))
		w.reopen()
		info, items := w.items("b@example.com", "")
		it := items[len(items)-1]
		r, err := w.s.Open(w.ctx, info.ID, it.UID)
		w.must(err)
		want := d.Edit.Prepend + sampleHeader + strings.TrimSuffix(body, "\r\n") + "\r\n"
		if got := w.read(r); got != want || it.Size != int64(len(want)) {
			w.Errorf("body %d: %d octets, of which %d are told", i, len(got), it.Size)
		}
		if b, err := w.s.Body(w.ctx, &m.Envelope); err != nil || w.read(b) != body {
			w.Errorf("body %d was changed in the spool, %v", i, err)
		}
	}
	info, _ := w.items("b@example.com", "")
	if used, _, err := w.s.Usage(w.ctx, "b@example.com"); err != nil || used != info.Bytes {
		w.Errorf("%d octets are used, %d in the folder, %v", used, info.Bytes, err)
	}
	w.check()
}

// testExpungeMany removes as many entries as one commit must hold, each of another
// message.
func testExpungeMany(w *world) {
	for range store.MaxExpunge {
		m := w.commit("body\r\n", "a.rather.long.name@subdomain.example.com")
		x := w.done(m.Envelope.ID, 0)
		x.Deliveries = []store.Delivery{delivery(m, 0, "a.rather.long.name@subdomain.example.com", "")}
		w.must(w.s.Settle(w.ctx, x))
	}
	info, items := w.items("a.rather.long.name@subdomain.example.com", "")
	if len(items) != store.MaxExpunge {
		w.Fatalf("%d entries", len(items))
	}
	var uids []uint32
	for _, it := range items {
		uids = append(uids, it.UID)
	}
	w.must(w.s.Expunge(w.ctx, info.ID, uids))
	if after, left := w.items("a.rather.long.name@subdomain.example.com", ""); len(left) != 0 || after.Count != 0 || after.Bytes != 0 {
		w.Errorf("after the expunge: %+v, %d entries", after, len(left))
	}
}

func testExpunge(w *world) {
	var ms []*store.Message
	for i := range 3 {
		m := w.commit(fmt.Sprintf("body %d\r\n", i), "b@example.com")
		x := w.done(m.Envelope.ID, 0)
		x.Deliveries = []store.Delivery{delivery(m, 0, "b@example.com", ""), delivery(m, 0, "c@example.com", "")}
		w.must(w.s.Settle(w.ctx, x))
		ms = append(ms, m)
	}
	info, items := w.items("b@example.com", "")
	w.must(w.s.Expunge(w.ctx, info.ID, []uint32{items[0].UID, items[2].UID, 1234}))
	w.must(w.s.Expunge(w.ctx, info.ID, []uint32{items[0].UID}))
	w.must(w.h.Sweep(w.s))
	w.check()
	after, left := w.items("b@example.com", "")
	if len(left) != 1 || left[0].UID != items[1].UID || after.Count != 1 || after.UIDNext != info.UIDNext {
		w.Errorf("after the expunge: %+v, %+v", after, left)
	}
	// The other owner still shares the bodies.
	other, others := w.items("c@example.com", "")
	for i, it := range others {
		r, err := w.s.Open(w.ctx, other.ID, it.UID)
		w.must(err)
		if got := w.read(r); got != sampleHeader+fmt.Sprintf("body %d\r\n", i) {
			w.Errorf("item %d reads %q", i, got)
		}
	}
	w.must(w.s.Expunge(w.ctx, after.ID, []uint32{left[0].UID}))
	w.must(w.s.Expunge(w.ctx, other.ID, []uint32{others[0].UID, others[1].UID, others[2].UID}))
	w.must(w.s.Expunge(w.ctx, 987654, []uint32{1}))
	w.must(w.h.Sweep(w.s))
	if _, err := w.s.Header(w.ctx, &ms[0].Envelope); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("header of a message that nobody has any more: %v", err)
	}
	again := w.commit("new\r\n", "b@example.com")
	w.must(w.s.Deliver(w.ctx, delivery(again, 0, "b@example.com", "")))
	if _, now := w.items("b@example.com", ""); len(now) != 1 || now[0].UID < info.UIDNext {
		w.Errorf("a UID was given twice: %+v", now)
	}
}

func testQuota(w *world) {
	m := w.commit("01234567\r\n", "b@example.com")
	size := m.Envelope.Size
	w.must(w.s.SetQuota(w.ctx, "b@example.com", 2*size))
	w.must(w.s.Deliver(w.ctx, delivery(m, 0, "b@example.com", ""), delivery(m, 0, "b@example.com", "Other")))
	err := w.s.Deliver(w.ctx, delivery(m, 1, "c@example.com", ""), delivery(m, 1, "b@example.com", ""))
	q, ok := errors.AsType[*store.QuotaError](err)
	if !ok || !errors.Is(err, store.ErrQuota) || !slices.Equal(q.Deliveries, []int{1}) || q.Owners[0] != "b@example.com" {
		w.Fatalf("delivery into a full mailbox: %v", err)
	}
	if _, items := w.items("c@example.com", ""); len(items) != 0 {
		w.Error("a refused call delivered")
	}
	w.must(w.s.Deliver(w.ctx, delivery(m, 0, "b@example.com", ""))) // happened already
	w.reopen()
	if used, limit, err := w.s.Usage(w.ctx, "b@example.com"); err != nil || used != 2*size || limit != 2*size {
		w.Errorf("usage %d of %d, %v", used, limit, err)
	}
	info, items := w.items("b@example.com", "")
	w.must(w.s.Expunge(w.ctx, info.ID, []uint32{items[0].UID}))
	w.must(w.s.Deliver(w.ctx, delivery(m, 1, "b@example.com", "")))
	w.must(w.s.SetQuota(w.ctx, "b@example.com", 0))
	w.must(w.s.Deliver(w.ctx, delivery(m, 2, "b@example.com", ""), delivery(m, 3, "b@example.com", "")))
}

func testSettleQuota(w *world) {
	m := w.commit("0123456789", "b@example.com", "c@example.com")
	w.must(w.s.SetQuota(w.ctx, "b@example.com", 10))
	x := w.done(m.Envelope.ID, 0)
	x.Effects = []envelope.Effect{{Space: "s", Op: envelope.Incr, Key: "n", N: 1}}
	x.Deliveries = []store.Delivery{delivery(m, 0, "b@example.com", ""), delivery(m, 1, "c@example.com", "")}
	err := w.s.Settle(w.ctx, x)
	q, ok := errors.AsType[*store.QuotaError](err)
	if !ok || !slices.Equal(q.Deliveries, []int{0}) {
		w.Fatalf("settlement into a full mailbox: %v", err)
	}
	_, g, err := w.s.Load(w.ctx, m.Envelope.ID, 0)
	w.must(err)
	if len(g.Recipients) != 2 {
		w.Fatalf("a refused settlement left %d recipients", len(g.Recipients))
	}
	x.Deliveries = x.Deliveries[1:]
	x.Group.Recipients[0].State = envelope.Failed
	w.must(w.s.Settle(w.ctx, x))
	w.wantValue("s", "n", "1")
	if _, items := w.items("c@example.com", ""); len(items) != 1 {
		w.Errorf("%d items instead of one", len(items))
	}
}

func testLock(w *world) {
	unlock, err := w.s.Lock("b@example.com")
	w.must(err)
	if _, err := w.s.Lock("b@example.com"); !errors.Is(err, store.ErrLocked) {
		w.Errorf("second lock: %v", err)
	}
	m := w.commit("x", "b@example.com")
	w.must(w.s.Deliver(w.ctx, delivery(m, 0, "b@example.com", "")))
	other, err := w.s.Lock("c@example.com")
	w.must(err)
	other()
	unlock()
	next, err := w.s.Lock("b@example.com")
	w.must(err)
	unlock() // late, must not open the other's
	if _, err := w.s.Lock("b@example.com"); !errors.Is(err, store.ErrLocked) {
		w.Errorf("lock after another's late unlock: %v", err)
	}
	next()
}
