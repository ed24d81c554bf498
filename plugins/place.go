package plugins

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// place is a position in a manifest, both from 1.
type place struct{ line, column int }

// placesOf finds where each key of a TOML text stands, by its path such as
// "config.days.min"; elements of a list are "hooks[0]". The text was decoded
// before, so that it is TOML.
func placesOf(raw []byte) map[string]place {
	out := map[string]place{}
	var p unstable.Parser
	p.Reset(raw)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			var at place
			table, at = keyOf(&p, e)
			out[table] = at
			table += "."
		case unstable.KeyValue:
			putPlace(&p, out, table, e)
		}
	}
	return out
}

func putPlace(p *unstable.Parser, out map[string]place, prefix string, kv *unstable.Node) {
	key, at := keyOf(p, kv)
	key = prefix + key
	out[key] = at
	value := kv.Value()
	switch value.Kind {
	case unstable.InlineTable:
		for it := value.Children(); it.Next(); {
			if n := it.Node(); n.Kind == unstable.KeyValue {
				putPlace(p, out, key+".", n)
			}
		}
	case unstable.Array:
		i := 0
		for it := value.Children(); it.Next(); i++ {
			if n := it.Node(); n.Raw.Length > 0 {
				start := p.Shape(n.Raw).Start
				out[fmt.Sprintf("%s[%d]", key, i)] = place{start.Line, start.Column}
			}
		}
	}
}

func keyOf(p *unstable.Parser, n *unstable.Node) (string, place) {
	var parts []string
	var at place
	for it := n.Key(); it.Next(); {
		k := it.Node()
		if len(parts) == 0 {
			start := p.Shape(k.Raw).Start
			at = place{start.Line, start.Column}
		}
		parts = append(parts, string(k.Data))
	}
	return strings.Join(parts, "."), at
}
