package policytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/hooks"
)

// Do implements lua.World.
func (w *World) Do(_ context.Context, what string, args []any) (any, error) {
	w.used = true
	if what != "clock.now" {
		w.clock.Advance(step)
	}
	if verb, ok := strings.CutPrefix(what, "session."); ok {
		if err := w.check(what, args); err != nil {
			return nil, err
		}
		return w.verb(verb, args)
	}
	op, ok := operations[what]
	if !ok {
		return nil, fmt.Errorf("there is no operation %q", what)
	}
	if what != "unknown" {
		if err := w.check(what, args); err != nil {
			return nil, err
		}
	}
	return op(w, args)
}

// step is what an operation takes of the clock, which stands otherwise: what
// one does is older than what the next does, and a test finds the same times
// whenever it runs.
const step = time.Millisecond

// operations are those of the test library.
var operations = map[string]func(w *World, args []any) (any, error){
	"session":       (*World).doSession,
	"deliver":       (*World).doDeliver,
	"settle":        func(w *World, _ []any) (any, error) { return w.Report(mark{}, nil) },
	"mailbox":       (*World).doMailbox,
	"sent":          func(w *World, _ []any) (any, error) { return w.hosts.sent(0), w.waitIdle() },
	"submitted":     func(w *World, _ []any) (any, error) { return w.submitted(0), w.waitIdle() },
	"log":           func(w *World, _ []any) (any, error) { return anyList(w.log.all()), nil },
	"requests":      func(w *World, _ []any) (any, error) { return w.web.requests(), nil },
	"web":           (*World).doWeb,
	"command":       (*World).doCommand,
	"dns":           tableOp(func(w *World, m map[string]any) error { return w.names.put(m) }),
	"http":          tableOp(func(w *World, m map[string]any) error { w.loaded = false; return w.web.put(m) }),
	"milter":        tableOp(func(w *World, m map[string]any) error { return w.filters.put(m) }),
	"remote":        tableOp(func(w *World, m map[string]any) error { return w.hosts.put(m) }),
	"limit":         tableOp((*World).doLimit),
	"config":        tableOp(func(w *World, m map[string]any) error { w.config, w.loaded = m, false; return nil }),
	"fail":          (*World).doFail,
	"account":       (*World).doAccount,
	"alias":         (*World).doAlias,
	"grant":         (*World).doGrant,
	"domain":        (*World).doDomain,
	"key":           (*World).doKey,
	"decrypt":       (*World).doDecrypt,
	"unknown":       (*World).doUnknown,
	"clock.advance": (*World).doAdvance,
	"clock.set":     (*World).doSet,
	"clock.now":     func(w *World, _ []any) (any, error) { return float64(w.clock.Now().Unix()), nil },
}

func tableOp(f func(w *World, m map[string]any) error) func(*World, []any) (any, error) {
	return func(w *World, args []any) (any, error) {
		m, err := asTable(args, 0)
		if err != nil {
			return nil, err
		}
		return nil, f(w, m)
	}
}

func (w *World) doSession(args []any) (any, error) {
	o, err := asTable(args, 0)
	if err == nil {
		err = only(o, sessionOptions...)
	}
	if err != nil {
		return nil, err
	}
	s, st, err := w.open(o)
	if err != nil {
		return nil, err
	}
	ok := envelope.Status{Code: 220, Text: hostname}
	if o["helo"] != nil && o["helo"] != false {
		ok.Code = 250 // the reply to EHLO, which the test asked for
	}
	m := statusOf(st, ok)
	m["number"], m["id"] = float64(len(w.opened)), s.ID
	return m, nil
}

