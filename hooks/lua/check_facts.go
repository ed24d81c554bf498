package lua

import (
	"slices"
	"strings"

	"carteiro/hooks/lua/source"

	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// facts are what a checker has to know of a whole chunk before it looks at a
// part.
type facts struct {
	handlers map[*ast.FunctionExpr]hooks.Spec     // functions that one hook alone is given
	watched  map[*ast.FunctionExpr]bool           // pcall may call them, directly or through others
	asked    map[*source.Variable]bool            // type(x) is asked
	valued   map[*source.Variable]bool            // named otherwise than as the object of x.y and x:y()
	plain    map[*source.Variable]bool            // declared as {}, and what is put into it can be seen
	filled   map[*source.Variable]map[string]bool // x.y is assigned; "" is any y
}

// fills reports whether a table in a variable may have a key.
func (f *facts) fills(v *source.Variable, key string) bool {
	return !f.plain[v] || f.filled[v][key] || f.filled[v][""]
}

// gatherer walks over a chunk once.
type gatherer struct {
	*facts
	names     *source.Names
	functions map[*source.Variable]*ast.FunctionExpr // by the local variable that holds them
	named     map[string][]*ast.FunctionExpr         // by the key under which they are put into tables
	hooks     map[*source.Variable][]hooks.Spec      // that a function in a variable is given to
	other     map[*source.Variable]int               // uses of a variable that do not give it to a hook
	within    []*ast.FunctionExpr                    // functions around
	calls     map[*ast.FunctionExpr][]any            // what a function names: variables and keys
	inside    map[*ast.FunctionExpr][]*ast.FunctionExpr
	escaped   map[*source.Variable]bool // others may put something into the table
	wrappers  bool                      // pcall is given a function that the text does not show
	handed    []*ast.FunctionExpr
	marked    []any // what pcall is given: variables, keys
}

// gatherFacts finds the facts; wrappers says that a function elsewhere may call
// under pcall what it is given.
func gatherFacts(chunk []ast.Stmt, n *source.Names, wrappers bool) *facts {
	g := &gatherer{names: n, facts: &facts{
		handlers: map[*ast.FunctionExpr]hooks.Spec{},
		watched:  map[*ast.FunctionExpr]bool{},
		asked:    map[*source.Variable]bool{},
		valued:   map[*source.Variable]bool{},
		plain:    map[*source.Variable]bool{},
		filled:   map[*source.Variable]map[string]bool{},
	},
		escaped: map[*source.Variable]bool{}, wrappers: wrappers,
		functions: map[*source.Variable]*ast.FunctionExpr{}, named: map[string][]*ast.FunctionExpr{}, hooks: map[*source.Variable][]hooks.Spec{},
		other: map[*source.Variable]int{}, calls: map[*ast.FunctionExpr][]any{}, inside: map[*ast.FunctionExpr][]*ast.FunctionExpr{}}
	g.stmts(chunk)
	for v := range g.plain {
		if g.escaped[v] || v.Assigned {
			delete(g.plain, v)
		}
	}
	for v, specs := range g.hooks {
		f := g.functions[v]
		same := !slices.ContainsFunc(specs, func(s hooks.Spec) bool { return s.Point != specs[0].Point })
		if f != nil && same && !v.Assigned && g.other[v] == 0 {
			g.handlers[f] = specs[0]
		}
	}
	if g.wrappers {
		g.marked = append(g.marked, g.handedFunctions()...)
	}
	g.spread()
	return g.facts
}

// mayCatch reports whether a file other than that one may call under pcall what
// it is given.
func (u *loadedSource) mayCatch(path string) bool {
	if len(u.src.Requires) > 0 {
		return true
	}
	for name, text := range u.src.Files {
		if name != path && strings.HasSuffix(name, ".lua") && strings.Contains(string(text), "pcall") {
			return true
		}
	}
	return false
}

func (g *gatherer) handedFunctions() (out []any) {
	for _, f := range g.handed {
		out = append(out, f)
	}
	return out
}

// spread follows what pcall calls to what that calls.
func (g *gatherer) spread() {
	for len(g.marked) > 0 {
		what := g.marked[0]
		g.marked = g.marked[1:]
		var found []*ast.FunctionExpr
		switch what := what.(type) {
		case *ast.FunctionExpr:
			found = []*ast.FunctionExpr{what}
		case *source.Variable:
			if f := g.functions[what]; f != nil {
				found = []*ast.FunctionExpr{f}
			}
		case string:
			found = g.named[what]
		}
		for _, f := range found {
			if !g.watched[f] {
				g.watched[f] = true
				g.marked = append(g.marked, g.calls[f]...)
				for _, inner := range g.inside[f] {
					g.marked = append(g.marked, inner)
				}
			}
		}
	}
}

func (g *gatherer) stmts(list []ast.Stmt) {
	for _, s := range list {
		g.stmt(s)
	}
}

func (g *gatherer) stmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		for i, e := range s.Lhs {
			if target, ok := e.(*ast.AttrGetExpr); ok {
				g.fill(target)
				if i < len(s.Rhs) {
					g.put(target.Key, s.Rhs[i])
				}
			} else if id, ok := e.(*ast.IdentExpr); ok && i < len(s.Rhs) {
				g.hold(g.names.Uses[id], s.Rhs[i])
			}
			g.expr(e)
		}
		g.exprs(s.Rhs)
	case *ast.LocalAssignStmt:
		for i, v := range g.names.Declared[s] {
			if i < len(s.Exprs) {
				g.hold(v, s.Exprs[i])
				if t, ok := s.Exprs[i].(*ast.TableExpr); ok && len(t.Fields) == 0 {
					g.plain[v] = true
				}
			}
		}
		g.exprs(s.Exprs)
	case *ast.FuncCallStmt:
		g.expr(s.Expr)
	case *ast.DoBlockStmt:
		g.stmts(s.Stmts)
	case *ast.WhileStmt:
		g.expr(s.Condition)
		g.stmts(s.Stmts)
	case *ast.RepeatStmt:
		g.stmts(s.Stmts)
		g.expr(s.Condition)
	case *ast.IfStmt:
		g.expr(s.Condition)
		g.stmts(s.Then)
		g.stmts(s.Else)
	case *ast.NumberForStmt:
		g.exprs([]ast.Expr{s.Init, s.Limit})
		if s.Step != nil {
			g.expr(s.Step)
		}
		g.stmts(s.Stmts)
	case *ast.GenericForStmt:
		g.exprs(s.Exprs)
		g.stmts(s.Stmts)
	case *ast.FuncDefStmt:
		g.define(s)
	case *ast.ReturnStmt:
		g.exprs(s.Exprs)
	}
}

