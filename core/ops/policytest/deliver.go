package policytest

import (
	"maps"

	"carteiro/core/message/envelope"
)

// mark is the moment from which on a report counts.
type mark struct{ calls, written, sent int }

func (w *World) mark() mark {
	m := mark{calls: len(w.since(0)), written: len(w.store.since(0))}
	m.sent = len(w.hosts.sent(0))
	return m
}

// deliver plays a whole transaction. The answer is the first refusal of
// connection, sender or content; refused recipients are in a table of their
// own, and when all are refused the first of them is the answer.
func (w *World) deliver(o map[string]any) (*envelope.Status, map[string]any, error) {
	session := map[string]any{}
	for _, k := range sessionOptions {
		if o[k] != nil {
			session[k] = o[k]
		}
	}
	s, st, err := w.open(session)
	if err != nil || st != nil && st.Code >= 400 {
		return st, nil, err
	}
	params, _ := o["params"].(map[string]any)
	if st, err = w.begin(s, text(o, "sender", ""), params); err != nil || st != nil && st.Code >= 400 {
		return st, nil, err
	}
	refused := map[string]any{}
	var first *envelope.Status
	for _, to := range texts(o["to"]) {
		st, err := w.recipient(s, to, nil)
		if err != nil {
			return nil, nil, err
		}
		if st != nil && st.Code >= 400 {
			refused[to] = statusOf(st, envelope.Status{})
			if first == nil {
				first = st
			}
		}
	}
	if len(s.tx.Recipients) == 0 {
		w.reset(s)
		return first, refused, nil
	}
	st, _ = w.content(s, w.compose(o))
	return st, refused, nil
}

func (w *World) doDeliver(args []any) (any, error) {
	o, err := asTable(args, 0)
	if err == nil {
		err = only(o, append([]string{"sender", "to", "raw", "from", "subject", "text", "headers", "params"}, sessionOptions...)...)
	}
	if err != nil {
		return nil, err
	}
	return w.Deliver(o)
}

// Deliver plays a transaction as t.deliver describes it, lets everything
// happen that it leads to, and reports.
func (w *World) Deliver(o map[string]any) (map[string]any, error) {
	if err := w.waitIdle(); err != nil {
		return nil, err
	}
	from := w.mark()
	st, refused, err := w.deliver(o)
	if err != nil {
		return nil, err
	}
	r := statusOf(st, envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "accepted"})
	if refused != nil {
		r["refused"] = refused
	}
	return w.Report(from, r)
}

// Report returns what happened since a moment, and what is in the mailboxes.
func (w *World) Report(from mark, r map[string]any) (map[string]any, error) {
	if err := w.waitIdle(); err != nil {
		return nil, err
	}
	if r == nil {
		r = map[string]any{}
	}
	recipients := []any{}
	reports := []any{}
	for _, m := range w.store.since(from.written) {
		switch m.env.Auto {
		case "":
			recipients = append(recipients, anyList(m.recipients)...)
			r["id"] = m.env.ID.String()
		case "dsn":
			reports = append(reports, messageTable(string(m.env.Sender), m.recipients, m.raw))
		}
	}
	boxes := map[string]any{}
	accounts, err := w.dir.Accounts(w.ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		folders := map[string]any{}
		for f, err := range w.store.Folders(w.ctx, a.Address) {
			if err != nil {
				return nil, err
			}
			folders[f.Folder] = float64(f.Count)
		}
		if len(folders) > 0 {
			boxes[string(a.Address)] = folders
		}
	}
	trail, failures := trailAndFailures(w.since(from.calls))
	maps.Copy(r, map[string]any{
		"recipients": recipients,
		"mailboxes":  boxes,
		"sent":       w.hosts.sent(from.sent),
		"submitted":  w.submitted(from.written),
		"dsns":       reports,
		"trail":      trail,
		"errors":     failures,
	})
	return r, nil
}

// submitted are the messages that policies sent.
func (w *World) submitted(from int) []any {
	out := []any{}
	for _, m := range w.store.since(from) {
		if m.env.Auto == "policy" {
			out = append(out, messageTable(string(m.env.Sender), m.recipients, m.raw))
		}
	}
	return out
}
