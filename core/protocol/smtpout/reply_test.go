package smtpout

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadReply(t *testing.T) {
	long := strings.Repeat("x", 5000)
	tests := []struct{ in, want string }{
		{"250 ok\r\n", "250 [ok]"},
		{"250\r\n", "250 []"},
		{"250 \r\n", "250 []"},
		{"250-a\r\n250-\r\n250 b c\r\n", "250 [a  b c]"},
		{"250-a\r\n250\r\n", "250 [a ]"},
		{"250 ok\n", "250 [ok]"},
		{"250 " + long + "\r\n", "250 [" + long[:maxReplyText] + "]"},
		{"250-a\r\n251 b\r\n", "garbage"},
		{"250ok\r\n", "garbage"},
		{"25 ok\r\n", "garbage"},
		{"150 ok\r\n", "garbage"},
		{"650 ok\r\n", "garbage"},
		{"\r\n", "garbage"},
		{" 250 ok\r\n", "garbage"},
		{strings.Repeat("250-a\r\n", 101), "garbage"},
		{strings.Repeat("250-a\r\n", 99) + "250 b\r\n250 next\r\n", "250 [" + strings.Repeat("a ", 99) + "b]"},
		{strings.Repeat("2", 1<<20), "garbage"},
		{"250 cut", "unexpected EOF"},
		{"250-a\r\n", "EOF"},
		{"", "EOF"},
	}
	for _, tt := range tests {
		rep, err := readReply(bufio.NewReaderSize(strings.NewReader(tt.in), 16))
		got := fmt.Sprint(rep.code, " ", rep.lines)
		switch {
		case errors.Is(err, errGarbage):
			got = "garbage"
		case err != nil:
			got = err.Error()
		}
		if got != tt.want && !(tt.want == "unexpected EOF" && errors.Is(err, io.EOF)) {
			t.Errorf("%.40q: %.60q, want %.60q", tt.in, got, tt.want)
		}
	}
}

func TestReplyStatus(t *testing.T) {
	tests := []struct {
		rep  reply
		want string
	}{
		{reply{550, []string{"5.1.1 no such user"}}, "550 5.1.1 no such user"},
		{reply{550, []string{"5.1.1 no such user", "5.1.1 see  http://x"}}, "550 5.1.1 no such user see http://x"},
		{reply{550, []string{"5.1.1 no", "5.1.2 is text"}}, "550 5.1.1 no 5.1.2 is text"},
		{reply{452, []string{"<b@x> full", "4.2.2 clean up"}}, "452 4.2.2 <b@x> full clean up"},
		{reply{550, []string{"4.1.1 wrong class"}}, "550 4.1.1 wrong class"},
		{reply{250, []string{""}}, "250 "},
		{reply{550, []string{"bell\a and \xff"}}, "550 bell? and ?"},
	}
	for _, tt := range tests {
		if got := tt.rep.status().Reply(); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.rep.lines, got, tt.want)
		}
	}
	if got := makeTransient(reply{550, []string{"5.7.1 no"}}.status()); got.Code != 451 || got.Enhanced != "4.7.1" ||
		!strings.Contains(got.Text, "550 5.7.1 no") {
		t.Errorf("transient: %+v", got)
	}
}

// FuzzReply: a reply that is understood and sent again is understood the same
// way, however its octets are cut, and takes no octet of what follows. Its
// status is one line of at most 512 octets.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"250 ok\r\n", "250-a\r\n250 b\r\n", "550-5.1.1 a\r\n550 5.1.1 b\r\n", "250\r\n", "250-\r\n250\n", "421 \xff\r\r\n", "354", "250 a\rb\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rep, err := readReply(bufio.NewReader(strings.NewReader(s)))
		if err != nil {
			return
		}
		r := bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(rep.String()+"next")), 16)
		again, err := readReply(r)
		if err != nil || again.code != rep.code || !slices.Equal(again.lines, rep.lines) {
			// A line that ends in CR loses it to the line's end, once.
			if !slices.ContainsFunc(rep.lines, func(l string) bool { return strings.HasSuffix(l, "\r") }) {
				t.Fatalf("%q: %+v, again %+v, %v", s, rep, again, err)
			}
		}
		if rest, _ := io.ReadAll(r); string(rest) != "next" {
			t.Fatalf("%q: took octets of what followed, left %q", s, rest)
		}
		st := rep.status()
		if len(st.Text) > 512 || strings.ContainsFunc(st.Text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q: status text %q", s, st.Text)
		}
	})
}
