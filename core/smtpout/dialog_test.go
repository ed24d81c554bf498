package smtpout

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"carteiro/core/mail"
)

var errCorrupt = errors.New("corrupt")

// TestOneHost: what becomes of two recipients at one odd peer.
func TestOneHost(t *testing.T) {
	pipelined := func(p *talk) bool {
		return p.hello("PIPELINING") && p.want("MAIL FROM:<a@example.org>") && p.want("RCPT TO:<b@example.com>") &&
			p.want("RCPT TO:<c@example.com>") && p.want("DATA")
	}
	tests := []struct {
		name string
		peer func(p *talk)
		want string
	}{
		{"all refused, DATA accepted all the same", func(p *talk) {
			if pipelined(p) {
				p.say("250 ok", "550 5.1.1 no", "550 5.1.1 no", "354 go")
				p.step(".", "554 5.5.1 no recipients")
				p.step("RSET", "250 ok")
				p.step("QUIT", "221 bye")
			}
		}, "550 5.1.1, 550 5.1.1"},
		{"sender refused, DATA accepted all the same", func(p *talk) {
			if pipelined(p) {
				p.say("550 5.7.1 no", "250 ok", "250 ok", "354 go")
				p.step(".", "250 taken")
				p.step("RSET", "250 ok")
				p.step("QUIT", "221 bye")
			}
		}, "550 5.7.1, 550 5.7.1"},
		{"one refused", func(p *talk) {
			if pipelined(p) {
				p.say("250 ok", "550 5.1.1 no", "250 ok", "354 go")
				p.message()
				p.say("250 2.0.0 taken")
			}
		}, "550 5.1.1, 250"},
		{"DATA refused", func(p *talk) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "250 ok", "451 4.3.0 not now")
				p.step("RSET", "250 ok")
			}
		}, "451 4.3.0, 451 4.3.0"},
		{"sender deferred", func(p *talk) {
			if pipelined(p) {
				p.say("451 4.7.1 grey", "503 no", "503 no", "503 no")
			}
		}, "451 4.7.1, 451 4.7.1"},
		{"sender refused, then gone", func(p *talk) {
			if pipelined(p) {
				p.say("550 5.7.1 no")
			}
		}, "550 5.7.1, 550 5.7.1"},
		{"a reply too few", func(p *talk) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "354 go")
				p.eof()
			}
		}, "451 4.5.0, 451 4.5.0"},
		{"354 to MAIL", func(p *talk) {
			if pipelined(p) {
				p.say("354 go", "250 ok", "250 ok", "354 go")
				p.eof()
			}
		}, "451 4.5.0, 451 4.5.0"},
		{"250 to DATA", func(p *talk) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "250 ok", "250 ok")
				if rest := p.eof(); rest != "" {
					t.Errorf("sent %q after 250 to DATA", rest)
				}
			}
		}, "451 4.5.0, 451 4.5.0"},
		{"no pipelining", func(p *talk) {
			if !p.hello() {
				return
			}
			for _, verb := range []string{"MAIL FROM:<a@example.org>\r\n", "RCPT TO:<b@example.com>\r\n", "RCPT TO:<c@example.com>\r\n", "DATA\r\n"} {
				if !p.want(verb) {
					return
				}
				if p.r.Buffered() > 0 {
					t.Errorf("something came behind %q", verb)
				}
				p.say(map[bool]string{true: "354 go", false: "250 ok"}[verb == "DATA\r\n"])
			}
			p.message()
			p.say("250 taken")
		}, "250, 250"},
		{"no pipelining, all refused", func(p *talk) {
			if p.hello() && p.step("MAIL", "250 ok") && p.step("RCPT", "550 5.1.1 no") && p.step("RCPT", "450 4.2.1 later") {
				p.step("RSET", "250 ok")
			}
		}, "550 5.1.1, 450 4.2.1"},
		{"HELO only", func(p *talk) {
			p.say("220-peer", "220 hello")
			if p.step("EHLO", "500 what?") && p.step("HELO", "250 SIZE 1") && p.step("MAIL", "250 ok") && p.step("RCPT", "250 ok") &&
				p.step("RCPT", "251 forwarded") && p.step("DATA", "354 go") {
				p.message()
				p.say("250 taken")
			}
		}, "250, 250"},
		{"too many recipients", func(p *talk) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "452 4.5.3 too many", "354 go")
				p.message()
				p.say("250 taken")
			}
			if p.want("MAIL") && p.want("RCPT TO:<c@example.com>") && p.want("DATA") {
				p.say("250 ok", "250 ok", "354 go")
				p.message()
				p.say("550 5.6.0 not twice")
			}
		}, "250, 550 5.6.0"},
		{"too many recipients, said in words by 552", func(p *talk) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "552 Too many recipients", "354 go")
				p.message()
				p.say("250 taken")
			}
			if p.want("MAIL") && p.want("RCPT TO:<c@example.com>") && p.want("DATA") {
				p.say("250 ok", "250 ok", "354 go")
				p.message()
				p.say("250 taken")
			}
		}, "250, 250"},
		{"too many already with the first", func(p *talk) {
			if pipelined(p) {
				p.say("250 ok", "452 4.5.3 too many", "452 4.5.3 too many", "503 no")
				p.step("RSET", "250 ok")
			}
		}, "452 4.5.3, 452 4.5.3"},
		{"421 to the content", func(p *talk) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "250 ok", "354 go")
				p.message()
				p.say("421 4.3.2 closing")
			}
		}, "421 4.3.2, 421 4.3.2"},
		{"closing after the first of two transactions", func(p *talk) {
			if p.hello("LIMITS RCPTMAX=1 MAILMAX=1", "PIPELINING") && p.want("MAIL") && p.want("RCPT") && p.want("DATA") {
				p.say("250 ok", "250 ok", "354 go")
				p.message()
				p.say("250 taken")
				p.step("QUIT", "221 bye")
			}
		}, "250, 250"},
		{"greeting 554", func(p *talk) { p.say("554 5.7.1 never"); p.step("QUIT", "221 bye") }, "554 5.7.1, 554 5.7.1"},
		{"greeting 521", func(p *talk) { p.say("521 no mail here") }, "521 , 521 "},
		{"greeting 550", func(p *talk) { p.say("550 5.7.1 blocked") }, "451 4.7.1, 451 4.7.1"},
		{"greeting 421", func(p *talk) { p.say("421 4.3.2 busy") }, "421 4.3.2, 421 4.3.2"},
		{"greeting 250", func(p *talk) { p.say("250 hello") }, "451 4.5.0, 451 4.5.0"},
		{"greeting of HTTP", func(p *talk) { p.say("HTTP/1.1 400 Bad Request") }, "451 4.5.0, 451 4.5.0"},
		{"two codes in a reply", func(p *talk) { p.say("220-hello", "250 hello") }, "451 4.5.0, 451 4.5.0"},
		{"greeting without end", func(p *talk) {
			for range 200 {
				p.say("220-more")
			}
			p.eof()
		}, "451 4.5.0, 451 4.5.0"},
		{"EHLO and HELO refused", func(p *talk) {
			p.say("220 peer")
			p.step("EHLO", "550 5.7.1 bad name")
			p.step("HELO", "550 5.7.1 bad name")
			p.step("QUIT", "221 bye")
		}, "451 4.7.1, 451 4.7.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := play(t, any4, func(p *talk) { p.t = t; tt.peer(p) })
			out := client(t, Config{}).Send(t.Context(), hop(h), transfer("b@example.com", "c@example.com"))
			if got := codes(out); got != tt.want {
				t.Errorf("outcomes %s, want %s", got, tt.want)
			}
			for _, o := range out {
				if o.Host == "" || strings.ContainsAny(o.Status.Text, "\r\n") {
					t.Errorf("outcome %+v", o)
				}
			}
		})
	}
}

