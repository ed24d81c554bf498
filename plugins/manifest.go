package plugins

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/pelletier/go-toml/v2"

	"carteiro/hooks"
)

// api is the major version of the contract that this server speaks.
const api = 1

// maxManifest bounds bundle.toml, in octets.
const maxManifest = 64 << 10

// Manifest is bundle.toml. Unknown keys are errors.
type Manifest struct {
	Bundle struct {
		Name        string            `toml:"name"`
		Version     string            `toml:"version"`
		API         int               `toml:"api"`
		License     string            `toml:"license"`
		Description string            `toml:"description"`
		Requires    map[string]string `toml:"requires"` // ranges, by bundle or "carteiro"
		After       []string          `toml:"after"`
		Hooks       []string          `toml:"hooks"`
		// Outgoing false: the bundle is not asked about outgoing mail of its
		// domains at queue.* and deliver.*.
		Outgoing *bool `toml:"outgoing"`
	} `toml:"bundle"`
	Capabilities struct {
		Modules    []string `toml:"modules"`
		Submit     string   `toml:"submit"`
		HTTP       []string `toml:"http"`
		Message    []string `toml:"message"`
		Secrets    []string `toml:"secrets"`
		Recipients int      `toml:"recipients"`
		Rights     []string `toml:"rights"`
		Web        string   `toml:"web"` // "plain": its pages run without the sandbox, where the admin allows it
	} `toml:"capabilities"`
	Limits struct {
		Wall         string `toml:"wall"`
		Instructions int64  `toml:"instructions"`
		Alloc        string `toml:"alloc"`
		KV           int    `toml:"kv"`
		DNS          int    `toml:"dns"`
		HTTP         int    `toml:"http"`
		Submits      int    `toml:"submits"`
	} `toml:"limits"`
	Config map[string]Setting `toml:"config"`
	// Account describes the settings of accounts that the bundle reads.
	Account map[string]hooks.Field `toml:"account"`
	Tests   struct {
		Smoke []string `toml:"smoke"`
	} `toml:"tests"`

	// What the texts above mean, once they are checked.
	version  *semver.Version
	requires map[string]*semver.Constraints
	submit   hooks.Rate
	wall     time.Duration
	alloc    int64
}

// Name is the bundle's, "publisher/name".
func (m *Manifest) Name() string { return m.Bundle.Name }

// Publisher is the first part of the name.
func (m *Manifest) Publisher() string {
	p, _, _ := strings.Cut(m.Bundle.Name, "/")
	return p
}

// Fault is what is wrong at one place of a manifest.
type Fault struct {
	File         string
	Line, Column int // from 1; 0: the file as a whole
	Text         string
	Snippet      string // the line with a caret under the column, or ""
}

// Error is "bundle file:line:column: text".
func (f *Fault) Error() string {
	at := f.File
	if f.Line > 0 {
		at = fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
	}
	return ErrBundle.Error() + " " + at + ": " + f.Text
}

// Unwrap makes it an ErrBundle.
func (f *Fault) Unwrap() error { return ErrBundle }

// parseManifest reads and checks bundle.toml. It reports all faults, joined,
// each a *Fault; only a text that is no TOML, or a value of another type than
// its key has, stands alone.
func parseManifest(raw []byte, label string) (*Manifest, error) {
	file := label + "/" + manifestFile
	if len(raw) > maxManifest {
		return nil, &Fault{File: file, Text: fmt.Sprintf("has more than %d octets", maxManifest)}
	}
	c := &checker{file: file, lines: strings.Split(string(raw), "\n")}
	var m Manifest
	d := toml.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	err := d.Decode(&m)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		for _, e := range strict.Errors {
			line, col := e.Position()
			c.fault(place{line, col}, "unknown key "+strings.Join(e.Key(), "."))
		}
	} else if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, col := e.Position()
		c.fault(place{line, col}, strings.TrimPrefix(e.Error(), "toml: "))
		return nil, errors.Join(c.errs...)
	} else if err != nil {
		return nil, &Fault{File: file, Text: err.Error()}
	}
	c.places = placesOf(raw)
	c.manifest(&m)
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return &m, nil
}

// validName is "publisher/name", each of lower-case letters, digits and hyphens.
func validName(s string) bool {
	publisher, name, ok := strings.Cut(s, "/")
	return ok && validWord(publisher) && validWord(name)
}

func validWord(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && !strings.HasPrefix(s, "-") &&
		!strings.HasSuffix(s, "-")
}