// define is function a.b() and function a:b().
func (g *gatherer) define(s *ast.FuncDefStmt) {
	switch {
	case s.Name.Func == nil:
		g.expr(s.Name.Receiver)
		g.named[s.Name.Method] = append(g.named[s.Name.Method], s.Func)
		g.fillObject(s.Name.Receiver, s.Name.Method)
	default:
		if target, ok := s.Name.Func.(*ast.AttrGetExpr); ok {
			g.put(target.Key, s.Func)
			g.fill(target)
		} else if id, ok := s.Name.Func.(*ast.IdentExpr); ok {
			if v := g.names.Uses[id]; v != nil {
				g.hold(v, s.Func)
			} else {
				g.named[id.Value] = append(g.named[id.Value], s.Func)
			}
		}
		g.expr(s.Name.Func)
	}
	g.function(s.Func)
}

func (g *gatherer) hold(v *source.Variable, e ast.Expr) {
	if f, ok := e.(*ast.FunctionExpr); ok && v != nil {
		g.functions[v] = f
	}
}

func (g *gatherer) put(key, value ast.Expr) {
	name, ok1 := key.(*ast.StringExpr)
	f, ok2 := value.(*ast.FunctionExpr)
	if ok1 && ok2 {
		g.named[name.Value] = append(g.named[name.Value], f)
	}
}

