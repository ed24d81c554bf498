package smtpout

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var errCorrupt = errors.New("corrupt")

// accept is a peer that takes everything.
func accept(p *peer) {
	if !p.hello("PIPELINING", "DSN") {
		return
	}
	for {
		line, err := p.r.ReadString('\n')
		switch {
		case err != nil:
			return
		case strings.HasPrefix(line, "DATA"):
			p.say("354 go")
			p.message()
			p.say("250 2.0.0 taken by the other")
		case strings.HasPrefix(line, "QUIT"):
			p.say("221 bye")
			return
		default:
			p.say("250 ok")
		}
	}
}

// saysEnvelope reads a pipelined envelope for one recipient.
func saysEnvelope(p *peer) bool {
	return p.hello("PIPELINING") && p.want("MAIL") && p.want("RCPT") && p.want("DATA")
}

// twoHosts plays scenes at the first of two hosts. tried says whether the second one
// must get a connection.
func twoHosts(t *testing.T, tried bool, scenes []scene) {
	t.Helper()
	for _, tt := range scenes {
		t.Run(tt.name, func(t *testing.T) {
			first, _ := runPeer(t, any4, func(p *peer) { p.t = t; tt.peer(p) })
			second, n := runPeer(t, any4, accept)
			second.Preference = 10
			c := client(t, Config{Timeouts: Timeouts{Greeting: 300 * time.Millisecond, Final: 2 * time.Second, Quit: 50 * time.Millisecond}})
			out := c.Send(t.Context(), hop(second, first), transfer("b@example.com"))
			if codes(out) != tt.want || (n.Load() > 0) != tried {
				t.Errorf("outcome %+v, want %s; connections to the second host: %d", out, tt.want, n.Load())
			}
		})
	}
}

// TestNextHost: until the end of the content is sent, the next host may do.
func TestNextHost(t *testing.T) {
	twoHosts(t, true, []scene{
		{"gone at once", func(*peer) {}, "250"},
		{"greeting 554", func(p *peer) { p.say("554 no") }, "250"},
		{"greeting 451", func(p *peer) { p.say("451 later") }, "250"},
		{"gone after the greeting", func(p *peer) { p.say("220 peer") }, "250"},
		{"gone after EHLO", func(p *peer) { p.hello() }, "250"},
		{"421 to EHLO", func(p *peer) { p.say("220 peer"); p.step("EHLO", "421 busy") }, "250"},
		{"MAIL 4xx", func(p *peer) {
			if saysEnvelope(p) {
				p.say("451 4.3.0 later", "503 no", "503 no")
				p.eof()
			}
		}, "250"},
		{"421 to RCPT", func(p *peer) {
			if saysEnvelope(p) {
				p.say("250 ok", "421 4.3.2 busy")
			}
		}, "250"},
		{"gone after MAIL", func(p *peer) {
			if saysEnvelope(p) {
				p.say("250 ok")
			}
		}, "250"},
		{"gone after RCPT", func(p *peer) {
			if saysEnvelope(p) {
				p.say("250 ok", "250 ok")
			}
		}, "250"},
		{"silence after EHLO", func(p *peer) { p.say("220 peer"); p.eof() }, "250"},
	})
}

// TestLastWord: refusals of the message, and doubt, are no case for another
// host.
func TestLastWord(t *testing.T) {
	twoHosts(t, false, []scene{
		{"MAIL 5xx", func(p *peer) {
			if saysEnvelope(p) {
				p.say("550 5.7.1 no", "503 no", "503 no")
				p.step("RSET", "250 ok")
			}
		}, "550 5.7.1"},
		{"RCPT 4xx", func(p *peer) {
			if saysEnvelope(p) {
				p.say("250 ok", "450 4.7.1 grey", "503 no")
				p.step("RSET", "250 ok")
			}
		}, "450 4.7.1"},
		{"gone after the dot", func(p *peer) {
			if saysEnvelope(p) {
				p.say("250 ok", "250 ok", "354 go")
				p.message()
			}
		}, "451 4.4.2"},
		{"garbage after the dot", func(p *peer) {
			if saysEnvelope(p) {
				p.say("250 ok", "250 ok", "354 go")
				p.message()
				p.say("+OK")
			}
		}, "451 4.5.0"},
	})
}

