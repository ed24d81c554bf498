package smtpout

import (
	"strings"
	"testing"
)

// scene is one unusual peer, and the outcomes of two recipients there.
type scene struct {
	name string
	peer func(p *peer)
	want string
}

func playScenes(t *testing.T, scenes []scene) {
	t.Helper()
	for _, tt := range scenes {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := runPeer(t, any4, func(p *peer) { p.t = t; tt.peer(p) })
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

// pipelined reads the envelope for two recipients, which came in one piece.
func pipelined(p *peer) bool {
	return p.hello("PIPELINING") && p.want("MAIL FROM:<a@example.org>") && p.want("RCPT TO:<b@example.com>") &&
		p.want("RCPT TO:<c@example.com>") && p.want("DATA")
}

// TestRefusals: the outcomes of refused recipients.
func TestRefusals(t *testing.T) {
	playScenes(t, []scene{
		{"all refused, DATA accepted all the same", func(p *peer) {
			if pipelined(p) {
				p.say("250 ok", "550 5.1.1 no", "550 5.1.1 no", "354 go")
				p.step(".", "554 5.5.1 no recipients")
				p.step("RSET", "250 ok")
				p.step("QUIT", "221 bye")
			}
		}, "550 5.1.1, 550 5.1.1"},
		{"sender refused, DATA accepted all the same", func(p *peer) {
			if pipelined(p) {
				p.say("550 5.7.1 no", "250 ok", "250 ok", "354 go")
				p.step(".", "250 taken")
				p.step("RSET", "250 ok")
				p.step("QUIT", "221 bye")
			}
		}, "550 5.7.1, 550 5.7.1"},
		{"one refused", func(p *peer) {
			if pipelined(p) {
				p.say("250 ok", "550 5.1.1 no", "250 ok", "354 go")
				p.message()
				p.say("250 2.0.0 taken")
			}
		}, "550 5.1.1, 250"},
		{"DATA refused", func(p *peer) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "250 ok", "451 4.3.0 not now")
				p.step("RSET", "250 ok")
			}
		}, "451 4.3.0, 451 4.3.0"},
		{"sender deferred", func(p *peer) {
			if pipelined(p) {
				p.say("451 4.7.1 grey", "503 no", "503 no", "503 no")
				p.step("QUIT", "221 bye")
			}
		}, "451 4.7.1, 451 4.7.1"},
		{"sender refused, then gone", func(p *peer) {
			if pipelined(p) {
				p.say("550 5.7.1 no")
			}
		}, "550 5.7.1, 550 5.7.1"},
	})
}

// TestRepliesOutOfStep: replies that are not those to the commands.
func TestRepliesOutOfStep(t *testing.T) {
	playScenes(t, []scene{
		{"a reply too few", func(p *peer) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "354 go")
				p.eof()
			}
		}, "451 4.5.0, 451 4.5.0"},
		{"354 to MAIL", func(p *peer) {
			if pipelined(p) {
				p.say("354 go", "250 ok", "250 ok", "354 go")
				p.eof()
			}
		}, "451 4.5.0, 451 4.5.0"},
		{"250 to DATA", func(p *peer) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "250 ok", "250 ok")
				if rest := p.eof(); rest != "" {
					t.Errorf("sent %q after 250 to DATA", rest)
				}
			}
		}, "451 4.5.0, 451 4.5.0"},
	})
}

// TestOldHosts: hosts without PIPELINING or without EHLO.
func TestOldHosts(t *testing.T) {
	playScenes(t, []scene{
		{"no pipelining", func(p *peer) {
			if !p.hello() {
				return
			}
			for _, verb := range []string{
				"MAIL FROM:<a@example.org>\r\n", "RCPT TO:<b@example.com>\r\n", "RCPT TO:<c@example.com>\r\n", "DATA\r\n",
			} {
				if !p.want(verb) {
					return
				}
				if p.r.Buffered() > 0 {
					t.Errorf("something came after %q", verb)
				}
				p.say(map[bool]string{true: "354 go", false: "250 ok"}[verb == "DATA\r\n"])
			}
			p.message()
			p.say("250 taken")
		}, "250, 250"},
		{"no pipelining, all refused", func(p *peer) {
			if p.hello() && p.step("MAIL", "250 ok") && p.step("RCPT", "550 5.1.1 no") && p.step("RCPT", "450 4.2.1 later") {
				p.step("RSET", "250 ok")
			}
		}, "550 5.1.1, 450 4.2.1"},
		{"HELO only", func(p *peer) {
			p.say("220-peer", "220 hello")
			if p.step("EHLO", "500 what?") && p.step("HELO", "250 SIZE 1") && p.step("MAIL", "250 ok") && p.step("RCPT", "250 ok") &&
				p.step("RCPT", "251 forwarded") && p.step("DATA", "354 go") {
				p.message()
				p.say("250 taken")
			}
		}, "250, 250"},
	})
}