func (g *gatherer) fill(target *ast.AttrGetExpr) {
	switch key := target.Key.(type) {
	case *ast.StringExpr:
		g.fillObject(target.Object, key.Value)
	case *ast.NumberExpr, *ast.ArithmeticOpExpr, *ast.UnaryLenOpExpr:
	default:
		g.fillObject(target.Object, "")
	}
}

func (g *gatherer) fillObject(e ast.Expr, key string) {
	if id, ok := e.(*ast.IdentExpr); ok && g.names.Uses[id] != nil {
		v := g.names.Uses[id]
		if g.filled[v] == nil {
			g.filled[v] = map[string]bool{}
		}
		g.filled[v][key] = true
	}
}

func (g *gatherer) function(f *ast.FunctionExpr) {
	if n := len(g.within); n > 0 {
		g.inside[g.within[n-1]] = append(g.inside[g.within[n-1]], f)
	}
	g.within = append(g.within, f)
	g.stmts(f.Stmts)
	g.within = g.within[:len(g.within)-1]
}

func (g *gatherer) exprs(list []ast.Expr) {
	for _, e := range list {
		g.expr(e)
	}
}

// mention notes that the function around names a variable or a key.
func (g *gatherer) mention(what any) {
	if n := len(g.within); n > 0 {
		f := g.within[n-1]
		g.calls[f] = append(g.calls[f], what)
	}
}

func (g *gatherer) expr(e ast.Expr) {
	switch e := e.(type) {
	case *ast.IdentExpr:
		if v := g.names.Uses[e]; v != nil {
			g.valued[v], g.escaped[v] = true, true
			g.other[v]++
			g.mention(v)
		} else {
			g.mention(e.Value)
		}
	case *ast.UnaryLenOpExpr:
		g.readOnly(e.Expr)
	case *ast.FunctionExpr:
		g.function(e)
	case *ast.AttrGetExpr:
		g.object(e.Object)
		if key, ok := e.Key.(*ast.StringExpr); ok {
			g.mention(key.Value)
		} else {
			g.expr(e.Key)
		}
	case *ast.TableExpr:
		for _, f := range e.Fields {
			if f.Key != nil {
				g.put(f.Key, f.Value)
			}
		}
		source.Children(e, func(x ast.Expr) ast.Expr { g.expr(x); return x })
	case *ast.FuncCallExpr:
		g.call(e)
	case nil:
	default:
		source.Children(e, func(x ast.Expr) ast.Expr { g.expr(x); return x })
	}
}

// object is what stands before a dot or a colon.
func (g *gatherer) object(e ast.Expr) {
	id, ok := e.(*ast.IdentExpr)
	if !ok {
		g.expr(e)
		return
	}
	if v := g.names.Uses[id]; v != nil {
		g.other[v]++
		g.mention(v)
	} else {
		g.mention(id.Value)
	}
}

func (g *gatherer) call(e *ast.FuncCallExpr) {
	if e.Func == nil {
		g.object(e.Receiver)
		g.mention(e.Method)
		g.hand(e.Args)
		g.exprs(e.Args)
		return
	}
	id, plain := e.Func.(*ast.IdentExpr)
	name := ""
	if plain && g.names.Uses[id] == nil {
		name = id.Value
	}
	args := e.Args
	switch name {
	case "type":
		if len(args) == 1 {
			if arg, ok := args[0].(*ast.IdentExpr); ok && g.names.Uses[arg] != nil {
				g.asked[g.names.Uses[arg]] = true
			}
		}
	case "pcall", "xpcall":
		if len(args) > 0 {
			g.watch(args[0])
		}
	case "on":
		args = g.on(args)
	case "for_domain":
	default:
		if module, ok := e.Func.(*ast.AttrGetExpr); !ok || !g.isModule(module.Object) {
			g.hand(args)
		}
	}
	g.expr(e.Func)
	for i, a := range args {
		if i == 0 && g.isReader(e.Func) {
			g.readOnly(a)
		} else {
			g.expr(a)
		}
	}
}

