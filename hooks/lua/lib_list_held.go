package lua

import (
	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/lists"
	"carteiro/hooks"
)

// listMail are the functions of list that keep messages for a group.
var listMail = []function{
	{
		name: "hold",
		call: listHold,
		sig:  "hold(name, msg, [about])",
		doc: "holds the current message for that list until it is released or dropped; list.held also returns the table about. The handler " +
			"has to discard the recipient itself",
		bounds: bounds{"name": inForceList},
	},
	{
		name:   "held",
		call:   listHeld,
		sig:    "held(name, [id])",
		doc:    "a list of the held messages: { id, from, sender, subject, size, at, ... }; with an id, only that one, or nil",
		bounds: bounds{"name": inForceList},
	},
	{
		name:   "release",
		call:   listRelease,
		sig:    "release(name, id)",
		doc:    "sends a held message through queue.expand again, with rcpt.released set; false if it is not held",
		bounds: bounds{"name": inForceList},
	},
	{name: "drop", call: listDrop, sig: "drop(name, id)", doc: "drops a held message without a DSN; false if it is not held",
		bounds: bounds{"name": inForceList}},
}

func listHold(L *glua.LState) int {
	const what = "list.hold"
	l := beginList(L, what)
	m := msgOf(msgArgument(L, L.Get(2), what+":"))
	l.st.source.requireRight(L, hooks.RecipientsAdd, what)
	to := addressArgument(L, L.Get(1), what+": name")
	about := attributes(L, 3, what+": about")
	if about == nil {
		about = map[string]any{}
	}
	from, _ := m.Header.Get("From")
	if list := m.Header.Addresses("From"); len(list) > 0 {
		from = string(list[0].Address)
	}
	subject, _ := m.Header.Get("Subject")
	about["from"], about["sender"], about["subject"] = from, string(m.Sender), mime.DecodeWords(subject)
	about["size"], about["at"] = float64(m.Size), float64(l.call.event.Now.Unix())
	f, err := lists.Hold(l.name, m.ID.String(), about)
	raiseIf(L, err)
	l.st.budget.chargeMemory(L, int64(len(f.Value)))
	l.change(f)
	raiseIf(L, l.call.event.AddSubmit(hooks.Submit{Forward: true, Hold: true, Sender: m.Sender, Rcpts: []envelope.Address{to},
		Space: l.call.space()}))
	return 0
}

func listHeld(L *glua.LState) int {
	l := beginList(L, "list.held")
	space := lists.HeldSpace(l.name)
	if L.Get(2) != glua.LNil {
		id := stringArgument(L, 2, "list.held", "id")
		m := l.readStored(space, id)
		if m != nil {
			m["id"] = id
		}
		return l.pushMap(m)
	}
	out := []any{}
	found := scanSpace(L, l.call, space)
	for _, id := range sortedKeys(found) {
		m, err := lists.Decode(found[id])
		raiseIf(L, err)
		m["id"] = id
		out = append(out, m)
	}
	L.Push(l.st.toLua(L, out))
	return 1
}

func listRelease(L *glua.LState) int { return decideHeld(L, "release") }
func listDrop(L *glua.LState) int    { return decideHeld(L, "drop") }

func decideHeld(L *glua.LState, what string) int {
	l := beginList(L, "list."+what)
	id := stringArgument(L, 2, "list."+what, "id")
	held := l.readStored(lists.HeldSpace(l.name), id) != nil
	if held {
		for _, f := range lists.Decide(l.name, id, what) {
			l.change(f)
		}
	}
	L.Push(glua.LBool(held))
	return 1
}
