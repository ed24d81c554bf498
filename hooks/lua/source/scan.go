package source

import (
	"fmt"
	"strings"

	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"
)

// Limits of a source file. The parser recurses and the compiler is quadratic
// in the length of an expression, so both are bounded before they run.
const (
	maxFile      = 256 << 10
	maxNesting   = 200
	maxOperators = 200 // in one expression
)

// scan checks the limits on tokens.
func (f *File) scan() error {
	if len(f.Text) > maxFile {
		return f.Fault(0, 0, "", fmt.Sprintf("%d KiB; a file may have %d KiB", len(f.Text)>>10, maxFile>>10), "split it")
	}
	sc := parse.NewScanner(strings.NewReader(f.Text), f.Name)
	lexer := &parse.Lexer{}
	depth, operators := 0, 0
	var kept []int // operators of the enclosing expressions
	for {
		tok, err := sc.Scan(lexer)
		if err != nil {
			return f.parseFault(err)
		}
		lexer.PrevTokenType, lexer.Token = lexer.Token.Type, tok
		f.at = tok.Pos.Line
		switch tok.Type {
		case parse.EOF:
			return nil
		case '(', '{', '[', parse.TFunction, parse.TDo, parse.TThen, parse.TRepeat:
			depth++
			kept = append(kept, operators)
			operators = 0
		case ')', '}', ']', parse.TEnd, parse.TUntil, parse.TElseIf:
			depth--
			if n := len(kept); n > 0 {
				operators, kept = kept[n-1], kept[:n-1]
			}
			if tok.Type >= parse.TAnd {
				operators = 0
			}
		case '+', '-', '*', '/', '%', '^', '#', '<', '>', parse.TAnd, parse.TOr, parse.TNot, parse.T2Comma,
			parse.TEqeq, parse.TNeq, parse.TLte, parse.TGte, '.', ':':
			operators++
		case '=', ',', ';', parse.TLocal, parse.TReturn, parse.TIf, parse.TWhile, parse.TFor, parse.TIn, parse.TElse, parse.TBreak, parse.TGoto:
			operators = 0
		case parse.TIdent, parse.TNumber, parse.TString, parse.TNil, parse.TTrue, parse.TFalse:
			if endsExpression(lexer.PrevTokenType) && tok.Type == parse.TIdent {
				operators = 0 // two names in a row: a new statement
			}
		}
		if depth > maxNesting {
			return f.Fault(tok.Pos.Line, tok.Pos.Column, "", fmt.Sprintf("nested deeper than %d", maxNesting), "")
		}
		if operators > maxOperators {
			return f.Fault(tok.Pos.Line, tok.Pos.Column, "", fmt.Sprintf("more than %d operators in one expression", maxOperators),
				"use table.concat or several statements")
		}
	}
}

// endsExpression reports whether a token can be the last one of an expression.
func endsExpression(t int) bool {
	switch t {
	case parse.TIdent, parse.TNumber, parse.TString, parse.TNil, parse.TTrue, parse.TFalse, ')', ']', '}', parse.TEnd:
		return true
	}
	return false
}

// Parse parses the file and reports syntax errors in our form.
func (f *File) Parse() ([]ast.Stmt, error) {
	chunk, err := parse.Parse(strings.NewReader(f.Text), f.Name)
	if err != nil {
		return nil, f.parseFault(err)
	}
	return chunk, nil
}

func (f *File) parseFault(err error) error {
	e, ok := err.(*parse.Error)
	if !ok {
		return f.Fault(0, 0, "", err.Error(), "")
	}
	if e.Pos.Line == parse.EOF {
		return f.syntaxFault(0, 0, "", e.Message)
	}
	return f.syntaxFault(e.Pos.Line, e.Pos.Column, e.Token, e.Message)
}
