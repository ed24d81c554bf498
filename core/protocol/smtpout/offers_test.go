package smtpout

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
)

func TestMessageNeedsMoreThanOffered(t *testing.T) {
	plainPeer := func(p *peer) {
		if p.hello("DSN") {
			for {
				line, err := p.r.ReadString('\n')
				if err != nil {
					return
				}
				p.seen = append(p.seen, line)
				if strings.HasPrefix(line, "DATA") {
					p.say("354 go")
					p.message()
				}
				p.say("250 ok")
			}
		}
	}
	utf8 := strings.Replace(letter, "Subject: x", "Subject: ü", 1)
	late := time.Now().Add(-time.Minute)
	tests := []struct {
		name string
		edit func(tr *envelope.Transfer)
		want string
	}{
		{"8bit", func(tr *envelope.Transfer) { tr.EightBit = true }, "554 5.6.3, 554 5.6.3"},
		{"utf8 said but not used", func(tr *envelope.Transfer) { tr.SMTPUTF8 = true }, "250, 250"},
		{"utf8 in the body only", func(tr *envelope.Transfer) { tr.SMTPUTF8, tr.Open = true, opens(letter+"ü\r\n") }, "250, 250"},
		{"utf8 in the header", func(tr *envelope.Transfer) { tr.SMTPUTF8, tr.Open = true, opens(utf8) }, "550 5.6.7, 550 5.6.7"},
		{"utf8 sender", func(tr *envelope.Transfer) { tr.Sender = "ü@example.org" }, "550 5.6.7, 550 5.6.7"},
		{"utf8 recipient", func(tr *envelope.Transfer) { tr.Recipients[1].Address = "ü@example.com" }, "250, 550 5.6.7"},
		{"utf8 domain", func(tr *envelope.Transfer) { tr.Recipients[1].Address = "c@bücher.example" }, "250, 250"},
		{"utf8 unreadable", func(tr *envelope.Transfer) {
			tr.SMTPUTF8, tr.Open = true, func() (io.ReadCloser, error) { return nil, errCorrupt }
		}, "451 4.3.0, 451 4.3.0"},
		{"too late", func(tr *envelope.Transfer) { tr.By = late }, "554 5.4.7, 554 5.4.7"},
		{"too late, but to be delivered", func(tr *envelope.Transfer) { tr.By, tr.ByNotify = late, true }, "250, 250"},
		{"line break in an address", func(tr *envelope.Transfer) { tr.Recipients[1].Address = "c@example.com>\r\nQUIT" }, "250, 553 5.1.3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen := make(chan []string, 1)
			h, _ := runPeer(t, any4, func(p *peer) {
				p.t = t
				plainPeer(p)
				seen <- p.seen
			})
			tr := transfer("b@example.com", "c@example.com")
			tt.edit(&tr)
			c := client(t, Config{MaxIdle: -1})
			if got := codes(c.Send(t.Context(), hop(h), tr)); got != tt.want {
				t.Errorf("outcomes %s, want %s", got, tt.want)
			}
			for _, line := range <-seen {
				if !envelope.Address(line).ASCII() {
					t.Errorf("the peer got %q", line)
				}
			}
		})
	}
}

// Without CHUNKING or time: the number of flights is what PIPELINING saves.
func TestFlights(t *testing.T) {
	for _, tt := range []struct {
		ext  []string
		want int
	}{{[]string{"PIPELINING"}, 3}, {nil, 14}} { // EHLO, [MAIL 10 RCPT DATA], content
		flights := make(chan int, 1)
		h, _ := runPeer(t, any4, func(p *peer) { flights <- counting(p, 0, tt.ext...) })
		var to []string
		for i := range 10 {
			to = append(to, fmt.Sprintf("r%d@example.com", i))
		}
		out := client(t, Config{MaxIdle: -1}).Send(t.Context(), hop(h), transfer(to...))
		if strings.Count(codes(out), "250") != 10 {
			t.Errorf("outcomes %s", codes(out))
		}
		if n := <-flights; n != tt.want {
			t.Errorf("with %q: %d flights, want %d", tt.ext, n, tt.want)
		}
	}
}

// counting is a peer that accepts everything, answers each batch after delay, and returns
// how many batches came before QUIT.
func counting(p *peer, delay time.Duration, ext ...string) int {
	p.say("220 peer")
	buf := make([]byte, 64<<10)
	content, rest := false, ""
	for n := 0; ; n++ {
		k, err := p.nc.Read(buf)
		if err != nil {
			return n
		}
		time.Sleep(delay)
		rest += string(buf[:k])
		var replies []string
		for {
			line, more, ok := strings.Cut(rest, "\r\n")
			if !ok {
				break
			}
			rest = more
			switch {
			case content && line == ".":
				content = false
				replies = append(replies, "250 taken")
			case content:
			case strings.HasPrefix(line, "EHLO"):
				p.offer(ext...)
			case line == "DATA":
				content = true
				replies = append(replies, "354 go")
			case line == "QUIT":
				p.say("221 bye")
				return n
			default:
				replies = append(replies, "250 ok")
			}
		}
		if len(replies) > 0 {
			p.say(replies...)
		}
	}
}