// accept is a peer that takes everything.
func accept(p *talk) {
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

// TestNextHost: whether the second host is tried after the first one failed
// at a given point, and what is the outcome.
func TestNextHost(t *testing.T) {
	envelope := func(p *talk) bool {
		return p.hello("PIPELINING") && p.want("MAIL") && p.want("RCPT") && p.want("DATA")
	}
	tests := []struct {
		name  string
		peer  func(p *talk)
		want  string
		tried bool
	}{
		{"gone at once", func(*talk) {}, "250", true},
		{"greeting 554", func(p *talk) { p.say("554 no") }, "250", true},
		{"greeting 451", func(p *talk) { p.say("451 later") }, "250", true},
		{"gone after the greeting", func(p *talk) { p.say("220 peer") }, "250", true},
		{"gone after EHLO", func(p *talk) { p.hello() }, "250", true},
		{"421 to EHLO", func(p *talk) { p.say("220 peer"); p.step("EHLO", "421 busy") }, "250", true},
		{"MAIL 4xx", func(p *talk) {
			if envelope(p) {
				p.say("451 4.3.0 later", "503 no", "503 no")
				p.eof()
			}
		}, "250", true},
		{"MAIL 5xx", func(p *talk) {
			if envelope(p) {
				p.say("550 5.7.1 no", "503 no", "503 no")
				p.step("RSET", "250 ok")
			}
		}, "550 5.7.1", false},
		{"421 to RCPT", func(p *talk) {
			if envelope(p) {
				p.say("250 ok", "421 4.3.2 busy")
			}
		}, "250", true},
		{"RCPT 4xx", func(p *talk) {
			if envelope(p) {
				p.say("250 ok", "450 4.7.1 grey", "503 no")
				p.step("RSET", "250 ok")
			}
		}, "450 4.7.1", false},
		{"gone after MAIL", func(p *talk) {
			if envelope(p) {
				p.say("250 ok")
			}
		}, "250", true},
		{"gone after RCPT", func(p *talk) {
			if envelope(p) {
				p.say("250 ok", "250 ok")
			}
		}, "250", true},
		{"gone after the dot", func(p *talk) {
			if envelope(p) {
				p.say("250 ok", "250 ok", "354 go")
				p.message()
			}
		}, "451 4.4.2", false},
		{"garbage after the dot", func(p *talk) {
			if envelope(p) {
				p.say("250 ok", "250 ok", "354 go")
				p.message()
				p.say("+OK")
			}
		}, "451 4.5.0", false},
		{"silence after EHLO", func(p *talk) { p.say("220 peer"); p.eof() }, "250", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first, _ := play(t, any4, func(p *talk) { p.t = t; tt.peer(p) })
			second, n := play(t, any4, accept)
			second.Preference = 10
			c := client(t, Config{Timeouts: Timeouts{Greeting: 300 * time.Millisecond, Final: 2 * time.Second, Quit: 50 * time.Millisecond}})
			out := c.Send(t.Context(), hop(second, first), transfer("b@example.com"))
			if codes(out) != tt.want || (n.Load() > 0) != tt.tried {
				t.Errorf("outcome %+v, want %s; connections to the second host: %d", out, tt.want, n.Load())
			}
		})
	}
}