// verb is one command of a session; the first argument is its number.
func (w sessions) verb(verb string, args []any) (any, error) {
	n, _ := args[0].(float64)
	if n < 1 || int(n) > len(w.opened) {
		return nil, fmt.Errorf("%w: no such session; commands are written with a colon, s:%s(...)", errArguments, verb)
	}
	s := w.opened[int(n)-1]
	args = args[1:]
	if s.refused != nil {
		return statusOf(s.refused, envelope.Status{}), nil
	}
	if err := w.ready(); err != nil {
		return nil, err
	}
	switch verb {
	case "helo":
		name, err := asText(args, 0, "the name")
		return statusOf(w.helo(s, name), envelope.Status{Code: 250, Text: hostname}), err
	case "mail", "rcpt":
		return w.envelope(s, verb, args)
	case "data":
		return w.data(s, args)
	case "auth":
		user, err := asText(args, 0, "the user")
		password, err2 := asText(args, 1, "the password")
		mechanism := "PLAIN"
		if len(args) > 2 {
			mechanism = fmt.Sprint(args[2])
		}
		if err = errors.Join(err, err2, w.makeAccount(user)); err != nil {
			return nil, err
		}
		return statusOf(w.login(s, user, password, mechanism), envelope.Status{Code: 235, Enhanced: "2.7.0", Text: "authenticated"}), nil
	case "rset":
		w.reset(s)
		return statusOf(nil, envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "ok"}), nil
	}
	w.reset(s)
	s.Closed.Store(true)
	w.pipe.Close(s.Session)
	s.refused = envelope.Reject(503, "5.5.1", "the session is over")
	return statusOf(nil, envelope.Status{Code: 221, Enhanced: "2.0.0", Text: "bye"}), nil
}

func (w sessions) envelope(s *session, verb string, args []any) (any, error) {
	address, err := asText(args, 0, "the address")
	o, err2 := asTable(args, 1)
	if err = errors.Join(err, err2); err != nil {
		return nil, err
	}
	var st *envelope.Status
	ok := envelope.Status{Code: 250, Enhanced: "2.1.0", Text: "sender ok"}
	if verb == "mail" {
		st, err = w.begin(s, address, o)
	} else {
		ok.Enhanced, ok.Text = "2.1.5", "recipient ok"
		st, err = w.recipient(s, address, o)
	}
	return statusOf(st, ok), err
}

func (w sessions) data(s *session, args []any) (any, error) {
	raw, isText := "", false
	if len(args) > 0 {
		raw, isText = args[0].(string)
	}
	if !isText {
		o, err := asTable(args, 0)
		if err != nil {
			return nil, err
		}
		if s.tx != nil {
			if o["sender"] == nil {
				o["sender"] = string(s.tx.Sender)
			}
			for _, r := range s.tx.Recipients {
				o["to"] = orElse(text(o, "to", ""), string(r.Orig))
			}
		}
		raw = w.compose(o)
	}
	st, each := w.content(s, raw)
	m := statusOf(st, envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "accepted"})
	var list []any
	for _, one := range each {
		list = append(list, statusOf(one, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "accepted"}))
	}
	if list != nil {
		m["recipients"] = list
	}
	return m, nil
}

// doMailbox lists the messages of a folder.
func (w *World) doMailbox(args []any) (any, error) {
	owner, err := asText(args, 0, "the address")
	folder, err2 := asText(args, 1, "the folder")
	if err = errors.Join(err, err2, w.waitIdle()); err != nil {
		return nil, err
	}
	info, err := w.store.Mailbox(w.ctx, envelope.Address(strings.ToLower(owner)), folder)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for it, err := range w.store.Items(w.ctx, info.ID) {
		if err != nil {
			return nil, err
		}
		r, err := w.store.Open(w.ctx, info.ID, it.UID)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return nil, err
		}
		m := messageTable("", []string{owner}, string(b))
		m["flags"] = anyList(it.Flags)
		out = append(out, m)
	}
	return out, nil
}

