package pop3

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// A client gets the same messages with reading ahead, with any commands between one RETR
// and the next. Reading ahead reads no message twice, unless the client is slow.
func TestReadAhead(t *testing.T) {
	d := serve(t, Config{InsecureAuth: true})
	const n = 300
	texts := []string{first, second}
	for i := range n {
		body := strings.Repeat(".line\r\n", 1+i*20)
		if i%10 == 3 {
			body = strings.Repeat(".\r\n", 8<<10) // more than is read ahead
		}
		texts = append(texts, fmt.Sprintf("Subject: %d\r\n\r\n", i)+body)
	}
	texts[100] = "Subject: last words\r\n\r\nbroken"
	d.m.put("mrose@example.com", texts[2:]...)
	c := dial(t, d.addr)
	c.login()
	retr := func(i int) {
		t.Helper()
		c.send(fmt.Sprintf("RETR %d\r\n", i))
		c.line(fmt.Sprintf("+OK %d octets\r\n", len(texts[i-1])))
		if got := c.multiline(); got != texts[i-1] {
			t.Fatalf("message %d: got %.60q", i, got)
		}
	}
	for i := 1; i <= 50; i++ {
		retr(i)
	}
	for i := 51; i <= 80; i++ {
		retr(i)
		c.send(fmt.Sprintf("DELE %d\r\n", i))
		c.line("+OK")
	}
	retr(81)
	c.send("DELE 82\r\n")
	c.line("+OK")
	c.send("RETR 82\r\n") // was read ahead, perhaps
	c.line("-ERR")
	retr(90)
	c.send("TOP 91 0\r\n")
	c.line("+OK")
	if got := c.multiline(); got != "Subject: 88\r\n\r\n" {
		t.Errorf("TOP: %q", got)
	}
	retr(91)
	c.send("RETR 92\r\nRETR 93\r\nRETR 92\r\n")
	for _, i := range []int{92, 93, 92} {
		c.line("+OK")
		if got := c.multiline(); got != texts[i-1] {
			t.Errorf("message %d: got %.60q", i, got)
		}
	}
	retr(100)
	c.send("RETR 101\r\n")     // cannot be read whole: its answer must not look so
	text, _ := io.ReadAll(c.r) // to the end of the connection, which a reset may be
	if bytes.HasSuffix(text, []byte("\r\n.\r\n")) {
		t.Errorf("a message that cannot be read ends as a whole one: %.60q", text)
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.opens > 2*100 {
		t.Errorf("%d messages were opened for 90 answers", d.m.opens)
	}
}
