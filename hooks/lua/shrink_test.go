package lua

import "slices"

// shrink makes a program smaller as long as one of its smaller forms is
// interesting: which gives the index of the first of some, or -1.
func shrink(n *node, which func([]*node) int) *node {
	const some = 30
	for steps := 0; steps < 400; steps++ {
		list := n.smaller()
		found := -1
		for from := 0; from < len(list) && found < 0; from += some {
			if i := which(list[from:min(from+some, len(list))]); i >= 0 {
				found = from + i
			}
		}
		if found < 0 {
			return n
		}
		n = list[found]
	}
	return n
}

// smaller are programs that are like n but for one piece.
func (n *node) smaller() []*node {
	var out []*node
	switch n.kind {
	case 'b': // without half of the statements, and without each
		statements := 0
		for _, k := range n.nodes {
			if k.kind == 's' {
				statements++
			}
		}
		if statements == len(n.nodes) && statements > 0 {
			if statements > 3 {
				out = append(out, n.without(0, statements/2), n.without(statements/2, statements))
			}
			for i := range n.nodes {
				out = append(out, n.without(i, i+1))
			}
		}
	case 'e': // a part of it, or a constant
		out = append(out, n.nodes...)
		if len(n.nodes) > 0 || len(n.texts[0]) > 4 {
			out = append(out, leaf("1"), leaf("nil"))
		}
	}
	for i, k := range n.nodes {
		for _, smaller := range k.smaller() {
			out = append(out, n.with(i, smaller))
		}
		if k.kind != 's' {
			continue
		}
		for _, inner := range k.nodes { // a block for the statement that holds it
			if inner.kind == 'b' {
				out = append(out, n.with(i, &node{kind: 's', texts: []string{"do\n", "end"}, nodes: []*node{inner}}))
			}
		}
	}
	return out
}

func (n *node) with(i int, k *node) *node {
	out := &node{kind: n.kind, texts: n.texts, nodes: slices.Clone(n.nodes)}
	out.nodes[i] = k
	return out
}

func (n *node) without(from, to int) *node {
	return &node{kind: n.kind, texts: slices.Delete(slices.Clone(n.texts), from, to), nodes: slices.Delete(slices.Clone(n.nodes), from, to)}
}