// A peer that stops reading in the middle has nothing, and the next host gets
// the message; one that says why has settled it.
func TestBrokenOffContent(t *testing.T) {
	body := strings.Repeat(strings.Repeat("z", 78)+"\r\n", 200_000) // more than buffers on the way hold
	for _, tt := range []struct{ last, want string }{{"", "250"}, {"552 5.3.4 too big", "552 5.3.4"}} {
		t.Run(tt.want, func(t *testing.T) {
			first, _ := play(t, any4, func(p *talk) {
				if p.hello("PIPELINING") && p.want("MAIL") && p.want("RCPT") && p.want("DATA") {
					p.say("250 ok", "250 ok", "354 go")
					io.CopyN(io.Discard, p.r, 1000)
					if tt.last != "" {
						p.say(tt.last)
						time.Sleep(1500 * time.Millisecond) // a reset would take the reply away
					}
				}
			})
			second, _ := play(t, any4, accept)
			second.Preference = 10
			tr := transfer("b@example.com")
			tr.Open = opens(body)
			c := client(t, Config{Timeouts: Timeouts{Block: 500 * time.Millisecond, Final: 5 * time.Second}})
			if out := c.Send(t.Context(), hop(first, second), tr); codes(out) != tt.want {
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
			first, _ := play(t, any4, func(p *talk) {
				if p.hello("PIPELINING") && p.want("MAIL") && p.want("RCPT") && p.want("DATA") {
					p.say("250 ok", "250 ok", "354 go")
					got <- p.message()
				}
			})
			second, n := play(t, any4, accept)
			second.Preference = 10
			tr := transfer("b@example.com")
			tr.Open = open
			out := client(t, Config{}).Send(t.Context(), hop(first, second), tr)
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
	for name, end := range map[string]func(p *talk){
		"closed":        func(*talk) {},
		"421 unasked":   func(p *talk) { p.say("421 4.4.2 idle for too long") },
		"421 to MAIL":   func(p *talk) { p.step("MAIL", "421 4.4.2 idle for too long") },
		"reset at MAIL": func(p *talk) { p.want("MAIL") },
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			h, n := play(t, any4, func(p *talk) {
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

func TestSTARTTLS(t *testing.T) {
	start := func(p *talk) bool { return p.hello("STARTTLS") && p.want("STARTTLS") }
	inClear := func(p *talk) {
		if p.hello("STARTTLS") && p.step("MAIL", "250 ok") && p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
			p.message()
			p.say("250 taken")
			p.eof()
		}
	}
	tests := []struct {
		name        string
		policy      mail.TLSPolicy
		first       func(p *talk)
		want        string
		connections int32
	}{
		{"handshake fails", mail.TLSMay, func(p *talk) {
			if start(p) {
				p.say("220 go")
				p.r.ReadByte()
				p.say("no TLS here")
			}
		}, "250", 2},
		{"handshake fails, verify", mail.TLSVerify, func(p *talk) {
			if start(p) {
				p.say("220 go")
				p.r.ReadByte()
				p.say("no TLS here")
			}
		}, "451 4.7.5", 1},
		{"injected reply", mail.TLSMay, func(p *talk) {
			if start(p) {
				p.say("220 go", "250-injected", "250 DSN")
				if rest := p.eof(); rest != "" {
					t.Errorf("sent %q", rest)
				}
			}
		}, "451 4.7.5", 1},
		{"refused after all", mail.TLSMay, func(p *talk) {
			if start(p) {
				p.say("454 4.7.0 not now")
				if p.step("MAIL", "250 ok") && p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
					p.message()
					p.say("250 taken")
				}
			}
		}, "250", 1},
		{"refused after all, verify", mail.TLSVerify, func(p *talk) {
			if start(p) {
				p.say("454 4.7.0 not now")
				p.eof()
			}
		}, "451 4.7.10", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, n := play(t, any4, func(p *talk) { p.t = t; tt.first(p) }, func(p *talk) { p.t = t; inClear(p) })
			nh := hop(h)
			nh.TLS = tt.policy
			c := client(t, Config{MaxIdle: -1})
			if out := c.Send(t.Context(), nh, transfer("b@example.com")); codes(out) != tt.want || n.Load() != tt.connections {
				t.Fatalf("outcome %+v over %d connections, want %s over %d", out, n.Load(), tt.want, tt.connections)
			}
			if tt.connections == 2 {
				out := c.Send(t.Context(), nh, transfer("b@example.com"))
				if codes(out) != "250" || n.Load() != 3 {
					t.Errorf("that TLS fails was forgotten: %+v, %d connections", out, n.Load())
				}
			}
		})
	}
}

// What was offered before the handshake does not count behind it.
func TestOffersInTheClearAreVoid(t *testing.T) {
	h, _ := play(t, any4, func(p *talk) {
		if !p.hello("STARTTLS", "DSN", "SIZE 10") || !p.step("STARTTLS", "220 go") {
			return
		}
		tc := tls.Server(p.nc, serverTLS())
		p.nc = tc
		p.r.Reset(tc)
		if p.want("EHLO") && p.offer("8BITMIME") && p.step("MAIL FROM:<a@example.org>\r\n", "250 ok") && p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
			p.message()
			p.say("250 taken")
		}
	})
	tr := transfer("b@example.com")
	tr.Ret = "FULL"
	out := client(t, Config{}).Send(t.Context(), hop(h), tr)
	if codes(out) != "250" || !out[0].NoDSN || out[0].TLS != "TLS1.3" {
		t.Errorf("outcome %+v", out)
	}
}

func TestCancel(t *testing.T) {
	reached := make(chan struct{}, 1)
	wait := func(p *talk) { reached <- struct{}{}; p.eof() }
	for name, peer := range map[string]func(p *talk){
		"before the greeting": wait,
		"after EHLO":          func(p *talk) { p.say("220 peer"); p.want("EHLO"); wait(p) },
		"after the dot": func(p *talk) {
			if p.hello() && p.step("MAIL", "250 ok") && p.step("RCPT", "550 5.1.1 no") && p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
				p.message()
				wait(p)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, n := play(t, any4, peer)
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

func TestMessageNeedsMoreThanOffered(t *testing.T) {
	plainPeer := func(p *talk) {
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
		edit func(tr *mail.Transfer)
		want string
	}{
		{"8bit", func(tr *mail.Transfer) { tr.EightBit = true }, "554 5.6.3, 554 5.6.3"},
		{"utf8 said but not used", func(tr *mail.Transfer) { tr.SMTPUTF8 = true }, "250, 250"},
		{"utf8 in the body only", func(tr *mail.Transfer) { tr.SMTPUTF8, tr.Open = true, opens(letter+"ü\r\n") }, "250, 250"},
		{"utf8 in the header", func(tr *mail.Transfer) { tr.SMTPUTF8, tr.Open = true, opens(utf8) }, "550 5.6.7, 550 5.6.7"},
		{"utf8 sender", func(tr *mail.Transfer) { tr.Sender = "ü@example.org" }, "550 5.6.7, 550 5.6.7"},
		{"utf8 recipient", func(tr *mail.Transfer) { tr.Recipients[1].Address = "ü@example.com" }, "250, 550 5.6.7"},
		{"utf8 domain", func(tr *mail.Transfer) { tr.Recipients[1].Address = "c@bücher.example" }, "250, 250"},
		{"utf8 unreadable", func(tr *mail.Transfer) {
			tr.SMTPUTF8, tr.Open = true, func() (io.ReadCloser, error) { return nil, errCorrupt }
		}, "451 4.3.0, 451 4.3.0"},
		{"too late", func(tr *mail.Transfer) { tr.By = late }, "554 5.4.7, 554 5.4.7"},
		{"too late, but to be delivered", func(tr *mail.Transfer) { tr.By, tr.ByNotify = late, true }, "250, 250"},
		{"line break in an address", func(tr *mail.Transfer) { tr.Recipients[1].Address = "c@example.com>\r\nQUIT" }, "250, 553 5.1.3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen := make(chan []string, 1)
			h, _ := play(t, any4, func(p *talk) {
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
				if !mail.Address(line).ASCII() {
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
		h, _ := play(t, any4, func(p *talk) { flights <- counting(p, 0, tt.ext...) })
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

// counting is a peer that takes everything, answers each flight after delay,
// and tells how many came before QUIT.
func counting(p *talk, delay time.Duration, ext ...string) int {
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
