package pop3

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzCommand: a command printed and parsed again is the same command, and a
// password keeps every octet.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{"STAT", "pass  a b ", "PASS ", "PASS", "LIST 1  ", "TOP 1 2", "", "X", "LONGER", "ST\tT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cmd, ok := parseCommand(line)
		if !ok {
			return
		}
		if again, ok := parseCommand(cmd.String()); !ok || again != cmd {
			t.Errorf("%q: %+v, again %+v, %v", line, cmd, again, ok)
		}
		if cmd.verb == "PASS" && cmd.String()[4:] != line[4:] {
			t.Errorf("%q: the password became %q", line, cmd.arg)
		}
	})
}

// FuzzStuff: a strict client decodes exactly the message, with a CRLF at its end, and
// nothing that follows. A lenient client, for which a bare LF ends a line, does not see an
// earlier end.
func FuzzStuff(f *testing.F) {
	for _, s := range []string{
		"", ".", "\r\n", ".\r\n", "a\r\n.\r\nb", "a\n.\nb\r\n", "a\r\n\n", "\r", strings.Repeat("x", 16<<10-1) + "\r\n.\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			var out bytes.Buffer
			w := bufio.NewWriter(&out)
			n, err := dotStuff(w, bufio.NewReaderSize(r, copyRead), -1)
			w.Flush()
			if err != nil || n != int64(len(text)) {
				t.Fatalf("%q: %d octets, %v", text, n, err)
			}
			whole := text
			if whole != "" && !strings.HasSuffix(whole, "\r\n") {
				whole += "\r\n"
			}
			if want := strings.ReplaceAll("\n"+whole, "\n.", "\n..")[1:] + ".\r\n"; out.String() != want {
				t.Fatalf("%q: %q, want %q", text, out.String(), want)
			}
			lenient := strings.ReplaceAll("\n"+out.String(), "\r\n", "\n")
			if end := strings.Index(lenient, "\n.\n"); end != len(lenient)-3 {
				t.Fatalf("%q: ends at %d of %q", text, end, lenient)
			}
		}
	})
}

// FuzzSession: commands in any order never remove a message without QUIT,
// never touch one that was not marked, and each gets an answer.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"STAT\nLIST\nDELE 1", "DELE 1\nRSET\nQUIT", "DELE 2\nQUIT\nDELE 1", "RETR 1\nTOP 2 1\nUIDL", "USER x\nAUTH PLAIN\n*",
		"DELE 1\nDELE 2\nquit",
	} {
		f.Add(s)
	}
	d := serve(f, Config{InsecureAuth: true, MaxErrors: 1000})
	f.Fuzz(func(t *testing.T, script string) {
		if len(script) > 1000 {
			return
		}
		d.m.mu.Lock()
		delete(d.m.boxes, "mrose@example.com")
		d.m.mu.Unlock()
		d.m.put("mrose@example.com", first, second)
		c := dial(t, d.addr)
		defer c.nc.Close()
		c.login()
		c.send(strings.ReplaceAll(script, "\n", "\r\n") + "\r\nNOOP now\r\nQUIT now\r\n")
		left := 2
		var answers []string
		for {
			line, err := c.r.ReadString('\n')
			if err != nil {
				break
			}
			answers = append(answers, line)
			if _, text, ok := strings.Cut(line, "signing off ("); ok && strings.HasPrefix(line, "+OK") {
				left = 0
				if text[0] != 'm' {
					left = int(text[0] - '0')
				}
			}
			if strings.HasPrefix(line, "-ERR QUIT takes") {
				break
			}
		}
		// The server closes when the maildrop is unlocked again.
		c.nc.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c.r)
		if last := answers[len(answers)-1]; !strings.Contains(last, "signing off") && !strings.HasPrefix(last, "-ERR QUIT takes") {
			t.Fatalf("%q: %q", script, answers)
		}
		d.m.mu.Lock()
		defer d.m.mu.Unlock()
		if n := int(d.m.boxes["mrose@example.com"].info.Count); n != left {
			t.Errorf("%q: %d messages left, the server said %d", script, n, left)
		}
	})
}
