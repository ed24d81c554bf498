package lua

import (
	"fmt"
	"strconv"
	"strings"

	"carteiro/hooks/lua/signature"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/lua/pattern"
)

// mismatchConstant says what is wrong with a constant that has a form: a pattern, a
// rate, a duration.
func (c valueChecker) mismatchConstant(p signature.Parameter, e ast.Expr) string {
	var value glua.LValue
	switch e := e.(type) {
	case *ast.StringExpr:
		value = glua.LString(e.Value)
	case *ast.NumberExpr:
		n, ok := parseNumber(e.Value)
		if !ok {
			return ""
		}
		value = glua.LNumber(n)
	default:
		return ""
	}
	var err error
	text, isText := value.(glua.LString)
	a, _ := p.Kind.Single()
	for _, one := range p.Kind {
		if one.Name == "address" || one.Name[0] == '"' {
			a = one
		}
	}
	switch a.Name {
	case "number":
		if _, ok := parseNumber(string(text)); isText && !ok {
			err = fmt.Errorf("a number was expected, got %q", string(text))
		}
	case "address":
		if text != "" || !isText {
			_, err = envelope.ParseAddress(tostringPlain(value))
		}
	case "duration":
		_, err = parseDuration(value)
	case "rate":
		_, _, err = parseRate(tostringPlain(value))
	case "re2":
		_, err = c.source.patterns.compile(tostringPlain(value))
	default:
		if a.Name[0] == '"' && !p.Kind.Has(strconv.Quote(tostringPlain(value))) {
			err = fmt.Errorf("it must be %s, got %q", inWords(p.Kind), tostringPlain(value))
		}
	}
	if err != nil {
		return p.Name + ": " + err.Error()
	}
	return ""
}

// isPure reports whether the result of a function of the API depends on nothing but
// its arguments.
func isPure(name string) bool {
	if _, ok := verdictActions[name]; ok {
		return true
	}
	module, _, _ := strings.Cut(name, ".")
	switch module {
	case "string", "re", "base64", "hex", "hash", "json", "tonumber":
		return true
	}
	return name == "time.format" || name == "time.parse"
}

// checkConstants tries a call whose arguments are constants, or in part: a value
// that fits stands for each of the others. It tells only what fails because of
// the constants.
func (c valueChecker) checkConstants(e *ast.FuncCallExpr, name string, s *signature.Signature, args []ast.Expr) {
	if n := len(args); !isPure(name) || n == 0 || hasSeveralValues(args[n-1]) {
		return
	}
	if c.checkPattern(e, name, args) {
		return
	}
	var first string
	for _, f := range s.Forms {
		if len(f.Params) < len(args) && f.Variadic == nil || len(s.Forms) > 1 && len(f.Params) != len(args) {
			continue
		}
		text, tried := c.tryCall(name, f, args)
		if !tried || text == "" {
			return
		}
		first = text
	}
	if first != "" {
		c.report(e.Line(), lastWord(name), first, "")
	}
}

// tryCall calls the function. text is the error that it raises; where values stand
// for arguments that are no constants, only if it raises none with values for
// all of them.
func (c valueChecker) tryCall(name string, f signature.Form, args []ast.Expr) (text string, tried bool) {
	fn := functionNamed(name)
	if fn == nil {
		return "", false
	}
	trial := c.source.trialState()
	t := &trialValues{trial: trial, whole: true}
	var given, fits []glua.LValue
	for i, a := range args {
		p := signature.Parameter{Kind: f.Variadic}
		if i < len(f.Params) {
			p = f.Params[i]
		}
		v, sample := t.value(a, p.Kind, false), t.value(a, p.Kind, true)
		if v == nil || sample == nil {
			return "", false
		}
		given, fits = append(given, v), append(fits, sample)
	}
	if !t.some || !t.whole && trial.errorOf(fn, fits) != "" {
		return "", false
	}
	text = trial.errorOf(fn, given)
	return strings.Replace(text, "to 'main chunk'", "to '"+name[strings.LastIndexAny(name, ".:")+1:]+"'", 1), true
}

// trial is a state in which calls with constants are tried.
type trial struct{ st *state }

// trialState returns the trial of a source, made when it is needed.
func (u *loadedSource) trialState() *trial {
	if u.trial == nil {
		own := &loadedSource{src: hooks.Source{Name: "scratch"}, files: map[string]*compiled{}}
		s := &generation{engine: New(Options{}), sources: []*loadedSource{own}, maps: map[tableKey]*table{}, secrets: map[hooks.Secret]string{}}
		u.trial = &trial{newState(s)}
		u.trial.st.source = own
	}
	return u.trial
}

// functionNamed finds one of the API.
func functionNamed(name string) glua.LGFunction {
	module, member, isMember := strings.Cut(name, ".")
	lists := [][]function{verdictFunctions, baseFunctions}
	if isMember {
		lists = [][]function{moduleNamed(module).functions}
	} else {
		member = name
	}
	for _, list := range lists {
		for _, f := range list {
			if f.name == member {
				return f.call
			}
		}
	}
	return nil
}

