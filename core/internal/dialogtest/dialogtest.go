// Package dialogtest plays protocol dialogues, written down in text files as
// the RFCs write them, against a server.
//
//	# a comment
//	S: 220 * ESMTP
//	C: HELO relay.example.org
//	S: 250 /mx[0-9]*\.example\.com/
//
// "C: " sends a line with CRLF. "C> " sends without CRLF. Both know \r \n \t
// \0 \\ and \xHH. "S: " expects the next line: literal text in which "*"
// stands for any text and "/.../" for a regular expression (a slash inside it
// is \/; an asterisk or slash meant literally is \* or \/). A server line may
// name what it met, "{name=*}", and "{name}" in later lines stands for that.
//
// Directives begin with "!":
//
//	!connect [name]    a new connection, named, that lines now go over
//	!tls [name]        the same, with TLS from the first octet
//	!use name          go on with another connection
//	!starttls          a TLS handshake on this one
//	!close             close it
//	!eof               expect the server to close it
//	!quiet             expect that the server has nothing to say for 50 ms
//	!repeat N TEXT     send TEXT, escapes included, N times
//	!reply LINE        expect one SMTP reply of any number of lines with the
//	                   code of LINE, whose last line is as written
//
// A file begins with one connection, "main", open. Play stops the test at the
// first line that is not as written, and names file and line.
package dialogtest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Server is where a dialogue goes.
type Server struct {
	Addr    string
	TLS     *tls.Config   // of the client, for !tls and !starttls
	Timeout time.Duration // for each line, default 5 s
	Vars    map[string]string
}

// PlayDir plays every *.dialog file of a directory, each as a subtest.
func PlayDir(t *testing.T, dir string, server func(t *testing.T, file string) Server) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.dialog"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues in %s: %v", dir, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".dialog"), func(t *testing.T) {
			Play(t, f, server(t, f))
		})
	}
}

// Play plays one file.
func Play(t testing.TB, file string, srv Server) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := play(string(text), srv); err != nil {
		t.Fatalf("%s:%v", file, err)
	}
}

// play plays a text; the error begins with the number of the line.
func play(text string, srv Server) error {
	if srv.Timeout == 0 {
		srv.Timeout = 5 * time.Second
	}
	p := &player{srv: srv, conns: make(map[string]*peer), vars: make(map[string]string)}
	maps.Copy(p.vars, srv.Vars)
	defer p.closeAll()
	if err := p.connect("main", false); err != nil {
		return fmt.Errorf("0: %w", err)
	}
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		if err := p.line(line); err != nil {
			return fmt.Errorf("%d: %s\n\t%w", n, line, err)
		}
	}
	return nil
}

type player struct {
	srv   Server
	conns map[string]*peer
	now   *peer
	vars  map[string]string
}

type peer struct {
	nc net.Conn
	r  *bufio.Reader
}

func (p *player) closeAll() {
	for _, c := range p.conns {
		c.nc.Close()
	}
}

func (p *player) connect(name string, withTLS bool) error {
	nc, err := net.DialTimeout("tcp", p.srv.Addr, p.srv.Timeout)
	if err != nil {
		return err
	}
	p.now = &peer{nc: nc, r: bufio.NewReader(nc)}
	p.conns[name] = p.now
	if withTLS {
		return p.starttls()
	}
	return nil
}

func (p *player) starttls() error {
	tc := tls.Client(p.now.nc, p.srv.TLS)
	tc.SetDeadline(time.Now().Add(p.srv.Timeout))
	if err := tc.Handshake(); err != nil {
		return err
	}
	p.now.nc = tc
	p.now.r = bufio.NewReader(tc)
	return nil
}

func (p *player) line(line string) error {
	switch {
	case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		return nil
	case strings.HasPrefix(line, "C: ") || line == "C:":
		return p.send(strings.TrimPrefix(line[2:], " ") + `\r\n`)
	case strings.HasPrefix(line, "C> "):
		return p.send(line[3:])
	case strings.HasPrefix(line, "S: ") || line == "S:":
		return p.expect(strings.TrimPrefix(line[2:], " "))
	case strings.HasPrefix(line, "!"):
		word, arg, _ := strings.Cut(line[1:], " ")
		return p.directive(word, arg)
	}
	return errors.New("neither a C, nor an S, nor a directive")
}

func (p *player) send(text string) error {
	octets, err := unescape(p.replaceVars(text))
	if err != nil {
		return err
	}
	p.now.nc.SetWriteDeadline(time.Now().Add(p.srv.Timeout))
	_, err = io.WriteString(p.now.nc, octets)
	return err
}

func (p *player) directive(word, arg string) error {
	name := arg
	if name == "" {
		name = "main"
	}
	switch word {
	case "connect", "tls":
		return p.connect(name, word == "tls")
	case "use":
		c := p.conns[name]
		if c == nil {
			return errors.New("no such connection")
		}
		p.now = c
		return nil
	case "starttls":
		return p.starttls()
	case "close":
		return p.now.nc.Close()
	case "eof":
		return p.eof()
	case "quiet":
		return p.quiet()
	case "reply":
		return p.reply(arg)
	case "repeat":
		number, text, _ := strings.Cut(arg, " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		return p.send(strings.Repeat(text, n))
	}
	return errors.New("no such directive")
}

// reply reads the lines that go on, then expects the last one.
func (p *player) reply(last string) error {
	code, _, _ := strings.Cut(last, " ")
	for {
		p.now.nc.SetReadDeadline(time.Now().Add(p.srv.Timeout))
		if head, err := p.now.r.Peek(4); err != nil || string(head) != code+"-" {
			return p.expect(last)
		}
		if _, err := p.now.r.ReadString('\n'); err != nil {
			return err
		}
	}
}

func (p *player) eof() error {
	p.now.nc.SetReadDeadline(time.Now().Add(p.srv.Timeout))
	rest, err := io.ReadAll(p.now.r)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return errors.New("the server does not close the connection")
	}
	if len(rest) > 0 {
		return errors.New("the server says, before it closes: " + strconv.Quote(string(rest)))
	}
	return nil
}

func (p *player) quiet() error {
	p.now.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	line, err := p.now.r.ReadString('\n')
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() && line == "" {
		return nil
	}
	return errors.New("the server is not quiet: " + strconv.Quote(line))
}
