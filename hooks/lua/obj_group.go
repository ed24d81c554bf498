package lua

import (
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

func groupOf(o *object) *envelope.Group { return o.v.(*envelope.Group) }

var groupClass = class{name: "group", doc: "recipients of one message that share a next hop key",
	fields: []field{
		{
			name:  "key",
			edits: hooks.MayGroup,
			doc:   "destination domain, or what a policy chose; can be changed at queue.commit",
			get:   func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(groupOf(o).Key) },
			set: func(st *state, L *glua.LState, o *object, v glua.LValue) {
				s, ok := v.(glua.LString)
				if !ok || s == "" || len(s) > 200 || control(string(s)) >= 0 {
					L.RaiseError("group.key: must be a text of one line, of up to 200 octets, got %s", tostringPlain(v))
				}
				st.must(L, o.call.event.SetGroup("group.key "+string(s), func(g *envelope.Group) { g.Key = string(s) }))
			},
		},
		textField("domain", "domain of the recipients", func(o *object) string { return groupOf(o).Domain }),
		boolField("is_local", "whether it goes to mailboxes here", func(o *object) bool { return groupOf(o).Kind != envelope.Remote }),
		metaField("notes of policies, kept with the group", func(o *object) *notes { return &notes{meta: &groupOf(o).Meta} }),
	},
	methods: []function{
		{name: "recipients", call: groupRecipients, sig: "recipients()", doc: "list of addresses"},
		{
			name:  "priority",
			call:  groupPriority,
			edits: hooks.MayGroup,
			from:  1,
			sig:   "priority([n])",
			doc:   "sets and returns the priority, -9 to 9",
		},
		{name: "expire", call: groupExpire, edits: hooks.MayGroup, sig: "expire(duration)", doc: "gives up that long after now"},
	}}

func groupRecipients(L *glua.LState) int {
	st, o := self(L, "group")
	g := groupOf(o)
	list := make([]string, len(g.Recipients))
	for i := range g.Recipients {
		list[i] = string(g.Recipients[i].Address)
	}
	L.Push(st.strings(L, list))
	return 1
}

func groupPriority(L *glua.LState) int {
	st, o := self(L, "group")
	if L.Get(2) != glua.LNil {
		p := priorityArgument(L, L.Get(2), "group:priority")
		st.must(L, o.call.event.SetGroup("group priority", func(g *envelope.Group) { g.Priority = p }))
	}
	L.Push(glua.LNumber(groupOf(o).Priority))
	return 1
}

func groupExpire(L *glua.LState) int {
	st, o := self(L, "group")
	d := duration(L, L.Get(2), "group:expire")
	at := st.now().Add(d)
	st.must(L, o.call.event.SetGroup("group expires after "+d.String(), func(g *envelope.Group) { g.Expires = at }))
	return 0
}

// now is the event's time, so that one call sees one time; while files load,
// the engine's.
func (st *state) now() time.Time {
	if st.call != nil && !st.call.event.Now.IsZero() {
		return st.call.event.Now
	}
	return st.set.engine.Clock.Now()
}

func seconds(st *state, t time.Time) glua.LValue {
	if t.IsZero() {
		return glua.LNil
	}
	return st.number(float64(t.Unix()))
}

var attemptClass = class{name: "attempt", doc: "a try that is about to happen", fields: []field{
	numberField("number", "1 for the first", func(o *object) float64 { return float64(o.v.(*hooks.Attempt).Number) }),
	timeField("first_at", "time of the first try, or nil", func(o *object) time.Time { return o.v.(*hooks.Attempt).First }),
	timeField("last", "time of the last try, or nil", func(o *object) time.Time { return o.v.(*hooks.Attempt).Last }),
}}

func resultOf(o *object) *hooks.Result { return o.v.(*hooks.Result) }

var resultClass = class{name: "result", doc: "the outcome of a try for one recipient", fields: []field{
	textField("class", "\"delivered\", \"deferred\" or \"failed\"", func(o *object) string { return resultOf(o).Class }),
	{name: "code", doc: "reply code, or nil", get: func(st *state, _ *glua.LState, o *object) glua.LValue {
		if resultOf(o).Status.Code == 0 {
			return glua.LNil
		}
		return st.number(float64(resultOf(o).Status.Code))
	}},
	optionalField("enhanced", "enhanced status code, or nil", func(o *object) string { return resultOf(o).Status.Enhanced }),
	textField("text", "text of the reply", func(o *object) string { return resultOf(o).Status.Text }),
	optionalField("host", "the host that said so, or nil", func(o *object) string { return resultOf(o).Host }),
	numberField("attempt", "number of the try", func(o *object) float64 { return float64(resultOf(o).Attempt) }),
	numberField("age", "seconds since the message was received", func(o *object) float64 { return float64(int64(resultOf(o).Age.Seconds())) }),
}}

func boxOf(o *object) hooks.Box { return o.v.(hooks.Box) }

var boxClass = class{name: "box", doc: "the mailbox that the mail is for",
	fields: []field{textField("address", "its owner", func(o *object) string { return string(boxOf(o).Address()) })},
	methods: []function{
		{name: "folders", call: boxFolders, sig: "folders()", doc: "list of the names of its folders"},
		{name: "quota", call: boxQuota, sig: "quota()", doc: "octets used, and the limit or nil"},
		{name: "setting", call: boxSetting, sig: "setting(name)", doc: "what `carteiro account set` stored, or nil"},
	}}

func boxFolders(L *glua.LState) int {
	st, o := self(L, "box")
	list, err := boxOf(o).Folders()
	st.must(L, err)
	L.Push(st.strings(L, list))
	return 1
}

func boxQuota(L *glua.LState) int {
	st, o := self(L, "box")
	used, limit, err := boxOf(o).Quota()
	st.must(L, err)
	L.Push(st.number(float64(used)))
	if limit == 0 {
		L.Push(glua.LNil)
	} else {
		L.Push(st.number(float64(limit)))
	}
	return 2
}

func boxSetting(L *glua.LState) int {
	st, o := self(L, "box")
	v, err := boxOf(o).Setting(stringArgument(L, 2, "box:setting", "name"))
	st.must(L, err)
	L.Push(st.lift(L, v))
	return 1
}

func dsnOf(o *object) *hooks.DSN { return o.v.(*hooks.DSN) }

var dsnClass = class{name: "dsn", doc: "a report about to be made", fields: []field{
	textField("action", "\"failed\", \"delayed\", \"delivered\", \"relayed\" or \"expanded\"",
		func(o *object) string { return dsnOf(o).Action }),
	textField("status", "status code of the first recipient", func(o *object) string { return dsnOf(o).Status }),
	{
		name:  "text",
		edits: hooks.MayText,
		doc:   "the part for people; can be changed",
		get:   func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(dsnOf(o).Text) },
		set: func(st *state, L *glua.LState, o *object, v glua.LValue) {
			s, ok := v.(glua.LString)
			if !ok || len(s) > 64<<10 {
				L.RaiseError("dsn.text: must be a text of up to 64 KiB, got %s", typeOf(v))
			}
			st.must(L, o.call.event.SetText(strings.ToValidUTF8(string(s), "\uFFFD")))
		},
	},
}}
