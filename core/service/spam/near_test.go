package spam

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
)

func similar(t testing.TB, f *Filter, account envelope.Address, raw []byte) (float64, Class) {
	t.Helper()
	share, class, err := f.Similar(t.Context(), account, mustExtract(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	return share, class
}

func learn(t testing.TB, f *Filter, account envelope.Address, class Class, raws ...[]byte) {
	t.Helper()
	for _, raw := range raws {
		if err := f.Learn(t.Context(), account, class, mustExtract(t, raw)); err != nil {
			t.Fatal(err)
		}
	}
}

// changed returns a copy of a message with another sender and id, in which each word of
// the text is replaced with probability p.
func changed(raw []byte, p float64, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	_, text, _ := bytes.Cut(raw, []byte("\n\n"))
	list := strings.Fields(string(text))
	for i := range list {
		if r.Float64() < p {
			list[i] = fmt.Sprintf("word%c%c", 'a'+r.IntN(26), 'a'+r.IntN(26))
		}
	}
	return fmt.Appendf(nil, "From: x%d@elsewhere.example\nSubject: new\nMessage-ID: <%d@elsewhere.example>\n\n%s\n", seed, seed,
		strings.Join(list, " "))
}

// TestSimilar: copies are known although words were changed, as soon as one
// was taught, and what was not taught is not.
func TestSimilar(t *testing.T) {
	f := New(openStore(t, nil), nil)
	teach(t, f, 100)
	for i := range 50 {
		for class, raw := range map[Class][]byte{Spam: letter(Spam, i), Ham: letter(Ham, i)} {
			if share, c := similar(t, f, "", raw); share != 1 || c != class {
				t.Errorf("%v %d itself: %v %v", class, i, share, c)
			}
			if share, c := similar(t, f, "", changed(raw, 0.1, uint64(i))); share < 0.4 || c != class {
				t.Errorf("%v %d, every tenth word changed: %v %v", class, i, share, c)
			}
		}
		if share, c := similar(t, f, "", letter(Spam, 1000+i)); share != 0 {
			t.Errorf("another letter: %v %v", share, c)
		}
	}
	fresh := letter(Spam, 2000)
	learn(t, f, "", Spam, fresh)
	if share, c := similar(t, f, "", changed(fresh, 0.05, 1)); share < 0.5 || c != Spam {
		t.Errorf("taught just now: %v %v", share, c)
	}
	if share, _ := similar(t, f, "", []byte("Subject: x\n\nfew words only\n")); share != 0 {
		t.Errorf("few words: %v", share)
	}
}

// TestSimilarForgets: what is untaught leaves store and answers as they were,
// and the last word on a message counts.
func TestSimilarForgets(t *testing.T) {
	st := openStore(t, nil)
	f := New(st, nil)
	teach(t, f, 20)
	raw := letter(Spam, 500)
	near := changed(raw, 0.1, 3)
	before := dump(t, st, "")
	if share, _ := similar(t, f, "", near); share != 0 {
		t.Fatalf("before: %v", share)
	}
	learn(t, f, "", Spam, raw)
	if share, c := similar(t, f, "", near); share < 0.4 || c != Spam {
		t.Errorf("taught: %v %v", share, c)
	}
	learn(t, f, "", Ham, raw)
	if share, c := similar(t, f, "", near); share < 0.4 || c != Ham {
		t.Errorf("taught the other way: %v %v", share, c)
	}
	if err := f.Unlearn(t.Context(), "", mustExtract(t, raw)); err != nil {
		t.Fatal(err)
	}
	if share, c := similar(t, f, "", near); share != 0 {
		t.Errorf("untaught: %v %v", share, c)
	}
	if !maps.Equal(before, dump(t, st, "")) {
		t.Error("the store is not as before")
	}
}

// TestSimilarAccounts: an account's word counts for itself, before the site's.
func TestSimilarAccounts(t *testing.T) {
	f := New(openStore(t, nil), nil)
	raw, own := letter(Spam, 1), letter(Spam, 2)
	learn(t, f, "", Spam, raw)
	learn(t, f, "ann@our.example", Ham, raw)
	learn(t, f, "ann@our.example", Spam, own)
	for _, test := range []struct {
		account envelope.Address
		raw     []byte
		share   float64
		class   Class
	}{
		{"", raw, 1, Spam}, {"ann@our.example", raw, 1, Ham}, {"bob@our.example", raw, 1, Spam},
		{"", own, 0, 0}, {"ann@our.example", own, 1, Spam}, {"bob@our.example", own, 0, 0},
	} {
		if share, class := similar(t, f, test.account, test.raw); share != test.share || class != test.class {
			t.Errorf("%q: %v %v, want %v %v", test.account, share, class, test.share, test.class)
		}
	}
}

// TestSimilarFollows: an index that followed the store change by change, many
// at once too, is the same as a new one.
func TestSimilarFollows(t *testing.T) {
	st := openStore(t, nil)
	f := New(st, nil)
	teach(t, f, 10)
	similar(t, f, "", letter(Spam, 1))
	r := rand.New(rand.NewPCG(8, 9))
	for step := range 300 {
		n := r.IntN(60)
		if r.IntN(3) == 0 {
			if err := f.Unlearn(t.Context(), "", mustExtract(t, letter(Spam, n))); err != nil {
				t.Fatal(err)
			}
		} else {
			learn(t, f, "", []Class{Ham, Spam}[r.IntN(2)], letter(Spam, n))
		}
		if step%20 == 0 {
			for i := range 60 {
				s, c := similar(t, f, "", letter(Spam, i))
				if s2, c2 := similar(t, New(st, nil), "", letter(Spam, i)); s != s2 || c != c2 {
					t.Fatalf("step %d, letter %d: %v %v, anew %v %v", step, i, s, c, s2, c2)
				}
			}
		}
	}
	var many []*Features
	for i := range maxChanged + 200 {
		many = append(many, mustExtract(t, letter(Ham, 3000+i)))
	}
	if err := f.Learn(t.Context(), "", Ham, many...); err != nil {
		t.Fatal(err)
	}
	if s, c := similar(t, f, "", letter(Ham, 3000+maxChanged+100)); s != 1 || c != Ham {
		t.Errorf("many at once: %v %v", s, c)
	}
}

// TestSimilarBounds: of more than the limit the oldest go, and all after their
// time.
func TestSimilarBounds(t *testing.T) {
	c := &clock.Clock{}
	f := New(openStore(t, c), c)
	const user = "ann@our.example"
	learn(t, f, user, Spam, letter(Spam, 0))
	similar(t, f, user, letter(Spam, 0))
	c.Advance(time.Hour)
	for i := 0; i < AccountLimit+maxChanged; i += 100 {
		var list []*Features
		for j := range 100 {
			list = append(list, mustExtract(t, letter(Ham, i+j)))
		}
		if err := f.Learn(t.Context(), user, Ham, list...); err != nil {
			t.Fatal(err)
		}
		similar(t, f, user, letter(Ham, i))
	}
	if n := len(f.hold(user).index.entries); n > AccountLimit+maxChanged {
		t.Errorf("%d are held", n)
	}
	if share, _ := similar(t, f, user, letter(Spam, 0)); share != 0 {
		t.Errorf("the oldest is still known: %v", share)
	}
	c.Advance(Lifetime + time.Hour)
	if share, _ := similar(t, f, user, letter(Ham, AccountLimit)); share != 0 {
		t.Errorf("after its time: %v", share)
	}
}

// TestSimilarAtOnce: questions and lessons from many goroutines.
func TestSimilarAtOnce(t *testing.T) {
	f := New(openStore(t, nil), nil)
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range 50 {
				raw := letter(Spam, 100*g+i)
				m := mustExtract(t, raw)
				if err := f.Learn(t.Context(), "", Spam, m); err != nil {
					t.Error(err)
				}
				if share, _, err := f.Similar(t.Context(), "", m); share != 1 || err != nil {
					t.Errorf("letter %d: %v %v", 100*g+i, share, err)
				}
			}
		})
	}
	group.Wait()
}

// BenchmarkSimilar asks an index as large as it gets.
func BenchmarkSimilar(b *testing.B) {
	f := New(openStore(b, nil), nil)
	x := &f.hold("").index
	x.start()
	for i := range SiteLimit {
		x.put(fmt.Sprint(i), newSample(mustExtract(b, letter(Spam, i)), Spam, time.Now()))
	}
	m := mustExtract(b, letter(Spam, SiteLimit+1))
	for b.Loop() {
		if _, _, err := f.Similar(b.Context(), "", m); err != nil {
			b.Fatal(err)
		}
	}
}