func (w *World) doWeb(args []any) (any, error) {
	o, err := asTable(args, 0)
	if err == nil {
		err = only(o, "bundle", "method", "path", "query", "form", "headers", "ip", "body")
	}
	if err == nil {
		err = w.ready()
	}
	if err != nil {
		return nil, err
	}
	table := func(k string) map[string]string {
		m := map[string]string{}
		given, _ := o[k].(map[string]any)
		for name, v := range given {
			m[name] = fmt.Sprint(v)
		}
		return m
	}
	req := &hooks.Request{
		Method:  text(o, "method", "GET"),
		Path:    text(o, "path", "/"),
		Query:   table("query"),
		Form:    table("form"),
		Headers: table("headers"),
		IP:      text(o, "ip", "192.0.2.7"),
		Body:    text(o, "body", ""),
	}
	if o["form"] != nil { // as a browser sends it
		req.Method = text(o, "method", "POST")
		if req.Headers["content-type"] == "" {
			req.Headers["content-type"] = "application/x-www-form-urlencoded"
		}
	}
	res, ok := w.pipe.Web(w.ctx, text(o, "bundle", w.soleBundle()), req)
	if !ok {
		res = hooks.Response{Status: 404, Type: "text/plain; charset=utf-8", Body: "not found\n"}
	}
	headers := map[string]any{}
	for k, v := range res.Headers {
		headers[strings.ToLower(k)] = v
	}
	return map[string]any{"status": float64(res.Status), "type": res.Type, "body": res.Body, "headers": headers}, nil
}

func (w *World) doCommand(args []any) (any, error) {
	o, err := asTable(args, 0)
	if err == nil {
		err = only(o, "name", "verb", "args", "options", "json")
	}
	if err == nil {
		err = w.ready()
	}
	if err != nil {
		return nil, err
	}
	cmd := &hooks.Command{Name: text(o, "name", ""), Verb: text(o, "verb", ""), Options: map[string]string{}}
	list, _ := o["args"].([]any)
	for _, v := range list {
		cmd.Args = append(cmd.Args, fmt.Sprint(v))
	}
	options, _ := o["options"].(map[string]any)
	for k, v := range options {
		cmd.Options[k] = fmt.Sprint(v)
	}
	cmd.JSON, _ = o["json"].(bool)
	res, err := w.pipe.Command(w.ctx, cmd)
	if err != nil {
		return map[string]any{"error": err.Error()}, nil
	}
	return map[string]any{"type": res.Type, "body": res.Body}, nil
}

// soleBundle is the name under which the tested source answers.
func (w *world) soleBundle() string {
	for _, s := range w.o.Sources {
		if s.Bundle != "" {
			return s.Bundle[strings.LastIndexByte(s.Bundle, '/')+1:]
		}
	}
	return "scripts"
}

func (w *World) doLimit(m map[string]any) error {
	if err := only(m, "instructions", "wall", "alloc", "recipients", "submits"); err != nil {
		return err
	}
	number := func(k string) int64 { f, _ := m[k].(float64); return int64(f) }
	w.limits = hooks.Limits{
		Instructions: number("instructions"),
		Alloc:        sizeOf(m["alloc"]),
		Recipients:   int(number("recipients")),
		Submits:      int(number("submits")),
	}
	w.loaded = false
	if m["wall"] != nil {
		d, err := duration(m["wall"])
		w.limits.Wall = d
		return err
	}
	return nil
}

func (w *World) doFail(args []any) (any, error) {
	what, err := asText(args, 0, "what fails")
	if err != nil {
		return nil, err
	}
	how := "" // as the fault does by default
	if len(args) > 1 && args[1] != nil {
		how = fmt.Sprint(args[1])
	}
	return nil, w.fail(what, how)
}

// doAccount makes an account; from the first on, only those exist that the
// test made.
func (w entries) doAccount(args []any) (any, error) {
	address, err := asText(args, 0, "the address")
	settings, err2 := asTable(args, 1)
	options, err3 := asTable(args, 2)
	if err = errors.Join(err, err2, err3, only(options, "confirmed")); err != nil {
		return nil, err
	}
	confirmed, _ := options["confirmed"].(bool)
	w.named = true
	a, err := envelope.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	if !w.dir.Exists(w.ctx, a) {
		if err := w.dir.AddAccount(w.ctx, a, text(settings, "password", Password)); err != nil {
			return nil, err
		}
	}
	for k, v := range settings {
		if k == "password" {
			continue
		}
		if k == "quota" {
			if err := w.store.SetQuota(w.ctx, a, sizeOf(v)); err != nil {
				return nil, err
			}
			continue
		}
		if err := hooks.CheckSetting(w.o.Sources, a, k, v); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(v)
		if err == nil {
			err = w.dir.Set(w.ctx, a, k, raw, confirmed)
		}
		if err != nil {
			return nil, err
		}
		w.pipe.Notice("setting", map[string]any{"user": string(a), "name": k, "value": v, "confirmed": confirmed})
	}
	return nil, nil
}

