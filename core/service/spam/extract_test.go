package spam

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/core/message/mime"
)

// TestLineEnds: CRLF and LF give the same features and the same key.
func TestLineEnds(t *testing.T) {
	for i := range 20 {
		lf := letter(Spam, i)
		crlf := bytes.ReplaceAll(lf, []byte("\n"), []byte("\r\n"))
		if a, b := mustExtract(t, lf), mustExtract(t, crlf); !reflect.DeepEqual(a, b) {
			t.Errorf("message %d differs", i)
		}
	}
	multi := "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nplain text\n--b\nContent-Type: text/html\n" +
		"Content-Transfer-Encoding: quoted-printable\n\n<p>one=\ntwo<br>three</p>\n--b--\n"
	if a, b := mustExtract(t, []byte(multi)), mustExtract(t, []byte(strings.ReplaceAll(multi, "\n", "\r\n"))); !reflect.DeepEqual(a, b) {
		t.Error("a multipart differs")
	}
}

// TestKey: the same message after another way is the same; another is not.
func TestKey(t *testing.T) {
	raw := letter(Ham, 1)
	moved := append([]byte("Return-Path: <a@b.example>\nReceived: by elsewhere\nX-Spam-Result: 1\n"), raw...)
	if mustExtract(t, raw).Key() != mustExtract(t, moved).Key() {
		t.Error("a copy has another key")
	}
	if mustExtract(t, raw).Key() == mustExtract(t, letter(Ham, 2)).Key() {
		t.Error("two messages have one key")
	}
}

// has reports whether the message has that word.
func has(f *Features, word string) bool {
	return slices.Contains(f.ids[words], hashStart.text(word).id())
}

// TestText: whatever a text is wrapped in, its words are found.
func TestText(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	page := func(s string) string { return "Content-Type: text/html\n\n<html><body>" + s + "</body></html>" }
	tests := []struct{ name, raw, word, not string }{
		{"plain", "\nbuy lottery tickets\n", "lottery", ""},
		{"base64", "Content-Transfer-Encoding: base64\n\n" + b64([]byte("buy lottery tickets")), "lottery", ""},
		{"quoted-printable", "Content-Transfer-Encoding: quoted-printable\n\nbuy lot=\ntery =74ickets", "lottery", ""},
		{"quoted-printable octets", "Content-Transfer-Encoding: quoted-printable\n\nbuy =6cottery", "lottery", ""},
		{"latin1", "Content-Type: text/plain; charset=iso-8859-1\n\ncaf\xe9 soir\xe9e", "café", ""},
		{"koi8-r", "Content-Type: text/plain; charset=koi8-r\n\n\xd7\xd9\xc9\xc7\xd2\xd9\xdb", "выигрыш", ""},
		{"utf-16", "Content-Type: text/plain; charset=utf-16le\n\nl\x00o\x00t\x00t\x00e\x00r\x00y\x00", "lottery", ""},
		{"zero width", "\nlot\u200bte\u2060ry now", "lottery", ""},
		{"soft hyphen", "\nlot\u00adtery now", "lottery", ""},
		{"full width", "\n\uff4c\uff4f\uff54\uff54\uff45\uff52\uff59 now", "lottery", ""},
		{"han", "\n中奖通知", "中奖", ""},
		{"html", page("buy <b>lottery</b> tickets"), "lottery", ""},
		{"html comment", page("lot<!-- x -->tery"), "lottery", ""},
		{"html tag inside", page("lot<b></b>tery"), "lottery", ""},
		{"html entity", page("l&#111;tt&#x65;ry"), "lottery", ""},
		{"html hidden", page(`lottery <span style="display: none">meeting</span>`), "lottery", "meeting"},
		{"html tiny", page(`<div style="font-size:0px"><p>meeting</p></div> lottery`), "lottery", "meeting"},
		{"html script", page(`<script>meeting</script>lottery`), "lottery", "meeting"},
		{"encoded subject", "Subject: =?utf-8?B?" + b64([]byte("lottery winner")) + "?=\n\nx", "lottery", ""},
		{
			"part",
			"Content-Type: multipart/alternative; boundary=q\n\n--q\n\nnothing\n--q\nContent-Type: text/html\n\n<i>lottery</i>\n--q--\n",
			"lottery",
			"",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := mustExtract(t, []byte("From: a@b.example\n"+test.raw))
			if !has(f, test.word) {
				t.Errorf("%q is not found", test.word)
			}
			if test.not != "" && has(f, test.not) {
				t.Errorf("%q is found, and nobody sees it", test.not)
			}
		})
	}
}

