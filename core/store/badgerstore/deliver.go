package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/store"
)

func decodeItem(v []byte, uid uint32) (*item, error) {
	if len(v) < 2*idLen+16 {
		return nil, fmt.Errorf("item %d: %w", uid, store.ErrCorrupt)
	}
	i := &item{body: envelope.ID(v), header: envelope.ID(v[idLen:])}
	v = v[2*idLen:]
	size := binary.BigEndian.Uint64(v)
	i.UID, i.Size, i.ended = uid, int64(size&^endedBit), size&endedBit != 0
	i.Date = time.UnixMilli(int64(binary.BigEndian.Uint64(v[8:])))
	if len(v) > 16 {
		i.Flags = strings.Split(string(v[16:]), "\x00")
	}
	return i, nil
}

// preparedDelivery is a delivery that the caller's goroutine has encoded.
type preparedDelivery struct {
	owner   envelope.Address
	key     []byte // of the folder
	message envelope.ID
	rcpt    uint32
	item    item
	edit    []byte // nil when there is none
}

func (s *bodies) prepareDeliveries(deliveries []store.Delivery) ([]preparedDelivery, error) {
	packed := make([]preparedDelivery, 0, len(deliveries))
	for i := range deliveries {
		d := &deliveries[i]
		if d.Source == nil {
			return nil, errors.New("delivery without a source")
		}
		folder, err := folderName(d.Folder)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(d.Flags, func(f string) bool { return f == "" || strings.ContainsRune(f, 0) }) {
			return nil, fmt.Errorf("flags %q are empty or hold NUL", d.Flags)
		}
		p := preparedDelivery{owner: d.Owner, key: folderKey(d.Owner, folder), message: d.Message, rcpt: d.Rcpt}
		p.item = item{body: d.Source.Body, header: d.Source.ID}
		p.item.Flags, p.item.Date = slices.Clone(d.Flags), d.Date
		if d.Date.IsZero() {
			p.item.Date = s.opt.Clock.Now()
		}
		if !d.Edit.IsZero() {
			if p.edit, err = encodeJSON(d.Edit); err != nil {
				return nil, err
			}
		}
		if p.item.Size, err = s.deliveredSize(d); err != nil {
			return nil, err
		}
		if d.Source.NoCRLF {
			p.item.ended = true
			p.item.Size += int64(len(crlf))
		}
		packed = append(packed, p)
	}
	return packed, nil
}

// deliveredSize returns the size that the delivery gives, or computes it with
// the edited header section.
func (s *bodies) deliveredSize(d *store.Delivery) (int64, error) {
	if d.Size > 0 {
		return d.Size, nil
	}
	if d.Edit.IsZero() {
		return d.Source.Size, nil
	}
	h, err := s.readHeader(d.Source.ID)
	if err != nil {
		return 0, fmt.Errorf("header of %s: %w", d.Source.ID, err)
	}
	return int64(len(mime.EditHeader(h.section, d.Edit))) + h.size, nil
}

// Deliver implements store.Mailboxes. A crash before the transaction leaves
// no delivery of the call, a crash after it all of them, and their keys.
func (s *mailboxes) Deliver(ctx context.Context, deliveries ...store.Delivery) error {
	packed, err := s.prepareDeliveries(deliveries)
	if err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	err = s.commit(ctx, work, 0, func(st *stage) error { return mailStage{st}.deliver(packed) })
	if err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	return nil
}

// deliver stages items for the deliveries that have not happened yet. It checks
// all of them before it returns a QuotaError, so that the caller can leave out
// those that do not fit and repeat the rest.
func (st mailStage) deliver(deliveries []preparedDelivery) error {
	var over store.QuotaError
	for i := range deliveries {
		fits, err := st.deliverOne(&deliveries[i])
		if err != nil {
			return err
		}
		if !fits {
			over.Deliveries = append(over.Deliveries, i)
			over.Owners = append(over.Owners, deliveries[i].owner)
		}
	}
	if len(over.Deliveries) > 0 {
		return &over
	}
	return nil
}

func (st mailStage) deliverOne(d *preparedDelivery) (fits bool, err error) {
	b, err := st.folderState(d.key)
	if err != nil {
		return false, err
	}
	if b.id != 0 {
		if happened, err := st.has(deliveredKey(d.message, d.rcpt, b.id)); happened || err != nil {
			return true, err
		}
	}
	if err := st.shareBody(d); err != nil {
		return false, err
	}
	a, err := st.account(d.owner)
	if err != nil {
		return false, err
	}
	if a.limit > 0 && a.used+d.item.Size > a.limit {
		return false, nil
	}
	if b.id == 0 {
		if err := st.create(b, d.key); err != nil {
			return false, err
		}
	}
	return true, st.addItem(b, a, d)
}

func (st mailStage) addItem(b *folderState, a *usage, d *preparedDelivery) error {
	uid := b.next
	b.next++
	b.count++
	b.bytes += d.item.Size
	a.used += d.item.Size
	st.put(itemKey(b.id, uid), d.item.encode())
	if d.edit != nil {
		st.put(editKey(b.id, uid), d.edit)
	}
	st.put(itemEdge(d.item.body, d.item.header, b.id, uid), nil)
	st.put(deliveredKey(d.message, d.rcpt, b.id), binary.BigEndian.AppendUint32(nil, uid))
	q, err := st.state(d.message)
	switch {
	case err == nil:
		q.delivered = true
	case errors.Is(err, store.ErrNotFound):
		// No message whose end would start the clock of the key.
		st.put(forgetKey(st.now.Add(keepDelivered), d.message), nil)
	default:
		return err
	}
	return nil
}

// shareBody checks that the body exists, and makes the end of the message leave
// it to the sweeper.
func (st mailStage) shareBody(d *preparedDelivery) error {
	q, err := st.state(d.item.header)
	if err == nil && q.body == d.item.body {
		q.shared = true
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	// The message has gone; other items may still hold its octets.
	if !st.hasPrefix(edgePrefix(d.item.body, d.item.header)) {
		return fmt.Errorf("body of %s: %w", d.item.header, store.ErrNotFound)
	}
	return nil
}
