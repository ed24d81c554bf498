// Package milter sends messages to mail filters that speak the milter protocol, such as
// Rspamd, and returns their answers. It is the only home of go-milter. A filter's answer
// changes nothing by itself: policies decide what to do with it.
package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-milter"

	"carteiro/core/message/envelope"
)

// Errors of Scan.
var (
	// ErrUnknown: no filter of that name is configured.
	ErrUnknown = errors.New("no such milter")
	// ErrFilter wraps what went wrong between us and a filter, time running
	// out included.
	ErrFilter = errors.New("milter failed")
)

// Filter is where one filter listens.
type Filter struct {
	Network string // "tcp" or "unix"
	Addr    string
	Timeout time.Duration // for each step of the dialogue; default 10 s
}

// Message is a message for a filter. Fields are those of the header section, in order;
// Body opens the body.
type Message struct {
	ID         string
	Hostname   string            // ours
	Session    *envelope.Session // nil: the message came from no client
	Sender     envelope.Address
	Recipients []envelope.Address
	Fields     []Field
	Body       func() (io.ReadCloser, error)
}

// maxChanges bounds what one answer holds.
const maxChanges = 10_000

// Field is one header field. Value keeps its line breaks, without the last.
type Field struct{ Name, Value string }

// Actions of an Answer.
const (
	Accept     = "accept"
	Reject     = "reject"
	Defer      = "defer"
	Discard    = "discard"
	Quarantine = "quarantine"
)

// Answer says what a filter wants to do with a message.
type Answer struct {
	Action  string
	Status  envelope.Status // of a reply that the filter worded, else zero
	Reason  string          // of a quarantine
	Changes []Change
}

// Change is one change that a filter wants made.
type Change struct {
	// Op is "add_header", "insert_header", "change_header" (no value: remove),
	// "replace_body", "add_rcpt", "remove_rcpt" or "change_sender".
	Op    string
	Name  string // of a header field
	Value string // of a header field, an address, or a body
	Index int    // of the field: for insert_header among all from 0, for change_header among those of its name from 1
}

// Client knows filters by name. It is safe for concurrent use.
type Client struct{ filters map[string]Filter }

// New makes a client; it connects to nothing.
func New(filters map[string]Filter) *Client { return &Client{filters} }

// Names returns the names of the filters in order.
func (c *Client) Names() []string {
	return slices.Sorted(maps.Keys(c.filters))
}

// Scan shows a message to a filter. It blocks until the filter has answered
// or ctx ends. ErrUnknown, ErrFilter.
func (c *Client) Scan(ctx context.Context, name string, m *Message) (*Answer, error) {
	f, ok := c.filters[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	if f.Timeout <= 0 {
		f.Timeout = 10 * time.Second
	}
	a, err := f.scan(ctx, m)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // which closed the connection
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrFilter, name, err)
	}
	return a, nil
}

// dialer connects within ctx, whose end closes the connection.
type dialer struct{ ctx context.Context }

func (d dialer) Dial(network, addr string) (net.Conn, error) {
	var plain net.Dialer
	conn, err := plain.DialContext(d.ctx, network, addr)
	if err == nil {
		context.AfterFunc(d.ctx, func() { conn.Close() })
	}
	return conn, err
}

// understood is what filters may ask for.
const understood = milter.OptAddHeader | milter.OptChangeHeader | milter.OptChangeBody | milter.OptAddRcpt | milter.OptRemoveRcpt |
	milter.OptChangeFrom | milter.OptQuarantine

func (f Filter) session(ctx context.Context, actions milter.OptAction) (*milter.ClientSession, error) {
	return milter.NewClientWithOptions(f.Network, f.Addr, milter.ClientOptions{Dialer: dialer{ctx},
		ReadTimeout: f.Timeout, WriteTimeout: f.Timeout, ActionMask: actions}).Session()
}

