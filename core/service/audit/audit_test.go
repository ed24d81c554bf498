package audit_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/service/audit"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
)

var start = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

func open(t *testing.T) (store.KV, *clock.Clock) {
	t.Helper()
	c := clock.Still(start)
	s, err := badgerstore.Open(badgerstore.Options{InMemory: true, Clock: c, Log: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, c
}

// add adds entries, all in one commit.
func add(t *testing.T, kv store.KV, entries ...audit.Entry) {
	t.Helper()
	var effects []envelope.Effect
	for _, e := range entries {
		f, err := audit.Add(e)
		if err != nil {
			t.Fatal(err)
		}
		effects = append(effects, f)
	}
	if _, err := kv.Apply(t.Context(), effects); err != nil {
		t.Fatal(err)
	}
}

// actions returns the actions of the newest entries of an owner.
func actions(t *testing.T, kv store.KV, owner envelope.Address, limit int) []string {
	t.Helper()
	list, err := audit.List(t.Context(), kv, owner, limit)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, e := range list {
		out = append(out, e.Action)
	}
	return out
}

func entry(after time.Duration, owner envelope.Address, action string) audit.Entry {
	return audit.Entry{Time: start.Add(after), Owner: owner, Who: "bob@our.example", Action: action}
}

func TestNewestFirst(t *testing.T) {
	kv, _ := open(t)
	add(t, kv, entry(2*time.Second, "ann@our.example", "second"), entry(time.Second, "ann@our.example", "first"),
		entry(time.Hour, "ann@our.example", "third"))
	add(t, kv, entry(time.Hour, "eve@our.example", "of another owner"), entry(time.Hour, "ann@our.example.org", "of another domain"))
	for limit, want := range map[int][]string{0: {}, 1: {"third"}, 2: {"third", "second"}, 100: {"third", "second", "first"}} {
		if got := actions(t, kv, "ann@our.example", limit); !slices.Equal(got, want) {
			t.Errorf("limit %d: got %q, want %q", limit, got, want)
		}
	}
	if got := actions(t, kv, "nobody@our.example", 100); len(got) != 0 {
		t.Errorf("an owner without entries has %q", got)
	}
}

// TestSameMoment: entries of one moment are all kept.
func TestSameMoment(t *testing.T) {
	kv, _ := open(t)
	add(t, kv, entry(0, "ann@our.example", "a"), entry(0, "ann@our.example", "b"))
	add(t, kv, entry(0, "ann@our.example", "c"))
	got := actions(t, kv, "ann@our.example", 100)
	slices.Sort(got)
	if want := []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOwner: a tag and the case of the owner's name do not matter.
func TestOwner(t *testing.T) {
	kv, _ := open(t)
	add(t, kv, entry(0, "Ann+work@our.example", "send"))
	for _, owner := range []envelope.Address{"ann@our.example", "ANN@our.example", "ann+x@our.example"} {
		if got := actions(t, kv, owner, 100); !slices.Equal(got, []string{"send"}) {
			t.Errorf("%s: got %q", owner, got)
		}
	}
}

func TestFields(t *testing.T) {
	kv, _ := open(t)
	want := audit.Entry{
		Time: start, Owner: "ann@our.example", Who: "bob@our.example", Action: "send", As: "sales@our.example", Right: "behalf",
		MessageID: "<1@our.example>", Message: envelope.NewID(start).String(), IP: "192.0.2.1", By: "carteiro/delegate",
	}
	add(t, kv, want)
	got, err := audit.List(t.Context(), kv, "ann@our.example", 1)
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestEntriesExpire(t *testing.T) {
	kv, c := open(t)
	add(t, kv, entry(0, "ann@our.example", "send"))
	c.Advance(audit.Kept - time.Second)
	if got := actions(t, kv, "ann@our.example", 100); !slices.Equal(got, []string{"send"}) {
		t.Errorf("a second before its time is over: got %q", got)
	}
	c.Advance(2 * time.Second)
	if got := actions(t, kv, "ann@our.example", 100); len(got) != 0 {
		t.Errorf("after its time: got %q", got)
	}
}

// TestDamage: an entry that cannot be read is an error, not an empty list.
func TestDamage(t *testing.T) {
	kv, _ := open(t)
	f, err := audit.Add(entry(0, "ann@our.example", "send"))
	if err != nil {
		t.Fatal(err)
	}
	f.Value = []byte("{")
	if _, err := kv.Apply(t.Context(), []envelope.Effect{f}); err != nil {
		t.Fatal(err)
	}
	if list, err := audit.List(t.Context(), kv, "ann@our.example", 100); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %+v, %v; want ErrCorrupt", list, err)
	}
}
