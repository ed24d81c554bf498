package smtpin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"carteiro/core/message/envelope"
)

// FuzzCommand: a command printed and parsed again is the same command.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{"NOOP", "mail FROM:<>  ", "QUIT \t ", "A  b", "", " ", "EHLO\tx", "x1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cmd, err := parseCommand(line)
		if err != nil {
			return
		}
		if cmd.verb != strings.ToUpper(cmd.verb) || strings.TrimRight(cmd.arg, " \t") != cmd.arg {
			t.Errorf("%q: %+v", line, cmd)
		}
		if again, err := parseCommand(cmd.String()); err != nil || again != cmd {
			t.Errorf("%q: %+v, again %+v, %v", line, cmd, again, err)
		}
	})
}

// FuzzPath: the address of an accepted path parses to the same in brackets, and the
// brackets are where a simple slow parser finds them.
func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"FROM:<a@b>", "FROM:<@x,@y:a@b> SIZE=1", `FROM:<"a>b"@c> X`, `FROM:<"\">"@c>`, "FROM:<a@[IPv6:::1]>", "FROM:<> ", "from:<ü@ü>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		inner, params, found := cutPath(arg, "FROM")
		if !found {
			return
		}
		want := arg[:6] + inner + ">"
		if params != "" {
			want += " " + params
		}
		if want != arg {
			t.Errorf("%q: inner %q, params %q", arg, inner, params)
		}
		a, err := parseMailbox(inner)
		if err != nil {
			return
		}
		inner, _, found = cutPath("FROM:"+a.Path(), "FROM")
		again, err := parseMailbox(inner)
		if !found || err != nil || again != a {
			t.Errorf("%q: %q, again %q, %v, %v", arg, a, again, found, err)
		}
	})
}

// FuzzMailParams: parameters printed and parsed again are the same.
func FuzzMailParams(f *testing.F) {
	for _, s := range []string{
		"", "SIZE=100 BODY=8bitmime", "SMTPUTF8 REQUIRETLS", "RET=hdrs ENVID=a+2Bb", "MT-PRIORITY=-9", "BY=120;RT", "BY=-1;n",
		"AUTH=<>", "AUTH=a+40b+2Ec", "HOLDFOR=60", "HOLDUNTIL=2026-01-01T00:00:30Z", "SIZE=99999999999999999999", "X=Y", "SIZE=1 SIZE=1",
	} {
		f.Add(s)
	}
	o := offers{requireTLS: true, auth: true, hold: time.Hour, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseMailParams(s, o)
		if err != nil {
			if !errors.Is(err, errSyntax) {
				t.Errorf("%q: %v is not a syntax error", s, err)
			}
			return
		}
		printed := printMailParams(p)
		again, err := parseMailParams(printed, o)
		if err != nil || !reflect.DeepEqual(normal(p), normal(again)) {
			t.Errorf("%q: %+v, printed %q, again %+v, %v", s, p, printed, again, err)
		}
	})
}

func normal(p envelope.Params) envelope.Params {
	p.HoldUntil = p.HoldUntil.UTC()
	return p
}

