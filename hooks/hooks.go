// Package hooks is the contract between the pipeline and its policies: the
// points at which policies are asked (Point, Spec), what they see (Event),
// what they may answer (Verdict), in which order they are asked and what a
// failure means (Chain), and what is swapped as a whole on a reload
// (Generation). It knows no Lua; hooks/lua is the engine that we ship.
//
// Guarantees: an edit counts only if its handler returned normally, and a
// handler that fails never means consent: the Spec's failure column, or the
// handler's stricter on_error, decides. Nothing here blocks but the handlers.
package hooks

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"carteiro/core/message/envelope"
)

// Point names a hook.
type Point string

// The hooks, in the order in which a message meets them.
const (
	ReceiveConnect Point = "receive.connect"
	ReceiveHelo    Point = "receive.helo"
	ReceiveAuth    Point = "receive.auth"
	ReceiveMail    Point = "receive.mail"
	ReceiveRcpt    Point = "receive.rcpt"
	ReceiveHeaders Point = "receive.headers"
	ReceiveData    Point = "receive.data"
	QueueExpand    Point = "queue.expand"
	QueueCommit    Point = "queue.commit"
	RouteResolve   Point = "route.resolve"
	DeliverAttempt Point = "deliver.attempt"
	DeliverLocal   Point = "deliver.local"
	DeliverResult  Point = "deliver.result"
	DeliverDSN     Point = "deliver.dsn"
	TimerTick      Point = "timer.tick"
	WebRequest     Point = "web.request"
	AdminCommand   Point = "admin.command"
	// ReceiveAfter is where handlers of receive.data stand that have the option
	// async; scripts cannot name it.
	ReceiveAfter Point = "receive.data async"
	ObserveEvent Point = "observe.event"
)

// Errors of the contract.
var (
	// ErrHook wraps everything that makes a handler fail.
	ErrHook = errors.New("policy failed")
	// ErrNotHere is returned by an Event's methods for a change that the hook
	// does not allow.
	ErrNotHere = errors.New("not allowed in this hook")
	// ErrSame is what a change of a header section returns that changes nothing.
	ErrSame = errors.New("nothing to change")
	// ErrBudget: the handler used up its instructions, its time or its memory.
	ErrBudget = errors.New("budget exhausted")
	// ErrExhausted is an ErrBudget that the current message caused: the handler
	// used up its instructions or its memory on it, and did not wait for anything.
	ErrExhausted = fmt.Errorf("%w", ErrBudget)
)

// Changes is a set of changes that a hook allows.
type Changes uint16

// The changes of the contract's table.
const (
	ChangeIdentity   Changes = 1 << iota // what accept(identity) gave
	ChangeSender                         // tx.sender
	ChangeAddress                        // rcpt.address
	ChangeMessage                        // header fields and parts
	ChangeScore                          // score and priority of the message
	ChangeRecipients                     // replace, fork, variant
	ChangeOwnFields                      // a recipient's own header fields
	ChangeGroup                          // key, priority, expiry
	ChangeText                           // dsn.text
	ChangeMeta                           // meta of what the hook is given
	ChangeEffects                        // kv, rate, mail.submit
	ChangeDelay                          // tarpit
	ChangeAttempt                        // header fields of one try, of mail that leaves
	ChangeCopies                         // copy_to
)

// Spec is one row of the contract's table.
type Spec struct {
	Point    Point
	Args     []string // names of the handler's arguments
	When     string
	Verdicts []Action
	Changes  Changes
	Fail     Failure
	Status   envelope.Status // what a deferring failure answers
	Wall     time.Duration
	Budget   int64 // instructions
	// InCommit: effects travel in the message's commit instead of being
	// applied on normal return.
	InCommit bool
	// Sides: bundles are asked for the recipient's domain, and for the domain
	// that the mail is outgoing mail of, see Event.Outgoing.
	Sides bool
	// NoMail: the hook is not about mail, so a handler for single domains is
	// asked too.
	NoMail bool
}

// HasOption reports whether an option of on means something at this hook, so that
// one that would have no effect is refused when a file loads.
func (s Spec) HasOption(option string) bool {
	session := slices.Contains(s.Args, "session")
	switch option {
	case "order", "tier", "on_error":
		return true
	case "listener":
		return session || slices.Contains(s.Args, "msg")
	case "login": // before a login nobody has logged in
		return s.Point != ReceiveConnect && s.Point != ReceiveAuth && (session || slices.Contains(s.Args, "msg"))
	case "async":
		return s.Point == ReceiveData || s.Point == ReceiveAfter
	case "every", "each":
		return s.Point == TimerTick
	case "path":
		return s.Point == WebRequest
	case "command":
		return s.Point == AdminCommand
	case "events":
		return s.Point == ObserveEvent
	}
	return false
}

// Options returns the names of all options of on, in the order of the manual.
func Options() []string {
	return []string{"order", "tier", "on_error", "listener", "login", "async", "every", "each", "path", "command", "events"}
}

// Failure is what a failing handler means.
type Failure string

