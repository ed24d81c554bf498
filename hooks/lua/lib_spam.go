package lua

import (
	"context"
	"errors"
	"io"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/service/spam"
	"carteiro/hooks"
)

// Spam is the text model that scripts ask.
type Spam interface {
	Classify(ctx context.Context, account envelope.Address, m *spam.Features, fresh bool) (float64, error)
	Similar(ctx context.Context, account envelope.Address, m *spam.Features) (share float64, class spam.Class, err error)
}

// spamSteps are the instructions that one message costs.
const spamSteps = 2000

var spamModule = module{
	name: "spam",
	doc: "a statistical model of wanted and unwanted mail that learns from messages, for the site and for each account. Changes count " +
		"when changes of kv do",
	functions: []function{
		{
			name: "learn",
			call: spamLearn,
			sig:  "learn(msg, \"spam\" or \"ham\", [account])",
			doc: "teaches the model of the site, or of that account, that the message (or a part of type message/rfc822) is spam or ham. " +
				`Learning the same message twice has no effect; the last word counts. false and "too complex" for a message that would ` +
				"take too long to read",
			bounds: bounds{"account": inForce},
		},
		{name: "unlearn", call: spamUnlearn, sig: "unlearn(msg, [account])", doc: "makes the model forget the message",
			bounds: bounds{"account": inForce}},
		{
			name: "classify",
			call: spamClassify,
			sig:  "classify(msg, [account])",
			doc: `the probability, 0 to 1, that the message is spam; 0.5 before anything was learned; nil and "too complex" for a message ` +
				"that would take too long to read",
			bounds: bounds{"account": inForce},
		},
		{
			name: "similar",
			call: spamSimilar,
			sig:  "similar(msg, [account])",
			doc: `how much of its text, 0.3 to 1, the message shares with the most similar learned message, and whether that one was "spam" ` +
				`or "ham"; nil if none is similar or the text has few words; nil and "too complex" for a message that would take too ` +
				"long to read. It finds copies of a message as soon as one of them was learned, even if words were changed",
			bounds: bounds{"account": inForce},
		},
	},
}

// maxSpamPart bounds a part that is a message of its own, in octets.
const maxSpamPart = 8 << 20

// spamMessage reads the features of argument 1, a message or a part that is
// one, or returns nil where it is too complex.
func spamMessage(L *glua.LState, account envelope.Address, what string) (*call, *spam.Features) {
	st := stateOf(L)
	c := st.currentCall(L, what)
	if st.generation.engine.Spam == nil {
		L.RaiseError("%s: the server has no text model", what)
	}
	if account != "" && c.domain != "" && account.Domain() != c.domain {
		L.RaiseError("%s: %s is not an account of %s", what, account, c.domain)
	}
	st.source.requireRight(L, hooks.HeadersRead, what)
	st.source.requireRight(L, hooks.BodyRead, what)
	st.budget.spendOne(L, &st.budget.kv, "kv and account operations")
	st.budget.chargeSteps(L, spamSteps)
	if ud, ok := L.Get(1).(*glua.LUserData); ok {
		if o, ok := ud.Value.(*object); ok && o.class == &partClass {
			st.requireAlive(o)
			return c, spamPart(L, partOf(o), what)
		}
	}
	o := msgArgument(L, L.Get(1), what+":")
	m := msgOf(o)
	if m.Body == nil {
		L.RaiseError("%s: the body is still coming at %s", what, c.event.Point)
	}
	if c.spamOf != m {
		f, err := spam.Extract(spam.Message{Header: m.Header, Body: m.Body})
		if err != nil && !errors.Is(err, spam.ErrTooComplex) {
			L.RaiseError("%s: the message cannot be read: %s", what, err.Error())
		}
		c.spamOf, c.spam = m, f
	}
	return c, c.spam
}

// spamPart reads the features of a message inside of another.
func spamPart(L *glua.LState, p *part, what string) *spam.Features {
	if p.Type != "message/rfc822" {
		L.RaiseError("%s: the part is not a message but %s", what, p.Type)
	}
	var raw []byte
	p.read(L, func(body io.Reader) error {
		r, err := p.Open(body)
		if err == nil {
			raw, err = io.ReadAll(io.LimitReader(r, maxSpamPart+1))
		}
		return err
	})
	if len(raw) > maxSpamPart {
		return nil
	}
	f, err := spam.Extract(spam.Read(raw))
	if err != nil && !errors.Is(err, spam.ErrTooComplex) {
		L.RaiseError("%s: the part cannot be read: %s", what, err.Error())
	}
	return f
}

// spamAccount is argument n, an address or nothing.
func spamAccount(L *glua.LState, n int, what string) envelope.Address {
	if L.Get(n) == glua.LNil {
		return ""
	}
	return addressArgument(L, L.Get(n), what).Base()
}

func tooComplex(L *glua.LState, first glua.LValue) int {
	L.Push(first)
	L.Push(glua.LString(spam.ErrTooComplex.Error()))
	return 2
}

func spamLearn(L *glua.LState) int {
	const what = "spam.learn"
	st := stateOf(L)
	class, err := spam.ParseClass(stringArgument(L, 2, what, "class"))
	if err != nil {
		L.RaiseError("%s: %s", what, err.Error())
	}
	account := spamAccount(L, 3, what)
	c, f := spamMessage(L, account, what)
	if f == nil {
		return tooComplex(L, glua.LFalse)
	}
	effect := spam.Teach(account, f, class, c.event.Now)
	st.budget.chargeMemory(L, int64(len(effect.Value)))
	raiseIf(L, c.event.AddEffect(effect))
	L.Push(glua.LTrue)
	return 1
}

func spamUnlearn(L *glua.LState) int {
	const what = "spam.unlearn"
	account := spamAccount(L, 2, what)
	c, f := spamMessage(L, account, what)
	if f == nil {
		return tooComplex(L, glua.LFalse)
	}
	raiseIf(L, c.event.AddEffect(spam.Forget(account, f)))
	L.Push(glua.LTrue)
	return 1
}

func spamClassify(L *glua.LState) int {
	const what = "spam.classify"
	st := stateOf(L)
	account := spamAccount(L, 2, what)
	c, f := spamMessage(L, account, what)
	if f == nil {
		return tooComplex(L, glua.LNil)
	}
	p, err := st.generation.engine.Spam.Classify(c.ctx, account, f, false)
	raiseIf(L, err)
	L.Push(st.number(p))
	return 1
}

func spamSimilar(L *glua.LState) int {
	const what = "spam.similar"
	st := stateOf(L)
	account := spamAccount(L, 2, what)
	c, f := spamMessage(L, account, what)
	if f == nil {
		return tooComplex(L, glua.LNil)
	}
	share, class, err := st.generation.engine.Spam.Similar(c.ctx, account, f)
	raiseIf(L, err)
	if share == 0 {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(st.number(share))
	L.Push(glua.LString(class.String()))
	return 2
}