// readOnly is expr for what is looked at, and given no keys but numbers.
func (g *gatherer) readOnly(e ast.Expr) {
	id, ok := e.(*ast.IdentExpr)
	if !ok || g.names.Uses[id] == nil {
		g.expr(e)
		return
	}
	v := g.names.Uses[id]
	had := g.escaped[v]
	g.expr(e)
	g.escaped[v] = had
}

// isReader reports whether a function puts no names into the table that it is
// given.
func (g *gatherer) isReader(f ast.Expr) bool {
	if id, ok := f.(*ast.IdentExpr); ok {
		return g.names.Uses[id] == nil && slices.Contains([]string{"ipairs", "pairs", "next", "unpack", "print", "tostring"}, id.Value)
	}
	member, ok := f.(*ast.AttrGetExpr)
	return ok && g.isModule(member.Object)
}

func (g *gatherer) isModule(e ast.Expr) bool {
	id, ok := e.(*ast.IdentExpr)
	return ok && g.names.Uses[id] == nil && moduleNamed(id.Value) != nil
}

// hand notes functions that are handed to a function of the policy's own,
// which may call them under pcall; one of another file is taken to do so.
func (g *gatherer) hand(args []ast.Expr) {
	for _, a := range args {
		if f, ok := a.(*ast.FunctionExpr); ok {
			g.handed = append(g.handed, f)
		}
	}
}

// watch notes what pcall is given.
func (g *gatherer) watch(e ast.Expr) {
	switch e := e.(type) {
	case *ast.FunctionExpr:
		g.marked = append(g.marked, e)
	case *ast.IdentExpr:
		v := g.names.Uses[e]
		if v != nil && (g.functions[v] == nil || v.Assigned) {
			g.wrappers = true // a parameter, or what was computed
		}
		if v != nil {
			g.marked = append(g.marked, v)
		} else {
			g.marked = append(g.marked, e.Value)
		}
	case *ast.AttrGetExpr:
		if key, ok := e.Key.(*ast.StringExpr); ok {
			g.marked = append(g.marked, key.Value)
		} else {
			g.wrappers = true
		}
	default:
		g.wrappers = true
	}
}

// on notes the handler of on("hook", [options,] handler) and returns the other
// arguments.
func (g *gatherer) on(args []ast.Expr) []ast.Expr {
	if len(args) < 2 {
		return args
	}
	name, ok := args[0].(*ast.StringExpr)
	spec, known := hooks.Spec{}, false
	if ok {
		spec, known = hooks.SpecNamed(name.Value)
	}
	if !known {
		return args
	}
	if asyncOption(args) {
		spec, _ = hooks.SpecOf(hooks.ReceiveAfter)
	}
	switch f := args[len(args)-1].(type) {
	case *ast.FunctionExpr:
		g.handlers[f] = spec
	case *ast.IdentExpr:
		if v := g.names.Uses[f]; v != nil {
			g.hooks[v] = append(g.hooks[v], spec)
			g.valued[v] = true
			return args[:len(args)-1]
		}
	}
	return args
}

// asyncOption reports whether the options say async = true.
func asyncOption(args []ast.Expr) bool {
	if len(args) != 3 {
		return false
	}
	t, ok := args[1].(*ast.TableExpr)
	if !ok {
		return false
	}
	return slices.ContainsFunc(t.Fields, func(f *ast.Field) bool {
		key, ok := f.Key.(*ast.StringExpr)
		_, yes := f.Value.(*ast.TrueExpr)
		return ok && yes && key.Value == "async"
	})
}
