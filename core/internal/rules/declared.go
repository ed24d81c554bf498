package rules

import "go/ast"

// Declared lists the exported names that a file declares at its top, as
// "package.Name".
func Declared(f *File) (out []string) {
	add := func(id *ast.Ident) {
		if id.IsExported() {
			out = append(out, f.syntax.Name.Name+"."+id.Name)
		}
	}
	for _, d := range f.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(d.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					add(s.Name)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						add(id)
					}
				}
			}
		}
	}
	return out
}
