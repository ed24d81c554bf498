package envelope

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStateDone(t *testing.T) {
	for state, want := range map[State]bool{
		Queued: false, Held: false, Quarantine: false,
		Delivered: true, Relayed: true, Expanded: true, Discarded: true, Failed: true,
	} {
		if got := state.Done(); got != want {
			t.Errorf("%s.Done() = %v, want %v", state, got, want)
		}
	}
}

// TestGroupKinds: the store keeps the position of a kind in this list, so it may
// only grow.
func TestGroupKinds(t *testing.T) {
	if got, want := GroupKinds(), []GroupKind{Remote, Mailbox, HeldForGroup, Asynchronous, Unexpanded}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeaderEditIsZero(t *testing.T) {
	for want, edits := range map[bool][]HeaderEdit{
		true:  {{}, {Remove: []string{}}},
		false: {{Prepend: "A: 1\r\n"}, {Remove: []string{"A"}}},
	} {
		for _, e := range edits {
			if got := e.IsZero(); got != want {
				t.Errorf("%+v: IsZero() = %v, want %v", e, got, want)
			}
		}
	}
}

func TestClassNames(t *testing.T) {
	var got []string
	for c := range Class(Classes + 1) {
		got = append(got, c.String())
	}
	if want := "urgent high normal low bulk bulk"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q; a class of a later version counts as the last", got, want)
	}
}

func TestIDAsText(t *testing.T) {
	id := NewID(time.UnixMilli(1_700_000_000_000))
	raw, err := json.Marshal(map[string]ID{"id": id})
	if want := `{"id":"` + id.String() + `"}`; err != nil || string(raw) != want {
		t.Fatalf("got %s, %v; want %s", raw, err, want)
	}
	var back map[string]ID
	if err := json.Unmarshal(raw, &back); err != nil || back["id"] != id {
		t.Errorf("got %v, %v; want %v", back, err, id)
	}
	same := id
	if err := same.UnmarshalText([]byte("no id")); !errors.Is(err, ErrID) || same != id {
		t.Errorf("got %v, %v; want ErrID and the old ID", same, err)
	}
}

func TestBestDKIM(t *testing.T) {
	sig := func(result, domain string) AuthResult { return AuthResult{Result: result, Domain: domain} }
	for name, tt := range map[string]struct {
		signatures []AuthResult
		want       AuthResult
	}{
		"none":                  {nil, sig("none", "")},
		"one that fails":        {[]AuthResult{sig("fail", "x.example")}, sig("fail", "x.example")},
		"all fail":              {[]AuthResult{sig("fail", "x.example"), sig("permerror", "author.example")}, sig("fail", "x.example")},
		"one passes":            {[]AuthResult{sig("fail", "author.example"), sig("pass", "list.example")}, sig("pass", "list.example")},
		"the first that passes": {[]AuthResult{sig("pass", "one.example"), sig("pass", "two.example")}, sig("pass", "one.example")},
		"the author's passes":   {[]AuthResult{sig("pass", "list.example"), sig("pass", "author.example")}, sig("pass", "author.example")},
		"the author's is first": {[]AuthResult{sig("pass", "author.example"), sig("pass", "list.example")}, sig("pass", "author.example")},
	} {
		a := AuthResults{DKIM: tt.signatures, DMARC: AuthResult{Domain: "author.example"}}
		if got := a.BestDKIM(); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestStatusAsError(t *testing.T) {
	refused := Reject(550, "5.1.1", "no such user")
	deferred := Defer(451, "", "later", fs.ErrNotExist)
	for _, tt := range []struct {
		status      *Status
		text, reply string
		permanent   bool
	}{
		{refused, "550 5.1.1 no such user", "550 5.1.1 no such user", true},
		{deferred, "451 later: file does not exist", "451 later", false},
	} {
		if got := tt.status.Error(); got != tt.text {
			t.Errorf("Error() = %q, want %q", got, tt.text)
		}
		if got := tt.status.Reply(); got != tt.reply {
			t.Errorf("Reply() = %q, want %q", got, tt.reply)
		}
		if got := Permanent(fmt.Errorf("wrapped: %w", tt.status)); got != tt.permanent {
			t.Errorf("Permanent(%v) = %v, want %v", tt.status, got, tt.permanent)
		}
	}
	if !errors.Is(deferred, fs.ErrNotExist) {
		t.Error("the cause is not unwrapped")
	}
	if got := StatusOf(fmt.Errorf("wrapped: %w", refused)); got != refused {
		t.Errorf("a wrapped status became %v", got)
	}
	if got := StatusOf(fs.ErrNotExist); got.Reply() != "451 4.3.0 internal error, try again later" || got.Err != fs.ErrNotExist {
		t.Errorf("another error became %v", got)
	}
	if got := StatusOf(nil); got != nil {
		t.Errorf("no error became %v", got)
	}
}

func TestAddressWithoutDomain(t *testing.T) {
	const list = Address("Staff+x")
	if list.Local() != "Staff+x" || list.Domain() != "" || list.Tag() != "x" || list.Base() != "staff+x" {
		t.Errorf("local part %q, domain %q, tag %q, base %q", list.Local(), list.Domain(), list.Tag(), list.Base())
	}
}
