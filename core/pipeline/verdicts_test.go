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

// says is a policy that gives one verdict.
func says(p hooks.Point, v hooks.Verdict) hooks.Handler {
	return at(p, func(*hooks.Event) (hooks.Verdict, error) { return v, nil })
}

// remotely submits a message of alice's to a foreign address.
func (h *house) remotely() envelope.ID {
	h.t.Helper()
	id := h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: x\r\n\r\ntext\r\n", "x@out.example")
	h.idle()
	return id
}

func status(code int, text string) envelope.Status {
	return envelope.Status{Code: code, Enhanced: string(rune('0'+code/100)) + ".7.1", Text: text}
}

func TestVerdictsWhileTheClientWaits(t *testing.T) {
	reject := hooks.Verdict{Action: hooks.Reject, Status: status(550, "no")}
	tests := []struct {
		name    string
		handler hooks.Handler
		want    string // answer, "" for 250
		boxes   int
	}{
		{"mail reject", says(hooks.ReceiveMail, reject), "550 5.7.1 no", 0},
		{"rcpt reject", says(hooks.ReceiveRcpt, reject), "550 5.7.1 no", 0},
		{"rcpt discard", says(hooks.ReceiveRcpt, hooks.Verdict{Action: hooks.Discard, Reason: "trap"}), "", 0},
		{"rcpt accept", says(hooks.ReceiveRcpt, hooks.Verdict{Action: hooks.Accept}), "", 1},
		{"headers defer", says(hooks.ReceiveHeaders, hooks.Verdict{Action: hooks.Defer, Status: status(451, "later")}), "451 4.7.1 later", 0},
		{"headers discard", says(hooks.ReceiveHeaders, hooks.Verdict{Action: hooks.Discard, Reason: "x"}), "", 0},
		{"data reject", says(hooks.ReceiveData, reject), "550 5.7.1 no", 0},
		{"data discard", says(hooks.ReceiveData, hooks.Verdict{Action: hooks.Discard, Reason: "x"}), "", 0},
		{"data quarantine", says(hooks.ReceiveData, hooks.Verdict{Action: hooks.Quarantine, Reason: "x"}), "", 0},
		{"expand reject", says(hooks.QueueExpand, reject), "550 5.7.1 no", 0},
		{"expand discard", says(hooks.QueueExpand, hooks.Verdict{Action: hooks.Discard, Reason: "x"}), "", 0},
		{"expand quarantine", says(hooks.QueueExpand, hooks.Verdict{Action: hooks.Quarantine, Reason: "x"}), "", 0},
		{"commit hold", says(hooks.QueueCommit, hooks.Verdict{Action: hooks.Hold, Reason: "x"}), "", 0},
	}
	for _, tt := range tests {
		h := newHouse(t, core.Config{}, tt.handler)
		st := h.offer(session(), &envelope.Transaction{Sender: "a@a.example"}, plain, "alice@our.example")
		got := ""
		if st != nil {
			got = st.Reply()
		}
		h.idle()
		if boxes := len(h.box("alice@our.example", "INBOX")); got != tt.want || boxes != tt.boxes {
			t.Errorf("%s: answer %q and %d messages, want %q and %d", tt.name, got, boxes, tt.want, tt.boxes)
		}
		h.stop()
	}
}

func TestQuarantineAndHoldAreReleased(t *testing.T) {
	for word, v := range map[string]hooks.Handler{
		"quarantine": says(hooks.ReceiveData, hooks.Verdict{Action: hooks.Quarantine, Reason: "bad content"}),
		"held":       says(hooks.QueueCommit, hooks.Verdict{Action: hooks.Hold, Reason: "wait"}),
	} {
		h := newHouse(t, core.Config{}, v)
		id := h.accept(session(), "a@a.example", plain, "alice@our.example")
		q, err := h.Queue(t.Context(), operate.Filter{Status: word}, 0)
		if err != nil || len(q) != 1 {
			t.Errorf("%s: %d in the queue, %v", word, len(q), err)
		}
		h.clock.Advance(24 * time.Hour)
		h.idle()
		if len(h.box("alice@our.example", "INBOX")) != 0 {
			t.Errorf("%s: delivered", word)
		}
		if err := h.Operate(t.Context(), operate.OpRelease, id, "fine"); err != nil {
			t.Fatal(err)
		}
		h.until("delivery after the release", func() bool { return len(h.box("alice@our.example", "INBOX")) == 1 })
		h.stop()
	}
}

