// Package envelope has the types that every other package uses: addresses and
// envelopes, recipients and their states, priorities and their classes, SMTP
// statuses, and ids. It imports only the standard library, does no input or
// output, and keeps no state.
//
// The terms are those of RFC 5598: an Envelope travels with a message's octets,
// a Transaction is an envelope that the client still builds, and a Recipient
// has its own state from the moment it is accepted until it is delivered,
// relayed, failed or discarded.
package envelope

import (
	"time"
)

// Envelope is the data of a spooled message that is the same for all recipients.
type Envelope struct {
	ID         ID        `json:"id"`
	Sender     Address   `json:"sender"`
	ReceivedAt time.Time `json:"received_at"`
	Size       int64     `json:"size"` // octets of header section and body
	HeaderSize int64     `json:"header_size"`
	Body       ID        `json:"body"` // the stored octets, shared by reference
	CRC        uint32    `json:"crc"`  // CRC-32C over header section and body
	Chunks     uint32    `json:"chunks"`
	// NoCRLF: the body does not end in CRLF, as BINARYMIME may (RFC 3030).
	NoCRLF bool `json:"no_crlf,omitempty"`

	EnvID      string    `json:"envid,omitempty"`
	Ret        string    `json:"ret,omitempty"`
	Priority   Priority  `json:"priority,omitempty"`
	SMTPUTF8   bool      `json:"smtputf8,omitempty"`
	EightBit   bool      `json:"8bit,omitempty"` // the body has octets above 127
	RequireTLS bool      `json:"requiretls,omitempty"`
	By         time.Time `json:"by,omitzero"` // DELIVERBY deadline
	ByNotify   bool      `json:"by_notify,omitempty"`

	Listener string  `json:"listener,omitempty"`
	Protocol string  `json:"protocol,omitempty"`
	Client   string  `json:"client,omitempty"` // address of the client
	Helo     string  `json:"helo,omitempty"`
	Identity Address `json:"identity,omitempty"`
	Subject  string  `json:"subject,omitempty"` // raw, cut to 200 octets, for `queue list`
	Hops     int     `json:"hops,omitempty"`
	Depth    int     `json:"depth,omitempty"` // policies that submitted policies' mail
	Auto     string  `json:"auto,omitempty"`  // "dsn" for our own DSNs, "policy" for mail.submit
	// Outgoing is our domain whose policy sent the message; if a user submitted
	// it, the domain of Identity.
	Outgoing string         `json:"outgoing,omitempty"`
	Ours     bool           `json:"ours,omitempty"` // it came from a user of ours, a client that may relay, or a policy
	Meta     map[string]any `json:"meta,omitempty"`
	Auth     *AuthResults   `json:"auth_results,omitempty"` // when a policy asked
	Score    float64        `json:"score,omitempty"`        // what policies added up before the message was queued
	// Sign are the DKIM signatures that each copy gets when it leaves or is filed;
	// they are made for each copy because copies differ in their fields.
	Sign []Signature `json:"sign,omitempty"`
	// Placeholders are the places of the body that each recipient's Fill replaces.
	Placeholders []Placeholder `json:"marks,omitempty"`
}

// Signature is a DKIM signature to be made.
type Signature struct {
	Domain    string   `json:"domain"`
	Selectors []string `json:"selectors,omitempty"` // nil: those that sign for the domain
}

// Encryption asks for a message to be encrypted.
type Encryption struct {
	Kind    string  // "openpgp" or "smime"
	Address Address // whose key it is
	Key     []byte  // as core/message/crypt keeps it
	// HideSubject puts the subject inside.
	HideSubject bool
}

// Recipient is the state of one recipient of a spooled message.
type Recipient struct {
	N       uint32  `json:"n"` // its number in the message, never reused
	Address Address `json:"address"`
	Orig    Address `json:"orig"`            // as RCPT gave it
	ORcpt   string  `json:"orcpt,omitempty"` // "rfc822;user@domain", decoded
	Notify  Notify  `json:"notify,omitempty"`

	Sender   *Address       `json:"sender,omitempty"`   // overrides the envelope's
	Priority *Priority      `json:"priority,omitempty"` // overrides the envelope's
	Edit     HeaderEdit     `json:"edit,omitzero"`      // this recipient's copy only
	Values   Values         `json:"fill,omitempty"`     // of the body's marks, likewise
	ARC      string         `json:"arc,omitempty"`      // the domain that seals this copy (RFC 8617)
	Meta     map[string]any `json:"meta,omitempty"`
	From     []Change       `json:"from,omitempty"` // how Orig became Address
	// Released: a policy held the message for this recipient, and it was released.
	Released bool `json:"released,omitempty"`

	State    State     `json:"state"`
	Attempts int       `json:"attempts,omitempty"`
	First    time.Time `json:"first,omitzero"` // first attempt
	Next     time.Time `json:"next,omitzero"`  // earliest time of the next attempt
	Last     *Status   `json:"last,omitempty"`
	Host     string    `json:"host,omitempty"`  // that gave Last
	Route    string    `json:"route,omitempty"` // a policy's reroute, JSON of hooks.Route
	Warned   bool      `json:"warned,omitempty"`
	Discard  bool      `json:"discard,omitempty"` // accepted at RCPT, to be dropped
	IsLocal  bool      `json:"is_local,omitempty"`
	// Filed says that a policy put this copy into a folder: it goes there, and no hook
	// runs for it again.
	Filed *Filing `json:"filed,omitempty"`
}

// Placeholder is a place in a body that is replaced in each copy. The Len octets at
// At, quoted-printable between two soft line breaks, are the default text.
type Placeholder struct {
	Name string `json:"name"`
	At   int64  `json:"at"`
	Len  int64  `json:"len"`
}

