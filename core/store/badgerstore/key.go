package badgerstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// The first octet of a key says what its record is; a slash follows. KEYS.md
// beside the store's interfaces lists them with the form of key and value. Numbers
// in keys are big-endian, so that keys sort as numbers do.
const (
	keyBody       = 'b'
	keyEdge       = 'x'
	keyHeader     = 'h'
	keyEnvelope   = 'm'
	keyState      = 'q'
	keyGroup      = 'g'
	keyRcpt       = 'r'
	keyDue        = 'd'
	keyTrail      = 't'
	keyDelivered  = 'u'
	keyFolder     = 'M'
	keyFolderName = 'n'
	keyOwner      = 'U'
	keyItem       = 'i'
	keyEdit       = 'e'
	keyKV         = 'p'
	keyRecord     = 'c'
	keyGarbage    = 'z'
	keyClear      = 'y'
	keyForget     = 'w'
	keyMeta       = 'V'
)

// What refers to a body: the last octet of an edge's first part.
const (
	edgeSpool = 'q'
	edgeItem  = 'm'
)

// prefixOf returns what all keys of a kind begin with.
func prefixOf(kind byte) []byte { return []byte{kind, '/'} }

const idLen = len(envelope.ID{})

// maxKey is the longest key that is accepted; Badger takes 65,000.
const maxKey = 60_000

func idKey(kind byte, id envelope.ID) []byte {
	k := make([]byte, 0, 2+idLen+12)
	return append(append(k, kind, '/'), id[:]...)
}

func idNumKey(kind byte, id envelope.ID, n uint32) []byte {
	return binary.BigEndian.AppendUint32(idKey(kind, id), n)
}

func chunkKey(body envelope.ID, n uint32) []byte     { return idNumKey(keyBody, body, n) }
func headerKey(id envelope.ID) []byte                { return idKey(keyHeader, id) }
func envelopeKey(id envelope.ID) []byte              { return idKey(keyEnvelope, id) }
func stateKey(id envelope.ID) []byte                 { return idKey(keyState, id) }
func groupKey(id envelope.ID, block uint32) []byte   { return idNumKey(keyGroup, id, block) }
func rcptKey(id envelope.ID, n uint32) []byte        { return idNumKey(keyRcpt, id, n) }
func trailPrefix(id envelope.ID) []byte              { return idKey(keyTrail, id) }
func clearKey(id envelope.ID) []byte                 { return idKey(keyClear, id) }
func ownerKey(owner envelope.Address) []byte         { return append(prefixOf(keyOwner), owner...) }
func metaKey(name string) []byte                     { return append(prefixOf(keyMeta), name...) }
func markKey(c envelope.Class) []byte                { return append(metaKey("mark"), byte(c)) }
func nameKey(box store.MailboxID) []byte             { return folderIDKey(keyFolderName, box) }
func itemKey(box store.MailboxID, uid uint32) []byte { return folderUIDKey(keyItem, box, uid) }
func editKey(box store.MailboxID, uid uint32) []byte { return folderUIDKey(keyEdit, box, uid) }

func trailKey(id envelope.ID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(trailPrefix(id), seq)
}

func folderIDKey(kind byte, box store.MailboxID) []byte {
	return binary.BigEndian.AppendUint64(prefixOf(kind), uint64(box))
}

func folderUIDKey(kind byte, box store.MailboxID, uid uint32) []byte {
	return binary.BigEndian.AppendUint32(folderIDKey(kind, box), uid)
}

// edgePrefix covers all references to a body that come with one header.
func edgePrefix(body, header envelope.ID) []byte {
	return append(idKey(keyEdge, body), header[:]...)
}

func spoolEdge(body, header envelope.ID) []byte { return append(edgePrefix(body, header), edgeSpool) }

func itemEdge(body, header envelope.ID, box store.MailboxID, uid uint32) []byte {
	k := append(edgePrefix(body, header), edgeItem)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(k, uint64(box)), uid)
}

func garbageKey(body, header envelope.ID) []byte {
	return append(idKey(keyGarbage, body), header[:]...)
}

func deliveredPrefix(id envelope.ID) []byte { return idKey(keyDelivered, id) }

func deliveredKey(id envelope.ID, rcpt uint32, box store.MailboxID) []byte {
	return binary.BigEndian.AppendUint64(idNumKey(keyDelivered, id, rcpt), uint64(box))
}

func folderKey(owner envelope.Address, folder string) []byte {
	return append(append(append(prefixOf(keyFolder), owner...), 0), folder...)
}

func recordKey(kind, name string) []byte {
	return append(append(append(prefixOf(keyRecord), kind...), 0), name...)
}

func kvKey(space, key string) []byte {
	k := binary.BigEndian.AppendUint16(prefixOf(keyKV), uint16(len(space)))
	return append(append(k, space...), key...)
}

// millis returns the 48 bits in which keys hold a time. Times before 1970 and
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
	return append(appendMillis(prefixOf(keyForget), when), id[:]...)
}

func duePrefix(c envelope.Class) []byte { return []byte{keyDue, '/', byte(c)} }

func dueKey(c envelope.Class, due time.Time, id envelope.ID, block uint32) []byte {
	k := append(appendMillis(duePrefix(c), due), id[:]...)
	return binary.BigEndian.AppendUint32(k, block)
}

// parseDueKey is the inverse of dueKey.
func parseDueKey(k []byte) (e store.DueEntry, err error) {
	if len(k) != 3+6+idLen+4 || k[0] != keyDue || k[1] != '/' || int(k[2]) >= envelope.Classes {
		return e, fmt.Errorf("due key %x: %w", k, store.ErrCorrupt)
	}
	e.Class, e.Due = envelope.Class(k[2]), millisAt(k[3:])
	e.ID = envelope.ID(k[9 : 9+idLen])
	e.Block = binary.BigEndian.Uint32(k[9+idLen:])
	return e, nil
}

// idAt reads the ID after the two octets of a prefix.
func idAt(k []byte) (envelope.ID, error) {
	if len(k) < 2+idLen {
		return envelope.ID{}, fmt.Errorf("key %x: %w", k, store.ErrCorrupt)
	}
	return envelope.ID(k[2 : 2+idLen]), nil
}
