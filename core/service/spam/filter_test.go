package spam

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
)

func mailAddress(s string) envelope.Address { return envelope.Address(s) }

// dump returns everything that is stored about learned messages.
func dump(t *testing.T, kv store.KV, account envelope.Address) map[string]string {
	t.Helper()
	out := map[string]string{}
	for p, err := range kv.Scan(t.Context(), space(account), "", 1<<20) {
		if err != nil {
			t.Fatal(err)
		}
		out[p.Key] = string(p.Value)
	}
	return out
}

// TestUnlearn: what is taught and untaught leaves the store and all answers
// as they were.
func TestUnlearn(t *testing.T) {
	st := openStore(t, nil)
	f := New(st, nil)
	teach(t, f, 40)
	before, asked := dump(t, st, ""), letter(Spam, 1000)
	p := ask(t, f, "", asked)
	for i := range 10 {
		odd := mustExtract(t, letter(Spam, 2000+i))
		if err := f.Learn(t.Context(), "", Ham, odd); err != nil {
			t.Fatal(err)
		}
	}
	if q := ask(t, f, "", asked); q >= p {
		t.Errorf("ten messages of spam taught as ham: %v, before %v", q, p)
	}
	if maps.Equal(before, dump(t, st, "")) {
		t.Error("learning changed nothing")
	}
	for i := range 10 {
		if err := f.Unlearn(t.Context(), "", mustExtract(t, letter(Spam, 2000+i))); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(before, dump(t, st, "")) {
		t.Error("the store is not as before")
	}
	if q := ask(t, f, "", asked); q != p {
		t.Errorf("%v, before %v", q, p)
	}
	// Never taught: nothing happens.
	if err := f.Unlearn(t.Context(), "", mustExtract(t, letter(Ham, 9999))); err != nil || !maps.Equal(before, dump(t, st, "")) {
		t.Errorf("unlearning what was not learnt: %v", err)
	}
}

// TestLearning: unknown spam and ham are distinguished; learning a message twice is like
// learning it once; the last class of a message counts; the order of messages does not
// matter.
func TestLearning(t *testing.T) {
	f := New(openStore(t, nil), nil)
	if p := ask(t, f, "", letter(Spam, 1)); p != 0.5 {
		t.Errorf("nothing was taught, and the answer is %v", p)
	}
	teach(t, f, 60)
	for i := range 50 {
		if s, h := ask(t, f, "", letter(Spam, 500+i)), ask(t, f, "", letter(Ham, 500+i)); s < 0.9 || h > 0.1 {
			t.Fatalf("message %d: spam %v, ham %v", i, s, h)
		}
	}
	p := ask(t, f, "", letter(Spam, 500))
	teach(t, f, 60)
	if q := ask(t, f, "", letter(Spam, 500)); q != p {
		t.Errorf("taught twice: %v, once %v", q, p)
	}
	other := New(openStore(t, nil), nil)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(120) {
		class := Ham
		if i%2 == 1 {
			class = Spam
		}
		raw := letter(class, i/2)
		if i%7 == 0 { // first the wrong way
			if err := other.Learn(t.Context(), "", Spam, mustExtract(t, raw)); err != nil {
				t.Fatal(err)
			}
		}
		if err := other.Learn(t.Context(), "", class, mustExtract(t, raw)); err != nil {
			t.Fatal(err)
		}
	}
	if q := ask(t, other, "", letter(Spam, 500)); q != p {
		t.Errorf("in another order: %v, before %v", q, p)
	}
	if s, err := f.Stats(t.Context(), ""); err != nil || s.Spam != 60 || s.Ham != 60 || s.Features == 0 {
		t.Errorf("stats %+v, %v", s, err)
	}
}

// TestAccounts: one user's training is no other's.
func TestAccounts(t *testing.T) {
	f := New(openStore(t, nil), nil)
	teach(t, f, 30)
	asked := letter(Spam, 700)
	site := ask(t, f, "", asked)
	for i := range 30 {
		for _, class := range []Class{Ham, Spam} {
			wrong := map[Class]Class{Ham: Spam, Spam: Ham}[class]
			if err := f.Learn(t.Context(), "ann@our.example", wrong, mustExtract(t, letter(class, 800+i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if p := ask(t, f, "ann@our.example", asked); p > 0.9 {
		t.Errorf("ann wants such mail and is told %v", p)
	}
	if p := ask(t, f, "bob@our.example", asked); p != site {
		t.Errorf("bob is told %v, the site %v", p, site)
	}
	if p := ask(t, f, "", asked); p != site {
		t.Errorf("the site's model moved from %v to %v", site, p)
	}
}

// TestAgeing: what was taught ends to count after its time, and of too much
// the oldest goes.
func TestAgeing(t *testing.T) {
	c := &clock.Clock{}
	st := openStore(t, c)
	f := New(st, c)
	teach(t, f, 20)
	c.Advance(Lifetime + time.Hour)
	again := New(st, c)
	if p := ask(t, again, "", letter(Spam, 500)); p != 0.5 {
		t.Errorf("after %v the answer is %v", Lifetime, p)
	}
	const user, more = "ann@our.example", 25
	first := mustExtract(t, letter(Ham, 0))
	for i := 0; i < AccountLimit+more; i += 100 {
		var list []*Features
		for j := i; j < min(i+100, AccountLimit+more); j++ {
			list = append(list, mustExtract(t, letter(Ham, j)))
		}
		if err := again.Learn(t.Context(), user, Ham, list...); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Minute)
	}
	if s, err := again.Stats(t.Context(), user); err != nil || s.Ham != AccountLimit {
		t.Errorf("stats %+v, %v", s, err)
	}
	if left := dump(t, st, user); len(left) != AccountLimit {
		t.Errorf("%d are kept, at most %d", len(left), AccountLimit)
	}
	// The first batch has one age; the rest of it stays or goes by its key.
	if again.Unlearn(t.Context(), user, first) != nil {
		t.Error("the oldest cannot be untaught")
	}
}

// TestWatch: effects that travel with mail count as soon as they are
// committed.
func TestWatch(t *testing.T) {
	st := openStore(t, nil)
	f := New(st, nil)
	w := Watch(st, f)
	teach(t, f, 10)
	asked := letter(Spam, 300)
	p := ask(t, f, "", asked)
	effect := Teach("", mustExtract(t, asked), Ham, time.Unix(1e9, 0))
	if account, class, ok := TaughtBy(effect); !ok || account != "" || class != Ham {
		t.Errorf("taught %q %v %v", account, class, ok)
	}
	if _, _, ok := TaughtBy(envelope.Effect{Space: "bundle", Op: envelope.Set, Key: "k", Value: []byte("v")}); ok {
		t.Error("another's effect is taken for one of ours")
	}
	if err := w.Commit(t.Context(), []envelope.Effect{effect}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Apply(t.Context(), []envelope.Effect{effect}); err != nil {
		t.Fatal(err)
	}
	q, err := f.Classify(t.Context(), "", mustExtract(t, asked), false)
	if err != nil || q >= p {
		t.Errorf("%v, before %v, %v", q, p, err)
	}
}

// TestPoison: random text in learned or checked messages does not change the result.
func TestPoison(t *testing.T) {
	f := New(openStore(t, nil), nil)
	teach(t, f, 60)
	r := rand.New(rand.NewPCG(3, 4))
	noise := func(n int) string {
		var b bytes.Buffer
		for range n {
			for range 3 + r.IntN(8) {
				b.WriteByte('a' + byte(r.IntN(26)))
			}
			b.WriteByte(' ')
		}
		return b.String()
	}
	for i := range 20 {
		asked := append(letter(Spam, 600+i), noise(300)...)
		if p := ask(t, f, "", asked); p < 0.9 {
			t.Errorf("spam %d with noise: %v", i, p)
		}
	}
	// Spam with words of ham is learned as spam.
	for i := range 30 {
		raw := letter(Spam, 900+i)
		for range 100 {
			raw = append(raw, hamWords[r.IntN(len(hamWords))]+" "...)
		}
		if err := f.Learn(t.Context(), "", Spam, mustExtract(t, append(raw, noise(100)...))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		if p := ask(t, f, "", letter(Ham, 600+i)); p > 0.2 {
			t.Errorf("ham %d after poisoning: %v", i, p)
		}
	}
}

// TestCorruptSample: one that cannot be read is as if it were not there.
func TestCorruptSample(t *testing.T) {
	st := openStore(t, nil)
	f := New(st, nil)
	teach(t, f, 10)
	p := ask(t, f, "", letter(Spam, 1))
	if _, err := st.Apply(t.Context(), []envelope.Effect{
		{Space: space(""), Op: envelope.Set, Key: "broken", Value: []byte("?")},
	}); err != nil {
		t.Fatal(err)
	}
	if q := ask(t, New(st, nil), "", letter(Spam, 1)); q != p {
		t.Errorf("%v, before %v", q, p)
	}
}

// TestMeasure: the figures of a cross-validation, the same each time.
func TestMeasure(t *testing.T) {
	var list []Labelled
	for i := range 60 {
		for _, class := range []Class{Ham, Spam} {
			list = append(list, Labelled{Name: fmt.Sprintf("%d.%s", i, class), Class: class, Raw: letter(class, i)})
		}
	}
	m, err := Measure(list)
	if err != nil || m.Ham != 60 || m.Spam != 60 || m.AUC < 0.99 || m.Missed["1%"] > 0.1 || m.Stripped.AUC < 0.98 {
		t.Fatalf("%+v, %v", m, err)
	}
	if m.Copies != (Copies{}) {
		t.Errorf("no message is a copy, and the measurement finds %+v", m.Copies)
	}
	for i := range 30 { // one half of the spam has a copy, which is in another fold
		list = append(list, Labelled{Name: fmt.Sprintf("%d.spam-copy", 2*i), Class: Spam, Raw: changed(letter(Spam, 2*i), 0.05, uint64(i))})
	}
	if m, err = Measure(list); err != nil || m.Copies.Ham != 0 || m.Copies.Spam < 0.5 || m.Copies.Spam > 0.7 {
		t.Errorf("%+v, %v", m.Copies, err)
	}
	again, err := Measure(list)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
		t.Errorf("%+v, first %+v, %v", again, m, err)
	}
	if _, err := Measure(list[:6]); err == nil {
		t.Error("six messages are measured")
	}
}

// TestQuality: ties count as missed.
func TestQuality(t *testing.T) {
	var list []Labelled
	var scores []float64
	for i := range 1000 {
		list, scores = append(list, Labelled{Class: Ham}), append(scores, float64(i))
	}
	for _, s := range []float64{500, 994.5, 998, 998.5, 2000} {
		list, scores = append(list, Labelled{Class: Spam}), append(scores, s)
	}
	q := quality(list, scores)
	if q.Missed["0.1%"] != 3./5 || q.Missed["0.5%"] != 1./5 || q.Missed["1%"] != 1./5 {
		t.Errorf("missed %v", q.Missed)
	}
	want := (500.5 + 995 + 998.5 + 999 + 1000) / 5000
	if d := q.AUC - want; d > 1e-9 || d < -1e-9 {
		t.Errorf("AUC %v, want %v", q.AUC, want)
	}
}
