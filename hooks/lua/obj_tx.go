package lua

import (
	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

func txOf(o *object) *envelope.Transaction { return o.v.(*envelope.Transaction) }

var txClass = class{name: "tx", doc: "the mail transaction, while the client sends it",
	fields: []field{
		textField("id", "id that the message will have", func(o *object) string { return txOf(o).ID.String() }),
		{
			name:  "sender",
			edits: hooks.ChangeSender,
			bound: asSender,
			doc:   "envelope sender; \"\" is the null sender",
			get:   func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(string(txOf(o).Sender)) },
			set: func(st *state, L *glua.LState, o *object, v glua.LValue) {
				raiseIf(L, o.call.event.SetSender(senderArgument(L, v, "tx.sender")))
			},
		},
		{
			name: "params",
			doc:  "parameters of MAIL",
			get: func(st *state, _ *glua.LState, o *object) glua.LValue {
				return st.newObject(&paramsClass, &txOf(o).Params)
			},
		},
		metaField("data of policies, kept for this transaction", func(o *object) *metaTable { return &metaTable{meta: &txOf(o).Meta} }),
	},
	methods: []function{{
		name: "recipients",
		call: txRecipients,
		sig:  "recipients()",
		doc: "a list of rcpt: the recipients accepted so far; a policy of a domain sees those of its domain, or all if a user of its " +
			"domain sends",
	}},
}

func txRecipients(L *glua.LState) int {
	st, o := self(L, "tx")
	list := txOf(o).Recipients
	st.budget.chargeMemory(L, 120+16*int64(len(list)))
	t := L.CreateTable(len(list), 0)
	n := 0
	for _, r := range list {
		if o.call.event.IsForRecipient(&o.call.handler.info, r) {
			n++
			t.RawSetInt(n, st.newObject(&rcptClass, r))
		}
	}
	L.Push(t)
	return 1
}

func paramsOf(o *object) *envelope.Params { return o.v.(*envelope.Params) }

var paramsClass = class{name: "params", doc: "parameters of MAIL", fields: []field{
	{name: "size", doc: "declared octets or nil", get: func(st *state, _ *glua.LState, o *object) glua.LValue {
		if paramsOf(o).Size == 0 {
			return glua.LNil
		}
		return st.number(float64(paramsOf(o).Size))
	}},
	optionalField("body", "\"7BIT\", \"8BITMIME\", \"BINARYMIME\" or nil", func(o *object) string { return paramsOf(o).Body }),
	boolField("smtputf8", "true or false", func(o *object) bool { return paramsOf(o).SMTPUTF8 }),
	optionalField("envid", "decoded ENVID or nil", func(o *object) string { return paramsOf(o).EnvID }),
	optionalField("ret", "\"FULL\", \"HDRS\" or nil", func(o *object) string { return paramsOf(o).Ret }),
	{name: "by", doc: "seconds of DELIVERBY or nil", get: func(st *state, _ *glua.LState, o *object) glua.LValue {
		if paramsOf(o).By == 0 {
			return glua.LNil
		}
		return st.number(float64(paramsOf(o).By))
	}},
	{name: "hold_for", doc: "time until which the client wants the message held, or nil",
		get: func(st *state, _ *glua.LState, o *object) glua.LValue {
			if paramsOf(o).HoldUntil.IsZero() {
				return glua.LNil
			}
			return st.number(float64(paramsOf(o).HoldUntil.Unix()))
		}},
	{name: "priority", doc: "MT-PRIORITY or nil", get: func(st *state, _ *glua.LState, o *object) glua.LValue {
		if paramsOf(o).Priority == nil {
			return glua.LNil
		}
		return st.number(float64(*paramsOf(o).Priority))
	}},
	boolField("requiretls", "true or false", func(o *object) bool { return paramsOf(o).RequireTLS }),
}}
