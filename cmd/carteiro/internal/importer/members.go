package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"carteiro/core/message/mime"
)

// Member is a member of a list as another list manager wrote it down. Mode is
// regular, digest, mime-digest or none.
type Member struct{ Address, Name, Mode string }

// maxMembers is the largest file of members, in octets.
const maxMembers = 64 << 20

// ReadMembers reads the members of a Mailman 3 list (lines, or the REST API's
// JSON) or of an mlmmj list (its folder); "-" is stdin. A line that is not an
// address is an error that names the line.
func ReadMembers(path string, stdin io.Reader) ([]Member, error) {
	if path == "-" {
		raw, err := io.ReadAll(io.LimitReader(stdin, maxMembers+1))
		if err != nil {
			return nil, err
		}
		if len(raw) > maxMembers {
			return nil, fmt.Errorf("-: larger than %d octets", maxMembers)
		}
		return parseMembers("-", raw)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return readMlmmj(path)
	}
	if info.Size() > maxMembers {
		return nil, fmt.Errorf("%s: larger than %d octets", path, maxMembers)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseMembers(path, raw)
}

// parseMembers reads JSON or lines.
func parseMembers(path string, raw []byte) ([]Member, error) {
	if text := strings.TrimSpace(string(raw)); strings.HasPrefix(text, "{") {
		return mailmanJSON(path, []byte(text))
	}
	return memberLines(path, string(raw), "regular")
}

// memberLines reads "address" or "Name <address>", a line each.
func memberLines(path, text, mode string) (out []Member, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m, ok := parseMember(line)
		if !ok {
			return nil, fmt.Errorf("%s:%d: %.80q is not an address", path, n, line)
		}
		m.Mode = mode
		out = append(out, m)
	}
	return out, nil
}

// parseMember reads exactly one address, with a name or without.
func parseMember(text string) (m Member, ok bool) {
	list, complete := mime.ParseAddressList(text)
	if !complete || len(list) != 1 {
		return m, false
	}
	return Member{Address: string(list[0].Address), Name: list[0].Display}, true
}

// mailmanModes are the modes of members, by Mailman's names.
var mailmanModes = map[string]string{
	"":                  "regular",
	"regular":           "regular",
	"plaintext_digests": "digest",
	"summary_digests":   "digest",
	"mime_digests":      "mime-digest",
}

// mailmanJSON reads an answer of Mailman's REST API. An answer that is an error,
// or a part of the members, is refused: `list import --source` takes out who is
// not in it.
func mailmanJSON(path string, raw []byte) ([]Member, error) {
	var roster struct {
		Total   *int `json:"total_size"`
		Entries []struct {
			Email  string `json:"email"`
			Name   string `json:"display_name"`
			Mode   string `json:"delivery_mode"`
			Status string `json:"delivery_status"`
		} `json:"entries"` // missing if there are none
	}
	if err := json.Unmarshal(raw, &roster); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if roster.Entries == nil && roster.Total == nil {
		return nil, fmt.Errorf("%s: this is not a roster of Mailman: it has neither entries nor total_size", path)
	}
	if n := len(roster.Entries); roster.Total != nil && *roster.Total > n {
		return nil, fmt.Errorf("%s: %d of %d members: ask Mailman for all of them, not for a page", path, n, *roster.Total)
	}
	var out []Member
	for i, e := range roster.Entries {
		m, ok := parseMember(e.Email)
		if !ok || strings.ContainsAny(e.Email, "\r\n") {
			return nil, fmt.Errorf("%s: entry %d: %.80q is not an address", path, i+1, e.Email)
		}
		m.Name = e.Name
		if m.Mode, ok = mailmanModes[e.Mode]; !ok {
			return nil, fmt.Errorf("%s: entry %d: unknown delivery_mode %q", path, i+1, e.Mode)
		}
		if strings.HasPrefix(e.Status, "by_") {
			m.Mode = "none"
		}
		out = append(out, m)
	}
	return out, nil
}

// readMlmmj reads the subscribers of an mlmmj list.
func readMlmmj(dir string) ([]Member, error) {
	var out []Member
	found := false
	for _, kind := range []struct{ folder, mode string }{
		{"subscribers.d", "regular"}, {"digesters.d", "mime-digest"}, {"nomailsubs.d", "none"},
	} {
		files, err := os.ReadDir(filepath.Join(dir, kind.folder))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		for _, f := range files {
			path := filepath.Join(dir, kind.folder, f.Name())
			raw, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			list, err := memberLines(path, string(raw), kind.mode)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
		}
	}
	if !found {
		return nil, fmt.Errorf("%s: neither subscribers.d nor digesters.d: this is not a list of mlmmj", dir)
	}
	return out, nil
}
