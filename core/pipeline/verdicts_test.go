package pipeline_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/operate"
	"carteiro/hooks"
)

// handlerReturning returns a policy that gives one verdict.
func handlerReturning(p hooks.Point, v hooks.Verdict) hooks.Handler {
	return handlerAt(p, func(*hooks.Event) (hooks.Verdict, error) { return v, nil })
}

// sendRemote submits a message from alice to a foreign address.
func (srv *testServer) sendRemote() envelope.ID {
	srv.t.Helper()
	id := srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: x\r\n\r\ntext\r\n",
		"x@out.example")
	srv.waitIdle()
	return id
}

func newStatus(code int, text string) envelope.Status {
	return envelope.Status{Code: code, Enhanced: string(rune('0'+code/100)) + ".7.1", Text: text}
}

func TestVerdictsWhileTheClientWaits(t *testing.T) {
	reject := hooks.Verdict{Action: hooks.Reject, Status: newStatus(550, "no")}
	tests := []struct {
		name    string
		handler hooks.Handler
		want    string // answer, "" for 250
		boxes   int
	}{
		{"mail reject", handlerReturning(hooks.ReceiveMail, reject), "550 5.7.1 no", 0},
		{"rcpt reject", handlerReturning(hooks.ReceiveRcpt, reject), "550 5.7.1 no", 0},
		{"rcpt discard", handlerReturning(hooks.ReceiveRcpt, hooks.Verdict{Action: hooks.Discard, Reason: "trap"}), "", 0},
		{"rcpt accept", handlerReturning(hooks.ReceiveRcpt, hooks.Verdict{Action: hooks.Accept}), "", 1},
		{
			"headers defer",
			handlerReturning(hooks.ReceiveHeaders, hooks.Verdict{Action: hooks.Defer, Status: newStatus(451, "later")}),
			"451 4.7.1 later",
			0,
		},
		{"headers discard", handlerReturning(hooks.ReceiveHeaders, hooks.Verdict{Action: hooks.Discard, Reason: "x"}), "", 0},
		{"data reject", handlerReturning(hooks.ReceiveData, reject), "550 5.7.1 no", 0},
		{"data discard", handlerReturning(hooks.ReceiveData, hooks.Verdict{Action: hooks.Discard, Reason: "x"}), "", 0},
		{"data quarantine", handlerReturning(hooks.ReceiveData, hooks.Verdict{Action: hooks.Quarantine, Reason: "x"}), "", 0},
		{"expand reject", handlerReturning(hooks.QueueExpand, reject), "550 5.7.1 no", 0},
		{"expand discard", handlerReturning(hooks.QueueExpand, hooks.Verdict{Action: hooks.Discard, Reason: "x"}), "", 0},
		{"expand quarantine", handlerReturning(hooks.QueueExpand, hooks.Verdict{Action: hooks.Quarantine, Reason: "x"}), "", 0},
		{"commit hold", handlerReturning(hooks.QueueCommit, hooks.Verdict{Action: hooks.Hold, Reason: "x"}), "", 0},
	}
	for _, tt := range tests {
		srv := newTestServer(t, core.Config{}, tt.handler)
		st := srv.send(newSession(), &envelope.Transaction{Sender: "a@a.example"}, plainMessage, "alice@our.example")
		got := ""
		if st != nil {
			got = st.Reply()
		}
		srv.waitIdle()
		if boxes := len(srv.mailbox("alice@our.example", "INBOX")); got != tt.want || boxes != tt.boxes {
			t.Errorf("%s: got reply %q and %d messages, want %q and %d", tt.name, got, boxes, tt.want, tt.boxes)
		}
		srv.stop()
	}
}

func TestQuarantineAndHoldAreReleased(t *testing.T) {
	for word, v := range map[string]hooks.Handler{
		"quarantine": handlerReturning(hooks.ReceiveData, hooks.Verdict{Action: hooks.Quarantine, Reason: "bad content"}),
		"held":       handlerReturning(hooks.QueueCommit, hooks.Verdict{Action: hooks.Hold, Reason: "wait"}),
	} {
		srv := newTestServer(t, core.Config{}, v)
		id := srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
		q, err := srv.Queue(t.Context(), operate.Filter{Status: word}, 0)
		if err != nil || len(q) != 1 {
			t.Errorf("%s: %d messages in the queue, %v", word, len(q), err)
		}
		srv.clock.Advance(24 * time.Hour)
		srv.waitIdle()
		if len(srv.mailbox("alice@our.example", "INBOX")) != 0 {
			t.Errorf("%s: a held message was delivered", word)
		}
		if err := srv.Operate(t.Context(), operate.OpRelease, id, "fine"); err != nil {
			t.Fatal(err)
		}
		srv.waitFor("delivery after the release", func() bool { return len(srv.mailbox("alice@our.example", "INBOX")) == 1 })
		srv.stop()
	}
}

