package smtpin

import "testing"

// What a trace shows of a command holds no password and no control character.
func TestShown(t *testing.T) {
	for line, want := range map[string]string{
		"AUTH PLAIN AGFsaWNlAHNlY3JldA==": "AUTH PLAIN (not shown)",
		"auth LOGIN":                      "AUTH LOGIN",
		"MAIL FROM:<a@a.example> SIZE=10": "MAIL FROM:<a@a.example> SIZE=10",
		"EHLO a\x1b[31m":                  "EHLO a?[31m",
	} {
		c, err := parseCommand(line)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.redacted(); got != want {
			t.Errorf("%q is shown as %q, want %q", line, got, want)
		}
	}
}
