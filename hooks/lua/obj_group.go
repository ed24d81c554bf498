package lua

import (
	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

func groupOf(o *object) *envelope.Group { return o.v.(*envelope.Group) }

var groupClass = class{name: "group", doc: "recipients of one message that are delivered together: they have the same next hop key",
	fields: []field{
		{
			name:  "key",
			edits: hooks.ChangeGroup,
			doc:   "the destination domain, or what a policy chose; can be changed at queue.commit",
			get:   func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(groupOf(o).Key) },
			set: func(st *state, L *glua.LState, o *object, v glua.LValue) {
				s, ok := v.(glua.LString)
				if !ok || s == "" || len(s) > 200 || controlIndex(string(s)) >= 0 {
					L.RaiseError("group.key: must be a text of one line, of up to 200 octets, got %s", tostringPlain(v))
				}
				raiseIf(L, o.call.event.SetGroup("group.key "+string(s), func(g *envelope.Group) { g.Key = string(s) }))
			},
		},
		textField("domain", "domain of the recipients", func(o *object) string { return groupOf(o).Domain }),
		boolField("is_local", "whether it goes to mailboxes here", func(o *object) bool { return groupOf(o).Kind != envelope.Remote }),
		metaField("data of policies, kept with the group", func(o *object) *metaTable { return &metaTable{meta: &groupOf(o).Meta} }),
	},
	methods: []function{
		{name: "recipients", call: groupRecipients, sig: "recipients()", doc: "list of addresses"},
		{
			name:  "priority",
			call:  groupPriority,
			edits: hooks.ChangeGroup,
			from:  1,
			sig:   "priority([n])",
			doc:   "sets and returns the priority, -9 to 9",
		},
		{name: "expire", call: groupExpire, edits: hooks.ChangeGroup, sig: "expire(duration)", doc: "gives up after that time from now"},
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
	_, o := self(L, "group")
	if L.Get(2) != glua.LNil {
		p := priorityArgument(L, L.Get(2), "group:priority")
		raiseIf(L, o.call.event.SetGroup("group priority", func(g *envelope.Group) { g.Priority = p }))
	}
	L.Push(glua.LNumber(groupOf(o).Priority))
	return 1
}

func groupExpire(L *glua.LState) int {
	st, o := self(L, "group")
	d := durationArgument(L, L.Get(2), "group:expire")
	at := st.now().Add(d)
	raiseIf(L, o.call.event.SetGroup("group expires after "+d.String(), func(g *envelope.Group) { g.Expires = at }))
	return 0
}