// The failures; the first three are the table's, all may be set by on_error.
const (
	FailDefer      Failure = "defer"
	FailContinue   Failure = "continue"
	FailKeep       Failure = "keep"
	FailReject     Failure = "reject"
	FailQuarantine Failure = "quarantine"
)

const (
	kilo = 1_000
	mega = 1_000_000
)

func failStatus(code int, enhanced string) envelope.Status {
	return envelope.Status{Code: code, Enhanced: enhanced, Text: "local policy is unavailable, try again later"}
}

var specs = []Spec{
	{
		Point:    ReceiveConnect,
		Args:     []string{"session"},
		When:     "before the banner",
		Verdicts: []Action{Reject, Defer, Disconnect},
		Changes:  ChangeMeta | ChangeEffects | ChangeDelay,
		Fail:     FailDefer,
		Status:   failStatus(421, "4.3.0"),
		Wall:     2 * time.Second,
		Budget:   200 * kilo,
	},
	{
		Point:    ReceiveHelo,
		Args:     []string{"session", "name"},
		When:     "at each HELO, EHLO and LHLO",
		Verdicts: []Action{Reject, Defer, Disconnect},
		Changes:  ChangeMeta | ChangeEffects | ChangeDelay,
		Fail:     FailDefer,
		Status:   failStatus(451, "4.3.0"),
		Wall:     2 * time.Second,
		Budget:   200 * kilo,
	},
	{
		Point:    ReceiveAuth,
		Args:     []string{"session", "cred"},
		When:     "at each AUTH and POP3 login, after the server checked its own accounts",
		Verdicts: []Action{Accept, Reject, Defer},
		Changes:  ChangeIdentity | ChangeMeta | ChangeEffects | ChangeDelay,
		Fail:     FailDefer,
		Status:   failStatus(454, "4.7.0"),
		Wall:     5 * time.Second,
		Budget:   500 * kilo,
	},
	{
		Point:    ReceiveMail,
		Args:     []string{"session", "tx"},
		When:     "at each MAIL",
		Verdicts: []Action{Reject, Defer, Disconnect},
		Changes:  ChangeSender | ChangeMeta | ChangeEffects | ChangeDelay,
		Fail:     FailDefer,
		Status:   failStatus(451, "4.3.0"),
		Wall:     2 * time.Second,
		Budget:   200 * kilo,
	},
	{
		Point:    ReceiveRcpt,
		Args:     []string{"session", "tx", "rcpt"},
		When:     "at each RCPT, after the check for relaying",
		Verdicts: []Action{Accept, Reject, Defer, Discard},
		Changes:  ChangeAddress | ChangeMeta | ChangeEffects | ChangeDelay,
		Fail:     FailDefer,
		Status:   failStatus(451, "4.3.0"),
		Wall:     5 * time.Second,
		Budget:   500 * kilo,
	},
	{
		Point:    ReceiveHeaders,
		Args:     []string{"session", "tx", "msg"},
		When:     "after the header section; the body is still coming",
		Verdicts: []Action{Reject, Defer, Discard},
		Changes:  ChangeMeta | ChangeEffects | ChangeDelay,
		Fail:     FailDefer,
		Status:   failStatus(451, "4.3.0"),
		Wall:     5 * time.Second,
		Budget:   1 * mega,
	},
	{
		Point:    ReceiveData,
		Args:     []string{"session", "tx", "msg"},
		When:     "after the whole message, before the 250",
		Verdicts: []Action{Accept, Reject, Defer, Discard, Quarantine},
		Changes:  ChangeMessage | ChangeScore | ChangeSender | ChangeAddress | ChangeMeta | ChangeEffects | ChangeDelay,
		Fail:     FailDefer,
		Status:   failStatus(451, "4.3.0"),
		Wall:     15 * time.Second,
		Budget:   5 * mega,
		InCommit: true,
	},
	{
		Point: ReceiveAfter,
		Args:  []string{"session", "tx", "msg"},
		When: "after the 250, once, in a separate commit, for handlers of receive.data with `async = true`; one that fails is called " +
			"again, as often and as late as a delivery is tried again",
		Changes:  ChangeEffects,
		Fail:     FailContinue,
		Wall:     time.Minute,
		Budget:   20 * mega,
		InCommit: true,
	},
	{
		Point:    QueueExpand,
		Args:     []string{"msg", "rcpt"},
		When:     "once per recipient, before the 250, in the message's commit",
		Verdicts: []Action{Reject, Discard, Quarantine},
		Changes:  ChangeRecipients | ChangeCopies | ChangeOwnFields | ChangeMeta | ChangeEffects,
		Fail:     FailDefer,
		Status:   failStatus(451, "4.3.0"),
		Wall:     5 * time.Second,
		Budget:   2 * mega,
		InCommit: true,
		Sides:    true,
	},
	{
		Point:    QueueCommit,
		Args:     []string{"msg", "group"},
		When:     "once per group of recipients that have the same next hop key, before the 250",
		Verdicts: []Action{Hold, Schedule},
		Changes:  ChangeGroup | ChangeMeta | ChangeEffects,
		Fail:     FailDefer,
		Status:   failStatus(451, "4.3.0"),
		Wall:     1 * time.Second,
		Budget:   200 * kilo,
		InCommit: true,
		Sides:    true,
	},
	{
		Point:    RouteResolve,
		Args:     []string{"domain", "key"},
		When:     "when a group needs a next hop; cached per domain and key for the route's ttl",
		Verdicts: []Action{RouteTo, Reject, Defer},
		Changes:  ChangeEffects,
		Fail:     FailContinue,
		Wall:     5 * time.Second,
		Budget:   1 * mega,
	},
	{
		Point:    DeliverAttempt,
		Args:     []string{"msg", "group", "attempt"},
		When:     "before each attempt",
		Verdicts: []Action{Retry, Reroute, Discard, Hold},
		Changes:  ChangeAttempt | ChangeEffects,
		Fail:     FailContinue,
		Wall:     2 * time.Second,
		Budget:   500 * kilo,
		InCommit: true,
		Sides:    true,
	},
	{
		Point:    DeliverLocal,
		Args:     []string{"msg", "rcpt", "box"},
		When:     "for each mailbox; one at a time per mailbox",
		Verdicts: []Action{Keep, FileInto, Redirect, Discard, Reject},
		Changes:  ChangeOwnFields | ChangeCopies | ChangeEffects,
		Fail:     FailKeep,
		Wall:     5 * time.Second,
		Budget:   2 * mega,
		InCommit: true,
	},
	{
		Point:    DeliverResult,
		Args:     []string{"msg", "rcpt", "result"},
		When:     "after each attempt",
		Verdicts: []Action{Retry, Reroute, Fail, NoDSN},
		Changes:  ChangeMeta | ChangeEffects,
		Fail:     FailContinue,
		Wall:     2 * time.Second,
		Budget:   500 * kilo,
		InCommit: true,
		Sides:    true,
	},
	{
		Point:    DeliverDSN,
		Args:     []string{"msg", "rcpts", "dsn"},
		When:     "before a DSN is made",
		Verdicts: []Action{Discard, Redirect},
		Changes:  ChangeText | ChangeEffects,
		Fail:     FailContinue,
		Wall:     2 * time.Second,
		Budget:   500 * kilo,
		InCommit: true,
		Sides:    true,
	},
	{
		Point: ObserveEvent,
		Args:  []string{"event"},
		When: "after a commit; asynchronously, in order, at least once; a handler that fails is called again after 1 s, 5 s, 30 s, 2 " +
			"min and 10 min, then the event is parked",
		Changes: ChangeEffects,
		Fail:    FailContinue,
		Wall:    10 * time.Second,
		Budget:  2 * mega,
	},
	{
		Point:   TimerTick,
		Args:    []string{"now", "domain"},
		When:    "at the interval of the option `every`, with `each = \"domain\"` for each domain in turn; one handler at a time",
		Changes: ChangeEffects,
		Fail:    FailContinue,
		Wall:    time.Minute,
		Budget:  10 * mega,
		NoMail:  true,
	},
	{
		Point:    WebRequest,
		Args:     []string{"req"},
		When:     "at an HTTP request below /b/BUNDLE/ whose path is the option `path` or below it; a failure is answered with 500",
		Verdicts: []Action{Respond},
		Changes:  ChangeEffects,
		Fail:     FailContinue,
		Wall:     5 * time.Second,
		Budget:   2 * mega,
		NoMail:   true,
	},
	{
		Point: AdminCommand,
		Args:  []string{"cmd"},
		When: "when an operator types `carteiro NAME ...`, where NAME is the option `command` (`carteiro policy NAME ...` if the " +
			"server itself has a command of that name), or sends it over the admin socket; the operator sees the text of a reject and " +
			"the error of a failure",
		Verdicts: []Action{Respond, Reject},
		Changes:  ChangeEffects,
		Fail:     FailContinue,
		Wall:     10 * time.Second,
		Budget:   10 * mega,
		NoMail:   true,
	},
}

// Specs returns the contract's table in the order of the hooks. The caller must
// not change it.
func Specs() []Spec { return specs }

// PointNames returns the names of all hooks that scripts know, in the order of Specs.
func PointNames() []string {
	var names []string
	for _, s := range specs {
		if s.Point != ReceiveAfter {
			names = append(names, string(s.Point))
		}
	}
	return names
}

// SpecNamed finds the row of a hook by the name that scripts use.
func SpecNamed(name string) (Spec, bool) {
	if name == string(ReceiveAfter) {
		return Spec{}, false
	}
	return SpecOf(Point(name))
}

// SpecOf finds the row of a hook.
func SpecOf(p Point) (Spec, bool) {
	for _, s := range specs {
		if s.Point == p {
			return s, true
		}
	}
	return Spec{}, false
}

// Allows reports whether a handler at this hook may return a.
func (s Spec) Allows(a Action) bool {
	for _, v := range s.Verdicts {
		if v == a {
			return true
		}
	}
	return a == Continue
}
