package mime

import (
	"bytes"
	"testing"

	"carteiro/core/message/envelope"
)

func TestEditHeader(t *testing.T) {
	const section = "A: 1\r\nB: 2\r\n more\r\n\tand more\r\na : 3\r\nC: 4\r\n\r\n"
	for name, c := range map[string]struct {
		edit envelope.HeaderEdit
		want string
	}{
		"nothing":        {envelope.HeaderEdit{}, section},
		"prepend":        {envelope.HeaderEdit{Prepend: "X: y\r\n"}, "X: y\r\n" + section},
		"folded":         {envelope.HeaderEdit{Remove: []string{"b"}}, "A: 1\r\na : 3\r\nC: 4\r\n\r\n"},
		"each of a name": {envelope.HeaderEdit{Remove: []string{"A"}}, "B: 2\r\n more\r\n\tand more\r\nC: 4\r\n\r\n"},
		"all":            {envelope.HeaderEdit{Prepend: "A: 9\r\n", Remove: []string{"a", "b", "c"}}, "A: 9\r\n\r\n"},
		"absent":         {envelope.HeaderEdit{Remove: []string{"D", ""}}, section},
	} {
		t.Run(name, func(t *testing.T) {
			if got := EditHeader([]byte(section), c.edit); string(got) != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzEditHeader: an edit never touches what is not named, and what is named
// is gone.
func FuzzEditHeader(f *testing.F) {
	f.Add([]byte("A: 1\r\nB: 2\r\n more\r\n\r\n"), "B")
	f.Add([]byte(" folded\r\nno colon\r\n"), "no colon")
	f.Fuzz(func(t *testing.T, section []byte, name string) {
		const extra = "X-Carteiro-Test: 1\r\n"
		got := EditHeader(section, envelope.HeaderEdit{Prepend: extra, Remove: []string{name}})
		if !bytes.HasPrefix(got, []byte(extra)) || len(got) > len(section)+len(extra) {
			t.Fatalf("%q became %q", section, got)
		}
		once := got[len(extra):]
		if twice := EditHeader(once, envelope.HeaderEdit{Remove: []string{name}}); len(once) > 0 && once[0] != ' ' && once[0] != '\t' &&
			!bytes.Equal(once, twice) {
			t.Errorf("removing %q again changed %q to %q", name, once, twice)
		}
	})
}
