package mime

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// within runs f and checks how much processor time and memory it took. Both
// bounds are far above what linear work takes and far below what quadratic
// work does.
func within(t *testing.T, name string, cpu time.Duration, alloc uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := used(t)
	f()
	took := used(t) - start
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; took > cpu || grown > alloc {
		t.Errorf("%s: %v of CPU and %d KiB, at most %v and %d KiB", name, took, grown>>10, cpu, alloc>>10)
	} else {
		t.Logf("%s: %v, %d KiB", name, took, grown>>10)
	}
}

// unlessRacing skips bounds on processor time and memory under the race
// detector, which changes both; nothing here is concurrent.
func unlessRacing(t *testing.T) {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector changes what is measured")
	}
}

// used returns the processor time of the process.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestHeaderBombs: header sections at their limit, made to be slow.
func TestHeaderBombs(t *testing.T) {
	unlessRacing(t)
	fill := func(s string) string { return strings.Repeat(s, (MaxHeader-100)/len(s)) }
	sections := map[string]string{
		"addresses":         "To: " + fill("a@b.cc,\r\n ") + "\r\n",
		"short addresses":   "To: " + fill("a@b,") + "\r\n",
		"broken addresses":  "To: " + fill("<@,") + "\r\n",
		"routes":            "To: " + fill("<@a,@b:c@d>,") + "\r\n",
		"open routes":       "To: " + fill("<@a,@b:") + "\r\n",
		"words":             "To: " + fill("a ") + "\r\n",
		"open comments":     "To: " + fill("(") + "\r\n",
		"comments":          "To: " + fill("(a)") + "\r\n",
		"open quotes":       "To: " + fill("\"\\") + "\r\n",
		"groups":            "To: " + fill("a:;,") + "\r\n",
		"open groups":       "To: " + fill("a:") + "\r\n",
		"literals":          "To: " + fill("a@[") + "\r\n",
		"dots":              "To: " + fill("a.") + "\r\n",
		"at signs":          "To: " + fill("a@") + "\r\n",
		"semicolons":        "To: a@b" + fill(";") + "\r\n",
		"angles":            "To: " + fill("<") + "\r\n",
		"encoded words":     "Subject: " + fill("=?a?q?a?= ") + "\r\n",
		"open words":        "Subject: " + fill("=?utf-8?q?x") + "?=\r\n",
		"open charsets":     "Subject: " + fill("=?") + "\r\n",
		"words in a name":   "To: " + fill("=?utf-8?b?w6k=?=\r\n ") + "<a@b>\r\n",
		"one folded field":  "Subject: " + fill("x\r\n ") + "\r\n",
		"fields":            fill("a:\n"),
		"many To":           fill("To:a@b\n"),
		"no fields":         fill("a\n"),
		"one line":          "a: " + fill("x") + "\r\n",
		"parameters":        "Content-Type: multipart/mixed" + fill("; a=b") + "\r\n",
		"boundaries":        "Content-Type: multipart/mixed" + fill("; boundary=b") + "\r\n",
		"pieces":            "Content-Type: multipart/mixed" + pieces(50_000) + "\r\n",
		"type with comment": "Content-Type: multipart/mixed " + fill("(x)") + "\r\n",
		"type, open":        "Content-Disposition: a; b" + fill("(\"") + "\r\n",
		"percent":           "Content-Disposition: a; filename*=utf-8''" + fill("%41") + "\r\n",
	}
	for name, text := range sections {
		within(t, name, 2*time.Second, 160<<20, func() {
			raw, err := ReadHeader(bufio.NewReader(strings.NewReader(text+"\r\n")), MaxHeader)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			h := ParseHeader(raw)
			h.Addresses("To", "Cc", "From")
			v, _ := h.Get("Subject")
			DecodeWords(v)
			newPart(h, 0)
			c := h.Clone()
			c.Set("Subject", "x")
			c.Remove("To")
			c.Bytes()
		})
	}
}

func pieces(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "; boundary*%d=b", i)
	}
	return b.String()
}

