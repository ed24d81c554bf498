package lua

import "testing"

// FuzzJSON: what is read and written is the same when read again.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,-3e2,true,false,null,"x\u00e9\ud83d\ude00\n"]}`, `[]`, `{}`, `"\u0000"`, ` 1 `, `[[[[]]]]`,
		`{"a":{"a":{}}}`, `1e400`, `"\ud800"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseJSON(s)
		if err != nil {
			return
		}
		out, err := appendJSON(nil, v)
		if err != nil {
			t.Fatalf("%q was read but cannot be written: %v", s, err)
		}
		again, err := parseJSON(string(out))
		if err != nil {
			t.Fatalf("%q became %q, which cannot be read: %v", s, out, err)
		}
		twice, err := appendJSON(nil, again)
		if err != nil || string(twice) != string(out) {
			t.Fatalf("%q became %q, then %q", s, out, twice)
		}
	})
}
