// Package hookstest runs Lua policies on made-up events: a real engine and a
// KV in memory, but no sockets and no store. It keeps nothing between two
// worlds and is for tests only.
package hookstest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/clock"
	"carteiro/core/protocol/milter"
	"carteiro/core/service/spam"
	"carteiro/core/service/srs"
	"carteiro/hooks"
	"carteiro/hooks/lua"
)

// World is an engine with policies and what they live on.
type World struct {
	T          testing.TB
	Engine     *lua.Engine
	KV         *KV
	Clock      *clock.Clock
	Log        *Log
	Generation *hooks.Generation
	Resolver   *Resolver
	Accounts   *Accounts
	Milters    *Milters
	Submits    []hooks.Submit // of hooks that apply at once
}

// Options change what a world's engine is made of.
type Options struct {
	HeapLimit uint64      // as lua.Options
	Metrics   lua.Metrics // as lua.Options
	Keys      lua.Keys    // as lua.Options
}

// New makes a world without policies. Mail for our.example is local.
func New(t testing.TB) *World { return NewWith(t, Options{}) }

// NewWith is New with options.
func NewWith(t testing.TB, o Options) *World {
	w := &World{T: t, Clock: &clock.Clock{}, Log: &Log{}, Resolver: &Resolver{Answers: map[string]any{}}, Accounts: &Accounts{},
		Milters: &Milters{Answers: map[string]*milter.Answer{}}}
	w.KV = &KV{Clock: w.Clock}
	w.Engine = lua.New(lua.Options{KV: w.KV, Resolver: w.Resolver, Accounts: w.Accounts, Clock: w.Clock,
		Log:      slog.New(slog.NewTextHandler(w.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Hostname: "mx.our.example", WebURL: "https://mx.our.example", Secret: []byte("hookstest secret"),
		Ring: srs.NewRing([]byte("hookstest secret")), Local: func(d string) bool { return d == "our.example" }, HTTP: lua.NewDoer(),
		Metrics: o.Metrics, Keys: o.Keys, Milters: w.Milters, Spam: spam.New(w.KV, w.Clock), HeapLimit: o.HeapLimit})
	return w
}

// Scripts returns a source of the admin. Files ending in .lua directly in it run.
func Scripts(files map[string]string) hooks.Source {
	return source(hooks.Source{Name: "scripts", Tier: hooks.Admin}, files)
}

// Bundle returns a source of a bundle.
func Bundle(name string, files map[string]string) hooks.Source {
	return source(hooks.Source{Name: name, Bundle: name, Version: "1.0.0", Tier: hooks.Bundle}, files)
}

func source(s hooks.Source, files map[string]string) hooks.Source {
	s.Files = map[string][]byte{}
	for name, text := range files {
		s.Files[name] = []byte(text)
		if strings.HasSuffix(name, ".lua") && !strings.Contains(name, "/") {
			s.Main = append(s.Main, name)
		}
	}
	// In the order of names, as a directory is read.
	for i := range s.Main {
		for j := i + 1; j < len(s.Main); j++ {
			if s.Main[j] < s.Main[i] {
				s.Main[i], s.Main[j] = s.Main[j], s.Main[i]
			}
		}
	}
	return s
}

// Load puts sources in force; it fails the test if they do not load.
func (w *World) Load(sources ...hooks.Source) *World {
	w.T.Helper()
	g, err := w.Engine.Load(context.Background(), sources)
	if err != nil {
		w.T.Fatalf("policies do not load: %v", err)
	}
	w.Generation = g
	return w
}

// Script loads one file of the admin.
func (w *World) Script(text string) *World {
	w.T.Helper()
	return w.Load(Scripts(map[string]string{"policy.lua": text}))
}

// Answer is what the policies said to one event.
type Answer struct {
	hooks.Verdict
	Trail []envelope.TrailEntry
	Event *hooks.Event
}

// Err returns the first failure of a handler, or "".
func (a Answer) Err() string {
	for _, t := range a.Trail {
		if t.Err != "" {
			return t.Err
		}
	}
	return ""
}

// Ask runs the chain on e. Effects of hooks that do not travel with a message
// are applied to the KV.
func (w *World) Ask(e *hooks.Event) Answer {
	if e.Now.IsZero() {
		e.Now = w.Clock.Now()
	}
	if e.Apply == nil {
		e.Apply = func(effects []envelope.Effect, submits []hooks.Submit) error {
			_, err := w.KV.Apply(context.Background(), effects)
			w.Submits = append(w.Submits, submits...)
			return err
		}
	}
	v, trail := w.Generation.Chain.Run(context.Background(), e)
	return Answer{Verdict: v, Trail: trail, Event: e}
}

// Commit applies what waits in an event's Pending, as a message's commit does.
func (w *World) Commit(e *hooks.Event) {
	w.T.Helper()
	if e.Pending == nil {
		return
	}
	if _, err := w.KV.Apply(context.Background(), e.Pending.Effects); err != nil {
		w.T.Fatal(err)
	}
	e.Pending = nil
}

// Session returns a client.
func Session(ip string) *envelope.Session {
	return &envelope.Session{ID: "s1", Listener: "mx", Protocol: "smtp", Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), 4025),
		Helo: "mx.a.example", ESMTP: true, Started: time.Now()}
}

// Identity is somebody who logged in.
func Identity(user string) *envelope.Identity {
	return &envelope.Identity{User: envelope.Address(user)}
}

// Tx returns a transaction with recipients; those at our.example are local.
func Tx(sender string, rcpts ...string) *envelope.Transaction {
	tx := &envelope.Transaction{ID: envelope.NewID(time.Now()), Sender: envelope.Address(sender)}
	for i, r := range rcpts {
		tx.Recipients = append(tx.Recipients, Recipient(uint32(i), r))
	}
	return tx
}

// Recipient is one recipient.
func Recipient(n uint32, address string) *envelope.Recipient {
	a := envelope.Address(address)
	return &envelope.Recipient{N: n, Address: a, Orig: a, State: envelope.Queued, IsLocal: a.Domain() == "our.example"}
}

// Rcpt returns a recipient as queue.expand and later hooks see it.
func Rcpt(address string) *hooks.Rcpt { return &hooks.Rcpt{Recipient: Recipient(0, address)} }

// Message makes a message of its text; line ends become CRLF.
func Message(sender, raw string) *hooks.Message {
	raw = strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\n", "\r\n")
	r := bufio.NewReader(strings.NewReader(raw))
	head, err := mime.ReadHeader(r, mime.MaxHeader)
	if err != nil {
		panic(fmt.Sprintf("hookstest: message: %v", err))
	}
	body, _ := io.ReadAll(r)
	return &hooks.Message{ID: envelope.NewID(time.Now()), Sender: envelope.Address(sender), Size: int64(len(raw)), ReceivedAt: time.Now(),
		Header: mime.ParseHeader(head), Body: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }}
}

// Log collects log lines.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns all that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
