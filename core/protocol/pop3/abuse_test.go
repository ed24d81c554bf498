package pop3

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
)

// A panic in the mailboxes ends only that session; the maildrop is free for the next one,
// nothing is deleted, and no goroutine is left (TestMain checks).
func TestPanics(t *testing.T) {
	for _, at := range []string{"Lock", "Mailbox", "Items", "Open", "Expunge"} {
		t.Run(at, func(t *testing.T) {
			d := serve(t, Config{InsecureAuth: true})
			d.m.panicAt = at
			c := dial(t, d.addr)
			c.send("USER mrose\r\nPASS tan staaf\r\nLIST\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
			got, err := io.ReadAll(c.r)
			if err != nil || !strings.HasSuffix(string(got), "-ERR [SYS/TEMP] internal error, closing\r\n") {
				t.Errorf("the client heard %q, %v", got, err)
			}
			d.m.mu.Lock()
			d.m.panicAt = ""
			d.m.mu.Unlock()
			next := dial(t, d.addr)
			next.login()
			next.send("STAT\r\n")
			next.line("+OK 2 ")
		})
	}
}

// A kicked session loses its marks, and the maildrop is free.
func TestKick(t *testing.T) {
	d := serve(t, Config{InsecureAuth: true})
	c, other := dial(t, d.addr), dial(t, d.addr)
	c.login()
	other.line("+OK")
	c.send("DELE 1\r\n")
	c.line("+OK")
	if n := d.srv.Kick(func(s *envelope.Session) bool { return s.Identity != nil && s.Identity.User == "mrose@example.com" }); n != 1 {
		t.Fatalf("kicked %d sessions", n)
	}
	if b, err := c.r.ReadByte(); err == nil {
		t.Errorf("the session is open and says %q", b)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		other.send("USER mrose\r\nPASS tan staaf\r\n")
		other.line("+OK")
		line := other.line("")
		if strings.HasPrefix(line, "+OK maildrop has 2 messages") {
			break
		}
		if !strings.Contains(line, "[IN-USE]") || time.Now().After(end) {
			t.Fatalf("login says %q", line)
		}
	}
}

// Ten thousand messages, and the same names for them in the next session.
func TestManyMessages(t *testing.T) {
	const n = 10_000
	d := serve(t, Config{InsecureAuth: true})
	texts := make([]string, n-2)
	for i := range texts {
		texts[i] = fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", i)
	}
	d.m.put("mrose@example.com", texts...)
	names := func(quit string) string {
		c := dial(t, d.addr)
		c.login()
		c.send("UIDL\r\nLIST\r\nRETR 10000\r\n" + quit)
		got, err := io.ReadAll(c.r)
		if err != nil {
			t.Fatal(err)
		}
		uidl, list, _ := strings.Cut(string(got), ".\r\n+OK")
		if strings.Count(uidl, "\r\n") != n+1 || strings.Count(list, "\r\n") < n+1 || !strings.Contains(list, "Subject: 9997\r\n\r\nx\r\n.\r\n") {
			t.Fatalf("%d lines of UIDL, %d more", strings.Count(uidl, "\r\n"), strings.Count(list, "\r\n"))
		}
		return uidl
	}
	one := names("DELE 1\r\nRSET\r\nQUIT\r\n")
	if two := names("QUIT\r\n"); one != two {
		t.Error("messages have other names in the next session")
	}
}

func TestLoginDelayForgets(t *testing.T) {
	var d loginDelay
	now := time.Unix(1000, 0)
	for i := range 5000 {
		if left := d.wait(envelope.Address(fmt.Sprint(i)), time.Minute, now); left != 0 {
			t.Fatal(left)
		}
		now = now.Add(time.Second)
	}
	if left := d.wait("4999", time.Minute, now); left != 59*time.Second {
		t.Errorf("%v left, want 59 s", left)
	}
	if len(d.last) > minSweep+1 {
		t.Errorf("%d logins are remembered", len(d.last))
	}
}

// A connection that is reset after any octet deletes nothing and gives the
// maildrop back; serve looks for sessions and locks in the end.
func TestResetAnywhere(t *testing.T) {
	d := serve(t, Config{InsecureAuth: true})
	scene := "USER mrose\r\nPASS tan staaf\r\nRETR 1\r\nDELE 1\r\nDELE 2\r\nQUIT"
	for cut := range len(scene) {
		c := dial(t, d.addr)
		c.send(scene[:cut])
		if cut%2 == 0 {
			c.line("+OK")
		}
		c.nc.(*net.TCPConn).SetLinger(0)
		c.nc.Close()
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(d.m.boxes["mrose@example.com"].items); n != 2 || d.m.expunges != 0 {
		t.Errorf("%d messages left, %d expunges", n, d.m.expunges)
	}
}