func TestScheduleAndPriorityOfAGroup(t *testing.T) {
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.QueueCommit, func(e *hooks.Event) (hooks.Verdict, error) {
		err := e.SetGroup("priority", func(g *envelope.Group) { g.Priority = 7 })
		return hooks.Verdict{Action: hooks.Schedule, At: e.Now.Add(time.Hour)}, err
	}))
	srv.sendRemote()
	if len(srv.transport.messages()) != 0 {
		t.Error("the message was sent before its time")
	}
	srv.clock.Advance(61 * time.Minute)
	srv.waitFor("it is sent", func() bool { return len(srv.transport.messages()) == 1 })
	if got := srv.transport.messages()[0].prio; got != 7 {
		t.Errorf("priority %d", got)
	}
}

func TestVerdictsAtTheMailbox(t *testing.T) {
	tests := []struct {
		name    string
		verdict hooks.Verdict
		alice   int    // in INBOX
		folder  string // where one message must be
		sent    int
		dsn     string // in bob's INBOX
	}{
		{"keep", hooks.Verdict{Action: hooks.Keep}, 1, "", 0, ""},
		{"fileinto", hooks.Verdict{Action: hooks.FileInto, Folder: "Lists/dev"}, 0, "Lists/dev", 0, ""},
		{"discard", hooks.Verdict{Action: hooks.Discard, Reason: "x"}, 0, "", 0, ""},
		{"redirect", hooks.Verdict{Action: hooks.Redirect, Address: "y@out.example"}, 0, "", 1, ""},
		{"reject", hooks.Verdict{Action: hooks.Reject, Status: newStatus(550, "moved away")}, 0, "", 0, "550 5.7.1 moved away"},
	}
	for _, tt := range tests {
		srv := newTestServer(t, core.Config{}, handlerAt(hooks.DeliverLocal, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Box.Address() != "alice@our.example" {
				return hooks.Verdict{}, nil
			}
			return tt.verdict, nil
		}))
		srv.mustSend(newUserSession("bob@our.example"), "bob@our.example", "From: bob@our.example\r\n\r\nx\r\n", "alice@our.example")
		srv.waitIdle()
		if n := len(srv.mailbox("alice@our.example", "INBOX")); n != tt.alice {
			t.Errorf("%s: %d messages in INBOX, want %d", tt.name, n, tt.alice)
		}
		if tt.folder != "" && len(srv.mailbox("alice@our.example", tt.folder)) != 1 {
			t.Errorf("%s: no message in folder %s", tt.name, tt.folder)
		}
		if got := srv.transport.messages(); len(got) != tt.sent || tt.sent > 0 && got[0].to[0] != "y@out.example" {
			t.Errorf("%s: unexpected messages sent: %+v", tt.name, got)
		}
		dsns := srv.mailbox("bob@our.example", "INBOX")
		if (tt.dsn != "") != (len(dsns) == 1) || tt.dsn != "" && !strings.Contains(dsns[0], tt.dsn) {
			t.Errorf("%s: unexpected DSNs: %q", tt.name, dsns)
		}
		if srv.spoolCount() != 0 {
			t.Errorf("%s: %d messages are left in the spool", tt.name, srv.spoolCount())
		}
		srv.stop()
	}
}

