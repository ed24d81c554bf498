package importer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"carteiro/core/service/spam"
)

// found is what EachMessage finds: "NAME TEXT", and "NAME -" for a message that
// is too large.
func found(t *testing.T, path string, stdin io.Reader) (out []string, err error) {
	t.Helper()
	err = EachMessage(path, stdin, func(name string, raw []byte) error {
		if raw == nil {
			out = append(out, name+" -")
		} else {
			out = append(out, name+" "+string(raw))
		}
		return nil
	})
	return out, err
}

// write makes a file with its folders and returns its path.
func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	one = "Subject: one\n\nbody\n"
	two = "Subject: two\n\nFrom the start\n>From quoted\n"
	sep = "From x@a.example Mon Nov  2 10:00:00 2026\n"
)

// archiveOf is a tar archive of one file for each text.
func archiveOf(t *testing.T, texts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, text := range texts {
		if err := w.WriteHeader(&tar.Header{
			Name:     fmt.Sprintf("folder/m%d", i),
			Typeflag: tar.TypeReg,
			Mode:     0o600,
			Size:     int64(len(text)),
		}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, text)
	}
	for _, h := range []*tar.Header{{Name: "folder/.hidden", Typeflag: tar.TypeReg},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, {Name: "other/", Typeflag: tar.TypeDir}} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return b.Bytes()
}

// TestEachMessage: mboxes, folders, archives and standard input.
func TestEachMessage(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	large := strings.Repeat("x", maxMessage+1)
	write(t, in("one"), []byte(one))
	write(t, in("mbox"), []byte(sep+one+"\n"+sep+two))
	write(t, in("notmbox"), []byte(one+"\nFrom here on no separator\n"))
	write(t, in("large"), []byte(sep+large+"\n\n"+sep+one))
	write(t, in("empty"), nil)
	write(t, in("a.tar"), archiveOf(t, one, two, large))
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	zipped.Write(archiveOf(t, one))
	zipped.Close()
	write(t, in("a.tgz"), b.Bytes())
	b.Reset()
	xzipped, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	xzipped.Write(archiveOf(t, two))
	xzipped.Close()
	write(t, in("a.tar.xz"), b.Bytes())
	for name, text := range map[string]string{
		"cur/1:2,S":    one,
		"new/2":        two,
		"tmp/3":        "not delivered yet",
		".Trash/cur/4": "below a hidden folder",
		"cur/.5":       "hidden",
	} {
		write(t, in("maildir/"+name), []byte(text))
	}
	for _, tt := range []struct {
		name string
		want []string
	}{
		{"one", []string{"one " + one}},
		{"mbox", []string{"mbox " + sep + one + "\n", "mbox " + sep + two}},
		{"notmbox", []string{"notmbox " + one + "\nFrom here on no separator\n"}},
		{"large", []string{"large -", "large " + sep + one}},
		{"empty", nil},
		{"a.tar", []string{"m0 " + one, "m1 " + two, "m2 -"}},
		{"a.tgz", []string{"m0 " + one}},
		{"a.tar.xz", []string{"m0 " + two}},
		{"maildir", []string{"1:2,S " + one, "2 " + two, "4 below a hidden folder"}},
	} {
		got, err := found(t, in(tt.name), nil)
		slices.Sort(got)
		if want := slices.Sorted(slices.Values(tt.want)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %.200q, %v, want %.200q", tt.name, got, err, want)
		}
	}
	if got, err := found(t, "-", strings.NewReader(sep+one+"\n"+sep+two)); err != nil || len(got) != 2 || got[1] != "- "+sep+two {
		t.Errorf("standard input: %q, %v", got, err)
	}
}

