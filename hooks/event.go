package hooks

import (
	"fmt"
	"time"

	"carteiro/core/message/envelope"
)

// Event is what the handlers of one hook are asked about. The stage that
// makes it fills in what the hook's Args name and owns everything it points
// to; handlers change it only through its methods, which record each change
// so that a failed handler's are undone. An Event belongs to one goroutine.
type Event struct {
	Point   Point
	Now     time.Time
	Session *envelope.Session
	Name    string // receive.helo
	Cred    *Cred
	Tx      *envelope.Transaction
	Msg     *Message
	Rcpt    *Rcpt
	Rcpts   []*Rcpt // deliver.dsn
	Group   *envelope.Group
	Attempt *Attempt
	Result  *Result
	Box     Box
	DSN     *DSN
	Domain  string // route.resolve; timer.tick: whose turn it is, or ""
	Key     string // route.resolve
	Req     *Request
	Command *Command // admin.command
	// Observed is the event of observe.event.
	Observed *Observed

	// Pending collects effects and submissions. Events about one message
	// share it, so that a later handler reads what an earlier one wrote.
	Pending *Pending
	// Apply commits effects and submissions of hooks whose effects do not
	// travel with a message. It blocks until they are on disk.
	Apply func([]envelope.Effect, []Submit) error

	// Delay is how long the reply to the client waits, see Tarpit.
	Delay time.Duration

	// OnExhausted, if set, is called when a message would be deferred because a
	// handler exhausted its budget on it. It returns the verdict that counts
	// instead; it may be Quarantine even if the hook has no such verdict.
	OnExhausted func(i Info, deferred Verdict, err error) Verdict

	// Outgoing is the domain of ours that the mail is outgoing mail of: that of
	// the user who logged in and submitted it, of the policy that made it, or of
	// the list or forward whose own sender a copy has; "" is none. What a client
	// claims as sender is not asked.
	Outgoing string

	side      side
	twoSided  bool
	direction string
	handler   string // Key of the one that is asked
	changeLog
}

// changeLog is what a handler may change and has changed, and how to undo it.
type changeLog struct {
	allowed Changes
	undo    []func()
	changes []string
}

// EventNames are the names that an Observed can have.
var EventNames = []string{
	"accepted",
	"rejected",
	"delivered",
	"deferred",
	"bounced",
	"expired",
	"login",
	"login_failed",
	"setting",
	"reload",
	"learned",
}

// Observed is something that happened.
type Observed struct {
	Name string         `json:"name"`
	ID   string         `json:"id"`
	Time time.Time      `json:"time"`
	Data map[string]any `json:"data"`
}

// Request is an HTTP request to a policy.
type Request struct {
	Method  string
	Path    string // below /b/BUNDLE, with its slash
	Query   map[string]string
	Form    map[string]string // of a POST that is a form
	Headers map[string]string // names in lower case
	IP      string
	Body    string
}

// Command is what an operator typed: `carteiro NAME VERB ARGS... --OPTION VALUE`.
type Command struct {
	Name    string            `json:"name"`
	Verb    string            `json:"verb"`
	Args    []string          `json:"args"`
	Options map[string]string `json:"options,omitempty"`
	JSON    bool              `json:"json,omitempty"` // the answer is wanted as JSON
}

// Cred is a login attempt after the server looked at its own accounts.
type Cred struct {
	*envelope.Credentials
	Verified bool
	Account  envelope.Address // whose mailbox or identity it is for, when verified
	Delegate envelope.Address // who that is, where it is not the account's owner
}

// Attempt is a delivery attempt that is about to start.
type Attempt struct {
	Number      int // 1 for the first
	First, Last time.Time
}

// Result is the outcome of an attempt for one recipient.
type Result struct {
	Class   string // "delivered", "deferred" or "failed"
	Status  envelope.Status
	Host    string
	Attempt int
	Age     time.Duration // since the message was received
}

// DSN is a delivery status notification that is about to be made.
type DSN struct {
	Action string // "failed", "delayed", "delivered", "relayed", "expanded"
	Status string // RFC 3463 code of the first recipient
	Text   string // human part; changed with SetText
}

// Box is the mailbox of deliver.local.
type Box interface {
	Address() envelope.Address
	Folders() ([]string, error)
	Quota() (used, limit int64, err error)
	// Setting is what `account set` stored, decoded JSON, nil when absent.
	Setting(name string) (any, error)
}

// Rcpt is a recipient as policies see it, with the changes that they made.
type Rcpt struct {
	*envelope.Recipient
	// Replace is non-nil once a policy replaced the recipient, even by nobody.
	Replace []Target
	Copies  []Target
	// Fork is the message that goes to it instead of the one at hand, see
	// Event.Fork.
	Fork *Message

	variants []*Message // see Event.Variant
}

