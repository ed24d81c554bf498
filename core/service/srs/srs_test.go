package srs

import (
	"context"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store/badgerstore"
)

var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func days(n int) time.Time { return start.AddDate(0, 0, n) }

func TestRewriteAndReverse(t *testing.T) {
	r := NewRing([]byte("key"))
	long := envelope.Address(strings.Repeat("x", 50) + "@sender.example")
	for _, tt := range []struct{ sender, prefix, back envelope.Address }{
		{"s@s.test", "SRS0=", "s@s.test"},
		{"s+tag=x@s.test", "SRS0=", "s+tag=x@s.test"},
		{"SRS0=abcd=ef=a.test=u@one.test", "SRS1=", "SRS0=abcd=ef=a.test=u@one.test"},
		{"srs0+abcd=ef=a.test=u@one.test", "SRS1=", "SRS0+abcd=ef=a.test=u@one.test"},
		{"SRS1=wxyz=one.test==abcd=ef=a.test=u@two.test", "SRS1=", "SRS0=abcd=ef=a.test=u@one.test"}, // the middle is left out
		{"", "", ""}, {`"a b"@s.test`, `"a b"`, ""}, {long, "x", ""}, {"s@[192.0.2.1]", "s@", ""}, {"SRS1=a==b@c.test", "SRS1=a==b@", ""},
		{"SRS1=broken@two.test", "SRS1=broken@two.test", ""},
	} {
		got := r.Rewrite(tt.sender, "fwd.test", start)
		if !strings.HasPrefix(string(got), string(tt.prefix)) || r.Reverse(got, start) != tt.back {
			t.Errorf("%s -> %s -> %s, want %s", tt.sender, got, r.Reverse(got, start), tt.back)
		}
		if tt.back != "" && (r.Reverse(envelope.Address(strings.ToLower(string(got))), start) == "" || !Is(got)) {
			t.Errorf("%s: lower case is refused", got)
		}
	}
}

// TestForged: each character of the sign matters, and everything that it
// signs.
func TestForged(t *testing.T) {
	r := NewRing([]byte("key"))
	for _, sender := range []envelope.Address{"s@s.test", "SRS0=abcd=ef=a.test=u@one.test"} {
		good := string(r.Rewrite(sender, "fwd.test", start))
		local, _, _ := strings.Cut(good, "@")
		for i := 5; i < len(local); i++ {
			swap := byte('a')
			if good[i] == 'a' {
				swap = 'b'
			}
			if bad := good[:i] + string(swap) + good[i+1:]; r.Reverse(envelope.Address(bad), start) != "" {
				t.Errorf("%s passes", bad)
			}
		}
	}
	for _, bad := range []envelope.Address{
		"", "a@b.test", "SRS0=@x.test", "SRS0=a=b=c=d@x.test", "SRS1=a@x.test", "SRS1=a=b=c@x.test", "SRS0+aaaaaa=aa=s.test=s@x.test",
		"SRS2=a=b=c=d@x.test",
	} {
		if got := r.Reverse(bad, start); got != "" {
			t.Errorf("%s is %s", bad, got)
		}
	}
}

// TestAges: both forms live 21 days, over the end of the day numbers too.
func TestAges(t *testing.T) {
	r := NewRing([]byte("key"))
	for shift := range modulo {
		for _, sender := range []envelope.Address{"s@s.test", "SRS0=abcd=ef=a.test=u@one.test"} {
			a := r.Rewrite(sender, "fwd.test", days(shift))
			if r.Reverse(a, days(shift+Days)) == "" {
				t.Fatalf("%s is refused after %d days", a, Days)
			}
			if r.Reverse(a, days(shift+Days+1)) != "" || r.Reverse(a, days(shift-1)) != "" {
				t.Fatalf("%s passes after %d days, or a day too early", a, Days+1)
			}
		}
	}
}

// TestRotation: keys retire, verify for as long as an address lives, and
// survive a restart; a key file is used until the first rotation.
func TestRotation(t *testing.T) {
	for _, seed := range [][]byte{nil, []byte("key file")} {
		ctx, c := context.Background(), &clock.Clock{}
		st, err := badgerstore.Open(badgerstore.Options{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		open := func() *Keys {
			k, err := OpenKeys(ctx, st, seed, c.Now)
			if err != nil || !k.Ready() {
				t.Fatalf("open: %v", err)
			}
			return k
		}
		k := open()
		first := k.Rewrite("s@s.test", "fwd.test", c.Now())
		if open().Reverse(first, c.Now()) == "" {
			t.Error("a restart forgets the key")
		}
		if err := k.Rotate(ctx); err != nil {
			t.Fatal(err)
		}
		if second := k.Rewrite("s@s.test", "fwd.test", c.Now()); second == first || k.Reverse(second, c.Now()) == "" ||
			k.Reverse(first, c.Now()) == "" ||
			open().Reverse(first, c.Now()) == "" {
			t.Errorf("%s and %s after a rotation", first, second)
		}
		list, err := k.List(ctx)
		if err != nil || len(list) != 2 || !list[0].Retired.IsZero() || list[1].Ends.Sub(list[1].Retired) != retiredLife ||
			list[0].Name == list[1].Name {
			t.Errorf("list %+v %v", list, err)
		}
		c.Advance(retiredLife)
		if err := k.Rotate(ctx); err != nil {
			t.Fatal(err)
		}
		if list, _ = k.List(ctx); len(list) != 2 {
			t.Errorf("a dead key stays: %+v", list)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestKeyFileGone: a server that lost its key file signs with a new key.
func TestKeyFileGone(t *testing.T) {
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, seed := range []string{"key file", "", "key file"} {
		k, err := OpenKeys(t.Context(), st, []byte(seed), time.Now)
		if err != nil || !k.Ready() {
			t.Errorf("with seed %q: %v", seed, err)
		}
	}
}

func FuzzReverse(f *testing.F) {
	r := NewRing([]byte("key"))
	f.Add(string(r.Rewrite("s@s.test", "fwd.test", start)))
	f.Add("SRS1=abcdef=one.test==abcd=ef=a.test=u@two.test")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := envelope.ParseAddress(s)
		if err != nil {
			return
		}
		if back := r.Reverse(a, start); back != "" {
			if again := r.Reverse(r.Rewrite(back, a.Domain(), start), start); again.Domain() != back.Domain() {
				t.Errorf("%s is %s, and rewritten %s", a, back, again)
			}
		}
		if out := r.Rewrite(a, "fwd.test", start); out != a && r.Reverse(out, start) == "" {
			t.Errorf("%s became %s, which is refused", a, out)
		}
	})
}
