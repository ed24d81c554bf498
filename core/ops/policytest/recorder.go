package policytest

import (
	"context"
	"io"
	"strings"
	"sync"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/store"
)

// recorder is a store that remembers its commits: a message that has
// been delivered leaves the store, and the test still needs it.
type recorder struct {
	store.Store
	faults  faults
	mu      sync.Mutex
	written []committed
}

var _ store.Store = (*recorder)(nil)

// committed is one committed message.
type committed struct {
	env        envelope.Envelope
	raw        string
	recipients []string
}

// Commit implements store.Spool.
func (r *recorder) Commit(ctx context.Context, effects []envelope.Effect, messages ...*store.Message) error {
	if err := r.faults.of("commit"); err != nil {
		return err
	}
	made := describe(messages)
	err := r.Store.Commit(ctx, effects, messages...)
	r.keep(made, err)
	return err
}

// Settle implements store.Spool.
func (r *recorder) Settle(ctx context.Context, x *store.Settlement) error {
	made := describe(x.Messages)
	err := r.Store.Settle(ctx, x)
	r.keep(made, err)
	return err
}

func (r *recorder) keep(made []committed, err error) {
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = append(r.written, made...)
}

// since returns the messages after the first n.
func (r *recorder) since(n int) []committed {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]committed(nil), r.written[n:]...)
}

// describe reads messages before they are committed, for then their bodies
// belong to the store.
func describe(messages []*store.Message) []committed {
	var out []committed
	for _, m := range messages {
		w := committed{env: m.Envelope, raw: string(m.Header)}
		if m.Draft != nil {
			if body, err := m.Draft.Open(); err == nil {
				b, _ := io.ReadAll(body)
				w.raw += string(b)
				body.Close()
			}
		}
		for _, g := range m.Groups {
			for i := range g.Recipients {
				w.recipients = append(w.recipients, string(g.Recipients[i].Address))
			}
		}
		out = append(out, w)
	}
	return out
}

// messageTable is a message as tests see it: the first value of each field, and all
// of it as it stands.
func messageTable(sender string, to []string, raw string) map[string]any {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	h := mime.ParseHeader([]byte(head + "\r\n"))
	headers := map[string]any{}
	for _, f := range h.Fields() {
		if name := strings.ToLower(f.Name()); headers[name] == nil {
			headers[name] = f.Value()
		}
	}
	subject, _ := h.Get("Subject")
	return map[string]any{
		"sender":  sender,
		"to":      anyList(to),
		"raw":     raw,
		"body":    body,
		"text":    decodedText(h, body),
		"headers": headers,
		"subject": mime.DecodeWords(subject),
	}
}

// maxDecoded bounds the text of a message that tests see.
const maxDecoded = 1 << 20

// decodedText is the text of a message as people read it: of its plain parts,
// or without such of its HTML, encodings undone, lines ending in "\n".
func decodedText(h *mime.Header, body string) string {
	index, err := mime.ReadIndex(h, strings.NewReader(body))
	if err != nil {
		return ""
	}
	for _, kind := range []string{"text/plain", "text/"} {
		var out []string
		for _, p := range index.Parts {
			if !p.Leaf() || !strings.HasPrefix(p.Type, kind) {
				continue
			}
			if s, err := p.Text(strings.NewReader(body), maxDecoded); err == nil {
				out = append(out, strings.ReplaceAll(s, "\r\n", "\n"))
			}
		}
		if out != nil {
			return strings.Join(out, "\n")
		}
	}
	return ""
}