func (w entries) doAlias(args []any) (any, error) {
	address, err := asText(args, 0, "the address")
	if err != nil {
		return nil, err
	}
	var targets []envelope.Address
	for _, s := range texts(args[1]) {
		if err := w.makeAccount(s); err != nil {
			return nil, err
		}
		targets = append(targets, envelope.Address(s))
	}
	return nil, w.dir.AddAlias(w.ctx, envelope.Address(address), targets)
}

// doGrant lets a delegate act for an owner, without end.
func (w entries) doGrant(args []any) (any, error) {
	var names []string
	for n, what := range []string{"the owner", "the delegate", "the right"} {
		s, err := asText(args, n, what)
		if err != nil {
			return nil, err
		}
		if n < 2 {
			if err := w.makeAccount(s); err != nil {
				return nil, err
			}
		}
		names = append(names, s)
	}
	return nil, w.dir.Grant(w.ctx, envelope.Address(names[0]), envelope.Address(names[1]), names[2], time.Time{})
}

func (w entries) doDomain(args []any) (any, error) {
	name, err := asText(args, 0, "the domain")
	if err != nil || w.dir.Local(name) {
		return nil, err
	}
	return nil, w.dir.AddDomain(w.ctx, name)
}

func (w *World) doAdvance(args []any) (any, error) {
	if len(args) < 1 {
		return nil, fmt.Errorf("%w: how far?", errArguments)
	}
	d, err := duration(args[0])
	if err != nil {
		return nil, err
	}
	return nil, w.advance(d)
}

// doSet moves the clock to a time, seconds or a date of RFC 3339: anywhere
// before the first session or message of the test, afterwards only forward.
func (w *World) doSet(args []any) (any, error) {
	var to time.Time
	switch v := append(args, nil)[0].(type) {
	case float64:
		to = time.Unix(int64(v), 0)
	case string:
		var err error
		if to, err = time.Parse(time.RFC3339, v); err != nil {
			if to, err = time.Parse(time.DateOnly, v); err != nil {
				return nil, fmt.Errorf("%w: t.clock.set: %q is not a time like 2026-12-01T09:00:00Z", errArguments, v)
			}
		}
	default:
		return nil, fmt.Errorf("%w: t.clock.set: the time is Unix seconds or a text like 2026-12-01T09:00:00Z, got %v", errArguments, v)
	}
	d := to.Sub(w.clock.Now())
	if d >= 0 {
		return nil, w.advance(d)
	}
	if len(w.opened) > 0 {
		return nil, fmt.Errorf("%w: t.clock.set: after the first session of a test its clock only goes forward; it is %s",
			errArguments, w.clock.Now().UTC().Format(time.RFC3339))
	}
	return nil, w.restart(to)
}

// restart has the world begin at an earlier time: timers count from there.
func (w *world) restart(at time.Time) error {
	if err := w.waitIdle(); err != nil {
		return err
	}
	w.clock.Restart(at)
	return w.pipe.RestartTimers(w.ctx)
}

func duration(v any) (time.Duration, error) {
	switch v := v.(type) {
	case float64:
		if v >= 0 && v < 1e9 {
			return time.Duration(v * float64(time.Second)), nil
		}
	case string:
		if n, err := strconv.ParseFloat(v, 64); err == nil {
			return duration(n)
		}
		if d, err := config.ParseDuration(v); err == nil && d >= 0 {
			return d, nil
		}
	}
	return 0, fmt.Errorf("%w: a duration is seconds, or a text like \"6m\", got %v", errArguments, v)
}
