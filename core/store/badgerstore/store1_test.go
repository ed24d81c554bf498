package badgerstore_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
)

var updateStore1 = flag.Bool("update-store-1", false, "write what testdata/store-1 holds anew; only the program that made it may do that")

const store1 = "../testdata/store-1"

// store1Time is when store-1 was made by its clock. It lies in the future, so
// that what expires is there for as long as this test is.
var store1Time = time.Date(2094, 12, 20, 18, 15, 0, 0, time.UTC)

// copyStore1 returns a copy of store-1 and the options that open it.
func copyStore1(t *testing.T) badgerstore.Options {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(store1, "key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err == nil {
		key, err = hkdf.Key(sha256.New, key, nil, "carteiro store", 32)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(store1, "data", "store"))); err != nil {
		t.Fatal(err)
	}
	return badgerstore.Options{Dir: dir, Key: key, Clock: clock.Still(store1Time), Trail: 3650 * 24 * time.Hour, Log: quiet}
}

// TestStore1: everything in a store that the first released format wrote is
// there, and reads as it did.
func TestStore1(t *testing.T) {
	s := open(t, copyStore1(t))
	got := strings.Join(contentsOf(t, s), "\n") + "\n"
	const file = store1 + "/contents.txt"
	if *updateStore1 {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	have := strings.Split(got, "\n")
	lines := strings.Split(string(want), "\n")
	for _, l := range lines {
		if !slices.Contains(have, l) {
			t.Errorf("missing: %s", l)
		}
	}
	for _, l := range have {
		if !slices.Contains(lines, l) {
			t.Errorf("not there before: %s", l)
		}
	}
}

// contentsOf lists everything that a store holds, one item per line.
func contentsOf(t *testing.T, s *badgerstore.Store) []string {
	t.Helper()
	d := &dump{t: t, s: s}
	d.messages()
	d.trails()
	d.mailboxes()
	d.policies()
	d.records()
	return d.lines
}

type dump struct {
	t     *testing.T
	s     *badgerstore.Store
	lines []string
}

func (d *dump) line(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *dump) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *dump) digest(r io.ReadCloser, err error) string {
	d.t.Helper()
	d.must(err)
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	d.must(err)
	return fmt.Sprintf("%d octets %x", n, h.Sum(nil)[:8])
}

func (d *dump) json(v any) string {
	b, err := json.Marshal(v)
	d.must(err)
	return string(b)
}

func (d *dump) messages() {
	ctx := d.t.Context()
	for env, err := range d.s.Messages(ctx) {
		d.must(err)
		section, err := d.s.Header(ctx, env)
		d.must(err)
		body, err := d.s.Body(ctx, env)
		d.line("message %s: envelope %s header %s body %s", env.ID, d.json(env), d.digest(io.NopCloser(bytes.NewReader(section)), nil),
			d.digest(body, err))
		groups, err := d.s.Groups(ctx, env.ID)
		d.must(err)
		for _, g := range groups {
			d.line("message %s group %d: %s key %q domain %q priority %d due %v expires %v held %v %q attempts %d tried %v meta %s async %s",
				env.ID, g.Block, g.Kind, g.Key, g.Domain, g.Priority, g.Due.UTC(), g.Expires.UTC(), g.Held, g.Reason, g.Attempts, g.Tried.UTC(),
				d.json(g.Meta), d.json(g.Async))
			for _, r := range g.Recipients {
				d.line("message %s group %d recipient %d: %s", env.ID, g.Block, r.N, d.json(r))
			}
		}
	}
	for c := range envelope.Classes {
		for e, err := range d.s.Due(ctx, envelope.Class(c), store1Time.AddDate(100, 0, 0)) {
			d.must(err)
			d.line("due %d: %v %s %d %s", e.Class, e.Due.UTC(), e.ID, e.Block, e.Key)
		}
	}
}

func (d *dump) trails() {
	for id, err := range d.s.Trails(d.t.Context(), 1000) {
		d.must(err)
		entries, err := d.s.Trail(d.t.Context(), id)
		d.must(err)
		for i, e := range entries {
			d.line("trail %s %d: %s", id, i, d.json(e))
		}
	}
}

func (d *dump) mailboxes() {
	ctx := d.t.Context()
	for _, owner := range []envelope.Address{"ann@one.example", "bob@one.example", "carol@two.example", "dmarc@one.example"} {
		used, limit, err := d.s.Usage(ctx, owner)
		d.must(err)
		d.line("owner %s: %d of %d", owner, used, limit)
		for box, err := range d.s.Folders(ctx, owner) {
			d.must(err)
			d.line("folder %s %s: %+v", owner, box.Folder, box)
			for it, err := range d.s.Items(ctx, box.ID) {
				d.must(err)
				r, err := d.s.Open(ctx, box.ID, it.UID)
				d.line("item %s %s %d: %d octets, flags %q, %v, %s", owner, box.Folder, it.UID, it.Size, it.Flags, it.Date.UTC(), d.digest(r, err))
			}
		}
	}
}

// policies lists the KV. Its keys are p/, the length of the namespace in two octets, the
// namespace and the key.
func (d *dump) policies() {
	for _, k := range d.s.RawKeys("p/") {
		n := int(binary.BigEndian.Uint16(k[2:]))
		space, key := string(k[4:4+n]), string(k[4+n:])
		v, err := d.s.Get(d.t.Context(), space, key)
		if errors.Is(err, store.ErrNotFound) {
			continue // it had expired when the store was closed
		}
		d.must(err)
		d.line("kv %q %q: %q", space, key, v)
	}
}

func (d *dump) records() {
	for _, k := range d.s.RawKeys("c/") {
		kind, _, _ := strings.Cut(string(k[2:]), "\x00")
		if len(d.lines) > 0 && strings.HasPrefix(d.lines[len(d.lines)-1], "record "+kind+" ") {
			continue
		}
		for r, err := range d.s.Records(d.t.Context(), kind, "") {
			d.must(err)
			sum := sha256.Sum256(r.Value)
			d.line("record %s %q: %d octets %x", r.Kind, r.Name, len(r.Value), sum[:8])
		}
	}
}
