package hooks

import (
	"context"
	"io"
	"time"

	"carteiro/core/mail"
	"carteiro/core/mime"
)

// Message is what policies see of a message. Body opens the octets after the
// header section; it may be called any number of times and is nil while the
// body is still coming.
type Message struct {
	ID         mail.ID
	Sender     mail.Address
	Size       int64
	ReceivedAt time.Time
	Header     *mime.Header
	Body       func() (io.ReadCloser, error)
	Priority   mail.Priority
	Meta       map[string]any
	Scores     []Score
	// Earlier is what handlers added to the spam score before the message was
	// queued.
	Earlier float64
	// Identity is the user who submitted the message, or "".
	Identity mail.Address
	// Auth verifies SPF, DKIM and DMARC at its first call and remembers the
	// results. It blocks on the DNS until ctx ends; nil where a message has no
	// client, such as our own reports.
	Auth func(ctx context.Context) (*mail.AuthResults, error)
	// Edits are what handlers want done to the body, applied in one pass when
	// all handlers have run.
	Edits []mime.PartEdit
	// Sign are the DKIM signatures that handlers want beside the author's
	// domain's; they are made when all handlers have run.
	Sign []Signature

	index *mime.Index // cached, see Parts
}

// Signature is a DKIM signature to be made.
type Signature struct {
	Domain    string
	Selectors []string // nil: those that sign for the domain
}

// AddSignature asks for a DKIM signature.
func (e *Event) AddSignature(s Signature) error {
	if err := e.mayChange(MayMessage, "the message"); err != nil {
		return err
	}
	m, n := e.Msg, len(e.Msg.Sign)
	e.record("sign for "+s.Domain, func() { m.Sign = m.Sign[:n] })
	m.Sign = append(m.Sign, s)
	return nil
}

// Score is one symbol's contribution to the spam score.
type Score struct {
	Name   string
	Points float64
	Note   string
}

// Total is the sum of the scores, with what came before the queue.
func (m *Message) Total() float64 {
	t := m.Earlier
	for _, s := range m.Scores {
		t += s.Points
	}
	return t
}

// Parts is the index of the body's MIME parts, made at the first call.
func (m *Message) Parts() (*mime.Index, error) {
	if m.index != nil {
		return m.index, nil
	}
	body, err := m.Body()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	m.index, err = mime.ReadIndex(m.Header, body)
	return m.index, err
}

// EditHeader changes the header section of the message: for everyone, or at
// deliver.attempt in what goes out with this try alone. Mail for mailboxes
// here has no such try: ErrNotHere.
func (e *Event) EditHeader(what string, change func(*mime.Header) error) error {
	if leaves := e.may&MayAttempt != 0 && e.Group != nil && !e.Group.Local; !leaves {
		if err := e.mayChange(MayMessage, "the message"); err != nil {
			return err
		}
	}
	m, old := e.Msg, e.Msg.Header
	edited := old.Clone()
	if err := change(edited); err != nil {
		return err
	}
	e.record(what, func() { m.Header = old })
	m.Header = edited
	return nil
}

// EditPart replaces or removes a part of the body.
func (e *Event) EditPart(what string, edit mime.PartEdit) error {
	if err := e.mayChange(MayMessage, "the message"); err != nil {
		return err
	}
	m, n := e.Msg, len(e.Msg.Edits)
	e.record(what, func() { m.Edits = m.Edits[:n] })
	m.Edits = append(m.Edits, edit)
	return nil
}

// AddScore adds points to the spam score.
func (e *Event) AddScore(s Score) error {
	if err := e.mayChange(MayScore, "the score"); err != nil {
		return err
	}
	m, n := e.Msg, len(e.Msg.Scores)
	e.record("score "+s.Name, func() { m.Scores = m.Scores[:n] })
	m.Scores = append(m.Scores, s)
	return nil
}

// SetPriority changes the priority of the message.
func (e *Event) SetPriority(p mail.Priority) error {
	if err := e.mayChange(MayScore, "the priority"); err != nil {
		return err
	}
	m, old := e.Msg, e.Msg.Priority
	e.record("priority", func() { m.Priority = old })
	m.Priority = p
	return nil
}
