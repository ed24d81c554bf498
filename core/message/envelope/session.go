package envelope

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Session is what is known about one client connection. It is not the socket:
// it outlives the connection; Closed says whether that has ended. The protocol that
// made it owns it, and only the owner changes it between two backend calls.
type Session struct {
	ID       string
	Listener string // the listener's name in the configuration
	Protocol string // "smtp", "submission", "lmtp" or "pop3"
	Remote   netip.AddrPort
	Local    netip.AddrPort
	RDNS     string // verified name of Remote, "" when unknown
	Helo     string // what HELO, EHLO or LHLO gave
	ESMTP    bool   // the client said EHLO (or LHLO)
	TLS      *TLSInfo
	Identity *Identity // nil until authenticated
	Trusted  bool      // the client is in the listener's relay_from
	Started  time.Time
	Meta     map[string]any // session.meta of the policies, by bundle
	Closed   atomic.Bool
	// Policy belongs to the pipeline: its state of this session. Nobody else looks
	// inside.
	Policy any
}

// TLSInfo describes the encrypted connection.
type TLSInfo struct {
	Version string // "TLS1.3"
	Cipher  string
	SNI     string
	Subject string // of a verified client certificate, or ""
}

// Identity is the user who logged in, with data that a policy added.
type Identity struct {
	User Address
	// Delegate is who really logged in, if User granted access to the mailbox;
	// else "".
	Delegate Address
	Extra    map[string]any
}

// Credentials are one login attempt. Password is set for PLAIN, LOGIN and
// USER/PASS; Digest and Challenge for APOP (RFC 1939 section 7); Token for
// OAUTHBEARER and XOAUTH2. Proven: a SCRAM exchange proved that the client
// knows the password; only the exchange sets it.
type Credentials struct {
	Mechanism string // "PLAIN", "LOGIN", "USER", "APOP", ...
	User      string
	Authzid   string // requested authorization identity, usually ""
	Password  string
	Token     string
	Proven    bool
	Challenge string // the timestamp of the POP3 banner, brackets included
	Digest    string // 32 hexadecimal digits
}

// With returns the keyword for "with" in the Received field (RFC 3848, RFC
// 6531).
func (s *Session) With(utf8 bool) string {
	if s.Protocol == "lmtp" {
		return s.withSuffix("LMTP", utf8)
	}
	if !s.ESMTP {
		return "SMTP"
	}
	return s.withSuffix("ESMTP", utf8)
}

func (s *Session) withSuffix(name string, utf8 bool) string {
	if utf8 {
		name = "UTF8" + map[string]string{"ESMTP": "SMTP", "LMTP": "LMTP"}[name]
	}
	if s.TLS != nil {
		name += "S"
	}
	if s.Identity != nil {
		name += "A"
	}
	return name
}

// Transaction is one mail transaction (RFC 5321 section 3.3) while the client
// builds it.
type Transaction struct {
	ID         ID
	Sender     Address
	Params     Params
	Recipients []*Recipient // accepted ones, in the order of RCPT
	Meta       map[string]any
}

// Params are the parameters of MAIL.
type Params struct {
	Size       int64  // declared, 0 when not given (RFC 1870)
	Body       string // "", "7BIT", "8BITMIME" or "BINARYMIME"
	SMTPUTF8   bool
	EnvID      string    // decoded xtext (RFC 3461 4.4)
	Ret        string    // "", "FULL" or "HDRS"
	Priority   *Priority // MT-PRIORITY (RFC 6710)
	RequireTLS bool      // RFC 8689
	By         int64     // DELIVERBY seconds, 0 when not given (RFC 2852)
	ByMode     string    // "R", "N", with "T" appended for trace
	HoldUntil  time.Time // HOLDFOR and HOLDUNTIL (RFC 4865)
	Auth       string    // AUTH= of MAIL, decoded (RFC 4954 5)
	PRDR       bool      // a reply per recipient is wanted (draft-hall-prdr)
}

// Grant is a right that an owner gave to a delegate.
type Grant struct {
	Delegate Address   `json:"delegate"`
	Right    string    `json:"right"`
	Until    time.Time `json:"until,omitzero"` // that moment is the first without it
}
