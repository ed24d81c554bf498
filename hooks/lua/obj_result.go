package lua

import (
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

var attemptClass = class{name: "attempt", doc: "a delivery attempt that is about to start", fields: []field{
	numberField("number", "1 for the first", func(o *object) float64 { return float64(o.v.(*hooks.Attempt).Number) }),
	timeField("first_at", "time of the first attempt, or nil", func(o *object) time.Time { return o.v.(*hooks.Attempt).First }),
	timeField("last", "time of the last attempt, or nil", func(o *object) time.Time { return o.v.(*hooks.Attempt).Last }),
}}

func resultOf(o *object) *hooks.Result { return o.v.(*hooks.Result) }

var resultClass = class{name: "result", doc: "the outcome of an attempt for one recipient", fields: []field{
	textField("class", "\"delivered\", \"deferred\" or \"failed\"", func(o *object) string { return resultOf(o).Class }),
	{name: "code", doc: "reply code, or nil", get: func(st *state, _ *glua.LState, o *object) glua.LValue {
		if resultOf(o).Status.Code == 0 {
			return glua.LNil
		}
		return st.number(float64(resultOf(o).Status.Code))
	}},
	optionalField("enhanced", "enhanced status code, or nil", func(o *object) string { return resultOf(o).Status.Enhanced }),
	textField("text", "text of the reply", func(o *object) string { return resultOf(o).Status.Text }),
	optionalField("host", "the host that replied, or nil", func(o *object) string { return resultOf(o).Host }),
	numberField("attempt", "number of the attempt", func(o *object) float64 { return float64(resultOf(o).Attempt) }),
	numberField("age", "seconds since the message was received", func(o *object) float64 { return float64(int64(resultOf(o).Age.Seconds())) }),
}}

func boxOf(o *object) hooks.Box { return o.v.(hooks.Box) }

var boxClass = class{name: "box", doc: "the mailbox that the mail is delivered to",
	fields: []field{textField("address", "its owner", func(o *object) string { return string(boxOf(o).Address()) })},
	methods: []function{
		{name: "folders", call: boxFolders, sig: "folders()", doc: "a list of the names of its folders"},
		{name: "quota", call: boxQuota, sig: "quota()", doc: "two results: the octets used, and the limit or nil"},
		{name: "setting", call: boxSetting, sig: "setting(name)", doc: "what `carteiro account set` stored, or nil"},
	}}

func boxFolders(L *glua.LState) int {
	st, o := self(L, "box")
	list, err := boxOf(o).Folders()
	raiseIf(L, err)
	L.Push(st.strings(L, list))
	return 1
}

func boxQuota(L *glua.LState) int {
	st, o := self(L, "box")
	used, limit, err := boxOf(o).Quota()
	raiseIf(L, err)
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
	raiseIf(L, err)
	L.Push(st.toLua(L, v))
	return 1
}

func dsnOf(o *object) *hooks.DSN { return o.v.(*hooks.DSN) }

var dsnClass = class{name: "dsn", doc: "a delivery status notification (DSN) that is about to be made", fields: []field{
	textField("action", "\"failed\", \"delayed\", \"delivered\", \"relayed\" or \"expanded\"",
		func(o *object) string { return dsnOf(o).Action }),
	textField("status", "status code of the first recipient", func(o *object) string { return dsnOf(o).Status }),
	{
		name:  "text",
		edits: hooks.ChangeText,
		doc:   "the text for people; can be changed",
		get:   func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(dsnOf(o).Text) },
		set: func(st *state, L *glua.LState, o *object, v glua.LValue) {
			s, ok := v.(glua.LString)
			if !ok || len(s) > 64<<10 {
				L.RaiseError("dsn.text: must be a text of up to 64 KiB, got %s", typeOf(v))
			}
			raiseIf(L, o.call.event.SetText(strings.ToValidUTF8(string(s), "\uFFFD")))
		},
	},
}}
