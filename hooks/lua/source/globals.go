package source

import glua "github.com/yuin/gopher-lua"

// Global is one access to a global in the code.
type Global struct {
	Name   string
	Line   int
	Write  bool
	Top    bool   // in the file's own body, not in a function
	Member string // of "name.member", where it can be told
}

// Globals lists the accesses in a file.
func Globals(file *glua.FunctionProto) []Global { return globalsOf(file, true, nil) }

// globalsOf appends the accesses of a prototype and those inside of it.
func globalsOf(p *glua.FunctionProto, top bool, out []Global) []Global {
	for pc, inst := range p.Code {
		op := int(inst >> 26)
		if op != glua.OP_GETGLOBAL && op != glua.OP_SETGLOBAL {
			continue
		}
		g := Global{Name: Constant(p, int(inst&0x3ffff)), Line: p.DbgSourcePositions[pc], Write: op == glua.OP_SETGLOBAL, Top: top}
		if !g.Write && pc+1 < len(p.Code) {
			next := p.Code[pc+1]
			k := int(next>>9) & 0x1ff
			if int(next>>26) == glua.OP_GETTABLEKS && int(next&0x1ff) == int(inst>>18)&0xff && k >= 256 {
				g.Member = Constant(p, k-256)
			}
		}
		out = append(out, g)
	}
	for _, inner := range p.FunctionPrototypes {
		out = globalsOf(inner, false, out)
	}
	return out
}

// Constant returns the text that is a constant of a prototype, or "".
func Constant(p *glua.FunctionProto, i int) string {
	if i < len(p.Constants) {
		if s, ok := p.Constants[i].(glua.LString); ok {
			return string(s)
		}
	}
	return ""
}
