package badgerstore_test

import (
	"io"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
)

const testHeader = "From: a@example.org\r\nSubject: test\r\n\r\n"

// message returns one for a group of recipients that is due now, without a body.
func message(rcpts ...envelope.Address) *store.Message {
	now := time.Now()
	g := &envelope.Group{Key: "example.com", Domain: "example.com", Due: now, Expires: now.Add(time.Hour)}
	for _, r := range rcpts {
		g.Recipients = append(g.Recipients, envelope.Recipient{Address: r, Orig: r, State: envelope.Queued})
	}
	return &store.Message{
		Envelope: envelope.Envelope{ID: envelope.NewID(now), Sender: "a@example.org", ReceivedAt: now},
		Header:   []byte(testHeader), Groups: []*envelope.Group{g},
	}
}

// commit puts a message into the spool.
func commit(t testing.TB, s *badgerstore.Store, body string, rcpts ...envelope.Address) *store.Message {
	t.Helper()
	m := message(rcpts...)
	m.Draft = s.Draft(t.Context())
	if _, err := io.WriteString(m.Draft, body); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), nil, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// settled returns a settlement that delivers all of a message's only group.
func settled(m *store.Message) *store.Settlement {
	g := *m.Groups[0]
	g.Recipients = append([]envelope.Recipient(nil), g.Recipients...)
	for i := range g.Recipients {
		g.Recipients[i].State = envelope.Delivered
	}
	return &store.Settlement{ID: m.Envelope.ID, Group: &g}
}

func readAll(t testing.TB, s *badgerstore.Store, e *envelope.Envelope) []byte {
	t.Helper()
	r, err := s.Body(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
