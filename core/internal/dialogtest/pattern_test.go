package dialogtest

import "testing"

func TestPattern(t *testing.T) {
	tests := []struct {
		pattern, line string
		want          bool
	}{
		{"250 Ok", "250 Ok", true},
		{"250 Ok", "250 Ok ", false},
		{"250 *", "250 2.1.0 Ok", true},
		{"250 * queued as *", "250 2.0.0 Ok: queued as 01abc", true},
		{"250 * queued as *", "250 2.0.0 Ok", false},
		{"/25[0-3]/ Ok", "252 Ok", true},
		{"/25[0-3]/ Ok", "254 Ok", false},
		{`250 a\*b`, "250 a*b", true},
		{`250 a\*b`, "250 aXb", false},
		{`250 \/dev`, "250 /dev", true},
		{"+OK (2)", "+OK (2)", true},
		{"+OK (2)", "OOK 2", false},
		{"{a=*} and {b=*}", "x and y", true},
	}
	for _, tt := range tests {
		re, _, err := compile(tt.pattern)
		if err != nil {
			t.Errorf("compile(%q): %v", tt.pattern, err)
		} else if got := re.MatchString(tt.line); got != tt.want {
			t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.line, got, tt.want)
		}
	}
}

func TestUnescape(t *testing.T) {
	got, err := unescape(`a\r\n.\x00\0\\x41`)
	if want := "a\r\n.\x00\x00\\x41"; err != nil || got != want {
		t.Errorf("unescape = %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{`a\`, `\q`, `\x4`, `\xzz`} {
		if got, err := unescape(bad); err == nil {
			t.Errorf("unescape(%q) = %q, want an error", bad, got)
		}
	}
}
