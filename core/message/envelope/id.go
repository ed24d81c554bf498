package envelope

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ID names a message, a body or a session for ever: 48 bits of milliseconds
// since 1970 followed by 80 random bits, so IDs sort by the time they were
// made. The zero ID names nothing.
type ID [16]byte

// ErrID is returned by ParseID for text that is no ID.
var ErrID = errors.New("not a message id")

var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID makes an ID for something that came to be at t.
func NewID(t time.Time) ID {
	var id ID
	rand.Read(id[:]) // documented never to fail
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(t.UnixMilli()))
	copy(id[:6], ms[2:])
	return id
}

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	var id ID
	b, err := idText.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: %q", ErrID, s)
	}
	copy(id[:], b)
	return id, nil
}

// String is 26 characters of lower-case base 32 that sort as the IDs do.
func (id ID) String() string { return idText.EncodeToString(id[:]) }

// Time returns when the ID was made, to the millisecond.
func (id ID) Time() time.Time {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:])))
}

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText and UnmarshalText make IDs readable in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is the inverse of MarshalText; it returns ErrID.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}