func TestScheduleAndPriorityOfAGroup(t *testing.T) {
	h := newHouse(t, core.Config{}, at(hooks.QueueCommit, func(e *hooks.Event) (hooks.Verdict, error) {
		err := e.SetGroup("priority", func(g *envelope.Group) { g.Priority = 7 })
		return hooks.Verdict{Action: hooks.Schedule, At: e.Now.Add(time.Hour)}, err
	}))
	h.remotely()
	if len(h.sink.all()) != 0 {
		t.Error("sent before its time")
	}
	h.clock.Advance(61 * time.Minute)
	h.until("it is sent", func() bool { return len(h.sink.all()) == 1 })
	if got := h.sink.all()[0].prio; got != 7 {
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
		{"reject", hooks.Verdict{Action: hooks.Reject, Status: status(550, "moved away")}, 0, "", 0, "550 5.7.1 moved away"},
	}
	for _, tt := range tests {
		h := newHouse(t, core.Config{}, at(hooks.DeliverLocal, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Box.Address() != "alice@our.example" {
				return hooks.Verdict{}, nil
			}
			return tt.verdict, nil
		}))
		h.accept(user("bob@our.example"), "bob@our.example", "From: bob@our.example\r\n\r\nx\r\n", "alice@our.example")
		h.idle()
		if n := len(h.box("alice@our.example", "INBOX")); n != tt.alice {
			t.Errorf("%s: %d in INBOX", tt.name, n)
		}
		if tt.folder != "" && len(h.box("alice@our.example", tt.folder)) != 1 {
			t.Errorf("%s: not in %s", tt.name, tt.folder)
		}
		if got := h.sink.all(); len(got) != tt.sent || tt.sent > 0 && got[0].to[0] != "y@out.example" {
			t.Errorf("%s: sent %+v", tt.name, got)
		}
		dsns := h.box("bob@our.example", "INBOX")
		if (tt.dsn != "") != (len(dsns) == 1) || tt.dsn != "" && !strings.Contains(dsns[0], tt.dsn) {
			t.Errorf("%s: DSNs %q", tt.name, dsns)
		}
		if h.spooled() != 0 {
			t.Errorf("%s: %d left in the spool", tt.name, h.spooled())
		}
		h.stop()
	}
}

func TestVerdictsAroundAnAttempt(t *testing.T) {
	later := envelope.Outcome{Status: envelope.Status{Code: 451, Enhanced: "4.2.0", Text: "later"}}
	first := func(v hooks.Verdict) hooks.Handler { // at the first attempt only
		return at(hooks.DeliverAttempt, func(e *hooks.Event) (hooks.Verdict, error) {
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
		check   func(h *house) string
	}{
		{"attempt retry", first(hooks.Verdict{Action: hooks.Retry, Delay: time.Minute}), envelope.Outcome{Status: envelope.Status{Code: 250}},
			func(h *house) string {
				if len(h.sink.all()) != 0 {
					return "tried at once"
				}
				return ""
			}},
		{"attempt discard", first(hooks.Verdict{Action: hooks.Discard, Reason: "x"}), later, func(h *house) string {
			if len(h.sink.all()) != 0 || h.spooled() != 0 {
				return "not discarded"
			}
			return ""
		}},
		{"attempt hold", first(hooks.Verdict{Action: hooks.Hold, Reason: "x"}), later, func(h *house) string {
			if q, _ := h.Queue(h.t.Context(), operate.Filter{Status: "held"}, 0); len(q) != 1 || len(h.sink.all()) != 0 {
				return "not held"
			}
			return ""
		}},
		{"attempt reroute", first(hooks.Verdict{Action: hooks.Reroute, Route: route}), envelope.Outcome{Status: envelope.Status{Code: 250}},
			func(h *house) string {
				if got := h.sink.all(); len(got) != 1 || got[0].hop.Hosts[0] != (envelope.Host{Name: "other.example", Port: 2526}) ||
					got[0].hop.TLS != envelope.TLSVerify {
					return "not rerouted"
				}
				return ""
			}},
		{"result reroute", says(hooks.DeliverResult, hooks.Verdict{Action: hooks.Reroute, Route: route}), later, func(h *house) string {
			h.until("the other way is tried", func() bool {
				got := h.sink.all()
				return len(got) > 1 && got[len(got)-1].hop.Hosts[0].Name == "other.example"
			})
			return ""
		}},
		{"result fail", says(hooks.DeliverResult, hooks.Verdict{Action: hooks.Fail, Status: envelope.Status{Text: "we give up"}}), later,
			func(h *house) string {
				if got := h.box("alice@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "we give up") {
					return "no report"
				}
				return ""
			}},
		{"result nodsn", says(hooks.DeliverResult, hooks.Verdict{Action: hooks.NoDSN}),
			envelope.Outcome{Status: envelope.Status{Code: 550, Text: "no"}}, func(h *house) string {
				if len(h.box("alice@our.example", "INBOX")) != 0 || h.spooled() != 0 {
					return "a report, or a message left"
				}
				return ""
			}},
		{"dsn discard", says(hooks.DeliverDSN, hooks.Verdict{Action: hooks.Discard, Reason: "x"}),
			envelope.Outcome{Status: envelope.Status{Code: 550, Text: "no"}}, func(h *house) string {
				if len(h.box("alice@our.example", "INBOX")) != 0 {
					return "a report"
				}
				return ""
			}},
		{"dsn redirect", says(hooks.DeliverDSN, hooks.Verdict{Action: hooks.Redirect, Address: "bob@our.example"}),
			envelope.Outcome{Status: envelope.Status{Code: 550, Text: "no"}}, func(h *house) string {
				if len(h.box("bob@our.example", "INBOX")) != 1 {
					return "not redirected"
				}
				return ""
			}},
		{"dsn text", at(hooks.DeliverDSN, func(e *hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, e.SetText("own words") }),
			envelope.Outcome{Status: envelope.Status{Code: 550, Text: "no"}}, func(h *house) string {
				if got := h.box("alice@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "own words") {
					return "not reworded"
				}
				return ""
			}},
		{"resolve reject", says(hooks.RouteResolve, hooks.Verdict{Action: hooks.Reject, Status: status(550, "not there")}), later,
			func(h *house) string {
				if got := h.box("alice@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "not there") {
					return "no report"
				}
				return ""
			}},
		{"resolve route", says(hooks.RouteResolve, hooks.Verdict{Action: hooks.RouteTo, Route: route}),
			envelope.Outcome{Status: envelope.Status{Code: 250}}, func(h *house) string {
				if got := h.sink.all(); len(got) != 1 || got[0].hop.Hosts[0].Name != "other.example" {
					return "not routed"
				}
				return ""
			}},
	}
	for _, tt := range tests {
		h := newHouse(t, core.Config{}, tt.handler)
		h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome { return tt.answer }
		h.remotely()
		if wrong := tt.check(h); wrong != "" {
			t.Errorf("%s: %s; sent %+v", tt.name, wrong, h.sink.all())
		}
		h.stop()
	}
}

func TestResultRetrySetsTheSchedule(t *testing.T) {
	h := newHouse(t, core.Config{Retry: []time.Duration{time.Hour}}, says(hooks.DeliverResult,
		hooks.Verdict{Action: hooks.Retry, Delay: 2 * time.Minute}))
	h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
	}
	h.remotely()
	h.clock.Advance(time.Minute)
	h.idle()
	if n := len(h.sink.all()); n != 1 {
		t.Errorf("%d tries after a minute", n)
	}
	h.clock.Advance(90 * time.Second)
	h.until("the second try", func() bool { return len(h.sink.all()) == 2 })
}

func TestForwardSharesTheBody(t *testing.T) {
	h := newHouse(t, core.Config{}, at(hooks.DeliverLocal, func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.AddSubmit(hooks.Submit{Forward: true, Sender: "srs@our.example", Rcpts: []envelope.Address{"y@out.example"},
			Edit: envelope.HeaderEdit{Prepend: "X-Forwarded-To: y@out.example\r\n"}})
	}))
	h.accept(session(), "a@a.example", plain, "alice@our.example")
	h.until("both copies", func() bool { return len(h.sink.all()) == 1 && len(h.box("alice@our.example", "INBOX")) == 1 })
	h.idle()
	got := h.sink.all()[0]
	if got.sender != "srs@our.example" || !strings.HasPrefix(got.text, "X-Forwarded-To: y@out.example\r\nReceived:") ||
		!strings.HasSuffix(got.text, plain) {
		t.Errorf("forwarded %+v", got)
	}
	if h.spooled() != 0 {
		t.Error("something is left")
	}
}