func TestVerdictsAroundAnAttempt(t *testing.T) {
	later := envelope.Outcome{Status: envelope.Status{Code: 451, Enhanced: "4.2.0", Text: "later"}}
	first := func(v hooks.Verdict) hooks.Handler { // at the first attempt only
		return handlerAt(hooks.DeliverAttempt, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Attempt.Number > 1 || len(e.Group.Recipients[0].Route) > 0 {
				return hooks.Verdict{}, nil
			}
			return v, nil
		})
	}
	route := &hooks.Route{Hosts: []string{"other.example:2526"}, TLS: "verify"}
	tests := []struct {
		name    string
		handler hooks.Handler
		answer  envelope.Outcome
		check   func(srv *testServer) string
	}{
		{"attempt retry", first(hooks.Verdict{Action: hooks.Retry, Delay: time.Minute}), envelope.Outcome{Status: envelope.Status{Code: 250}},
			func(srv *testServer) string {
				if len(srv.transport.messages()) != 0 {
					return "tried at once"
				}
				return ""
			}},
		{"attempt discard", first(hooks.Verdict{Action: hooks.Discard, Reason: "x"}), later, func(srv *testServer) string {
			if len(srv.transport.messages()) != 0 || srv.spoolCount() != 0 {
				return "not discarded"
			}
			return ""
		}},
		{"attempt hold", first(hooks.Verdict{Action: hooks.Hold, Reason: "x"}), later, func(srv *testServer) string {
			if q, _ := srv.Queue(srv.t.Context(), operate.Filter{Status: "held"}, 0); len(q) != 1 || len(srv.transport.messages()) != 0 {
				return "not held"
			}
			return ""
		}},
		{"attempt reroute", first(hooks.Verdict{Action: hooks.Reroute, Route: route}), envelope.Outcome{Status: envelope.Status{Code: 250}},
			func(srv *testServer) string {
				if got := srv.transport.messages(); len(got) != 1 || got[0].hop.Hosts[0] != (envelope.Host{Name: "other.example", Port: 2526}) ||
					got[0].hop.TLS != envelope.TLSVerify {
					return "not rerouted"
				}
				return ""
			}},
		{
			"result reroute",
			handlerReturning(hooks.DeliverResult, hooks.Verdict{Action: hooks.Reroute, Route: route}),
			later,
			func(srv *testServer) string {
				srv.waitFor("the other route is tried", func() bool {
					got := srv.transport.messages()
					return len(got) > 1 && got[len(got)-1].hop.Hosts[0].Name == "other.example"
				})
				return ""
			},
		},
		{
			"result fail",
			handlerReturning(hooks.DeliverResult, hooks.Verdict{Action: hooks.Fail, Status: envelope.Status{Text: "we give up"}}),
			later,
			func(srv *testServer) string {
				if got := srv.mailbox("alice@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "we give up") {
					return "no report"
				}
				return ""
			},
		},
		{"result nodsn", handlerReturning(hooks.DeliverResult, hooks.Verdict{Action: hooks.NoDSN}),
			envelope.Outcome{Status: envelope.Status{Code: 550, Text: "no"}}, func(srv *testServer) string {
				if len(srv.mailbox("alice@our.example", "INBOX")) != 0 || srv.spoolCount() != 0 {
					return "a report, or a message left"
				}
				return ""
			}},
		{"dsn discard", handlerReturning(hooks.DeliverDSN, hooks.Verdict{Action: hooks.Discard, Reason: "x"}),
			envelope.Outcome{Status: envelope.Status{Code: 550, Text: "no"}}, func(srv *testServer) string {
				if len(srv.mailbox("alice@our.example", "INBOX")) != 0 {
					return "a report"
				}
				return ""
			}},
		{"dsn redirect", handlerReturning(hooks.DeliverDSN, hooks.Verdict{Action: hooks.Redirect, Address: "bob@our.example"}),
			envelope.Outcome{Status: envelope.Status{Code: 550, Text: "no"}}, func(srv *testServer) string {
				if len(srv.mailbox("bob@our.example", "INBOX")) != 1 {
					return "not redirected"
				}
				return ""
			}},
		{"dsn text", handlerAt(hooks.DeliverDSN, func(e *hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, e.SetText("own words") }),
			envelope.Outcome{Status: envelope.Status{Code: 550, Text: "no"}}, func(srv *testServer) string {
				if got := srv.mailbox("alice@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "own words") {
					return "not reworded"
				}
				return ""
			}},
		{"resolve reject", handlerReturning(hooks.RouteResolve, hooks.Verdict{Action: hooks.Reject, Status: newStatus(550, "not there")}), later,
			func(srv *testServer) string {
				if got := srv.mailbox("alice@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "not there") {
					return "no report"
				}
				return ""
			}},
		{"resolve route", handlerReturning(hooks.RouteResolve, hooks.Verdict{Action: hooks.RouteTo, Route: route}),
			envelope.Outcome{Status: envelope.Status{Code: 250}}, func(srv *testServer) string {
				if got := srv.transport.messages(); len(got) != 1 || got[0].hop.Hosts[0].Name != "other.example" {
					return "not routed"
				}
				return ""
			}},
	}
	for _, tt := range tests {
		srv := newTestServer(t, core.Config{}, tt.handler)
		srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome { return tt.answer }
		srv.sendRemote()
		if wrong := tt.check(srv); wrong != "" {
			t.Errorf("%s: %s; sent %+v", tt.name, wrong, srv.transport.messages())
		}
		srv.stop()
	}
}