// Target is a recipient that a policy adds.
type Target struct {
	Address  envelope.Address
	Sender   *envelope.Address // nil: the message's
	Fields   string            // header lines with CRLF for this copy
	Fill     envelope.Values   // of marks in appended text, for this copy; nil: as the recipient it is made for
	ARC      string            // the domain that seals this copy; "": likewise
	Priority *envelope.Priority
	Notify   *envelope.Notify // which DSNs its sender gets; nil: as the sender asked
	Msg      *Message         // what it gets, see Event.Variant; nil: the current message
	Mailbox  bool             // it is filed in the mailbox of Address, with an account or without
	From     envelope.Change  // who added it
}

// Copy is a copy of a message for a folder of a mailbox here.
type Copy struct {
	Owner envelope.Address
	envelope.Filing
}

// Submit is a message that a policy sends. Header and Body are complete; with
// Forward they are empty and the current message is sent on with Edit. Copies
// go into folders beside it, without a policy being asked.
type Submit struct {
	Sender  envelope.Address
	Rcpts   []envelope.Address
	Header  []byte
	Body    []byte
	Forward bool
	From    []envelope.Change // with Forward: the way of the mail so far, the current recipient last
	Edit    envelope.HeaderEdit
	Copies  []Copy
	Space   string // of the policy, for limits
	// Domain is the domain of ours at hand of the policy, or "": the message is
	// outgoing mail of it.
	Domain string
	// Hold, with Forward: the message is kept for the recipient, of a group, until
	// it is released or dropped.
	Hold bool
}

// Pending are side effects that wait for their commit.
type Pending struct {
	Effects []envelope.Effect
	Submits []Submit
	// Undo gives back what was taken at once instead of in the commit, such as
	// tokens of rate limits; see Back.
	Undo []func()
}

// RollbackTo drops all effects, submissions and undos after the first so many. It is
// for mail that is deferred and for a commit that failed.
func (p *Pending) RollbackTo(effects, submits, undo int) {
	for i := len(p.Undo) - 1; i >= undo; i-- {
		p.Undo[i]()
	}
	p.Effects, p.Submits, p.Undo = p.Effects[:effects], p.Submits[:submits], p.Undo[:undo]
}

// checkAllowed returns ErrNotHere unless the hook allows the change.
func (e *Event) checkAllowed(m Changes, what string) error {
	if e.allowed&m == 0 {
		return fmt.Errorf("%s cannot be changed at %s: %w", what, e.Point, ErrNotHere)
	}
	return nil
}

// Allowed reports whether the hook allows a change, so that an engine can
// refuse it in its own words.
func (l *changeLog) Allowed(m Changes) bool { return l.allowed&m != 0 }

// record notes a change and how to undo it.
func (l *changeLog) record(what string, undo func()) {
	l.changes = append(l.changes, what)
	l.undo = append(l.undo, undo)
}

// begin starts a handler's transaction.
func (l *changeLog) begin(may Changes) { l.allowed, l.undo, l.changes = may, l.undo[:0], nil }

// rollback undoes what the handler changed, last change first.
func (l *changeLog) rollback() {
	for i := len(l.undo) - 1; i >= 0; i-- {
		l.undo[i]()
	}
	l.undo, l.changes = l.undo[:0], nil
}

// SetSender changes the envelope sender of the transaction or message.
func (e *Event) SetSender(a envelope.Address) error {
	if err := e.checkAllowed(ChangeSender, "the sender"); err != nil {
		return err
	}
	old := e.Tx.Sender
	set := func(a envelope.Address) {
		e.Tx.Sender = a
		if e.Msg != nil {
			e.Msg.Sender = a
		}
	}
	e.record("sender "+old.Path()+" -> "+a.Path(), func() { set(old) })
	set(a)
	return nil
}

// SetAddress changes a recipient's address.
func (e *Event) SetAddress(r *envelope.Recipient, a envelope.Address, by envelope.Change) error {
	if err := e.checkAllowed(ChangeAddress, "a recipient's address"); err != nil {
		return err
	}
	old, from := r.Address, r.From
	by.Address = old
	e.record("recipient "+old.Path()+" -> "+a.Path(), func() { r.Address, r.From = old, from })
	r.Address, r.From = a, append(from[:len(from):len(from)], by)
	return nil
}