// A peer that stops reading in the middle has nothing, and the next host gets
// the message; one that says why has settled it.
func TestBrokenOffContent(t *testing.T) {
	body := strings.Repeat(strings.Repeat("z", 78)+"\r\n", 200_000) // more than buffers on the way hold
	for _, tt := range []struct{ last, want string }{{"", "250"}, {"552 5.3.4 too big", "552 5.3.4"}} {
		t.Run(tt.want, func(t *testing.T) {
			sent := make(chan struct{}) // closed when Send has returned
			first, _ := runPeer(t, any4, func(p *peer) {
				if p.hello("PIPELINING") && p.want("MAIL") && p.want("RCPT") && p.want("DATA") {
					p.say("250 ok", "250 ok", "354 go")
					io.CopyN(io.Discard, p.r, 1000)
					if tt.last != "" {
						p.say(tt.last)
						<-sent // a reset would take the reply away
					}
				}
			})
			second, _ := runPeer(t, any4, accept)
			second.Preference = 10
			tr := transfer("b@example.com")
			tr.Open = opens(body)
			c := client(t, Config{Timeouts: Timeouts{Block: 500 * time.Millisecond, Final: 20 * time.Second}})
			out := c.Send(t.Context(), hop(first, second), tr)
			close(sent)
			if codes(out) != tt.want {
				t.Errorf("outcome %+v, want %s", out, tt.want)
			}
		})
	}
}

func TestUnreadableMessage(t *testing.T) {
	bodies := map[string]func() (io.ReadCloser, error){
		"at once": func() (io.ReadCloser, error) { return nil, errCorrupt },
		"in the middle": func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(letter), iotest.ErrReader(errCorrupt))), nil
		},
	}
	for name, open := range bodies {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			first, _ := runPeer(t, any4, func(p *peer) {
				if p.hello("PIPELINING") && p.want("MAIL") && p.want("RCPT") && p.want("DATA") {
					p.say("250 ok", "250 ok", "354 go")
					got <- p.message()
				}
			})
			second, n := runPeer(t, any4, accept)
			second.Preference = 10
			tr := transfer("b@example.com")
			tr.Open = open
			c := client(t, Config{})
			out := c.Send(t.Context(), hop(first, second), tr)
			if c.pool.total != 0 {
				t.Error("a connection in the middle of content is kept")
			}
			if codes(out) != "451 4.3.0" || !errors.Is(out[0].Status.Err, errCorrupt) || n.Load() > 0 {
				t.Errorf("outcome %+v, %d connections to the second host", out, n.Load())
			}
			if text := <-got; !strings.HasSuffix(text, "<cut>") {
				t.Errorf("the peer got %q as a whole message", text)
			}
		})
	}
}

// A connection that waited is replaced without a trace when it turns out to
// be gone.
func TestReplacedWhenStale(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"closed":        func(*peer) {},
		"421 unasked":   func(p *peer) { p.say("421 4.4.2 idle for too long") },
		"421 to MAIL":   func(p *peer) { p.step("MAIL", "421 4.4.2 idle for too long") },
		"reset at MAIL": func(p *peer) { p.want("MAIL") },
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			h, n := runPeer(t, any4, func(p *peer) {
				if p.hello() && p.step("MAIL", "250 ok") && p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
					p.message()
					p.say("250 ok")
					close(ended)
					end(p)
				}
			}, accept)
			c := client(t, Config{})
			if out := c.Send(t.Context(), hop(h), transfer("b@example.com")); codes(out) != "250" {
				t.Fatalf("outcome %+v", out)
			}
			<-ended
			out := c.Send(t.Context(), hop(h), transfer("b@example.com", "c@example.com"))
			if codes(out) != "250, 250" || n.Load() != 2 || out[0].Status.Text != "taken by the other" {
				t.Errorf("outcome %+v over %d connections", out, n.Load())
			}
		})
	}
}

func TestCancel(t *testing.T) {
	reached := make(chan struct{}, 1)
	wait := func(p *peer) { reached <- struct{}{}; p.eof() }
	for name, peer := range map[string]func(p *peer){
		"before the greeting": wait,
		"after EHLO":          func(p *peer) { p.say("220 peer"); p.want("EHLO"); wait(p) },
		"after the dot": func(p *peer) {
			if p.hello() && p.step("MAIL", "250 ok") && p.step("RCPT", "550 5.1.1 no") && p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
				p.message()
				wait(p)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, n := runPeer(t, any4, peer)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-reached; cancel() }()
			began := time.Now()
			c := client(t, Config{Timeouts: Timeouts{Greeting: time.Minute, Final: time.Minute}})
			out := c.Send(ctx, hop(h, h), transfer("b@example.com", "c@example.com"))
			want := "451 4.4.2, 451 4.4.2"
			if name == "after the dot" {
				want = "550 5.1.1, 451 4.4.2"
			}
			if codes(out) != want || n.Load() != 1 {
				t.Errorf("outcomes %s, want %s; %d connections", codes(out), want, n.Load())
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}
