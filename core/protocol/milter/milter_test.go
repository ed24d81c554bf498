package milter_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"time"

	server "github.com/emersion/go-milter"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/milter"
)

// filter is a real milter that answers as the test wants, and records what it gets.
type filter struct {
	server.NoOpMilter
	told *[]string
	end  func(m *server.Modifier) (server.Response, error)
	rcpt server.Response
}

func (f filter) note(format string, args ...any) (server.Response, error) {
	*f.told = append(*f.told, fmt.Sprintf(format, args...))
	return server.RespContinue, nil
}

func (f filter) Connect(host, family string, port uint16, addr net.IP, _ *server.Modifier) (server.Response, error) {
	return f.note("connect %s %s %d %s", host, family, port, addr)
}

func (f filter) Helo(name string, _ *server.Modifier) (server.Response, error) {
	return f.note("helo %s", name)
}

func (f filter) MailFrom(from string, m *server.Modifier) (server.Response, error) {
	return f.note("mail %s as %s", from, m.Macros["{auth_authen}"])
}

func (f filter) RcptTo(to string, _ *server.Modifier) (server.Response, error) {
	f.note("rcpt %s", to)
	if f.rcpt != nil {
		return f.rcpt, nil
	}
	return server.RespContinue, nil
}

func (f filter) Header(name, value string, _ *server.Modifier) (server.Response, error) {
	return f.note("header %s: %q", name, value)
}

func (f filter) Headers(textproto.MIMEHeader, *server.Modifier) (server.Response, error) {
	return f.note("end of header")
}

func (f filter) BodyChunk(b []byte, _ *server.Modifier) (server.Response, error) {
	return f.note("body %d", len(b))
}

func (f filter) Body(m *server.Modifier) (server.Response, error) { return f.end(m) }

// start runs a milter at a free port and returns a client that knows it.
func start(t *testing.T, f filter) *milter.Client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server.Server{
		NewMilter: func() server.Milter { return f },
		Actions: server.OptAddHeader | server.OptChangeHeader | server.OptChangeBody |
			server.OptAddRcpt | server.OptRemoveRcpt | server.OptChangeFrom | server.OptQuarantine,
	}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return milter.New(map[string]milter.Filter{"f": {Network: "tcp", Addr: ln.Addr().String(), Timeout: 5 * time.Second}})
}

func message(body string) *milter.Message {
	return &milter.Message{
		ID:         "m1",
		Hostname:   "mx.our.example",
		Sender:     "a@a.example",
		Recipients: []envelope.Address{"bob@our.example", "eve@our.example"},
		Session: &envelope.Session{
			Remote:   netip.MustParseAddrPort("192.0.2.7:4025"),
			Helo:     "mx.a.example",
			RDNS:     "mx.a.example",
			Identity: &envelope.Identity{User: "u@our.example"},
		},
		Fields: []milter.Field{{Name: "Subject", Value: "folded\r\n one"}, {Name: "X-Empty", Value: ""}},
		Body:   func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
	}
}

func TestScan(t *testing.T) {
	var told []string
	c := start(t, filter{told: &told, rcpt: server.RespReject, end: func(m *server.Modifier) (server.Response, error) {
		return server.RespAccept, errors.Join(m.AddHeader("X-A", "1"), m.InsertHeader(0, "X-B", "2"), m.ChangeHeader(1, "Subject", ""),
			m.AddRecipient("x@x.example"), m.DeleteRecipient("eve@our.example"), m.ChangeFrom("new@a.example"), m.ReplaceBody([]byte("one")),
			m.ReplaceBody([]byte("two")), m.Quarantine("smells"))
	}})
	got, err := c.Scan(t.Context(), "f", message(strings.Repeat("x", 100_000)))
	if err != nil {
		t.Fatal(err)
	}
	want := &milter.Answer{
		Action: milter.Quarantine,
		Reason: "smells",
		Changes: []milter.Change{{Op: "add_header", Name: "X-A", Value: "1"}, {Op: "insert_header", Name: "X-B", Value: "2"},
			{
				Op:    "change_header",
				Name:  "Subject",
				Index: 1,
			}, {Op: "add_rcpt", Value: "x@x.example"}, {Op: "remove_rcpt", Value: "eve@our.example"}, {Op: "change_sender", Value: "new@a.example"},
			{Op: "replace_body", Value: "onetwo"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	wantTold := `connect mx.a.example tcp4 4025 192.0.2.7|helo mx.a.example|mail a@a.example as u@our.example|rcpt bob@our.example` +
		`|rcpt eve@our.example|header Subject: "folded\n one"|header X-Empty: ""|end of header`
	if s := strings.Join(told, "|"); !strings.HasPrefix(s, wantTold+"|body ") {
		t.Errorf("told %s", s)
	}
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		say  server.Response
		want milter.Answer
	}{
		{server.RespAccept, milter.Answer{Action: milter.Accept}},
		{server.RespContinue, milter.Answer{Action: milter.Accept}},
		{server.RespReject, milter.Answer{Action: milter.Reject}},
		{server.RespTempFail, milter.Answer{Action: milter.Defer}},
		{server.RespDiscard, milter.Answer{Action: milter.Discard}},
		{
			server.NewResponseStr('y', "554 5.7.1 spam\x00"),
			milter.Answer{Action: milter.Reject, Status: envelope.Status{Code: 554, Enhanced: "5.7.1", Text: "spam"}},
		},
		{server.NewResponseStr('y', "451 later\x00"), milter.Answer{Action: milter.Defer, Status: envelope.Status{Code: 451, Text: "later"}}},
	} {
		var told []string
		client := start(t, filter{told: &told, end: func(*server.Modifier) (server.Response, error) { return c.say, nil }})
		m := message("x")
		m.Session = nil // of our own making
		got, err := client.Scan(t.Context(), "f", m)
		if err != nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("got %+v, %v, want %+v", got, err, c.want)
		}
	}
}

// A filter that is silent, or not there, is an error within the time given.
func TestNoAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	c := milter.New(
		map[string]milter.Filter{
			"silent": {Network: "tcp", Addr: ln.Addr().String()},
			"slow":   {Network: "tcp", Addr: ln.Addr().String(), Timeout: 50 * time.Millisecond},
			"gone":   {Network: "unix", Addr: t.TempDir() + "/none"},
		},
	)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Scan(ctx, "silent", message("x")); !errors.Is(err, milter.ErrFilter) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent: %v", err)
	}
	for _, name := range []string{"slow", "gone"} {
		if _, err := c.Scan(t.Context(), name, message("x")); !errors.Is(err, milter.ErrFilter) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ln.Close()
	if _, err := c.Scan(t.Context(), "other", message("x")); !errors.Is(err, milter.ErrUnknown) {
		t.Errorf("unknown: %v", err)
	}
}