func (f Filter) scan(ctx context.Context, m *Message) (*Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // closes the connection
	s, err := f.session(ctx, understood)
	if errors.Is(err, milter.ErrUnsupportedMilterVersion) {
		s, err = f.session(ctx, understood&^milter.OptChangeFrom) // which version 2 has not
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for _, step := range []func(*milter.ClientSession, *Message) (*milter.Action, error){connect, envelopeOf, header} {
		act, err := step(s, m)
		if err != nil {
			return nil, err
		}
		if act != nil {
			return answer(act, nil)
		}
	}
	body, err := m.Body()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	changes, act, err := s.BodyReadFrom(body)
	if err != nil {
		return nil, err
	}
	return answer(act, changes)
}

// going returns an action that ends the dialogue, or nil.
func going(act *milter.Action, err error) (*milter.Action, error) {
	if err != nil || act.Code != milter.ActContinue && act.Code != milter.ActSkip {
		return act, err
	}
	return nil, nil
}

func connect(s *milter.ClientSession, m *Message) (*milter.Action, error) {
	name, ip, port, helo, tls := "localhost", "", uint16(0), "localhost", ""
	family := milter.FamilyUnknown
	if m.Session != nil {
		name, helo = "["+m.Session.Remote.Addr().String()+"]", m.Session.Helo
		if m.Session.RDNS != "" {
			name = m.Session.RDNS
		}
		ip, port, family = m.Session.Remote.Addr().String(), m.Session.Remote.Port(), milter.FamilyInet
		if m.Session.Remote.Addr().Is6() {
			family = milter.FamilyInet6
		}
		if m.Session.TLS != nil {
			tls = m.Session.TLS.Version
		}
	}
	if err := s.Macros(milter.CodeConn, "j", m.Hostname, "{daemon_name}", "carteiro", "{client_name}", name, "{client_addr}", ip); err != nil {
		return nil, err
	}
	if act, err := going(s.Conn(name, family, port, ip)); act != nil || err != nil {
		return act, err
	}
	if tls != "" {
		if err := s.Macros(milter.CodeHelo, "{tls_version}", tls); err != nil {
			return nil, err
		}
	}
	return going(s.Helo(helo))
}

func envelopeOf(s *milter.ClientSession, m *Message) (*milter.Action, error) {
	macros := []string{"i", m.ID, "{mail_addr}", string(m.Sender)}
	if m.Session != nil && m.Session.Identity != nil {
		macros = append(macros, "{auth_authen}", string(m.Session.Identity.User), "{auth_type}", "SASL")
	}
	if err := s.Macros(milter.CodeMail, macros...); err != nil {
		return nil, err
	}
	if act, err := going(s.Mail(string(m.Sender), nil)); act != nil || err != nil {
		return act, err
	}
	for _, r := range m.Recipients {
		if err := s.Macros(milter.CodeRcpt, "{rcpt_addr}", string(r)); err != nil {
			return nil, err
		}
		// A refused recipient is not the end: the filter may like the others.
		if _, err := s.Rcpt(string(r), nil); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func header(s *milter.ClientSession, m *Message) (*milter.Action, error) {
	for _, f := range m.Fields {
		// Inside a value, milters expect LF without CR.
		if act, err := going(s.HeaderField(f.Name, strings.ReplaceAll(f.Value, "\r\n", "\n"))); act != nil || err != nil {
			return act, err
		}
	}
	return going(s.HeaderEnd())
}

func answer(act *milter.Action, acts []milter.ModifyAction) (*Answer, error) {
	a := &Answer{}
	switch act.Code {
	case milter.ActAccept, milter.ActContinue:
		a.Action = Accept
	case milter.ActReject:
		a.Action = Reject
	case milter.ActTempFail:
		a.Action = Defer
	case milter.ActDiscard:
		a.Action = Discard
	case milter.ActReplyCode:
		a.Status = worded(act.SMTPCode, act.SMTPText)
		if a.Action = Reject; a.Status.Code < 500 {
			a.Action = Defer
		}
	default:
		return nil, fmt.Errorf("unknown answer %q", rune(act.Code))
	}
	if len(acts) > maxChanges {
		return nil, fmt.Errorf("more than %d changes", maxChanges)
	}
	var body *strings.Builder // a long one comes in pieces
	replaced := func() {
		if body != nil {
			a.Changes = append(a.Changes, Change{Op: "replace_body", Value: body.String()})
		}
		body = nil
	}
	for _, m := range acts {
		switch m.Code {
		case milter.ActReplBody:
			if body == nil {
				body = &strings.Builder{}
			}
			body.Write(m.Body)
		case milter.ActQuarantine:
			if a.Reason = m.Reason; a.Action == Accept {
				a.Action = Quarantine
			}
		default:
			replaced()
			a.Changes = append(a.Changes, change(m))
		}
	}
	replaced()
	return a, nil
}

// worded reads "554 5.7.1 text".
func worded(code int, text string) envelope.Status {
	st := envelope.Status{Code: code, Text: text}
	if first, rest, ok := strings.Cut(text, " "); ok && envelope.ValidEnhanced(first) {
		st.Enhanced, st.Text = first, rest
	}
	return st
}

func change(m milter.ModifyAction) Change {
	c := Change{Name: m.HeaderName, Value: strings.TrimLeft(m.HeaderValue, " "), Index: int(m.HeaderIndex)}
	switch m.Code {
	case milter.ActAddHeader:
		c.Op = "add_header"
	case milter.ActInsertHeader:
		c.Op = "insert_header"
	case milter.ActChangeHeader:
		c.Op = "change_header"
	case milter.ActAddRcpt:
		c.Op, c.Value = "add_rcpt", bare(m.Rcpt)
	case milter.ActDelRcpt:
		c.Op, c.Value = "remove_rcpt", bare(m.Rcpt)
	case milter.ActChangeFrom:
		c.Op, c.Value = "change_sender", bare(m.From)
	}
	return c
}

func bare(path string) string { return strings.TrimSuffix(strings.TrimPrefix(path, "<"), ">") }