func printMailParams(p envelope.Params) string {
	var out []string
	add := func(set bool, format string, args ...any) {
		if set {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(p.Size != 0, "SIZE=%d", p.Size)
	add(p.Body != "", "BODY=%s", p.Body)
	add(p.SMTPUTF8, "SMTPUTF8")
	add(p.RequireTLS, "REQUIRETLS")
	add(p.Ret != "", "RET=%s", p.Ret)
	add(p.EnvID != "", "ENVID=%s", encodeXtext(p.EnvID))
	if p.Priority != nil {
		add(true, "MT-PRIORITY=%d", *p.Priority)
	}
	add(p.ByMode != "", "BY=%d;%s", p.By, p.ByMode)
	add(p.Auth != "", "AUTH=%s", encodeXtext(p.Auth))
	add(!p.HoldUntil.IsZero(), "HOLDUNTIL=%s", p.HoldUntil.UTC().Format(time.RFC3339Nano))
	return strings.Join(out, " ")
}

// FuzzRcptParams: the same for RCPT, and nothing decoded can break a line.
func FuzzRcptParams(f *testing.F) {
	for _, s := range []string{"NOTIFY=NEVER", "NOTIFY=success,DELAY", "ORCPT=rfc822;a+2Bb@c", "ORCPT=utf-8;ü@ü", "ORCPT=utf-8;a\\x{FC}@c",
		"ORCPT=x;+0D+0A"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, utf8ok bool) {
		notify, orcpt, err := parseRcptParams(s, utf8ok)
		if err != nil {
			if !errors.Is(err, errSyntax) {
				t.Errorf("%q: %v is not a syntax error", s, err)
			}
			return
		}
		if strings.ContainsAny(orcpt, "\r\n\x00") || !utf8ok && !envelope.Address(orcpt).ASCII() {
			t.Errorf("%q: orcpt %q", s, orcpt)
		}
		printed := printRcptParams(notify, orcpt)
		n2, o2, err := parseRcptParams(printed, utf8ok)
		if len(printed) <= 400 && (err != nil || n2 != notify || o2 != orcpt) {
			t.Errorf("%q: %v %q, printed %q, again %v %q, %v", s, notify, orcpt, printed, n2, o2, err)
		}
	})
}

func printRcptParams(n envelope.Notify, orcpt string) string {
	var out, words []string
	for _, k := range notifyWords {
		if n&k.bit != 0 {
			words = append(words, k.word)
		}
	}
	if words != nil {
		out = append(out, "NOTIFY="+strings.Join(words, ","))
	}
	if kind, text, _ := strings.Cut(orcpt, ";"); orcpt != "" {
		if envelope.Address(text).ASCII() {
			text = encodeXtext(text)
		}
		out = append(out, "ORCPT="+kind+";"+text)
	}
	return strings.Join(out, " ")
}

// FuzzXtext: encoded text decodes to the original.
func FuzzXtext(f *testing.F) {
	f.Add("a+b=c d\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := decodeXtext(encodeXtext(s)); err != nil || got != s {
			t.Errorf("%q becomes %q, %v", s, got, err)
		}
	})
}

// reference is DATA by the book, octet by octet: everything up to the first
// CRLF.CRLF (the CRLF of the command counts), a dot at the start of a line
// taken away. It returns what follows the end, too.
func reference(in string) (body, rest string, whole bool) {
	end := strings.Index("\r\n"+in, "\r\n.\r\n")
	if end < 0 {
		return "", "", false
	}
	rest = in[end+3:]
	raw := "\r\n" + in[:end]
	var b strings.Builder
	for i := 2; i < len(raw); i++ {
		if raw[i] == '.' && raw[i-2:i] == "\r\n" {
			continue
		}
		b.WriteByte(raw[i])
	}
	return b.String(), rest, true
}

// normalised returns every bare CR and bare LF as CRLF, by the book.
func normalised(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// FuzzData compares the bulk reader with the reference, however the octets
// are cut into reads.
func FuzzData(f *testing.F) {
	for _, s := range []string{
		".\r\n", "a\r\n.\r\nNOOP\r\n", "..\r\n.\r\n", "a\n.\nb\r\n.\r\n", "\r\r\n.\r\n", ".\r\r\n.\r\n", "a\r.\r\r\n.\r\n",
		"..\r\n..a\r\n.b\r\n.\r\n", "x", "\r\n.", ".\n.\r\n.\r\n",
		strings.Repeat("x", 30) + "\r\n.\r\n", strings.Repeat("x", 15) + "\r\n.\r\n", strings.Repeat("x", 31) + "\r\n..\r\n.\r\n",
	} {
		for _, mode := range []uint8{0, 1, 2} {
			f.Add(s, mode)
		}
	}
	f.Fuzz(func(t *testing.T, in string, mode uint8) {
		for _, src := range []io.Reader{
			strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in)),
		} {
			r := bufio.NewReaderSize(src, 16) // so that lines meet the buffer's edge
			c := &content{src: &dotReader{r: r, bol: true}, wholeLines: true, mode: Newlines(mode % 2)}
			if mode%3 == 2 {
				c.max = 10
			}
			got, err := io.ReadAll(c)
			body, rest, whole := reference(in)
			fixed := normalised(body)
			switch {
			case !whole:
				if err == nil || c.fault == nil && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("%q has no end, got %q, %v", in, got, err)
				}
				continue
			case errors.Is(err, errNewline):
				if c.mode != Reject || fixed == body {
					t.Fatalf("%q: %v", in, err)
				}
			case errors.Is(err, errTooBig):
				if int64(len(fixed)) <= c.max || c.max == 0 {
					t.Fatalf("%q: %v", in, err)
				}
			case err != nil || string(got) != fixed || c.mode == Reject && fixed != body:
				t.Fatalf("%q: got %q, %v, want %q", in, got, err, fixed)
			}
			if err := c.drain(1 << 40); err != nil {
				t.Fatalf("%q: drain: %v", in, err)
			}
			if after, _ := io.ReadAll(r); string(after) != rest {
				t.Fatalf("%q: %q is left, want %q", in, after, rest)
			}
		}
	})
}

