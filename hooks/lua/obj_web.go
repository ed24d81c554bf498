package lua

import (
	"maps"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

func reqOf(o *object) *hooks.Request { return o.v.(*hooks.Request) }

func reqTable(get func(*hooks.Request) map[string]string) func(*state, *glua.LState, *object) glua.LValue {
	return func(st *state, L *glua.LState, o *object) glua.LValue {
		values := get(reqOf(o))
		m := make(map[string]any, len(values))
		for k, v := range values {
			m[k] = v
		}
		return st.toLua(L, m)
	}
}

var reqClass = class{name: "req", doc: "an HTTP request", fields: []field{
	textField("method", "\"GET\", \"POST\", ...", func(o *object) string { return reqOf(o).Method }),
	textField("path", "what follows /b/BUNDLE", func(o *object) string { return reqOf(o).Path }),
	{name: "query", doc: "parameters of the URL", get: reqTable(func(r *hooks.Request) map[string]string { return r.Query })},
	{name: "form", doc: "fields of a posted form", get: reqTable(func(r *hooks.Request) map[string]string { return r.Form })},
	{
		name: "headers",
		doc:  "header fields, names in lower case; cookie and authorization only for bundles with the right credentials",
		get:  reqHeaders,
	},
	textField("ip", "address of the client", func(o *object) string { return reqOf(o).IP }),
	textField("body", "the body, at most 1 MiB", func(o *object) string { return reqOf(o).Body }),
}}

func commandOf(o *object) *hooks.Command { return o.v.(*hooks.Command) }

var commandClass = class{name: "cmd", doc: "what an operator typed: carteiro NAME VERB ARGS... --OPTION VALUE", fields: []field{
	textField("name", "first word", func(o *object) string { return commandOf(o).Name }),
	textField("verb", "second word", func(o *object) string { return commandOf(o).Verb }),
	{
		name: "args",
		doc:  "list of the words behind",
		get:  func(st *state, L *glua.LState, o *object) glua.LValue { return st.strings(L, commandOf(o).Args) },
	},
	{name: "options", doc: "values of the options, by name", get: func(st *state, L *glua.LState, o *object) glua.LValue {
		m := map[string]any{}
		for k, v := range commandOf(o).Options {
			m[k] = v
		}
		return st.toLua(L, m)
	}},
	boolField("json", "whether the answer is wanted as JSON", func(o *object) bool { return commandOf(o).JSON }),
}}

func eventOf(o *object) *hooks.Observed { return o.v.(*hooks.Observed) }

var eventClass = class{name: "event", doc: "something that happened", fields: []field{
	textField("name", "accepted, rejected, delivered, deferred, bounced, expired, login, login_failed, setting, reload or learned",
		func(o *object) string { return eventOf(o).Name }),
	textField("id", "the same for every call about this event", func(o *object) string { return eventOf(o).ID }),
	timeField("time", "when it happened", func(o *object) time.Time { return eventOf(o).Time }),
	{
		name: "data",
		doc: "a table. For messages: message, sender, to, subject (with the right headers:read), size, code, enhanced, text, host, " +
			"attempt, client, listener, user. For logins: user, mechanism, client, listener, protocol. For settings (`carteiro " +
			"account set`): user, name, value, confirmed. For reloads: generation, by",
		get: func(st *state, L *glua.LState, o *object) glua.LValue {
			data := eventOf(o).Data
			if !st.source.src.Grants.Has(hooks.HeadersRead) {
				data = maps.Clone(data)
				delete(data, "subject")
			}
			return st.toLua(L, data)
		},
	},
}}

// maxResponse bounds the body that a script answers with.
const maxResponse = 4 << 20

func verdictResponse(L *glua.LState) int {
	t, ok := L.Get(1).(*glua.LTable)
	if !ok {
		L.RaiseError("response: expected response{ status = 200, type =, body =, headers = }, got %s", typeOf(L.Get(1)))
	}
	r := &hooks.Response{Status: 200, Type: "text/html; charset=utf-8", Headers: map[string]string{}}
	if e := stateOf(L).calls.event; e != nil && e.Point == hooks.AdminCommand {
		r.Type = "text/plain; charset=utf-8" // people read it, and no browser
	}
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		key := tostringPlain(k)
		switch key {
		case "status":
			n, ok := wholeNumber(v)
			if !ok || n < 200 || n > 599 {
				L.RaiseError("response: status must be 200..599, got %s", tostringPlain(v))
			}
			r.Status = int(n)
		case "type":
			r.Type = oneHeader(L, v, "type")
		case "body":
			if r.Body = tostringPlain(v); len(r.Body) > maxResponse {
				L.RaiseError("response: body has %d octets, %d are allowed", len(r.Body), maxResponse)
			}
		case "headers":
			fields, ok := v.(*glua.LTable)
			if !ok {
				L.RaiseError("response: headers must be a table, got %s", typeOf(v))
			}
			for n, x := fields.Next(glua.LNil); n != glua.LNil; n, x = fields.Next(n) {
				name := oneHeader(L, n, "headers")
				if !token(name) || oneOf(strings.ToLower(name), "content-length", "transfer-encoding", "connection", "trailer", "upgrade") {
					L.RaiseError("response: %q is not the name of a header field, or the server writes it", name)
				}
				r.Headers[name] = oneHeader(L, x, "headers")
			}
		default:
			L.RaiseError("response: unknown field %s%s", key, hooks.Suggestion(key, []string{"status", "type", "body", "headers"}))
		}
	}
	return pushVerdict(L, hooks.Verdict{Action: hooks.Respond, Response: r})
}

// token reports whether a text may name a header of HTTP (RFC 9110 5.6.2).
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f ||
			strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
}

// oneHeader is text that cannot end its line.
func oneHeader(L *glua.LState, v glua.LValue, what string) string {
	s := tostringPlain(v)
	if !stringable(v) || controlIndex(s) >= 0 {
		L.RaiseError("response: %s must be text of one line", what)
	}
	return s
}
