package badgerstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// The layout of keys. Numbers are big-endian, so that keys sort as they do.
//
//	b/<body><chunk u32>                    octets of a body
//	x/<body><header id><kind>[<box><uid>]  who refers to a body: kind q is the
//	                                       spooled message, m an item
//	h/<header id>                          header section and figures of a message
//	m/<message>                            envelope
//	q/<message>                            what changes about a message
//	g/<message><block u32>                 group
//	r/<message><rcpt u32>                  recipient
//	d/<class u8><due u48 ms><message><block u32>   due index
//	t/<message><sequence u64>              decision trail
//	u/<message><rcpt u32><box u64>         delivery that happened
//	M/<owner>\0<folder>                    state of a folder
//	n/<box u64>                            its name
//	U/<owner>                              use and quota of an owner
//	i/<box u64><uid u32>                   item
//	e/<box u64><uid u32>                   header edit of an item
//	p/<space length u16><space><key>       KV of policies
//	c/<kind>\0<name>                       what admins set
//	z/<body><header id>                    body that may have become garbage
//	y/<message>                            message whose records are to be cleared
//	w/<when u48 ms><message>               when u/<message> may go
//	V/<name>                               version, counters, watermarks
const idLen = len(envelope.ID{})

// maxKey is the longest key that is accepted; Badger takes 65,000.
const maxKey = 60_000

func idKey(prefix byte, id envelope.ID) []byte {
	k := make([]byte, 0, 2+idLen+12)
	return append(append(k, prefix, '/'), id[:]...)
}

func idNumKey(prefix byte, id envelope.ID, n uint32) []byte {
	return binary.BigEndian.AppendUint32(idKey(prefix, id), n)
}

func chunkKey(body envelope.ID, n uint32) []byte     { return idNumKey('b', body, n) }
func headerKey(id envelope.ID) []byte                { return idKey('h', id) }
func envelopeKey(id envelope.ID) []byte              { return idKey('m', id) }
func stateKey(id envelope.ID) []byte                 { return idKey('q', id) }
func groupKey(id envelope.ID, block uint32) []byte   { return idNumKey('g', id, block) }
func rcptKey(id envelope.ID, n uint32) []byte        { return idNumKey('r', id, n) }
func trailPrefix(id envelope.ID) []byte              { return idKey('t', id) }
func clearKey(id envelope.ID) []byte                 { return idKey('y', id) }
func ownerKey(owner envelope.Address) []byte         { return append([]byte("U/"), owner...) }
func metaKey(name string) []byte                     { return append([]byte("V/"), name...) }
func markKey(c envelope.Class) []byte                { return append(metaKey("mark"), byte(c)) }
func nameKey(box store.MailboxID) []byte             { return boxIDKey('n', box) }
func itemKey(box store.MailboxID, uid uint32) []byte { return boxUIDKey('i', box, uid) }
func editKey(box store.MailboxID, uid uint32) []byte { return boxUIDKey('e', box, uid) }

func trailKey(id envelope.ID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(trailPrefix(id), seq)
}

func boxIDKey(prefix byte, box store.MailboxID) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix, '/'}, uint64(box))
}

func boxUIDKey(prefix byte, box store.MailboxID, uid uint32) []byte {
	return binary.BigEndian.AppendUint32(boxIDKey(prefix, box), uid)
}

// edgePrefix covers all references to a body that come with one header.
func edgePrefix(body, header envelope.ID) []byte {
	return append(idKey('x', body), header[:]...)
}

func spoolEdge(body, header envelope.ID) []byte { return append(edgePrefix(body, header), 'q') }

func itemEdge(body, header envelope.ID, box store.MailboxID, uid uint32) []byte {
	k := append(edgePrefix(body, header), 'm')
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(k, uint64(box)), uid)
}

func garbageKey(body, header envelope.ID) []byte {
	return append(idKey('z', body), header[:]...)
}

func deliveredPrefix(id envelope.ID) []byte { return idKey('u', id) }

func deliveredKey(id envelope.ID, rcpt uint32, box store.MailboxID) []byte {
	return binary.BigEndian.AppendUint64(idNumKey('u', id, rcpt), uint64(box))
}

func boxKey(owner envelope.Address, folder string) []byte {
	return append(append(append([]byte("M/"), owner...), 0), folder...)
}

// recordPrefix begins the keys of records.
const recordPrefix = 'c'

func recordKey(kind, name string) []byte {
	return append(append(append([]byte{recordPrefix, '/'}, kind...), 0), name...)
}

func kvKey(space, key string) []byte {
	k := binary.BigEndian.AppendUint16([]byte("p/"), uint16(len(space)))
	return append(append(k, space...), key...)
}

// millis are the 48 bits in which keys hold a time. Times before 1970 and
// beyond the year 10889 count as the ends of that range.
func millis(t time.Time) uint64 {
	return uint64(min(max(t.UnixMilli(), 0), 1<<48-1))
}

func appendMillis(k []byte, t time.Time) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], millis(t))
	return append(k, b[2:]...)
}

func millisAt(b []byte) time.Time {
	var v [8]byte
	copy(v[2:], b[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(v[:])))
}

func forgetKey(when time.Time, id envelope.ID) []byte {
	return append(appendMillis([]byte("w/"), when), id[:]...)
}

func duePrefix(c envelope.Class) []byte { return []byte{'d', '/', byte(c)} }

func dueKey(c envelope.Class, due time.Time, id envelope.ID, block uint32) []byte {
	k := append(appendMillis(duePrefix(c), due), id[:]...)
	return binary.BigEndian.AppendUint32(k, block)
}

// parseDueKey is the inverse of dueKey.
func parseDueKey(k []byte) (e store.DueEntry, err error) {
	if len(k) != 3+6+idLen+4 || k[0] != 'd' || k[1] != '/' || int(k[2]) >= envelope.Classes {
		return e, fmt.Errorf("due key %x: %w", k, store.ErrCorrupt)
	}
	e.Class, e.Due = envelope.Class(k[2]), millisAt(k[3:])
	e.ID = envelope.ID(k[9 : 9+idLen])
	e.Block = binary.BigEndian.Uint32(k[9+idLen:])
	return e, nil
}

// idAt reads the ID behind the two octets of a prefix.
func idAt(k []byte) (envelope.ID, error) {
	if len(k) < 2+idLen {
		return envelope.ID{}, fmt.Errorf("key %x: %w", k, store.ErrCorrupt)
	}
	return envelope.ID(k[2 : 2+idLen]), nil
}
