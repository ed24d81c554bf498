package lua

import (
	"context"
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/milter"
	"carteiro/hooks"
)

// Milters asks mail filters by name.
type Milters interface {
	Scan(ctx context.Context, name string, m *milter.Message) (*milter.Answer, error)
	Names() []string
}

const maxMilter = 5 // questions of one call

var milterModule = module{name: "milter", doc: "mail filters (milters) of the configuration's [milter.NAME], at most 5 scans per " +
	"call. If a filter does not answer, the handler fails", functions: []function{
	{name: "scan", call: milterScan, sig: "scan(name, msg)", blocks: true,
		doc: `two results: "accept", "reject", "defer", "discard" or "quarantine", and the changes that the filter wants: a list of { op, ` +
			"name, value, index } with op add_header, insert_header, change_header, replace_body, add_rcpt, remove_rcpt or " +
			"change_sender. The list also has code, enhanced and text of the filter's reply, and reason for a quarantine"},
}}

func milterScan(L *glua.LState) int {
	st := stateOf(L)
	c := st.currentCall(L, "milter.scan")
	name := stringArgument(L, 1, "milter.scan", "name")
	o := msgArgument(L, L.Get(2), "milter.scan:")
	if st.generation.engine.Milters == nil {
		L.RaiseError("milter.scan: the server has no milters")
	}
	if names := st.generation.engine.Milters.Names(); !slices.Contains(names, name) {
		L.RaiseError("milter.scan: no milter %q is configured%s", name, hooks.Suggestion(name, names))
	}
	st.budget.spendOne(L, &st.budget.milter, "milter questions")
	m := msgOf(o)
	if m.Body == nil {
		L.RaiseError("milter.scan: the body is still coming; ask at receive.data")
	}
	q := &milter.Message{ID: m.ID.String(), Hostname: st.generation.engine.Hostname, Session: c.event.Session, Sender: m.Sender, Body: m.Body}
	for _, f := range m.Header.Fields() {
		q.Fields = append(q.Fields, milter.Field{Name: f.Name(), Value: strings.TrimPrefix(strings.TrimSuffix(fieldValue(f.Raw), "\r\n"), " ")})
	}
	q.Recipients = c.recipients()
	ctx, cancel := context.WithDeadline(c.ctx, st.budget.deadline())
	defer cancel()
	a, err := st.generation.engine.Milters.Scan(ctx, name, q)
	st.budget.checkLimits()
	raiseIf(L, err)
	L.Push(glua.LString(a.Action))
	L.Push(milterChanges(L, a))
	return 2
}

// fieldValue returns what follows a field's colon, as it stands.
func fieldValue(raw string) string {
	_, v, _ := strings.Cut(raw, ":")
	return v
}

// recipients returns those of the current event.
func (c *call) recipients() (list []envelope.Address) {
	e := c.event
	switch {
	case e.Tx != nil:
		for _, r := range e.Tx.Recipients {
			list = append(list, r.Address)
		}
	case e.Rcpt != nil:
		list = append(list, e.Rcpt.Address)
	case e.Group != nil:
		for i := range e.Group.Recipients {
			list = append(list, e.Group.Recipients[i].Address)
		}
	}
	return list
}

func milterChanges(L *glua.LState, a *milter.Answer) glua.LValue {
	st := stateOf(L)
	list := L.CreateTable(len(a.Changes), 0)
	for i, ch := range a.Changes {
		m := map[string]any{"op": ch.Op, "value": ch.Value}
		if ch.Name != "" {
			m["name"], m["index"] = ch.Name, float64(ch.Index)
		}
		list.RawSetInt(i+1, st.toLua(L, m))
	}
	if a.Status.Code != 0 {
		list.RawSetString("code", glua.LNumber(a.Status.Code))
		list.RawSetString("text", st.budget.newString(L, a.Status.Text))
		if a.Status.Enhanced != "" {
			list.RawSetString("enhanced", glua.LString(a.Status.Enhanced))
		}
	}
	if a.Reason != "" {
		list.RawSetString("reason", st.budget.newString(L, a.Reason))
	}
	return list
}