// TestEachMessageFails: what cannot be read is an error, and so is what the
// function returns.
func TestEachMessageFails(t *testing.T) {
	dir := t.TempDir()
	_, err := found(t, filepath.Join(dir, "none"), nil)
	if _, ok := errors.AsType[OpenError](err); !ok || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v, want an OpenError", err)
	}
	whole := archiveOf(t, one, two)
	for name, content := range map[string][]byte{"cut.tar": whole[:1200], "bad.tgz": []byte("not gzip"), "bad.tar.xz": []byte("not xz")} {
		if got, err := found(t, write(t, filepath.Join(dir, name), content), nil); err == nil {
			t.Errorf("%s: %.100q and no error", name, got)
		}
	}
	stop := errors.New("stop")
	for _, name := range []string{"mbox", "a.tar", "folder/m"} {
		content := []byte(sep + one + "\n" + sep + two)
		if name == "a.tar" {
			content = whole
		}
		path := write(t, filepath.Join(dir, name), content)
		if name == "folder/m" {
			path = filepath.Dir(path)
		}
		calls := 0
		if err := EachMessage(path, nil, func(string, []byte) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
			t.Errorf("%s: %v after %d calls, want %v after 1", name, err, calls, stop)
		}
	}
}

// TestEachFeatures: the features of a file are those of its text, however it is
// read; a message that is too complex is nil.
func TestEachFeatures(t *testing.T) {
	dir := t.TempDir()
	text := "From: a@a.example\r\nSubject: buy pills now\r\n\r\ncheap pills, click https://pills.example/now\r\n"
	want, err := spam.Extract(spam.Read([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	bomb := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat(
		"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n",
		100_000,
	) + "--b--\r\n"
	for _, tt := range []struct {
		name    string
		content []byte
		want    []*spam.Features
	}{
		{"message", []byte(text), []*spam.Features{want}},
		{"mbox", []byte(sep + text + "\n" + sep + text), []*spam.Features{want, want}},
		{"a.tar", archiveOf(t, text), []*spam.Features{want}},
		{"bomb", []byte(bomb), []*spam.Features{nil}},
	} {
		var got []*spam.Features
		err := EachFeatures(write(t, filepath.Join(dir, tt.name), tt.content), nil, func(_ string, f *spam.Features) error {
			got = append(got, f)
			return nil
		})
		if err != nil || len(got) != len(tt.want) {
			t.Errorf("%s: %d messages, %v, want %d", tt.name, len(got), err, len(tt.want))
			continue
		}
		for i := range got {
			// An mbox adds its separator to the first header section and a blank line.
			if tt.name != "mbox" && fmt.Sprintf("%+v", got[i]) != fmt.Sprintf("%+v", tt.want[i]) || (got[i] == nil) != (tt.want[i] == nil) {
				t.Errorf("%s, message %d: %+v, want %+v", tt.name, i, got[i], tt.want[i])
			}
		}
	}
}

// FuzzMbox: no octet of an mbox is lost or read twice, and every message but
// the first begins with a separator.
func FuzzMbox(f *testing.F) {
	f.Add([]byte(sep + one + "\n" + sep + two))
	f.Add([]byte(one))
	f.Add([]byte(sep + "\n" + sep + "\n" + sep))
	f.Add([]byte("\r\nFrom x 10:00 2026\r\n\n\nFrom y 10:00 2026"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var all []byte
		err := mboxMessages("mbox", bytes.NewReader(raw), func(_ string, m []byte) error {
			if len(m) == 0 {
				t.Error("an empty message")
			}
			if len(all) > 0 && !bytes.HasPrefix(m, []byte("From ")) {
				t.Errorf("a message begins with %.40q", m)
			}
			all = append(all, m...)
			return nil
		})
		if err != nil || !bytes.Equal(all, raw) {
			t.Errorf("%.200q, %v, want %.200q", all, err, raw)
		}
	})
}

// FuzzArchive: an archive of a stranger gives messages or an error.
func FuzzArchive(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "a/b", Typeflag: tar.TypeReg, Size: int64(len(one))})
	io.WriteString(w, one)
	w.Close()
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:600])
	f.Fuzz(func(t *testing.T, raw []byte) {
		total := 0
		archiveMessages(bytes.NewReader(raw), func(name string, m []byte) error {
			if total += len(m); strings.Contains(name, "/") && name != "/" || strings.HasPrefix(name, ".") {
				t.Errorf("name %q", name)
			}
			return nil
		})
		// Sparse files may be larger than the archive; one is read up to maxMessage.
		if total > len(raw) && total > (len(raw)/512+1)*maxMessage {
			t.Errorf("%d octets from %d", total, len(raw))
		}
	})
}
