package pipeline_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/clock"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
)

// stamps is a Signer that says what it would sign.
type stamps struct{ fail error }

// Sign implements Signer.
func (s stamps) Sign(w envelope.Signature, open func() (io.ReadCloser, error)) (func(*mime.Header) (string, error), error) {
	body, err := open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, _ := io.ReadAll(body)
	return func(h *mime.Header) (string, error) {
		if s.fail != nil || len(b) == 0 || !h.Has("Received") && !h.Has("Auto-Submitted") {
			return "", errors.Join(s.fail, errors.New("not the message"))
		}
		over := ""
		if own, ok := h.Get("X-Own"); ok {
			over = " over " + own
		}
		return "DKIM-Signature: d=" + w.Domain + over + " " + strings.Join(w.Selectors, ",") + "\r\n", nil
	}, nil
}

// Seal implements Signer.
func (s stamps) Seal(domain string, arrived *envelope.AuthResults, open func() (io.ReadCloser, error)) (func(*mime.Header) (string, error),
	error) {
	body, err := open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, _ := io.ReadAll(body)
	return func(h *mime.Header) (string, error) {
		return fmt.Sprintf("ARC-Seal: d=%s spf=%s over %d signatures and %d octets\r\n", domain, arrived.SPF.Result, h.Count("DKIM-Signature"),
			len(b)), nil
	}, nil
}

// Mail of users and of policies is signed for its author's domain, mail from
// outside is not, and policies may ask for more.
func TestSigning(t *testing.T) {
	ask := at(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
		if s, _ := e.Msg.Header.Get("Subject"); s != "more" {
			return hooks.Verdict{}, nil
		}
		return hooks.Verdict{}, errors.Join(e.AddSignature(e.Msg, envelope.Signature{Domain: "list.example", Selectors: []string{"s1"}}),
			e.AddSignature(e.Msg, envelope.Signature{Domain: "list.example", Selectors: []string{"s1"}}),
			e.AddSubmit(hooks.Submit{Sender: "bob@our.example", Rcpts: []envelope.Address{"alice@our.example"},
				Header: []byte("From: bob@our.example\r\nSubject: from a policy\r\nAuto-Submitted: auto-generated\r\n\r\n"), Body: []byte("x\r\n")}))
	})
	h := &house{t: t, sink: &sink{}, clock: &clock.Clock{}}
	signer := &stamps{}
	h.furnish(badgerstore.Options{InMemory: true}, nil, core.Config{},
		func(*badgerstore.Store) []hooks.Handler { return []hooks.Handler{ask} })
	h.signer = signer
	signatures := func(text string) string {
		var out []string
		for line := range strings.SplitSeq(text, "\r\n") {
			if v, ok := strings.CutPrefix(line, "DKIM-Signature: "); ok {
				out = append(out, strings.TrimSpace(v))
			}
		}
		return strings.Join(out, "; ")
	}
	h.accept(session(), "a@a.example", plain, "bob@our.example")
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: hi\r\n\r\nx\r\n", "bob@our.example")
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: more\r\n\r\nx\r\n", "bob@our.example")
	h.idle()
	var got []string
	for _, text := range h.box("bob@our.example", "INBOX") {
		got = append(got, signatures(text))
	}
	slices.Sort(got)
	if want := []string{"", "d=our.example", "d=our.example; d=list.example s1"}; !slices.Equal(got, want) {
		t.Errorf("signed %q, want %q", got, want)
	}
	if s := signatures(h.box("alice@our.example", "INBOX")[0]); s != "d=our.example" {
		t.Errorf("a policy's is signed %q", s)
	}
	signer.fail = errors.New("no key")
	h.signer = *signer
	if st := h.offer(user("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"}, "From: alice@our.example\r\n\r\nx\r\n",
		"bob@our.example"); st == nil || st.Code != 451 {
		t.Errorf("without a key: %v", st)
	}
}

// TestSigningOfForks: a policy that may not speak for the author's domain can
// make another message of what a user wrote; that domain does not sign it, nor
// what is made of that in its turn.
func TestSigningOfForks(t *testing.T) {
	for _, confined := range []bool{false, true} {
		change := at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
			next, ok := map[envelope.Address]envelope.Address{"all@our.example": "more@our.example",
				"more@our.example": "x@out.example"}[e.Rcpt.Address]
			if !ok {
				return hooks.Verdict{}, nil
			}
			m, err := e.Fork(e.Rcpt)
			if err != nil {
				return hooks.Verdict{}, err
			}
			if confined && e.Rcpt.Address == "all@our.example" {
				e.Confine(m, func(domain string) bool { return domain != "our.example" })
			}
			return hooks.Verdict{}, errors.Join(e.AppendText(m, mime.Text{Text: "by a policy\n"}), e.Replace(e.Rcpt,
				[]hooks.Target{{Address: next}}))
		})
		h := &house{t: t, sink: &sink{}, clock: &clock.Clock{}}
		h.furnish(badgerstore.Options{InMemory: true}, nil, core.Config{}, func(*badgerstore.Store) []hooks.Handler {
			return []hooks.Handler{at(hooks.ReceiveRcpt, known), change}
		})
		h.signer = stamps{}
		h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: hi\r\n\r\nx\r\n", "all@our.example")
		h.idle()
		if len(h.sink.got) != 1 || strings.Contains(h.sink.got[0].text, "DKIM-Signature: d=our.example") == confined {
			t.Errorf("confined %v: %+v", confined, h.sink.got)
		}
	}
}