// Values holds the texts of one copy for the marks, by name, in UTF-8.
type Values map[string]string

// Filing is the folder and the flags of a copy of a message.
type Filing struct {
	Folder string   `json:"folder"`
	Flags  []string `json:"flags,omitempty"`
	// Anybody: deliver to Address even if it has no account (such as a list's
	// archive).
	Anybody bool `json:"anybody,omitempty"`
}

// State is the state of a recipient; core/store/STATES.md says what changes it.
type State string

// The states of a recipient. Only Queued ones are tried.
const (
	Queued     State = "queued"
	Held       State = "held" // by a policy or an operator, until released
	Quarantine State = "quarantine"
	Delivered  State = "delivered" // to a mailbox or with a 2xx of the next hop
	Relayed    State = "relayed"   // to a next hop that does not promise DSNs
	Expanded   State = "expanded"  // replaced by other recipients
	Discarded  State = "discarded"
	Failed     State = "failed" // a DSN is due or was not wanted
)

// Done reports whether nothing is left to do for a recipient in this state.
func (s State) Done() bool { return s != Queued && s != Held && s != Quarantine }

// Change is one change of a recipient's address, for `explain`.
type Change struct {
	Address    Address `json:"address"` // before the change
	Hook       string  `json:"hook,omitempty"`
	Handler    string  `json:"handler,omitempty"`
	Bundle     string  `json:"bundle,omitempty"` // with @version
	Generation string  `json:"generation,omitempty"`
}

// Notify is the set of events a sender wants to hear of (RFC 3461 4.1).
type Notify uint8

// The NOTIFY keywords. Zero means that none was given: failures and delays.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Wants reports whether a DSN about event is to be sent.
func (n Notify) Wants(event Notify) bool {
	if n == 0 {
		return event == NotifyFailure || event == NotifyDelay
	}
	return n&NotifyNever == 0 && n&event != 0
}

// Group is a part of a message's recipients that share a next hop key, at
// most MaxGroup of them: what the queue leases, tries and settles at once.
type Group struct {
	Block      uint32         `json:"block"` // its number in the message
	Kind       GroupKind      `json:"kind"`
	Key        string         `json:"key"` // destination domain, or what a policy chose
	Domain     string         `json:"domain"`
	Async      *Arrival       `json:"async,omitempty"` // of an Asynchronous group
	Priority   Priority       `json:"priority,omitempty"`
	Due        time.Time      `json:"due"`
	Expires    time.Time      `json:"expires"`
	Held       bool           `json:"held,omitempty"`   // not in the due index
	Reason     string         `json:"reason,omitempty"` // of a hold or a quarantine
	Attempts   int            `json:"attempts,omitempty"`
	Tried      time.Time      `json:"tried,omitzero"` // when the last of them began
	Meta       map[string]any `json:"meta,omitempty"`
	Recipients []Recipient    `json:"-"` // stored apart, one record each
}

// GroupKind says what an attempt does with a group. A policy may choose any
// Key, so only the kind identifies the server's own groups.
type GroupKind string

// The kinds of groups.
const (
	Remote       GroupKind = "remote"  // handed to a next hop
	Mailbox      GroupKind = "mailbox" // filed into mailboxes here
	HeldForGroup GroupKind = "held"    // when released, its recipients pass queue.expand again
	Asynchronous GroupKind = "async"   // its recipients are handlers that run after the 250
	Unexpanded   GroupKind = "expand"  // its recipients pass queue.expand, at which a policy failed for a while
)

// GroupKinds returns all kinds in the order in which the store numbers them.
func GroupKinds() []GroupKind {
	return []GroupKind{Remote, Mailbox, HeldForGroup, Asynchronous, Unexpanded}
}

// Arrival is what handlers that run after the 250 see of the session and the
// transaction, besides the Envelope.
type Arrival struct {
	Session    string         `json:"session"`
	Protocol   string         `json:"protocol"`
	RDNS       string         `json:"rdns,omitempty"`
	TLS        *TLSInfo       `json:"tls,omitempty"`
	Extra      map[string]any `json:"extra,omitempty"` // what a policy added to the identity
	Trusted    bool           `json:"trusted,omitempty"`
	Meta       map[string]any `json:"meta,omitempty"` // of the transaction
	Recipients []Address      `json:"recipients"`
}

// MaxGroup is the most recipients in one group.
const MaxGroup = 1000

// HeaderEdit changes the header section of one recipient's copy; the body stays
// shared. Fields named in Remove are removed (case does not matter), and
// Prepend, whole lines with CRLF, is put first.
type HeaderEdit struct {
	Prepend string   `json:"prepend,omitempty"`
	Remove  []string `json:"remove,omitempty"`
}

// IsZero reports whether the edit changes nothing.
func (e HeaderEdit) IsZero() bool { return e.Prepend == "" && len(e.Remove) == 0 }

// TrailEntry is one entry of a message's decision trail, for `explain`.
type TrailEntry struct {
	Time         time.Time     `json:"time"`
	Step         string        `json:"step"` // receive, queue, route, deliver, bounce, operator
	Hook         string        `json:"hook,omitempty"`
	Handler      string        `json:"handler,omitempty"` // file:line
	Bundle       string        `json:"bundle,omitempty"`  // name@version
	Generation   string        `json:"generation,omitempty"`
	Rcpt         Address       `json:"rcpt,omitempty"`
	Verdict      string        `json:"verdict,omitempty"`
	Changes      []string      `json:"changes,omitempty"`
	Text         string        `json:"text,omitempty"`
	Cost         time.Duration `json:"cost,omitempty"`         // wall time
	Instructions int64         `json:"instructions,omitempty"` // of the script
	Err          string        `json:"err,omitempty"`
}