// SetMeta sets a key of a meta table; nil deletes it. Values are plain data:
// bool, float64, string, []any, map[string]any; the Event owns them then.
func (e *Event) SetMeta(meta *map[string]any, key string, value any) error {
	if err := e.checkAllowed(ChangeMeta, "meta"); err != nil {
		return err
	}
	old, had := (*meta)[key]
	if *meta == nil {
		*meta = map[string]any{}
	}
	m := *meta
	e.record("meta "+key, func() {
		if had {
			m[key] = old
		} else {
			delete(m, key)
		}
	})
	if value == nil {
		delete(m, key)
	} else {
		m[key] = value
	}
	return nil
}

// Replace replaces the recipient by targets (none: it is dropped silently).
func (e *Event) Replace(r *Rcpt, targets []Target) error {
	if err := e.checkAllowed(ChangeRecipients, "the recipients"); err != nil {
		return err
	}
	old := r.Replace
	if targets == nil {
		targets = []Target{}
	}
	e.record(fmt.Sprintf("recipient %s replaced by %d", r.Address.Path(), len(targets)), func() { r.Replace = old })
	r.Replace = targets
	return nil
}

// CopyTo adds recipients beside this one.
func (e *Event) CopyTo(r *Rcpt, targets []Target) error {
	if err := e.checkAllowed(ChangeCopies, "the recipients"); err != nil {
		return err
	}
	old := r.Copies
	for _, t := range targets {
		e.record("copy to "+t.Address.Path(), func() { r.Copies = old })
	}
	r.Copies = append(old[:len(old):len(old)], targets...)
	return nil
}

// SetEdit changes the header edit of one recipient's copy.
func (e *Event) SetEdit(r *Rcpt, what string, edit envelope.HeaderEdit) error {
	if err := e.checkAllowed(ChangeOwnFields, "a recipient's header fields"); err != nil {
		return err
	}
	old := r.Edit
	e.record(what, func() { r.Edit = old })
	r.Edit = edit
	return nil
}

// SetGroup changes priority, key or expiry of the group.
func (e *Event) SetGroup(what string, change func(*envelope.Group)) error {
	if err := e.checkAllowed(ChangeGroup, "the group"); err != nil {
		return err
	}
	g, old := e.Group, *e.Group
	e.record(what, func() { g.Key, g.Priority, g.Expires = old.Key, old.Priority, old.Expires })
	change(g)
	return nil
}

// SetText replaces the human part of a DSN.
func (e *Event) SetText(text string) error {
	if err := e.checkAllowed(ChangeText, "the report's text"); err != nil {
		return err
	}
	old := e.DSN.Text
	e.record("dsn text", func() { e.DSN.Text = old })
	e.DSN.Text = text
	return nil
}

// AddEffect queues a change of the KV.
func (e *Event) AddEffect(f envelope.Effect) error {
	if err := e.checkAllowed(ChangeEffects, "the kv"); err != nil {
		return err
	}
	p, n := e.Pending, len(e.Pending.Effects)
	e.record("kv "+f.Key, func() { p.Effects = p.Effects[:n] })
	p.Effects = append(p.Effects, f)
	return nil
}

// MaxDelay is the longest delay of one reply.
const MaxDelay = 30 * time.Second

// Tarpit delays the reply to the client's command; of several delays the
// longest counts, and none is longer than MaxDelay.
func (e *Event) Tarpit(d time.Duration) error {
	if err := e.checkAllowed(ChangeDelay, "the time of the reply"); err != nil {
		return err
	}
	old := e.Delay
	e.record("tarpit "+d.String(), func() { e.Delay = old })
	e.Delay = min(max(old, d), MaxDelay)
	return nil
}

// AddSubmit queues a message.
func (e *Event) AddSubmit(s Submit) error {
	if err := e.checkAllowed(ChangeEffects, "the queue"); err != nil {
		return err
	}
	if spec, _ := SpecOf(e.Point); s.Forward && !spec.InCommit {
		return fmt.Errorf("there is no complete message to forward at %s: %w", e.Point, ErrNotHere)
	}
	p, n := e.Pending, len(e.Pending.Submits)
	what := fmt.Sprintf("submit to %v", s.Rcpts)
	if len(s.Rcpts) == 0 && len(s.Copies) > 0 {
		what = fmt.Sprintf("copy to %s of %s", s.Copies[0].Folder, s.Copies[0].Owner)
	}
	e.record(what, func() { p.Submits = p.Submits[:n] })
	p.Submits = append(p.Submits, s)
	return nil
}

// OnUndo registers how to undo a change that an engine made outside of the Event,
// such as a token taken from a rate limit. undo runs if the handler fails, or if
// the commit that its effects wait for fails.
func (e *Event) OnUndo(what string, undo func()) {
	p := e.Pending
	n := len(p.Undo)
	p.Undo = append(p.Undo, undo)
	e.record(what, func() {
		p.Undo = p.Undo[:n]
		undo()
	})
}