// TestLargeFieldsAreRefused: what exceeds the limit costs no more than it.
func TestLargeFieldsAreRefused(t *testing.T) {
	unlessRacing(t)
	within(t, "2 MiB folded", time.Second, 16<<20, func() {
		r := bufio.NewReader(&repeated{text: "Subject: x\r\n x\r\n", n: 200_000})
		if _, err := ReadHeader(r, MaxHeader); err != ErrHeaderTooLarge {
			t.Errorf("2 MiB: %v", err)
		}
	})
}

// TestFormatBombs: a policy may write values that a stranger sent.
func TestFormatBombs(t *testing.T) {
	unlessRacing(t)
	for name, value := range map[string]string{"spaces": strings.Repeat(" ", 1<<20) + "x", "words": strings.Repeat("a ", 1<<19),
		"accents": strings.Repeat("é", 1<<19),
		"latin1":  strings.Repeat("\xe9", 1<<20), "quotes": strings.Repeat("\"", 1<<20), "addresses": strings.Repeat("é@x.example, ", 70_000)} {
		within(t, name, 2*time.Second, 300<<20, func() {
			FormatField("To", value)
			FormatField("Subject", value)
			FormatMailbox(Mailbox{Address: "a@x.example", Display: value})
			QuotedPrintable(value)
		})
	}
}

// TestBodyBombs: bodies of 20 to 100 MiB, made to be slow or to be held.
func TestBodyBombs(t *testing.T) {
	unlessRacing(t)
	var deep, wide strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&deep, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	for i := range 100_000 {
		fmt.Fprintf(&wide, "--b0\r\nX: %d\r\n\r\nx\r\n", i)
	}
	nested := deep.String()[:strings.Index(deep.String(), "--b49\r\n")]
	bodies := map[string]func() io.Reader{
		"10,000 deep":  func() io.Reader { return strings.NewReader(deep.String()) },
		"100,000 wide": func() io.Reader { return strings.NewReader(wide.String()) },
		"dashes, 49 deep": func() io.Reader {
			return io.MultiReader(strings.NewReader(nested), &repeated{text: "--b\n", n: 3 << 20})
		},
		"one line": func() io.Reader { return &repeated{text: "xxxxxxxx", n: 4 << 20} },
		"lines":    func() io.Reader { return &repeated{text: "\n", n: 8 << 20} },
		"header, no end": func() io.Reader {
			return io.MultiReader(strings.NewReader("--b0\r\n"), &repeated{text: "X: y\r\n", n: 4 << 20})
		},
		"blank delimiters": func() io.Reader { return &repeated{text: "--b0" + strings.Repeat(" ", 60<<10) + "\n", n: 300} },
	}
	head := ParseHeader([]byte("Content-Type: multipart/mixed; boundary=b0\r\n\r\n"))
	for name, body := range bodies {
		within(t, name, 3*time.Second, 32<<20, func() {
			x, err := ReadIndex(head, body())
			if err != nil || len(x.Parts) > MaxParts+MaxDepth {
				t.Errorf("%s: %d parts, %v", name, len(x.Parts), err)
			}
		})
	}
}

// TestLargePartsAreNotHeld: 100 MiB in base64 pass through Open.
func TestLargePartsAreNotHeld(t *testing.T) {
	unlessRacing(t)
	line := strings.Repeat("QUJD", 19) + "\r\n"
	const lines = (100 << 20) / 78
	for _, encoding := range []string{"base64", "quoted-printable"} {
		p := newPart(ParseHeader([]byte("Content-Transfer-Encoding: "+encoding+"\r\n\r\n")), 0)
		p.End = lines * int64(len(line))
		within(t, encoding, 5*time.Second, 1<<20, func() {
			r, err := p.Open(&repeated{text: line, n: lines})
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, r)
			if want := int64(lines * 57); err != nil || encoding == "base64" && n != want {
				t.Errorf("%s: %d octets, want %d, %v", encoding, n, want, err)
			}
			text, err := p.Text(&repeated{text: line, n: lines}, 1000)
			if err != nil || len(text) != 1000 {
				t.Errorf("%s: Text gave %d octets, %v", encoding, len(text), err)
			}
		})
	}
}