// TestOwnVerdictIsNotLearnt: fields that filters write change nothing.
func TestOwnVerdictIsNotLearnt(t *testing.T) {
	raw := letter(Ham, 1)
	marked := append([]byte("X-Spam-Status: Yes, score=20\nAuthentication-Results: mx; spf=fail\nX-Spam-Flag: YES\n"), raw...)
	if a, b := mustExtract(t, raw), mustExtract(t, marked); !reflect.DeepEqual(a, b) {
		t.Error("a filter's verdict is a feature")
	}
}

// TestOwnWayIsNotLearnt: to whom and through which list a message went changes
// nothing.
func TestOwnWayIsNotLearnt(t *testing.T) {
	raw := letter(Ham, 1)
	routed := append(
		[]byte(
			"Return-Path: <list-bounces@lists.example>\nDelivered-To: ann@our.example\nX-Original-To: ann@our.example\n"+
				"List-Id: <friends.lists.example>\n"+
				"List-Unsubscribe: <https://lists.example/x>\nSender: list@lists.example\nPrecedence: list\nCc: eve@our.example\n",
		),
		raw...)
	if a, b := mustExtract(t, raw), mustExtract(t, routed); !reflect.DeepEqual(a, b) {
		t.Error("the way of a message is a feature")
	}
	// Fields that say where it comes from are features.
	if a, b := mustExtract(t, raw), mustExtract(t, append([]byte("Received: from elsewhere.example\n"), raw...)); reflect.DeepEqual(a, b) {
		t.Error("where a message comes from is no feature")
	}
}

// TestSample: what is written is read.
func TestSample(t *testing.T) {
	s := newSample(mustExtract(t, letter(Spam, 3)), Spam, time.Unix(1234567890, 0))
	got, err := decode(s.key, s.encode())
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%v\n%+v\n%+v", err, got, s)
	}
	if n := len(s.encode()); n > 3*(len(s.ids[words])+len(s.ids[marks])+len(s.ids[grams])+len(s.ids[head]))+32+sketchSize {
		t.Errorf("%d octets", n)
	}
	// As it was kept before there were sketches.
	seconds := 5 // octets of the time
	old := append([]byte{sampleWithoutSketch}, s.encode()[1:2+seconds]...)
	old = append(old, s.encode()[2+seconds+sketchSize:]...)
	s.sketch = sketch{}
	if got, err := decode(s.key, old); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%v\n%+v\n%+v", err, got, s)
	}
}

// bomb returns a message whose body is made as it is read.
func bomb(header string, size int64, body func() io.Reader) Message {
	return Message{Header: mime.ParseHeader([]byte(header + "\r\n")), Body: func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(body(), size)), nil
	}}
}

