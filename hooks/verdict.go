package hooks

import (
	"fmt"
	"time"

	"carteiro/core/message/envelope"
)

// Action is what a verdict says.
type Action uint8

// The actions, with the names that policies use.
const (
	Continue Action = iota // nothing returned
	Accept
	Reject
	Defer
	Disconnect
	Discard
	Quarantine
	Hold
	Schedule
	Keep
	FileInto
	Redirect
	RouteTo
	Reroute
	Retry
	Fail
	NoDSN
	Respond
)

var actionNames = [...]string{"continue", "accept", "reject", "defer", "disconnect", "discard", "quarantine", "hold",
	"schedule", "keep", "fileinto", "redirect", "route", "reroute", "retry", "fail", "nodsn", "response"}

// String returns the name of the Lua function that makes the verdict.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// ends reports whether the verdict ends the whole chain.
func (a Action) ends() bool { return a != Continue && a != Accept && a != NoDSN }

// Verdict is a handler's answer. Only the fields that its action needs are
// set.
type Verdict struct {
	Action   Action
	Status   envelope.Status  // Reject, Defer, Disconnect, Fail
	Reason   string           // Discard, Quarantine, Hold
	At       time.Time        // Schedule
	Delay    time.Duration    // Retry
	Folder   string           // FileInto
	Flags    []string         // Keep, FileInto
	Address  envelope.Address // Redirect
	Route    *Route           // RouteTo, Reroute
	Identity map[string]any   // Accept in receive.auth
	NoDSN    bool             // some handler said nodsn()
	Response *Response        // Respond
}

// String returns the verdict as trails and logs show it.
func (v Verdict) String() string {
	switch v.Action {
	case Reject, Defer, Disconnect, Fail:
		return v.Action.String() + " " + v.Status.Reply()
	case Discard, Quarantine, Hold:
		return v.Action.String() + " (" + v.Reason + ")"
	case Schedule:
		return "schedule " + v.At.UTC().Format(time.RFC3339)
	case Retry:
		return "retry in " + v.Delay.String()
	case FileInto:
		return "fileinto " + v.Folder
	case Redirect:
		return "redirect " + string(v.Address)
	case Respond:
		return fmt.Sprintf("response %d", v.Response.Status)
	case RouteTo, Reroute:
		if r := v.Route; len(r.Hosts) == 0 {
			return fmt.Sprintf("%s to the server's own hosts, source %q, tls %q, user %q, port %d", v.Action, r.Source, r.TLS, r.User, r.Port)
		}
		return fmt.Sprintf("%s %v", v.Action, v.Route.Hosts)
	}
	return v.Action.String()
}

// Response is the answer to an HTTP request.
type Response struct {
	Status  int
	Type    string // content type
	Body    string
	Headers map[string]string
}

// Route is a way to a next hop that a policy chose. Without Hosts the rest
// applies to the hosts that the server would take.
type Route struct {
	Hosts    []string      `json:"hosts"`          // names or addresses, tried in order; "host:port" overrides Port
	Port     int           `json:"port,omitempty"` // 0: the server's delivery port
	TLS      string        `json:"tls,omitempty"`  // "", "may", "verify" or "none"
	LMTP     bool          `json:"lmtp,omitempty"`
	Source   string        `json:"source,omitempty"` // own address to send from
	User     string        `json:"user,omitempty"`
	Password string        `json:"-"`
	TTL      time.Duration `json:"ttl,omitempty"` // how long the answer is cached
}
