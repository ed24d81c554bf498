package main

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

// rosterMember is a member of a list that another list manager wrote down.
type rosterMember struct{ Address, Name, Mode string }

// maxRoster bounds a file of members.
const maxRoster = 64 << 20

// readRoster reads the members of a Mailman 3 list (lines, or the REST API's
// JSON) or of an mlmmj list (its folder); "-" is stdin. A line that is no address is an
// error with its place.
func readRoster(path string, stdin io.Reader) ([]rosterMember, error) {
	if path == "-" {
		raw, err := io.ReadAll(io.LimitReader(stdin, maxRoster))
		if err != nil {
			return nil, err
		}
		return parseRoster("-", raw)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return readMlmmj(path)
	}
	if info.Size() > maxRoster {
		return nil, fmt.Errorf("%s: larger than %d octets", path, maxRoster)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseRoster(path, raw)
}

func parseRoster(path string, raw []byte) ([]rosterMember, error) {
	if text := strings.TrimSpace(string(raw)); strings.HasPrefix(text, "{") {
		return mailmanJSON(path, []byte(text))
	}
	return rosterLines(path, string(raw), "regular")
}

// rosterLines reads "address" or "Name <address>", a line each.
func rosterLines(path, text, mode string) (out []rosterMember, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		list, complete := mime.ParseAddressList(line)
		if !complete || len(list) != 1 {
			return nil, fmt.Errorf("%s:%d: %.80q is no address", path, n, line)
		}
		out = append(out, rosterMember{string(list[0].Address), list[0].Display, mode})
	}
	return out, nil
}

// mailmanModes are what Mailman calls the ways of delivery.
var mailmanModes = map[string]string{"": "regular", "regular": "regular", "plaintext_digests": "digest", "summary_digests": "digest", "mime_digests": "mime-digest"}

func mailmanJSON(path string, raw []byte) ([]rosterMember, error) {
	var roster struct {
		Entries []struct {
			Email  string `json:"email"`
			Name   string `json:"display_name"`
			Mode   string `json:"delivery_mode"`
			Status string `json:"delivery_status"`
		} `json:"entries"`
	}
	if err := json.Unmarshal(raw, &roster); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var out []rosterMember
	for i, e := range roster.Entries {
		mode, ok := mailmanModes[e.Mode]
		if !ok {
			return nil, fmt.Errorf("%s: entry %d: unknown delivery_mode %q", path, i+1, e.Mode)
		}
		if strings.HasPrefix(e.Status, "by_") {
			mode = "none"
		}
		one, err := rosterLines(fmt.Sprintf("%s: entry %d", path, i+1), e.Email, mode)
		if err != nil {
			return nil, err
		}
		for _, m := range one {
			m.Name = e.Name
			out = append(out, m)
		}
	}
	return out, nil
}

// readMlmmj reads the subscribers of an mlmmj list.
func readMlmmj(dir string) ([]rosterMember, error) {
	var out []rosterMember
	found := false
	for _, kind := range []struct{ folder, mode string }{{"subscribers.d", "regular"}, {"digesters.d", "mime-digest"}, {"nomailsubs.d", "none"}} {
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
			list, err := rosterLines(path, string(raw), kind.mode)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
		}
	}
	if !found {
		return nil, fmt.Errorf("%s: neither subscribers.d nor digesters.d: no list of mlmmj", dir)
	}
	return out, nil
}