// TestForwardBeforeTheAnswer: mail.forward at the hooks of receive and queue
// makes one more recipient of the same message, kept copy or not.
func TestForwardBeforeTheAnswer(t *testing.T) {
	for _, point := range []hooks.Point{hooks.ReceiveData, hooks.QueueExpand, hooks.QueueCommit} {
		for _, drop := range []bool{false, true} {
			if drop && point == hooks.QueueCommit {
				continue // discard is not its verdict
			}
			h := newHouse(t, core.Config{}, at(point, func(e *hooks.Event) (hooks.Verdict, error) {
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
			h.accept(session(), "a@a.example", plain, "alice@our.example")
			h.until("the forwarded copy", func() bool { return len(h.sink.all()) == 1 })
			h.idle()
			got, kept := h.sink.all(), len(h.box("alice@our.example", "INBOX"))
			if len(got) != 1 || got[0].sender != "srs@our.example" || !strings.HasPrefix(got[0].text, "X-Forwarded-To: y@out.example\r\n") ||
				!strings.HasSuffix(got[0].text, plain) {
				t.Errorf("%s: forwarded %+v", point, got)
			}
			if want := map[bool]int{true: 0, false: 1}[drop && point == hooks.QueueExpand]; kept != want || h.spooled() != 0 {
				t.Errorf("%s: %d kept, want %d; %d in the spool", point, kept, want, h.spooled())
			}
			h.stop()
		}
	}
}

func TestForwardNeedsAWholeMessage(t *testing.T) {
	var got error
	h := newHouse(t, core.Config{}, at(hooks.ReceiveHeaders, func(e *hooks.Event) (hooks.Verdict, error) {
		got = e.AddSubmit(hooks.Submit{Forward: true, Rcpts: []envelope.Address{"y@out.example"}})
		return hooks.Verdict{}, nil
	}))
	h.accept(session(), "a@a.example", plain, "alice@our.example")
	h.idle()
	if !errors.Is(got, hooks.ErrNotHere) || len(h.sink.all()) != 0 {
		t.Errorf("%v, sent %+v", got, h.sink.all())
	}
}
