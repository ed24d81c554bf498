package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"carteiro/core/message/envelope"
)

// Submission is the envelope of a message handed in at the admin socket.
type Submission struct {
	Sender     string
	Recipients []string
	Name       string // full name for a From that is missing; not used otherwise
	Notify     string // NOTIFY for all recipients (RFC 3461 4.1)
	Ret        string
	EnvID      string
}

// Submit hands a message in, header section and body with CRLF, and returns
// its id. It blocks until the message is on disk.
func (c *Client) Submit(ctx context.Context, s Submission, text io.Reader) (string, error) {
	q := url.Values{"sender": {s.Sender}, "to": s.Recipients, "notify": {s.Notify}, "ret": {s.Ret}, "envid": {s.EnvID}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin/v1/submit?"+q.Encode(), text)
	if err != nil {
		return "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	defer resp.Body.Close()
	var answer struct{ ID, Error string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxArgs)).Decode(&answer); err != nil {
		return "", err
	}
	if answer.Error != "" {
		return "", errors.New(answer.Error)
	}
	return answer.ID, nil
}

// serveSubmit takes a message for sendmail(1): a submission by somebody who
// may open the socket, so without a login.
func (s *Service) serveSubmit(w http.ResponseWriter, r *http.Request) {
	id, err := s.submit(r.Context(), r.URL.Query(), r.Body)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		json.NewEncoder(w).Encode(failure{Error: err.Error()})
		return
	}
	json.NewEncoder(w).Encode(map[string]string{"id": id})
}

func (s *Service) submit(ctx context.Context, q url.Values, text io.Reader) (string, error) {
	notify, err := parseNotify(q.Get("notify"))
	if err != nil {
		return "", err
	}
	tx := &envelope.Transaction{Params: envelope.Params{Ret: strings.ToUpper(q.Get("ret")), EnvID: q.Get("envid")}}
	if sender := q.Get("sender"); sender != "" {
		if tx.Sender, err = envelope.ParseAddress(sender); err != nil {
			return "", fmt.Errorf("sender: %w", err)
		}
	}
	session := &envelope.Session{
		ID:       envelope.NewID(s.Clock.Now()).String(),
		Listener: "sendmail",
		Protocol: "submission",
		ESMTP:    true,
		Helo:     "localhost",
		Remote:   netip.AddrPortFrom(netip.IPv6Loopback(), 0),
		Trusted:  true,
		Started:  s.Clock.Now(),
	}
	defer s.Pipeline.Close(session)
	if st := s.Pipeline.Mail(ctx, session, tx); st != nil && st.Code >= 400 {
		return "", errors.New(st.Reply())
	}
	defer s.Pipeline.End(session, tx)
	for _, to := range q["to"] {
		a, err := envelope.ParseAddress(to)
		if err != nil {
			return "", fmt.Errorf("recipient %q: %w", to, err)
		}
		rcpt := &envelope.Recipient{Address: a, Orig: a, Notify: notify}
		if st := s.Pipeline.Rcpt(ctx, session, tx, rcpt); st != nil && st.Code >= 400 {
			return "", fmt.Errorf("recipient %s: %s", a, st.Reply())
		}
		tx.Recipients = append(tx.Recipients, rcpt)
	}
	if len(tx.Recipients) == 0 {
		return "", errors.New("no recipients")
	}
	if st, _ := s.Pipeline.Data(ctx, session, tx, text); st != nil && st.Code >= 400 {
		return "", errors.New(st.Reply())
	}
	return tx.ID.String(), nil
}

func parseNotify(s string) (envelope.Notify, error) {
	var n envelope.Notify
	if s == "" {
		return 0, nil
	}
	words := map[string]envelope.Notify{
		"never":   envelope.NotifyNever,
		"success": envelope.NotifySuccess,
		"failure": envelope.NotifyFailure,
		"delay":   envelope.NotifyDelay,
	}
	for w := range strings.SplitSeq(strings.ToLower(s), ",") {
		bit, ok := words[w]
		if !ok {
			return 0, fmt.Errorf("notify: %q is none of never, success, failure, delay", w)
		}
		n |= bit
	}
	if n&envelope.NotifyNever != 0 && n != envelope.NotifyNever {
		return 0, errors.New("notify: never stands alone")
	}
	return n, nil
}
