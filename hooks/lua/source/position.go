package source

import (
	"strings"

	"github.com/yuin/gopher-lua/parse"
)

// column returns where a word is meant on a line, from 1; 0: nowhere. The syntax
// tree has lines alone, so the tokens are looked at: a name that is no
// member, a member if the word begins with a dot, or else a text. Only where
// none of them is the word are comments and parts of texts searched.
func (f *File) column(shown string, line int, word string) int {
	name, member := strings.CutPrefix(word, ".")
	sc := parse.NewScanner(strings.NewReader(f.Text), f.Name)
	lexer := &parse.Lexer{}
	inText := 0
	for {
		tok, err := sc.Scan(lexer)
		if err != nil || tok.Type == parse.EOF || tok.Pos.Line > line {
			break
		}
		before := lexer.Token.Type
		lexer.PrevTokenType, lexer.Token = before, tok
		switch {
		case tok.Pos.Line != line || tok.Str != name:
		case tok.Type == parse.TString:
			if inText == 0 {
				inText = tok.Pos.Column + 1 // after the quote
			}
		case member == (before == '.' || before == ':'):
			return tok.Pos.Column
		}
	}
	if inText > 0 {
		return inText
	}
	return findWord(shown, name) + 1
}
