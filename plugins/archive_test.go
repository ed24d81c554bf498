package plugins

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

func tree(t *testing.T, files map[string]string) *Tree {
	t.Helper()
	dir := bundle(t, files)
	out, err := ReadDir(os.DirFS(dir), "acme/hello")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// compressed is a tar file as an archive.
func compressed(t testing.TB, raw []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(raw, nil)
}

// tarOf writes entries in their order.
func tarOf(t testing.TB, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := h.Uname // the tests' way to give a content
		h.Uname = ""
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		h.Mode = 0o644
		if h.Size == 0 {
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return b.Bytes()
}

// TestPackIsDeterministic: the same files give the same octets, whenever and
// wherever they were written, and come out again.
func TestPackIsDeterministic(t *testing.T) {
	files := map[string]string{
		"bundle.toml": manifest,
		"init.lua":    initLua,
		"lib/x.lua":   "return 1",
		"tests/t.lua": "x",
		".hidden":     "x",
		"ä.md":        strings.Repeat("long ", 1000),
	}
	first, err := Pack(tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	second := bundle(t, files)
	old := time.Unix(1e9, 0)
	if err := os.Chtimes(second+"/init.lua", old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(second+"/init.lua", 0o755); err != nil {
		t.Fatal(err)
	}
	other, err := ReadDir(os.DirFS(second), "acme/hello")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Pack(other)
	if err != nil || !bytes.Equal(first, again) {
		t.Fatalf("other octets, %v", err)
	}
	back, err := Unpack(first, "hello.tar.zst")
	if err != nil || back.Digest != other.Digest || len(back.Files) != 5 || back.ArchiveName() != "hello-1.0.0.tar.zst" {
		t.Errorf("%v %+v", err, back)
	}
	if again, err := Pack(back); err != nil || !bytes.Equal(first, again) {
		t.Error("unpacked and packed: other octets")
	}
}

// TestRefusedArchives: what leads out of the bundle, is no plain file, stands
// twice, is too large or damaged is refused with the reason.
func TestRefusedArchives(t *testing.T) {
	good := []*tar.Header{{Name: "bundle.toml", Uname: manifest}, {Name: "init.lua", Uname: initLua}}
	with := func(more ...*tar.Header) []byte {
		var list []*tar.Header
		for _, h := range good {
			c := *h
			list = append(list, &c)
		}
		return tarOf(t, append(list, more...)...)
	}
	whole := with()
	var many []*tar.Header
	for i := range maxFiles {
		many = append(many, &tar.Header{Name: fmt.Sprintf("f%d", i)})
	}
	packed := compressed(t, whole)
	for name, tt := range map[string]struct {
		archive []byte
		want    string
	}{
		"good":                 {packed, ""},
		"folders are fine":     {compressed(t, with(&tar.Header{Name: "lib/", Typeflag: tar.TypeDir}, &tar.Header{Name: "lib/x.lua"})), ""},
		"above":                {compressed(t, with(&tar.Header{Name: "../x.lua"})), `"../x.lua" is not the name of a file inside`},
		"above, in the middle": {compressed(t, with(&tar.Header{Name: "lib/../../x.lua"})), "is not the name of a file inside"},
		"absolute":             {compressed(t, with(&tar.Header{Name: "/etc/passwd"})), `"/etc/passwd" is not the name`},
		"backslash":            {compressed(t, with(&tar.Header{Name: `..\x.lua`})), "is not the name"},
		"drive":                {compressed(t, with(&tar.Header{Name: "C:x.lua"})), "is not the name"},
		"hidden":               {compressed(t, with(&tar.Header{Name: ".git/config"})), "is not the name"},
		"line end in a name":   {compressed(t, with(&tar.Header{Name: "a\nb.lua"})), "is not the name"},
		"folder above":         {compressed(t, with(&tar.Header{Name: "../lib/", Typeflag: tar.TypeDir})), "is not the name of a folder"},
		"symbolic link": {compressed(t, with(&tar.Header{Name: "x.lua", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"})),
			`"x.lua" is a link`},
		"hard link": {compressed(t, with(&tar.Header{Name: "x.lua", Typeflag: tar.TypeLink, Linkname: "init.lua"})),
			`"x.lua" is a link`},
		"device": {compressed(t, with(&tar.Header{Name: "x.lua", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5})),
			`"x.lua" is a device`},
		"pipe":               {compressed(t, with(&tar.Header{Name: "x.lua", Typeflag: tar.TypeFifo})), "is a device or of another kind"},
		"twice":              {compressed(t, with(&tar.Header{Name: "init.lua", Uname: "x"})), "init.lua is there twice"},
		"twice but for case": {compressed(t, with(&tar.Header{Name: "INIT.lua", Uname: "x"})), "INIT.lua is there twice"},
		"file and folder": {compressed(t, with(&tar.Header{Name: "lib", Uname: "x"}, &tar.Header{Name: "lib/x.lua"})),
			"lib is both a file and a folder"},
		"too many":     {compressed(t, with(many...)), "more than 500 files"},
		"a large file": {compressed(t, with(&tar.Header{Name: "x", Uname: strings.Repeat("x", maxFile+1)})), "x is larger than 4 MiB"},
		"bomb": {compressed(t,
			bytes.Repeat(with(&tar.Header{Name: "zero", Uname: strings.Repeat("\x00", maxFile)})[:maxFile], 40)), ""},
		"bomb behind the end": {compressed(t, append(with(), make([]byte, 64<<20)...)), "unpacks to more than a bundle may hold"},
		"something behind":    {compressed(t, append(with(), []byte("hello")...)), "something follows the end"},
		"cut off":             {packed[:len(packed)-9], "the archive is damaged"},
		"cut off inside":      {compressed(t, whole[:700]), "the archive is damaged"},
		"no zstd":             {whole, "the archive is damaged"},
		"nothing":             {nil, "it has no bundle.toml"},
		"no manifest":         {compressed(t, tarOf(t, &tar.Header{Name: "init.lua"})), "it has no bundle.toml"},
		"a manifest with faults": {compressed(t, tarOf(t, &tar.Header{Name: "bundle.toml", Uname: "[bundle]\nname = 1\n"})),
			"x.tar.zst/bundle.toml:2:8"},
		"too large to read": {make([]byte, maxArchive+1), "larger than 16 MiB"},
	} {
		if name == "bomb" {
			var zeros []*tar.Header
			for i := range 10 {
				zeros = append(zeros, &tar.Header{Name: fmt.Sprintf("z%d", i), Uname: strings.Repeat("\x00", maxFile)})
			}
			tt.archive, tt.want = compressed(t, with(zeros...)), "all files together are larger than 32 MiB"
		}
		_, err := Unpack(tt.archive, "x.tar.zst")
		if (err == nil) != (tt.want == "") || err != nil && (!errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v\nwant %q", name, err, tt.want)
		}
	}
}

// TestFolderRefusals: a folder is held to the same rules.
func TestFolderRefusals(t *testing.T) {
	dir := bundle(t, map[string]string{"bundle.toml": manifest, "init.lua": initLua})
	if err := os.Symlink("/etc/passwd", dir+"/x.lua"); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDir(os.DirFS(dir), "acme/x"); err == nil || !strings.Contains(err.Error(), "x.lua is not a plain file") {
		t.Error(err)
	}
}

// FuzzUnpack: no archive makes more than a bundle may hold. The compression is
// left out: it has a fuzz target where it comes from.
func FuzzUnpack(f *testing.F) {
	for _, h := range []*tar.Header{{Name: "bundle.toml", Uname: manifest}, {Name: "../x"},
		{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "y"}} {
		f.Add(tarOf(f, h))
	}
	f.Add(tarOf(f, &tar.Header{Name: "bundle.toml", Uname: manifest}, &tar.Header{Name: "init.lua", Uname: initLua}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := &treeBuilder{files: map[string][]byte{}, folded: map[string]kind{}}
		if err := b.untar(bytes.NewReader(raw)); err != nil {
			return
		}
		total := 0
		for path, content := range b.files {
			if total += len(content); !safePath(path) || len(content) > maxFile {
				t.Errorf("%q with %d octets", path, len(content))
			}
		}
		if total > maxTotal || len(b.files) > maxFiles {
			t.Errorf("%d files with %d octets", len(b.files), total)
		}
	})
}
