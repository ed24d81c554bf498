package spam

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/store/badgerstore"
)

// Words of mail that was made up for these tests.
var (
	hamWords = strings.Fields(
		"meeting agenda minutes kernel patch review compile budget lunch train ticket library garden recipe weather school homework " +
			"photo trip bicycle repair server config branch merge release notes deadline draft chapter concert rehearsal invoice thanks " +
			"regards tomorrow question answer list archive package",
	)
	spamWords = strings.Fields(
		"winner prize claim million lottery pills cheap viagra mortgage refinance loan credit casino bonus jackpot enlarge hot singles " +
			"webcam unsubscribe offer limited guarantee refund cash earn income wire transfer beneficiary dollars confidential urgent click " +
			"buy discount replica watches diploma",
	)
	bothWords = strings.Fields(
		"the a of and to in is it you that he was for on are with as his they be at one have this from or had by but what some we can " +
			"out other were all there when up use your how said an each she which do their time if will way about many then them write " +
			"would like so these her long make thing see him two has look more day could go come did number sound no most people my over " +
			"know water than call first who may down side been now find",
	)
)

// letter makes a message of a class; the same n makes the same one.
func letter(class Class, n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), uint64(class)))
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	own, domain := hamWords, "friends.example"
	if class == Spam {
		own, domain = spamWords, fmt.Sprintf("bulk%d.example", r.IntN(50))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from mx.%s by mx.our.example; Thu, 1 Jan 2026 00:00:00 +0000\n", domain)
	fmt.Fprintf(
		&b,
		"Message-ID: <%s.%d@%s>\nFrom: %s <%s%d@%s>\nTo: bob@our.example\nSubject: %s %s %s\n"+
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n",
		class,
		n,
		domain,
		pick(bothWords),
		pick(bothWords),
		r.IntN(100),
		domain,
		pick(own),
		pick(bothWords),
		pick(own),
	)
	for i := range 80 {
		word := pick(bothWords)
		if r.IntN(4) == 0 {
			word = pick(own)
		}
		b.WriteString(word)
		if i%10 == 9 {
			b.WriteByte('\n')
		} else {
			b.WriteByte(' ')
		}
	}
	if class == Spam {
		fmt.Fprintf(&b, "http://www.%s/%s\n", domain, pick(own))
	}
	return []byte(b.String())
}

func mustExtract(t testing.TB, raw []byte) *Features {
	t.Helper()
	f, err := Extract(Read(raw))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func openStore(t testing.TB, c *clock.Clock) *badgerstore.Store {
	t.Helper()
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true, Clock: c, Log: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// teach teaches n letters of each class.
func teach(t testing.TB, f *Filter, n int) {
	t.Helper()
	for _, class := range []Class{Ham, Spam} {
		var list []*Features
		for i := range n {
			list = append(list, mustExtract(t, letter(class, i)))
		}
		if err := f.Learn(t.Context(), "", class, list...); err != nil {
			t.Fatal(err)
		}
	}
}

func ask(t testing.TB, f *Filter, account string, raw []byte) float64 {
	t.Helper()
	p, err := f.Classify(t.Context(), mailAddress(account), mustExtract(t, raw), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
