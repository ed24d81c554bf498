package envelope

import (
	"io"
	"time"
)

// NextHop is where a message is sent next: hosts to try in this order, and how to
// connect to them.
type NextHop struct {
	Name     string // for logs: the domain, "relay" or the policy's choice
	Hosts    []Host // best first; those of one Preference in any order
	LMTP     bool
	TLS      TLSPolicy
	Implicit bool   // TLS from the first octet (port 465)
	Source   string // own address to send from, "" = the configured ones
	User     string // SASL, needs TLS unless the peer is loopback
	Password string
	// Configured next hops may have private or loopback addresses with any setting of
	// [delivery]; hosts found by MX may not.
	Configured bool
}

// Host is one server of a next hop.
type Host struct {
	Name       string // a domain name, or an IP address in text
	Port       int
	Preference int // of the MX record
}

// TLSPolicy says how much encryption a next hop must give.
type TLSPolicy string

// The policies; the empty one is TLSMay.
const (
	TLSMay    TLSPolicy = "may"    // opportunistic, RFC 7435
	TLSVerify TLSPolicy = "verify" // a valid certificate for the host's name, or no delivery
	TLSNone   TLSPolicy = "none"
)

// Transfer is one mail transaction with a next hop.
type Transfer struct {
	ID         ID
	Sender     Address
	Recipients []*Recipient
	Size       int64
	SMTPUTF8   bool
	EightBit   bool
	RequireTLS bool
	Priority   Priority
	EnvID      string
	Ret        string
	By         time.Time // DELIVERBY deadline, zero: none
	ByNotify   bool
	// Open gives header section and body. It may be called several times, once
	// for each transaction and more.
	Open func() (io.ReadCloser, error)
}

// Outcome is what became of one recipient of a Transfer: a Status that the
// next hop gave, or one that says why no next hop gave one.
type Outcome struct {
	Status Status
	Host   string // that answered, "" when none did
	// Down: no connection came about, so other messages for the same next
	// hop need not be tried at once.
	Down bool
	// NoDSN: the peer does not offer DSN, so reports about success are ours
	// to make ("relayed", RFC 3461 5.2.2).
	NoDSN bool
	TLS   string // version, "" in the clear
}