func TestResultRetrySetsTheSchedule(t *testing.T) {
	srv := newTestServer(t, core.Config{Retry: []time.Duration{time.Hour}}, handlerReturning(hooks.DeliverResult,
		hooks.Verdict{Action: hooks.Retry, Delay: 2 * time.Minute}))
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
	}
	srv.sendRemote()
	srv.clock.Advance(time.Minute)
	srv.waitIdle()
	if n := len(srv.transport.messages()); n != 1 {
		t.Errorf("%d attempts within a minute", n)
	}
	srv.clock.Advance(90 * time.Second)
	srv.waitFor("the second try", func() bool { return len(srv.transport.messages()) == 2 })
}

func TestForwardSharesTheBody(t *testing.T) {
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.DeliverLocal, func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.AddSubmit(hooks.Submit{Forward: true, Sender: "srs@our.example", Rcpts: []envelope.Address{"y@out.example"},
			Edit: envelope.HeaderEdit{Prepend: "X-Forwarded-To: y@out.example\r\n"}})
	}))
	srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitFor("both copies", func() bool {
		return len(srv.transport.messages()) == 1 && len(srv.mailbox("alice@our.example", "INBOX")) == 1
	})
	srv.waitIdle()
	got := srv.transport.messages()[0]
	if got.sender != "srs@our.example" || !strings.HasPrefix(got.text, "X-Forwarded-To: y@out.example\r\nReceived:") ||
		!strings.HasSuffix(got.text, plainMessage) {
		t.Errorf("forwarded %+v, want sender srs@our.example and X-Forwarded-To on top", got)
	}
	if srv.spoolCount() != 0 {
		t.Error("a message is left in the spool")
	}
}

// TestForwardBeforeTheAnswer: mail.forward at the hooks of receive and queue adds one
// recipient to the same message, whether or not a copy is kept.
func TestForwardBeforeTheAnswer(t *testing.T) {
	for _, point := range []hooks.Point{hooks.ReceiveData, hooks.QueueExpand, hooks.QueueCommit} {
		for _, drop := range []bool{false, true} {
			if drop && point == hooks.QueueCommit {
				continue // discard is not its verdict
			}
			srv := newTestServer(t, core.Config{}, handlerAt(point, func(e *hooks.Event) (hooks.Verdict, error) {
				if e.Rcpt != nil && e.Rcpt.Address != "alice@our.example" || e.Group != nil && e.Group.Kind != envelope.Mailbox {
					return hooks.Verdict{}, nil
				}
				v := hooks.Verdict{}
				if drop && point == hooks.QueueExpand {
					v = hooks.Verdict{Action: hooks.Discard, Reason: "forwarded"}
				}
				return v, e.AddSubmit(hooks.Submit{Forward: true, Sender: "srs@our.example", Rcpts: []envelope.Address{"y@out.example"},
					Edit: envelope.HeaderEdit{Prepend: "X-Forwarded-To: y@out.example\r\n"}})
			}))
			srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
			srv.waitFor("the forwarded copy", func() bool { return len(srv.transport.messages()) == 1 })
			srv.waitIdle()
			got, kept := srv.transport.messages(), len(srv.mailbox("alice@our.example", "INBOX"))
			if len(got) != 1 || got[0].sender != "srs@our.example" || !strings.HasPrefix(got[0].text, "X-Forwarded-To: y@out.example\r\n") ||
				!strings.HasSuffix(got[0].text, plainMessage) {
				t.Errorf("%s: forwarded %+v", point, got)
			}
			if want := map[bool]int{true: 0, false: 1}[drop && point == hooks.QueueExpand]; kept != want || srv.spoolCount() != 0 {
				t.Errorf("%s: %d kept, want %d; %d in the spool", point, kept, want, srv.spoolCount())
			}
			srv.stop()
		}
	}
}

func TestForwardNeedsAWholeMessage(t *testing.T) {
	var got error
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.ReceiveHeaders, func(e *hooks.Event) (hooks.Verdict, error) {
		got = e.AddSubmit(hooks.Submit{Forward: true, Rcpts: []envelope.Address{"y@out.example"}})
		return hooks.Verdict{}, nil
	}))
	srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	if !errors.Is(got, hooks.ErrNotHere) || len(srv.transport.messages()) != 0 {
		t.Errorf("%v, sent %+v", got, srv.transport.messages())
	}
}
