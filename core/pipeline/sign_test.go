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

// fakeSigner is a Signer whose fields say what it would sign.
type fakeSigner struct{ fail error }

// Sign implements Signer.
func (s fakeSigner) Sign(w envelope.Signature, open func() (io.ReadCloser, error)) (func(*mime.Header) (string, error), error) {
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
func (s fakeSigner) Seal(
	domain string,
	arrived *envelope.AuthResults,
	open func() (io.ReadCloser, error),
) (func(*mime.Header) (string, error), error) {
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
	ask := handlerAt(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
		if s, _ := e.Msg.Header.Get("Subject"); s != "more" {
			return hooks.Verdict{}, nil
		}
		return hooks.Verdict{}, errors.Join(e.AddSignature(e.Msg, envelope.Signature{Domain: "list.example", Selectors: []string{"s1"}}),
			e.AddSignature(e.Msg, envelope.Signature{Domain: "list.example", Selectors: []string{"s1"}}),
			e.AddSubmit(hooks.Submit{Sender: "bob@our.example", Rcpts: []envelope.Address{"alice@our.example"},
				Header: []byte("From: bob@our.example\r\nSubject: from a policy\r\nAuto-Submitted: auto-generated\r\n\r\n"), Body: []byte("x\r\n")}))
	})
	srv := &testServer{t: t, transport: &fakeTransport{}, clock: &clock.Clock{}}
	signer := &fakeSigner{}
	srv.start(badgerstore.Options{InMemory: true}, nil, core.Config{},
		func(*badgerstore.Store) []hooks.Handler { return []hooks.Handler{ask} })
	srv.signer = signer
	signatures := func(text string) string {
		var out []string
		for line := range strings.SplitSeq(text, "\r\n") {
			if v, ok := strings.CutPrefix(line, "DKIM-Signature: "); ok {
				out = append(out, strings.TrimSpace(v))
			}
		}
		return strings.Join(out, "; ")
	}
	srv.mustSend(newSession(), "a@a.example", plainMessage, "bob@our.example")
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: hi\r\n\r\nx\r\n",
		"bob@our.example")
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: more\r\n\r\nx\r\n",
		"bob@our.example")
	srv.waitIdle()
	var got []string
	for _, text := range srv.mailbox("bob@our.example", "INBOX") {
		got = append(got, signatures(text))
	}
	slices.Sort(got)
	if want := []string{"", "d=our.example", "d=our.example; d=list.example s1"}; !slices.Equal(got, want) {
		t.Errorf("got signatures %q, want %q", got, want)
	}
	if s := signatures(srv.mailbox("alice@our.example", "INBOX")[0]); s != "d=our.example" {
		t.Errorf("signature of the policy's mail: got %q, want d=our.example", s)
	}
	signer.fail = errors.New("no key")
	srv.signer = *signer
	st := srv.send(newUserSession("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"},
		"From: alice@our.example\r\n\r\nx\r\n", "bob@our.example")
	if st == nil || st.Code != 451 {
		t.Errorf("without a key: got reply %v, want 451", st)
	}
}

// TestSigningOfForks: a policy without a right to the author's domain may change a
// user's message. The changed message is not signed for that domain, and neither are
// its forks.
func TestSigningOfForks(t *testing.T) {
	for _, confined := range []bool{false, true} {
		change := handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
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
		srv := &testServer{t: t, transport: &fakeTransport{}, clock: &clock.Clock{}}
		srv.start(badgerstore.Options{InMemory: true}, nil, core.Config{}, func(*badgerstore.Store) []hooks.Handler {
			return []hooks.Handler{handlerAt(hooks.ReceiveRcpt, acceptRcpt), change}
		})
		srv.signer = fakeSigner{}
		srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: hi\r\n\r\nx\r\n",
			"all@our.example")
		srv.waitIdle()
		if len(srv.transport.received) != 1 || strings.Contains(srv.transport.received[0].text, "DKIM-Signature: d=our.example") == confined {
			t.Errorf("confined %v: sent %+v, want one message, signed only if not confined", confined, srv.transport.received)
		}
	}
}
