package policytest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
)

// session is a client of a world.
type session struct {
	*envelope.Session
	tx      *envelope.Transaction
	refused *envelope.Status // the connection itself
}

var sessionOptions = []string{"ip", "helo", "rdns", "listener", "protocol", "identity", "tls", "trusted"}

// open connects a client, and says HELO unless helo is false.
func (w sessions) open(o map[string]any) (*session, *envelope.Status, error) {
	if err := w.ready(); err != nil {
		return nil, nil, err
	}
	ip, err := netip.ParseAddr(text(o, "ip", "192.0.2.7"))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: ip: %w", errArguments, err)
	}
	s := &session{Session: &envelope.Session{
		ID:      envelope.NewID(w.clock.Now()).String(),
		Remote:  netip.AddrPortFrom(ip, 4025),
		RDNS:    text(o, "rdns", ""),
		ESMTP:   true,
		Started: w.clock.Now(),
		Meta:    map[string]any{},
	}}
	s.Trusted, _ = o["trusted"].(bool)
	if user := text(o, "identity", ""); user != "" {
		if err := w.makeAccount(user); err != nil {
			return nil, nil, err
		}
		s.Identity = &envelope.Identity{User: envelope.Address(user)}
	}
	if o["tls"] != nil && o["tls"] != false {
		s.TLS = &envelope.TLSInfo{Version: "TLS1.3", Cipher: "TLS_AES_128_GCM_SHA256", SNI: hostname}
	}
	s.Protocol, s.Listener = "smtp", "mx"
	if s.Identity != nil {
		s.Protocol, s.Listener = "submission", "submission"
	}
	s.Listener = text(o, "listener", s.Listener)
	s.Protocol = text(o, "protocol", s.Protocol)
	w.opened = append(w.opened, s)
	if s.refused = w.pipe.Connect(w.ctx, s.Session); s.refused != nil {
		return s, s.refused, nil
	}
	if o["helo"] == false {
		return s, nil, nil
	}
	st := w.helo(s, text(o, "helo", "client.example"))
	return s, st, nil
}

func (w sessions) helo(s *session, name string) *envelope.Status {
	s.Helo = name
	w.reset(s)
	return w.pipe.Helo(w.ctx, s.Session, name)
}

func (w sessions) reset(s *session) {
	if s.tx != nil {
		w.pipe.End(s.Session, s.tx)
		s.tx = nil
	}
}

// begin is MAIL.
func (w sessions) begin(s *session, sender string, o map[string]any) (*envelope.Status, error) {
	if err := only(o, "size", "body", "smtputf8", "envid", "ret", "by", "hold_for", "priority", "requiretls"); err != nil {
		return nil, err
	}
	tx := &envelope.Transaction{}
	if sender != "" {
		a, err := envelope.ParseAddress(sender)
		if err != nil {
			return envelope.Reject(501, "5.1.7", err.Error()), nil
		}
		tx.Sender = a
	}
	number := func(k string) int64 { f, _ := o[k].(float64); return int64(f) }
	tx.Params = envelope.Params{
		Size:  number("size"),
		Body:  text(o, "body", ""),
		EnvID: text(o, "envid", ""),
		Ret:   text(o, "ret", ""),
		By:    number("by"),
	}
	tx.Params.SMTPUTF8, _ = o["smtputf8"].(bool)
	tx.Params.RequireTLS, _ = o["requiretls"].(bool)
	if o["priority"] != nil {
		p := envelope.Priority(number("priority"))
		tx.Params.Priority = &p
	}
	if n := number("hold_for"); n > 0 {
		tx.Params.HoldUntil = w.clock.Now().Add(time.Duration(n) * time.Second)
	}
	w.reset(s)
	if err := w.makeAccount(sender); err != nil {
		return nil, err
	}
	st := w.pipe.Mail(w.ctx, s.Session, tx)
	if st == nil || st.Code < 400 {
		s.tx = tx
	}
	return st, nil
}

// recipient is RCPT.
func (w sessions) recipient(s *session, to string, o map[string]any) (*envelope.Status, error) {
	if err := only(o, "notify", "orcpt"); err != nil {
		return nil, err
	}
	if s.tx == nil {
		return envelope.Reject(503, "5.5.1", "MAIL first"), nil
	}
	a, err := envelope.ParseAddress(to)
	if err != nil {
		return envelope.Reject(501, "5.1.3", err.Error()), nil
	}
	if err := w.makeAccount(to); err != nil {
		return nil, err
	}
	r := &envelope.Recipient{Address: a, Orig: a, ORcpt: text(o, "orcpt", "")}
	for _, word := range texts(o["notify"]) {
		bit, ok := map[string]envelope.Notify{
			"NEVER":   envelope.NotifyNever,
			"SUCCESS": envelope.NotifySuccess,
			"FAILURE": envelope.NotifyFailure,
			"DELAY":   envelope.NotifyDelay,
		}[strings.ToUpper(word)]
		if !ok {
			return nil, fmt.Errorf("%w: notify: %q", errArguments, word)
		}
		r.Notify |= bit
	}
	st := w.pipe.Rcpt(w.ctx, s.Session, s.tx, r)
	if st == nil || st.Code < 400 {
		s.tx.Recipients = append(s.tx.Recipients, r)
	}
	return st, nil
}

// content is DATA and what follows it.
func (w sessions) content(s *session, raw string) (*envelope.Status, []*envelope.Status) {
	if s.tx == nil || len(s.tx.Recipients) == 0 {
		return envelope.Reject(503, "5.5.1", "MAIL and RCPT first"), nil
	}
	defer w.reset(s)
	return w.pipe.Data(w.ctx, s.Session, s.tx, strings.NewReader(lines5322(raw)))
}

// lines5322 ends lines in CRLF.
func lines5322(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
	if !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return s
}

// compose makes a message of its parts.
func (w sessions) compose(o map[string]any) string {
	if raw := text(o, "raw", ""); raw != "" {
		return raw
	}
	fields, _ := o["headers"].(map[string]any)
	var b strings.Builder
	put := func(name, value string) {
		for k := range fields {
			if strings.EqualFold(k, name) {
				return
			}
		}
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	put("From", text(o, "from", orElse(text(o, "sender", ""), "sender@a.example")))
	put("To", strings.Join(texts(o["to"]), ", "))
	put("Subject", text(o, "subject", "test"))
	put("Date", w.clock.Now().Format(time.RFC1123Z))
	put("Message-ID", "<"+envelope.NewID(w.clock.Now()).String()+"@a.example>")
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		for _, v := range texts(fields[k]) {
			fmt.Fprintf(&b, "%s: %s\r\n", k, v)
		}
	}
	return b.String() + "\r\n" + text(o, "text", "hello\n")
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// login is AUTH.
func (w sessions) login(s *session, user, password, mechanism string) *envelope.Status {
	id, st := w.pipe.Auth(w.ctx, s.Session, &envelope.Credentials{Mechanism: mechanism, User: user, Password: password})
	if st == nil || st.Code < 400 {
		s.Identity = id
	}
	return st
}
