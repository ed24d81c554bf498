package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// show writes members in one line.
func show(list []Member) string {
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintf(&b, "%s <%s> %s;", m.Name, m.Address, m.Mode)
	}
	return b.String()
}

// roster is Mailman's answer with entries.
func roster(total string, entries ...string) string {
	return fmt.Sprintf(`{"start": 0, "total_size": %s, "entries": [%s], "http_etag": "x"}`, total, strings.Join(entries, ","))
}

// TestReadMembers: the files of Mailman, and what is wrong with them.
func TestReadMembers(t *testing.T) {
	for _, tt := range []struct{ name, text, want, err string }{
		{"lines", "a@x.example\nBob B <b@x.example>\r\n\n# comment\n  c@x.example  \n",
			" <a@x.example> regular;Bob B <b@x.example> regular; <c@x.example> regular;", ""},
		{"the last line has no end", "a@x.example", " <a@x.example> regular;", ""},
		{"nothing", "\n", "", ""},
		{"a line that is not an address", "a@x.example\n\nnobody\n", "", `:3: "nobody" is not an address`},
		{"two addresses in a line", "a@x.example, b@x.example\n", "", `:1: "a@x.example, b@x.example" is not an address`},
		{"a group", "g: a@x.example;\n", " <a@x.example> regular;", ""},

		{"JSON", roster("5",
			`{"email": "a@x.example", "display_name": "A A", "delivery_mode": "regular"}`,
			`{"email": "b@x.example", "delivery_mode": "plaintext_digests"}`,
			`{"email": "c@x.example", "delivery_mode": "mime_digests", "delivery_status": "enabled"}`,
			`{"email": "d@x.example", "delivery_mode": "summary_digests", "delivery_status": "by_user"}`,
			`{"email": "e@x.example"}`),
			"A A <a@x.example> regular; <b@x.example> digest; <c@x.example> mime-digest; <d@x.example> none; <e@x.example> regular;", ""},
		{"JSON, a list without members", `{"start": 0, "total_size": 0, "http_etag": "x"}`, "", ""},
		{"JSON, an unknown mode", roster("1", `{"email": "a@x.example", "delivery_mode": "pigeon"}`), "",
			`: entry 1: unknown delivery_mode "pigeon"`},
		{"JSON, no address", roster("2", `{"email": "a@x.example"}`, `{"email": "nobody"}`), "", `: entry 2: "nobody" is not an address`},
		{"JSON, an empty address", roster("1", `{"display_name": "A"}`), "", `: entry 1: "" is not an address`},
		{"JSON, two addresses", roster("1", `{"email": "a@x.example\nb@x.example"}`), "",
			`: entry 1: "a@x.example\nb@x.example" is not an address`},
		{"JSON, an error of Mailman", `{"title": "404 Not Found", "description": "no such list"}`, "",
			": this is not a roster of Mailman: it has neither entries nor total_size"},
		{"JSON, one page of several", roster("3", `{"email": "a@x.example"}`), "",
			": 1 of 3 members: ask Mailman for all of them, not for a page"},
		{"JSON, broken", `{"entries": [`, "", ": unexpected end of JSON input"},
	} {
		path := filepath.Join(t.TempDir(), "members")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		fromFile, err := ReadMembers(path, nil)
		fromStdin, stdinErr := ReadMembers("-", strings.NewReader(tt.text))
		if tt.err != "" {
			if err == nil || err.Error() != path+tt.err || stdinErr == nil || stdinErr.Error() != "-"+tt.err {
				t.Errorf("%s: %v and %v, want %q", tt.name, err, stdinErr, tt.err)
			}
			continue
		}
		if err != nil || stdinErr != nil || show(fromFile) != tt.want || show(fromStdin) != tt.want {
			t.Errorf("%s: %s, %v and %s, %v, want %s", tt.name, show(fromFile), err, show(fromStdin), stdinErr, tt.want)
		}
	}
}

// TestMembersTooLarge: neither a file nor standard input is cut off silently.
func TestMembersTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "members")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxMembers+1); err != nil { // it takes no room on disk
		t.Fatal(err)
	}
	const want = ": larger than 67108864 octets"
	if _, err := ReadMembers(path, nil); err == nil || err.Error() != path+want {
		t.Errorf("a file: %v, want %s", err, want)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := ReadMembers("-", file); err == nil || err.Error() != "-"+want {
		t.Errorf("standard input: %v, want %s", err, want)
	}
}

// TestReadMlmmj: the folder of a list of mlmmj.
func TestReadMlmmj(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadMembers(dir, nil); err == nil || !strings.HasSuffix(err.Error(), "this is not a list of mlmmj") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := ReadMembers(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	for name, text := range map[string]string{"subscribers.d/a": "a@x.example\naa@x.example\n", "subscribers.d/b": "b@x.example\n",
		"digesters.d/c": "c@x.example\n", "nomailsubs.d/d": "d@x.example\n", "control/owner": "nobody\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const want = " <a@x.example> regular; <aa@x.example> regular; <b@x.example> regular; <c@x.example> mime-digest; <d@x.example> none;"
	got, err := ReadMembers(dir, nil)
	if err != nil || show(got) != want {
		t.Errorf("%s, %v, want %s", show(got), err, want)
	}
	broken := filepath.Join(dir, "digesters.d", "c")
	if err := os.WriteFile(broken, []byte("c@x.example\nnobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadMembers(dir, nil); err == nil || err.Error() != broken+`:2: "nobody" is not an address` {
		t.Errorf("a broken file: %v", err)
	}
}

// FuzzParseMembers: an error names the file; a member has an address with a
// domain, on one line, and a mode that lists know.
func FuzzParseMembers(f *testing.F) {
	f.Add("a@x.example\nBob <b@x.example>\n# c\n")
	f.Add(roster("1", `{"email": "a@x.example", "display_name": "A", "delivery_mode": "mime_digests"}`))
	f.Add(roster("2", `{"email": "a@x.example\nb@x.example"}`))
	f.Add(`{"title": "404 Not Found"}`)
	f.Add("\"quoted name\" <a@x.example> (comment)\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseMembers("file", []byte(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "file:") {
				t.Errorf("%q: the error does not name the file: %v", text, err)
			}
			return
		}
		for _, m := range list {
			if i := strings.LastIndexByte(m.Address, '@'); i < 1 || i == len(m.Address)-1 || strings.ContainsAny(m.Address, "\r\n") {
				t.Errorf("%q: address %q", text, m.Address)
			}
			switch m.Mode {
			case "regular", "digest", "mime-digest", "none":
			default:
				t.Errorf("%q: mode %q", text, m.Mode)
			}
		}
	})
}