// constantValue returns the value of an expression that is one, or nil.
func (t *trial) constantValue(e ast.Expr) glua.LValue {
	switch e := e.(type) {
	case *ast.StringExpr:
		return glua.LString(e.Value)
	case *ast.NumberExpr:
		if n, ok := parseNumber(e.Value); ok {
			return glua.LNumber(n)
		}
	case *ast.TrueExpr:
		return glua.LTrue
	case *ast.FalseExpr:
		return glua.LFalse
	case *ast.NilExpr:
		return glua.LNil
	case *ast.UnaryMinusOpExpr:
		if n, ok := t.constantValue(e.Expr).(glua.LNumber); ok {
			return -n
		}
	case *ast.TableExpr:
		values := &trialValues{trial: t, whole: true}
		if v := values.table(e, nil, false); values.whole {
			return v
		}
	}
	return nil
}

// trialValues are values for a call that is tried.
type trialValues struct {
	trial *trial
	whole bool // all are constants
	some  bool // one is
}

// value returns the constant, or a value that fits where it is none or where fit
// asks for one; nil if there is none.
func (t *trialValues) value(e ast.Expr, k signature.Kind, fit bool) glua.LValue {
	if table, ok := e.(*ast.TableExpr); ok {
		return t.table(table, k, fit)
	}
	v := t.trial.constantValue(e)
	sample := t.trial.sampleValue(k)
	switch {
	case v == nil:
		t.whole = false
		return sample
	case fit && sample != nil:
		return sample
	}
	t.some = true
	return v
}

func (t *trialValues) table(e *ast.TableExpr, k signature.Kind, fit bool) glua.LValue {
	out := t.trial.st.L.NewTable()
	n := 0
	for _, f := range e.Fields {
		var want signature.Kind
		key, named := f.Key.(*ast.StringExpr)
		for _, a := range k {
			if f.Key == nil && a.Name == "[]" {
				want = a.Of
			}
			for _, p := range a.Keys {
				if named && p.Name == key.Value {
					want = p.Kind
				}
			}
		}
		v := t.value(f.Value, want, fit)
		switch {
		case v == nil || f.Key != nil && !named:
			t.whole = false
			return nil
		case f.Key == nil:
			n++
			out.RawSetInt(n, v)
		default:
			out.RawSetString(key.Value, v)
		}
	}
	t.some = true
	return out
}

// sampleValue returns a value that fits, or nil.
func (t *trial) sampleValue(k signature.Kind) glua.LValue {
	if len(k) == 0 {
		return nil
	}
	switch k[0].Name {
	case "string", "text", "pattern", "re2":
		return glua.LString("x")
	case "address":
		return glua.LString("x@x.example")
	case "any", "value":
		return glua.LString("1")
	case "number", "duration":
		return glua.LNumber(1)
	case "status":
		return glua.LNumber(200)
	case "code4":
		return glua.LNumber(450)
	case "code5":
		return glua.LNumber(550)
	case "rate":
		return glua.LString("1/1m")
	case "enhanced4":
		return glua.LString("4.7.1")
	case "enhanced5":
		return glua.LString("5.7.1")
	case "boolean":
		return glua.LTrue
	case "function":
		return t.st.L.NewFunction(func(*glua.LState) int { return 0 })
	}
	if name := k[0].Name; name[0] == '"' {
		return glua.LString(strings.Trim(name, `"`))
	}
	return nil // what is in it may matter
}

// checkPattern reports what is wrong with a pattern of Lua that is a constant. The
// matcher itself finds that only where it comes to that place.
func (c valueChecker) checkPattern(e *ast.FuncCallExpr, name string, args []ast.Expr) (told bool) {
	switch name {
	case "string.find", "string.match", "string.gmatch", "string.gsub":
	default:
		return false
	}
	if len(args) < 2 || name == "string.find" && len(args) >= 4 { // perhaps a plain text
		return false
	}
	if p, ok := args[1].(*ast.StringExpr); ok && (name != "string.find" || pattern.HasSpecials(p.Value)) {
		if text := pattern.Fault(p.Value); text != "" {
			c.report(e.Line(), lastWord(name), fmt.Sprintf("%s: %s in %q", name, text, p.Value), "")
			return true
		}
	}
	if repl, ok := args[min(2, len(args)-1)].(*ast.StringExpr); ok && name == "string.gsub" && len(args) > 2 {
		for i := 0; i < len(repl.Value); i++ {
			if repl.Value[i] != '%' {
				continue
			}
			i++
			if i == len(repl.Value) || repl.Value[i] != '%' && (repl.Value[i] < '0' || repl.Value[i] > '9') {
				c.report(e.Line(), "gsub", fmt.Sprintf("string.gsub: invalid use of '%%' in %q", repl.Value), "a percent sign is written %%")
				return true
			}
		}
	}
	return false
}
