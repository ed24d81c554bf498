package lua

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"

	toml "github.com/pelletier/go-toml/v2"
	glua "github.com/yuin/gopher-lua"
)

var mapModule = module{name: "map", doc: "look-up files of the bundle or script folder; they are part of the generation",
	functions: []function{
		{name: "open", call: mapOpen, sig: "open(file)", doc: "opens a .toml, .cidr, .domains or .regex file; only at the top of a file"},
	}}

var mapClass = class{
	name: "map",
	doc: `a look-up file. A TOML file has keys and values. The other kinds have lines "key value"; # begins a comment, and a missing ` +
		"value means true",
	methods: []function{
		{name: "get", call: mapGet, sig: "get(key)", doc: "the value of exactly this key, or nil"},
		{
			name: "match",
			call: mapMatch,
			sig:  "match(key)",
			doc: "the value of the smallest network that contains the key, of the nearest parent domain, or of the first pattern that " +
				"matches; or nil",
		},
	},
}

// tableKey names a look-up file; two sources may have files of one name.
type tableKey struct {
	source *loadedSource
	file   string
}

// table is a look-up file, read once for a generation.
type table struct {
	values   map[string]any
	nets     map[netip.Prefix]any
	domains  bool
	patterns []mapPattern
}

type mapPattern struct {
	re    *regexp.Regexp
	value any
}

func mapOpen(L *glua.LState) int {
	st := stateOf(L)
	ld := st.loading
	if ld == nil {
		L.RaiseError("map.open belongs at the top of the file, not inside a handler")
	}
	name := path.Clean(text(L, 1))
	u := ld.source
	content, ok := u.src.Files[name]
	if !ok {
		L.RaiseError("map.open: there is no file %s here", name)
	}
	key := tableKey{u, name}
	st.generation.mapMu.Lock()
	defer st.generation.mapMu.Unlock()
	t, ok := st.generation.maps[key]
	if !ok {
		var err error
		if t, err = readTable(name, content); err != nil {
			L.RaiseError("map.open: %s: %s", name, err.Error())
		}
		st.generation.maps[key] = t
	}
	L.Push(&glua.LUserData{Value: &object{class: &mapClass, v: t}, Metatable: st.metatable, Env: L.Env})
	return 1
}

func readTable(name string, content []byte) (*table, error) {
	t := &table{values: map[string]any{}}
	switch path.Ext(name) {
	case ".toml":
		if err := toml.Unmarshal(content, &t.values); err != nil {
			return nil, err
		}
		return t, nil
	case ".cidr":
		t.nets = map[netip.Prefix]any{}
	case ".domains":
		t.domains = true
	case ".regex":
	default:
		return nil, fmt.Errorf("only .toml, .cidr, .domains and .regex files can be opened")
	}
	sc := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := t.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return t, sc.Err()
}

func (t *table) add(line string) error {
	key, rest, _ := strings.Cut(line, " ")
	if i := strings.IndexByte(key, '\t'); i >= 0 {
		key, rest = line[:i], line[i+1:]
	}
	var value any = true
	if rest = strings.TrimSpace(rest); rest != "" && rest[0] != '#' {
		value = rest
	}
	switch {
	case t.nets != nil:
		p, err := parseNet(key)
		if err != nil {
			return err
		}
		t.nets[p] = value
	case t.domains:
		t.values[strings.ToLower(strings.Trim(key, "."))] = value
	default:
		if len(key) > maxPattern {
			return fmt.Errorf("pattern longer than %d octets", maxPattern)
		}
		re, err := regexp.Compile(key)
		if err != nil {
			return err
		}
		t.patterns = append(t.patterns, mapPattern{re, value})
	}
	return nil
}

// parseNet reads a network or a single address.
func parseNet(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a network", s)
	}
	return netip.PrefixFrom(ip, ip.BitLen()), nil
}

func mapGet(L *glua.LState) int {
	st, o := self(L, "map")
	t := o.v.(*table)
	key := stringArgument(L, 2, "map:get", "key")
	if t.nets != nil {
		p, _ := parseNet(key)
		L.Push(st.toLua(L, t.nets[p]))
		return 1
	}
	if t.domains {
		key = strings.ToLower(key)
	}
	L.Push(st.toLua(L, t.values[key]))
	return 1
}

func mapMatch(L *glua.LState) int {
	st, o := self(L, "map")
	t := o.v.(*table)
	L.Push(st.toLua(L, t.match(L, st, stringArgument(L, 2, "map:match", "key"))))
	return 1
}

func (t *table) match(L *glua.LState, st *state, key string) any {
	switch {
	case t.nets != nil:
		ip, err := netip.ParseAddr(key)
		if err != nil {
			return nil
		}
		ip = ip.Unmap()
		for bits := ip.BitLen(); bits >= 0; bits-- {
			if p, err := ip.Prefix(bits); err == nil {
				if v, ok := t.nets[p]; ok {
					return v
				}
			}
		}
		return nil
	case t.domains:
		for d := strings.ToLower(strings.Trim(key, ".")); d != ""; {
			if v, ok := t.values[d]; ok {
				return v
			}
			_, d, _ = strings.Cut(d, ".")
		}
		return nil
	}
	for _, p := range t.patterns {
		st.budget.chargeSteps(L, int64(len(key))/4+1)
		if p.re.MatchString(key) {
			return p.value
		}
	}
	return t.values[key]
}
