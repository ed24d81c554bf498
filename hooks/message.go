package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// Message is what policies see of a message. Body opens the octets after the
// header section; it may be called any number of times and is nil while the
// body is still coming.
type Message struct {
	ID         envelope.ID
	Sender     envelope.Address
	Size       int64
	ReceivedAt time.Time
	Header     *mime.Header
	Body       func() (io.ReadCloser, error)
	Priority   envelope.Priority
	Meta       map[string]any
	// Earlier is what handlers added to the spam score before the message was
	// queued.
	Earlier float64
	// Identity is the user who submitted the message, or "".
	Identity envelope.Address
	// Listener is the one by which it came, and Client the address from which,
	// or "".
	Listener, Client string
	// Ours: a user of ours sent it, a client that may relay, or a policy.
	Ours   bool
	Scores []Score
	// Auth verifies SPF, DKIM and DMARC at its first call and remembers the
	// results. It blocks on the DNS until ctx ends; nil where a message has no
	// client, such as our own reports.
	Auth func(ctx context.Context) (*envelope.AuthResults, error)
	// Edits are what handlers want done to the body, applied in one pass when
	// all handlers have run.
	Edits []mime.PartEdit
	// Footer is text for the end of the body, put there after Edits.
	Footer []mime.Text
	// Encrypt, where it is set, encrypts the message to a key when all handlers
	// have run and what they edited is in it.
	Encrypt *envelope.Encryption
	// Sign are the DKIM signatures that handlers want beside the author's
	// domain's; they are made when all handlers have run.
	Sign []envelope.Signature
	// MaySign reports for which domains a fork may be signed as their mail; nil:
	// for all. See Event.Confine.
	MaySign func(domain string) bool

	// ForkMakers lists the handlers that made a fork, and those of the forks that it was
	// made from.
	ForkMakers []ForkMaker

	makers []string     // of a fork: Keys of the handlers that made it or asked for it
	index  *mime.Index  // cached, see Parts
	of     *Message     // the one that a fork was made of
	from   *mime.Header // what of was copied to, until the fork's is edited
}

// fork returns a copy of m that can be changed without changing m.
func (m *Message) fork() *Message {
	h := m.Header.Clone()
	return &Message{
		of:         m,
		from:       h,
		ID:         m.ID,
		Sender:     m.Sender,
		Size:       m.Size,
		ReceivedAt: m.ReceivedAt,
		Header:     h,
		Body:       m.Body,
		Priority:   m.Priority,
		Identity:   m.Identity,
		Listener:   m.Listener,
		Client:     m.Client,
		Ours:       m.Ours,
		Meta:       maps.Clone(m.Meta),
		Scores:     slices.Clone(m.Scores),
		Auth:       m.Auth,
		index:      m.index,
	}
}

// ForkMaker records that a handler made a fork for a recipient.
type ForkMaker struct {
	Handler string // its Info.Key
	Rcpt    envelope.Address
	// AllRecipients: the recipient itself gets the fork, so the handler is done with all
	// who get it; else only with that recipient, and it is asked about others,
	// who may be lists or forward in turn.
	AllRecipients bool
}

// ForkMakersFor returns what to add to a fork's Made beside that of the message that it
// was made from.
func (m *Message) ForkMakersFor(rcpt envelope.Address, stays bool) []ForkMaker {
	var out []ForkMaker
	for _, key := range m.makers {
		out = append(out, ForkMaker{Handler: key, Rcpt: rcpt, AllRecipients: stays})
	}
	return out
}

// madeBy reports whether the handler with a Key made this fork, or one that it
// was made of, and is done with the recipient.
func (m *Message) madeBy(key string, rcpt envelope.Address) bool {
	return slices.ContainsFunc(m.ForkMakers, func(by ForkMaker) bool { return by.Handler == key && (by.AllRecipients || by.Rcpt == rcpt) })
}

// HasBodyEdits reports whether handlers changed the body, so that it is not the one
// that Body opens.
func (m *Message) HasBodyEdits() bool {
	return len(m.Edits) > 0 || len(m.Footer) > 0 || m.Encrypt != nil
}

// IsChangedFork reports whether a fork differs from the message that it was made from.
func (m *Message) IsChangedFork() bool {
	return m.HasBodyEdits() || len(m.Sign) > 0 || m.Header != m.from || m.Priority != m.of.Priority || !reflect.DeepEqual(m.Meta, m.of.Meta)
}

// Fork makes a message of its own for a recipient and those that replace it:
// the current message, which from then on can be changed for them alone. It
// returns the same fork when it is asked again. Only queue.expand can make
// one: ErrNotHere.
func (e *Event) Fork(r *Rcpt) (*Message, error) {
	if e.Point != QueueExpand {
		return nil, fmt.Errorf("a separate message cannot be made at %s: %w", e.Point, ErrNotHere)
	}
	if r.Fork == nil {
		r.Fork = e.Msg.fork()
		e.record("fork for "+r.Address.Path(), func() { r.Fork = nil })
	}
	if m := r.Fork; !slices.Contains(m.makers, e.handler) {
		old := m.makers
		e.undo = append(e.undo, func() { m.makers = old })
		m.makers = append(old[:len(old):len(old)], e.handler)
	}
	return r.Fork, nil
}