// repeat is a text without end.
type repeat struct {
	text string
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// processor returns the processor time of the process.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestBombs: messages made to be slow or large are answered within their
// bounds, and those that are worth no answer get the error.
func TestBombs(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector changes what is measured")
	}
	deep := func() io.Reader {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
		}
		return strings.NewReader(b.String())
	}
	again := func(s string) func() io.Reader { return func() io.Reader { return &repeat{text: s} } }
	line := strings.Repeat("QUJD", 19) + "\r\n"
	tests := []struct {
		name    string
		m       Message
		complex bool
	}{
		{"50000 parts", bomb("Content-Type: multipart/mixed; boundary=b\r\n", 50_000*20, again("--b\r\n\r\npart\r\n\r\n\r\n\r\n")), true},
		{"depth 1000", bomb("Content-Type: multipart/mixed; boundary=b0\r\n", 1<<20, deep), true},
		{"100 MB of base64 text", bomb("Content-Transfer-Encoding: base64\r\n", 100<<20, again(line)), true},
		{"100 MB of base64 file", bomb("Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n", 100<<20, again(line)), true},
		{"40 MB of base64 file", bomb("Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n", 40<<20, again(line)), false},
		{"a million links", bomb("Content-Type: text/html\r\n", 1_000_000*31, again(`<a href="http://a.example/">x</a>`)), true},
		{"links in the beginning", bomb("Content-Type: text/plain\r\n", 1<<20, again("http://a.b ")), true},
		{"tags", bomb("Content-Type: text/html\r\n", 4<<20, again("<b><i style=x>")), false},
		{"attributes", bomb("Content-Type: text/html\r\n", 4<<20, again("<a b=c d e='f' ")), false},
		{"one word", bomb("", 4<<20, again("aaaaaaaa")), false},
		{"nuls", bomb("", 4<<20, again("\x00")), false},
		{"broken UTF-8", bomb("", 4<<20, again("\xff\xfe\xc0")), false},
		{"one field", bomb("Subject: "+strings.Repeat("=?utf-8?Q?a?= ", 50_000)+"\r\n", 100, again("x")), false},
		{"fields", bomb(strings.Repeat("X: y\r\n", 30_000), 100, again("x")), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := processor(t)
			_, err := Extract(test.m)
			took := processor(t) - start
			runtime.ReadMemStats(&after)
			if errors.Is(err, ErrTooComplex) != test.complex || err != nil && !test.complex {
				t.Errorf("error %v", err)
			}
			// Processor time, for others use this machine too.
			if grown := after.TotalAlloc - before.TotalAlloc; took > 2*time.Second || grown > 100<<20 {
				t.Errorf("%v and %d MiB", took, grown>>20)
			}
		})
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(letter(Spam, 1))
	f.Add([]byte("Content-Type: text/html\n\n<p style='display:none'>x<b>http://u@1.2.3.4:80/%41"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := Extract(Read(raw))
		if err != nil {
			if !errors.Is(err, ErrTooComplex) {
				t.Fatal(err)
			}
			return
		}
		b, err := Extract(Read(raw))
		if err != nil || !reflect.DeepEqual(a, b) {
			t.Fatal("not the same twice")
		}
		s := newSample(a, Spam, time.Unix(1, 0))
		if got, err := decode(s.key, s.encode()); err != nil || !bytes.Equal(got.encode(), s.encode()) {
			t.Fatal("what is kept is not what was read")
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{sampleWithoutSketch, 's', 1, 1, 5, 0, 0, 0})
	f.Add(newSample(mustExtract(f, letter(Spam, 1)), Spam, time.Unix(1, 0)).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decode("k", b); err == nil {
			again, err := decode("k", s.encode())
			if err != nil || !bytes.Equal(again.encode(), s.encode()) {
				t.Fatal("does not read back")
			}
		}
	})
}

// BenchmarkClassify judges messages of 8 KiB, from the octets on.
func BenchmarkClassify(b *testing.B) {
	f := New(openStore(b, nil), nil)
	teach(b, f, 500)
	raw := letter(Spam, 5000)
	for i := 0; len(raw) < 8<<10; i++ {
		_, body, _ := bytes.Cut(letter(Class([]byte{'h', 's'}[i%2]), 6000+i), []byte("\n\n"))
		raw = append(raw, body...)
	}
	raw = raw[:8<<10]
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := f.Classify(b.Context(), "", mustExtract(b, raw), false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
