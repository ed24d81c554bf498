package hooks

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
)

func number(n float64) *float64 { return &n }

func TestFieldCheck(t *testing.T) {
	table := Field{Type: "table", Fields: map[string]Field{
		"on": {Type: "boolean"}, "text": {Type: "string", When: "on", Max: number(5)}, "subject": {Type: "line"},
		"days": {Type: "integer", Min: number(1), Max: number(9)}, "share": {Type: "number"},
		"from": {Type: "date"}, "until": {Type: "date", After: "from"}, "zone": {Type: "zone"},
		"who": {Type: "list", Max: number(2), Of: &Field{Type: "match"}}, "boss": {Type: "address"},
		"name": {Type: "mailbox"}, "to": {Type: "list", Other: true, Of: &Field{Type: "mailbox"}, Or: []Field{{Type: "mailbox", Other: true}}},
		"file": {Type: "addresses", Other: true},
		"how":  {Type: "line", Choices: []string{"a", "b"}},
		"sub":  {Type: "table", Fields: map[string]Field{"x": {Type: "line", Required: true}}},
	}}
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ value, wrong string }{
		{`{}`, ""},
		{`{"on": true, "text": "éé", "days": 9, "share": 0.5, "from": "2026-12-01", "until": "2026-12-01", "zone": "Asia/Tokyo"}`, ""},
		{`{"who": ["a@b.example", "@c.example"], "boss": "x@y.example", "how": "b", "sub": {"x": ""}, "on": false}`, ""},
		{`{"name": "Bob <b@x.example>", "to": ["ann+x@our.example", "Bob <b@x.example>"],` +
			`"file": "# me\n\\ann, \"|/bin/x\"\nbob, c@x.example\n"}`,
			""},
		{`{"to": "b@x.example", "file": "bob"}`, ""},
		{`{"name": "b@x.example, c@x.example"}`, "not an address"},
		{`{"to": []}`, "v.to names nobody but ann@our.example itself"},
		{`{"to": ["Ann+tag@our.example", "ann@our.example"]}`, "v.to names nobody but ann@our.example itself"},
		{`{"to": "ann@our.example"}`, "v.to names nobody but ann@our.example itself"},
		{`{"to": ["b@x.example", "x y"]}`, `v.to[2] is "x y", not an address`},
		{`{"to": 7}`, "v.to is 7, not of type list or mailbox"},
		{`{"file": "b@x.example\nx y"}`, `v.file has "x y", which is not an address`},
		{`{"file": "# nobody\n|/bin/x, /dev/null"}`, "v.file names no address"},
		{`{"file": "\\ann"}`, "v.file names nobody but ann@our.example itself"},
		{`{"on": true}`, "v.text is missing"},
		{`{"text": "123456"}`, "v.text has 6 characters, above 5"},
		{`{"subject": "a\nb"}`, "v.subject has a line end"},
		{`{"days": 0}`, "v.days is 0, below 1"},
		{`{"days": 1.5}`, "v.days is 1.5, not of type integer"},
		{`{"days": "1"}`, "v.days is 1, not of type integer"},
		{`{"from": "2026-02-30"}`, "v.from is \"2026-02-30\", not a date"},
		{`{"from": "2026-12-02", "until": "2026-12-01"}`, "v.until is 2026-12-01, before v.from"},
		{`{"zone": ""}`, "not a time zone"},
		{`{"zone": "Local"}`, "not a time zone"},
		{`{"who": ["a@b.example", "nobody"]}`, `v.who[2] is "nobody", not an address`},
		{`{"who": ["a@b.c", "d@e.f", "g@h.i"]}`, "v.who has 3 elements, above 2"},
		{`{"boss": "@y.example"}`, "not an address"},
		{`{"how": "c"}`, `v.how is "c"; there are a, b`},
		{`{"sub": {}}`, "v.sub.x is missing"},
		{`{"sub": 3}`, "v.sub is 3, not of type table"},
		{`{"dyas": 3}`, `v has no field "dyas"`},
		{`"x"`, "v is x, not of type table"},
		{`[]`, "not of type table"},
	}
	for _, tt := range tests {
		var v any
		if err := json.Unmarshal([]byte(tt.value), &v); err != nil {
			t.Fatal(err)
		}
		err := table.Check("ann@our.example", "v", v)
		switch {
		case tt.wrong == "" && err != nil:
			t.Errorf("%s: %v", tt.value, err)
		case tt.wrong != "" && (!errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), tt.wrong)):
			t.Errorf("%s: %v, want %q", tt.value, err, tt.wrong)
		}
	}
}

func TestFieldSound(t *testing.T) {
	for wrong, f := range map[string]Field{
		"unknown type":                      {Type: "text"},
		"cannot have elements":              {Type: "line", Of: &Field{Type: "line"}},
		"cannot have fields":                {Type: "list", Fields: map[string]Field{}},
		"min above max":                     {Type: "number", Min: number(2), Max: number(1)},
		"names a field that does not exist": {Type: "table", Fields: map[string]Field{"a": {Type: "line", When: "b"}}},
		"field a names":                     {Type: "table", Fields: map[string]Field{"a": {Type: "date", After: "b"}, "b": {Type: "line"}}},
		"alternative has the un":            {Type: "list", Or: []Field{{Type: "?"}}},
		"has no addresses":                  {Type: "table", Other: true},
		"element has the un":                {Type: "list", Of: &Field{Type: "?"}},
	} {
		if err := f.Validate(); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%+v: %v, want %q", f, err, wrong)
		}
	}
}

func TestCheckSettingIsPerDomain(t *testing.T) {
	f := map[string]Field{"v": {Type: "integer"}}
	sources := []Source{{Settings: f, Except: []string{"a.example"}, Domains: nil}, {Settings: f, Domains: []string{"b.example"}}, {}}
	for domain, ok := range map[string]bool{"a.example": true, "b.example": false, "c.example": false} {
		if err := CheckSetting(sources, envelope.Address("ann@"+domain), "v", "x"); (err == nil) != ok {
			t.Errorf("%s: %v", domain, err)
		}
	}
	if err := CheckSetting(sources, "b.example", "w", "x"); err != nil {
		t.Error(err)
	}
}