// FuzzBdat: however a text is cut into chunks, it arrives as it was, its last
// line ended, and the command after it is the next that runs.
func FuzzBdat(f *testing.F) {
	f.Add("a\r\nb", uint8(1), uint8(0))
	f.Add("QUIT\r\nMAIL FROM:<>\r\n", uint8(7), uint8(1))
	f.Add("a\rb\nc", uint8(2), uint8(2))
	f.Add("", uint8(1), uint8(0))
	l := serve(f, Config{MaxErrors: 1000})
	f.Fuzz(func(t *testing.T, text string, cut, mode uint8) {
		if len(text) > 4096 {
			return
		}
		binary, refused := mode%3 == 1, mode%3 == 2
		c := dial(t, l.addr)
		defer c.nc.Close()
		c.reply("220 ")
		var b bytes.Buffer
		b.WriteString("EHLO c.example\r\nMAIL FROM:<a@example.org>" + map[bool]string{true: " BODY=BINARYMIME"}[binary] + "\r\n")
		b.WriteString("RCPT TO:<" + map[bool]string{true: "refused", false: "b"}[refused] + "@example.com>\r\n")
		n := chunksOf(&b, text, int(cut)+1)
		b.WriteString("VRFY end\r\nQUIT\r\n")
		before := len(l.k.messages())
		c.send(b.String())
		got := c.everything()
		msgs := l.k.messages()[before:]
		bare := normalised(text) != text && !binary
		ended := text
		if text != "" && !binary && !strings.HasSuffix(text, "\n") {
			ended += "\r\n"
		}
		if !strings.Contains(got, "\r\n252 ") || !strings.HasSuffix(got, "closing connection\r\n") {
			t.Fatalf("%q in %d chunks: %q", text, n, got)
		}
		switch {
		case refused || bare:
			if len(msgs) != 0 {
				t.Fatalf("%q: delivered %q", text, msgs[0].body)
			}
		case len(msgs) != 1 || msgs[0].body != ended:
			t.Fatalf("%q in %d chunks: delivered %+v, replies %q", text, n, msgs, got)
		}
	})
}

func chunksOf(b *bytes.Buffer, text string, size int) (n int) {
	for len(text) > size {
		b.WriteString("BDAT " + strconv.Itoa(size) + "\r\n" + text[:size])
		text = text[size:]
		n++
	}
	b.WriteString("BDAT " + strconv.Itoa(len(text)) + " LAST\r\n" + text)
	return n + 1
}

func (c *client) everything() string {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if err != nil {
		c.t.Fatalf("%q, %v", b, err)
	}
	return string(b)
}

// FuzzAuth: with any input, only the right password logs in, and each line gets one
// reply.
func FuzzAuth(f *testing.F) {
	for _, s := range []string{"PLAIN AGFsaWNlAHNlY3JldCB3b3Jk", "PLAIN", "LOGIN", "LOGIN =", "PLAIN =", "plain AAA=", "", "X Y Z"} {
		f.Add(s, "YWxpY2U=", "c2VjcmV0IHdvcmQ=")
		f.Add(s, "*", "AGFsaWNlAHNlY3JldCB3b3Jk")
	}
	l := serve(f, Config{InsecureAuth: true, MaxErrors: 1000})
	f.Fuzz(func(t *testing.T, arg, one, two string) {
		for _, s := range []string{arg, one, two} {
			if len(s) > 500 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return
			}
		}
		c := dial(t, l.addr)
		defer c.nc.Close()
		c.reply("220 ")
		c.send("EHLO c.example\r\nAUTH " + arg + "\r\n")
		c.reply("250 ")
		line := c.reply("")
		for _, answer := range []string{one, two} {
			if !strings.HasPrefix(line, "334 ") {
				break
			}
			c.send(answer + "\r\n")
			line = c.reply("")
		}
		if code := line[:3]; !strings.Contains("235 334 500 501 504 535", code) {
			t.Errorf("AUTH %q, %q, %q: %q", arg, one, two, line)
		}
		if strings.HasPrefix(line, "235") && !strings.Contains(arg+one+two, "c2VjcmV0IHdvcmQ") &&
			!strings.Contains(arg+one+two, "AHNlY3JldCB3b3Jk") {
			t.Errorf("AUTH %q, %q, %q: logged in", arg, one, two)
		}
	})
}