// TestMoreThanTheHostTakes: recipients and transactions beyond a host's limits.
func TestMoreThanTheHostTakes(t *testing.T) {
	playScenes(t, []scene{
		{"too many recipients", func(p *peer) {
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
		{"too many recipients, said in words by 552", func(p *peer) {
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
		{"too many already with the first", func(p *peer) {
			if pipelined(p) {
				p.say("250 ok", "452 4.5.3 too many", "452 4.5.3 too many", "503 no")
				p.step("RSET", "250 ok")
			}
		}, "452 4.5.3, 452 4.5.3"},
		{"421 to the content", func(p *peer) {
			if pipelined(p) {
				p.say("250 ok", "250 ok", "250 ok", "354 go")
				p.message()
				p.say("421 4.3.2 closing")
			}
		}, "421 4.3.2, 421 4.3.2"},
		{"closing after the first of two transactions", func(p *peer) {
			if p.hello("LIMITS RCPTMAX=1 MAILMAX=1", "PIPELINING") && p.want("MAIL") && p.want("RCPT") && p.want("DATA") {
				p.say("250 ok", "250 ok", "354 go")
				p.message()
				p.say("250 taken")
				p.step("QUIT", "221 bye")
			}
		}, "250, 250"},
	})
}

// TestGreetings: hosts that do not let it come to MAIL.
func TestGreetings(t *testing.T) {
	playScenes(t, []scene{
		{"greeting 554", func(p *peer) { p.say("554 5.7.1 never"); p.step("QUIT", "221 bye") }, "554 5.7.1, 554 5.7.1"},
		{"greeting 521", func(p *peer) { p.say("521 no mail here") }, "521 , 521 "},
		{"greeting 550", func(p *peer) { p.say("550 5.7.1 blocked") }, "451 4.7.1, 451 4.7.1"},
		{"greeting 421", func(p *peer) { p.say("421 4.3.2 busy") }, "421 4.3.2, 421 4.3.2"},
		{"greeting 250", func(p *peer) { p.say("250 hello") }, "451 4.5.0, 451 4.5.0"},
		{"greeting of HTTP", func(p *peer) { p.say("HTTP/1.1 400 Bad Request") }, "451 4.5.0, 451 4.5.0"},
		{"two codes in a reply", func(p *peer) { p.say("220-hello", "250 hello") }, "451 4.5.0, 451 4.5.0"},
		{"greeting without end", func(p *peer) {
			for range 200 {
				p.say("220-more")
			}
			p.eof()
		}, "451 4.5.0, 451 4.5.0"},
		{"EHLO and HELO refused", func(p *peer) {
			p.say("220 peer")
			p.step("EHLO", "550 5.7.1 bad name")
			p.step("HELO", "550 5.7.1 bad name")
			p.step("QUIT", "221 bye")
		}, "451 4.7.1, 451 4.7.1"},
	})
}

// After a host has refused a recipient because there were too many, later transactions
// have no more than it accepted.
func TestLearnsHowManyAHostTakes(t *testing.T) {
	h, _ := runPeer(t, any4, func(p *peer) {
		if !p.hello("PIPELINING") || !p.want("MAIL") || !p.want("RCPT") || !p.want("RCPT") || !p.want("RCPT") || !p.want("DATA") {
			return
		}
		p.say("250 ok", "250 ok", "452 4.5.3 too many", "452 4.5.3 too many", "354 go")
		p.message()
		p.say("250 taken")
		for range 2 {
			if !p.want("MAIL") || !p.want("RCPT") || !p.want("DATA") {
				return
			}
			p.say("250 ok", "250 ok", "354 go")
			p.message()
			p.say("250 taken")
		}
	})
	out := client(t, Config{}).Send(t.Context(), hop(h), transfer("b@example.com", "c@example.com", "d@example.com"))
	if codes(out) != "250, 250, 250" {
		t.Errorf("outcomes %s", codes(out))
	}
}

func TestNotKeptAfterTrouble(t *testing.T) {
	for want, script := range map[string]func(p *peer){
		"421 4.3.2": func(p *peer) {
			if p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
				p.message()
				p.say("421 4.3.2 closing")
				p.eof()
			}
		},
		"451 4.7.1": func(p *peer) { p.eof() },
	} {
		first := map[bool]string{true: "451 4.7.1 grey", false: "250 ok"}[want == "451 4.7.1"]
		h, _ := runPeer(t, any4, func(p *peer) {
			if p.hello() && p.step("MAIL", first) {
				script(p)
			}
		})
		c := client(t, Config{})
		if out := c.Send(t.Context(), hop(h), transfer("b@example.com")); codes(out) != want || c.pool.total != 0 {
			t.Errorf("outcome %+v, want %s; %d connections are kept", out, want, c.pool.total)
		}
	}
}
