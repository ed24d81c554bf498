package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
)

func TestDestinations(t *testing.T) {
	w := newWorld(t)
	err := w.dns.Add(`
a.example._report._dmarc.agreed.test. 60 IN TXT "v=DMARC1"
a.example._report._dmarc.moved.test. 60 IN TXT "v=DMARC1; rua=mailto:new@moved.test!2k"
a.example._report._dmarc.abuse.test. 60 IN TXT "v=DMARC1; rua=mailto:x@victim.test"
a.example._report._dmarc.wrong.test. 60 IN TXT "v=spf1 -all"
`)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60) + "." + strings.Repeat("d", 60) + ".test"
	tests := []struct {
		rua  string
		size int64
		want string
	}{
		{"mailto:x@a.example", 1, "x@a.example"},
		{"MAILTO:x@sub.a.example", 1, "x@sub.a.example"}, // one organization
		{"mailto:x%2By@a.example?subject=z", 1, "x+y@a.example"},
		{"mailto:x@a.example!10k", 10 << 10, "x@a.example"},
		{"mailto:x@a.example!10k", 10<<10 + 1, ""},
		{"mailto:x@a.example!99999999999999t", 1 << 40, "x@a.example"},
		{"mailto:x@a.example!10x", 1, ""},
		{"mailto:x@a.example!0", 1, ""},
		{"https://a.example/", 1, ""},
		{"mailto:nobody", 1, ""},
		{"mailto:%zz@a.example", 1, ""},
		{"mailto:x@other.test", 1, ""}, // has not agreed
		{"mailto:x@wrong.test", 1, ""},
		{"mailto:x@agreed.test", 1, "x@agreed.test"},
		{"mailto:x@moved.test", 2 << 10, "new@moved.test"},
		{"mailto:x@moved.test", 2<<10 + 1, ""},
		{"mailto:x@abuse.test", 1, ""}, // sends on to one who did not ask
		{"mailto:x@" + long, 1, ""},
		{"mailto:x@a.example,mailto:x@a.example,mailto:y@a.example", 1, "x@a.example y@a.example"},
	}
	for _, test := range tests {
		got, err := Destinations(t.Context(), w.r, "a.example", strings.Split(test.rua, ","), test.size)
		if err != nil {
			t.Errorf("%s: %v", test.rua, err)
		}
		var words []string
		for _, a := range got {
			words = append(words, string(a))
		}
		if s := strings.Join(words, " "); s != test.want {
			t.Errorf("%s of %d octets: %q, want %q", test.rua, test.size, s, test.want)
		}
	}
	w.dns.Fail("a.example._report._dmarc.slow.test", "SERVFAIL")
	if got, err := Destinations(t.Context(), w.r, "a.example", []string{"mailto:x@slow.test"}, 1); err == nil {
		t.Errorf("no answer is no error: %v", got)
	}
}

func TestPublished(t *testing.T) {
	tests := []struct {
		record string
		want   envelope.DMARCRecord
	}{
		{"v=DMARC1", envelope.DMARCRecord{P: "none", SP: "none", NP: "none", ADKIM: "r", ASPF: "r", FO: "0"}},
		{
			"v=DMARC1; p=Reject; adkim=s; t=y; fo=1",
			envelope.DMARCRecord{P: "reject", SP: "reject", NP: "reject", ADKIM: "s", ASPF: "r", FO: "1", Testing: true},
		},
		{"v=DMARC1; p=none; sp=quarantine; aspf=x; rua= mailto:a@b.test , ,mailto:c@d.test",
			envelope.DMARCRecord{
				P:     "none",
				SP:    "quarantine",
				NP:    "quarantine",
				ADKIM: "r",
				ASPF:  "r",
				FO:    "0",
				RUA:   []string{"mailto:a@b.test", "mailto:c@d.test"},
			}},
	}
	for _, test := range tests {
		test.want.Domain = "x.test"
		if got := publishedRecord(dmarcTags(test.record), "x.test"); fmt.Sprint(*got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %+v, want %+v", test.record, *got, test.want)
		}
	}
	many := publishedRecord(map[string]string{"rua": strings.Repeat("mailto:a@b.test,", 100)}, "x.test")
	if len(many.RUA) != maxDestinations || !slices.Contains(many.RUA, "mailto:a@b.test") {
		t.Errorf("%d destinations", len(many.RUA))
	}
}

// FuzzDestination: from any record, parsing gives a valid address, and no limit or one
// above 0.
func FuzzDestination(f *testing.F) {
	for _, uri := range []string{
		"mailto:a@b.test", "MAILTO:a%2Bx@b.test!10m", "mailto:a@b.test!8t?subject=x", "mailto:%0d%0aa@b.test",
		"mailto:a@b.test!9223372036854775807t", "https://b.test/",
	} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		to, limit, ok := mailto(uri)
		if !ok {
			return
		}
		again, err := envelope.ParseAddress(string(to))
		if err != nil || again != to || to.Domain() == "" || strings.ContainsAny(string(to), "\r\n\x00") || limit < 0 {
			t.Errorf("%q: %q, %d, %v", uri, to, limit, err)
		}
	})
}
