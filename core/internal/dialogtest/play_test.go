package dialogtest

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// echo is a server that greets, says each line back, and leaves at "bye".
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				nc.Write([]byte("hello 42\r\n"))
				for in := bufio.NewScanner(nc); in.Scan() && in.Text() != "bye"; {
					nc.Write([]byte(in.Text() + "\r\n"))
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// A dialogue that is as written passes; every other one fails at its line.
func TestPlay(t *testing.T) {
	addr := echo(t)
	tests := []struct {
		name, text string
		line       string // where it fails, "" where it does not
	}{
		{
			"all",
			"# x\n\nS: hello {n=*}\nC: a {n}\nS: a 42\n!quiet\nC> b\\x20\\r\\n\nS: b \n!connect two\nS: hello /4./\n!use main\n!repeat 3 x\n" +
				"C:\nS: xxx\nC: bye\n!eof",
			"",
		},
		{"reply", "S: *\nC> 250-a\\r\\n250-b\\r\\n250 c\\r\\nd\\r\\n\n!reply 250 c\nS: d", ""},
		{"other last line", "S: *\nC> 250-a\\r\\n250 c\\r\\n\n!reply 250 d", "3:"},
		{"other code", "S: *\nC> 250-a\\r\\n250 c\\r\\n\n!reply 251 c", "3:"},
		{"other text", "S: hello 43", "1:"},
		{"longer", "S: hello", "1:"},
		{"silence", "S: hello *\nS: more", "2:"},
		{"not quiet", "!quiet", "1:"},
		{"unread at the end", "C: bye\n!eof", "2:"},
		{"not closed", "S: *\n!eof", "2:"},
		{"no eof but text", "S: *\nC: bye\nS: x", "3:"},
		{"bad directive", "!fnord", "1:"},
		{"bad line", "X: y", "1:"},
		{"bad escape", "C: \\q", "1:"},
		{"bad expression", "S: /(/", "1:"},
		{"open expression", "S: /x", "1:"},
		{"unknown connection", "!use x", "1:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := play(tt.text, Server{Addr: addr, Timeout: 200 * time.Millisecond})
			if tt.line == "" && err != nil || tt.line != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.line)) {
				t.Errorf("got %v, want a failure at %q", err, tt.line)
			}
		})
	}
}