// Variant makes a message of its own for those recipients whose Target names
// it. Only queue.expand can make one: ErrNotHere.
func (e *Event) Variant(r *Rcpt) (*Message, error) {
	if e.Point != QueueExpand {
		return nil, fmt.Errorf("a separate message cannot be made at %s: %w", e.Point, ErrNotHere)
	}
	old := r.variants
	m := e.Msg.fork()
	m.makers = []string{e.handler}
	e.record("variant for "+r.Address.Path(), func() { r.variants = old })
	r.variants = append(old[:len(old):len(old)], m)
	return m, nil
}

// Confine keeps a fork from being signed as mail of a domain for which serves is
// false: the policy that changes the fork does not speak for that domain.
func (e *Event) Confine(m *Message, serves func(domain string) bool) {
	old := m.MaySign
	e.record("signed only for the policy's own domains", func() { m.MaySign = old })
	m.MaySign = func(domain string) bool { return serves(domain) && (old == nil || old(domain)) }
}

// Editable returns ErrNotHere unless m may be changed.
func (e *Event) Editable(m *Message) error {
	if e.Rcpt != nil && (m == e.Rcpt.Fork || slices.Contains(e.Rcpt.variants, m)) {
		return nil
	}
	return e.checkAllowed(ChangeMessage, "the message")
}

// AppendText puts text at the end of the body when all handlers have run; see
// mime.AppendText.
func (e *Event) AppendText(m *Message, text ...mime.Text) error {
	if err := e.Editable(m); err != nil {
		return err
	}
	text = slices.DeleteFunc(text, func(t mime.Text) bool { return t == mime.Text{} })
	n := len(m.Footer)
	e.record("text appended", func() { m.Footer = m.Footer[:n] })
	m.Footer = append(m.Footer, text...)
	return nil
}

// AddSignature asks for a DKIM signature of m.
func (e *Event) AddSignature(m *Message, s envelope.Signature) error {
	if err := e.Editable(m); err != nil {
		return err
	}
	n := len(m.Sign)
	e.record("sign for "+s.Domain, func() { m.Sign = m.Sign[:n] })
	m.Sign = append(m.Sign, s)
	return nil
}

// SetEncryption has m encrypted to a key.
func (e *Event) SetEncryption(m *Message, x envelope.Encryption) error {
	if err := e.Editable(m); err != nil {
		return err
	}
	old := m.Encrypt
	e.record(fmt.Sprintf("encrypt for %s (%s)", x.Address.Path(), x.Kind), func() { m.Encrypt = old })
	m.Encrypt = &x
	return nil
}

// Score is one symbol's contribution to the spam score.
type Score struct {
	Name   string
	Points float64
	Note   string
}

// Total returns the sum of the scores, with what came before the queue.
func (m *Message) Total() float64 {
	t := m.Earlier
	for _, s := range m.Scores {
		t += s.Points
	}
	return t
}

// Parts returns the index of the body's MIME parts, made at the first call.
func (m *Message) Parts() (*mime.Index, error) {
	if m.index != nil {
		return m.index, nil
	}
	if m.of != nil && m.Header == m.from {
		index, err := m.of.Parts()
		m.index = index
		return index, err
	}
	body, err := m.Body()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	m.index, err = mime.ReadIndex(m.Header, body)
	return m.index, err
}

// EditHeader changes the header section of m: for everyone, or at
// deliver.attempt in what goes out with this try alone. Mail for mailboxes
// here has no such try: ErrNotHere.
func (e *Event) EditHeader(m *Message, what string, change func(*mime.Header) error) error {
	if leaves := e.allowed&ChangeAttempt != 0 && e.Group != nil && e.Group.Kind == envelope.Remote; !leaves {
		if err := e.Editable(m); err != nil {
			return err
		}
	}
	old := m.Header
	edited := old.Clone()
	if err := change(edited); errors.Is(err, ErrSame) {
		return nil
	} else if err != nil {
		return err
	}
	e.record(what, func() { m.Header = old })
	m.Header = edited
	return nil
}

// EditPart replaces or removes a part of the body of m.
func (e *Event) EditPart(m *Message, what string, edit mime.PartEdit) error {
	if err := e.Editable(m); err != nil {
		return err
	}
	n := len(m.Edits)
	e.record(what, func() { m.Edits = m.Edits[:n] })
	m.Edits = append(m.Edits, edit)
	return nil
}

// AddScore adds points to the spam score.
func (e *Event) AddScore(s Score) error {
	if err := e.checkAllowed(ChangeScore, "the score"); err != nil {
		return err
	}
	m, n := e.Msg, len(e.Msg.Scores)
	m.Scores = append(m.Scores, s)
	what := fmt.Sprintf("score %s %s, total %s", s.Name, strconv.FormatFloat(s.Points, 'f', -1, 64),
		strconv.FormatFloat(m.Total(), 'f', -1, 64))
	e.record(what, func() { m.Scores = m.Scores[:n] })
	return nil
}

// SetPriority changes the priority of the message.
func (e *Event) SetPriority(p envelope.Priority) error {
	if err := e.checkAllowed(ChangeScore, "the priority"); err != nil {
		return err
	}
	m, old := e.Msg, e.Msg.Priority
	e.record("priority", func() { m.Priority = old })
	m.Priority = p
	return nil
}
