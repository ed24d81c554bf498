package source

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/yuin/gopher-lua/parse"
)

// spelling is what people write who come from another language.
type spelling struct {
	before *regexp.Regexp // what stands before the place, on its line; nil: anything
	at     *regexp.Regexp // what stands there
	hint   string
}

var condition = regexp.MustCompile(`\b(if|elseif|while|until)\b`)

var spellings = []spelling{
	{nil, regexp.MustCompile(`^!=`), "not equal is written ~="},
	{nil, regexp.MustCompile(`^!`), "it is written not"},
	{nil, regexp.MustCompile(`^&&`), "it is written and"},
	{nil, regexp.MustCompile(`^&`), "Lua 5.1 has no operators on bits; and is the word for both"},
	{nil, regexp.MustCompile(`^\|\|`), "it is written or"},
	{nil, regexp.MustCompile(`^\?`), "write: condition and a or b"},
	{nil, regexp.MustCompile(`^(//|/\*)`), "a comment begins with --"},
	{nil, regexp.MustCompile(`^\+\+`), "write x = x + 1"},
	{nil, regexp.MustCompile(`^\+=`), "write x = x + ..."},
	{nil, regexp.MustCompile(`^-=`), "write x = x - ..."},
	{nil, regexp.MustCompile(`^\*=`), "write x = x * ..."},
	{nil, regexp.MustCompile(`^/=`), "write x = x / ..."},
	{nil, regexp.MustCompile(`^\.\.=`), "write x = x .. ..."},
	{nil, regexp.MustCompile(`^%=`), "write x = x % ..."},
	{condition, regexp.MustCompile(`^=($|[^=])`), "to compare, write =="},
	{condition, regexp.MustCompile(`^\{`), "write then, and end for the closing brace"},
	{regexp.MustCompile(`\b(if|elseif)\b`), regexp.MustCompile(`^do\b`), "write then"},
	{regexp.MustCompile(`\b(while|for)\b`), regexp.MustCompile(`^then\b`), "write do"},
	{regexp.MustCompile(`\b(elif|elsif|elseif|else)\b`), regexp.MustCompile(`^then\b`), "write elseif"},
	{regexp.MustCompile(`\blocal\b[^=]*$|^\s*[\w.]+\s*$`), regexp.MustCompile(`^==`), "to assign, write ="},
	{regexp.MustCompile(`[{,]\s*\w+\s*:\s*$`), regexp.MustCompile(`^[\w"']`), "a key of a table is followed by ="},
	{regexp.MustCompile(`\bfor\b`), regexp.MustCompile(`^\{`), "write do, and end for the closing brace"},
}

var splitElse = regexp.MustCompile(`\belse[ \t]+if\b`)

var wrongElse = regexp.MustCompile(`\b(elif|elsif)\b`)

// spellingHint returns the hint for a place at which the syntax is wrong, or "".
func (f *File) spellingHint(line, column int, token string) string {
	lines := strings.Split(f.Text, "\n")
	if line < 1 || line > len(lines) || column < 1 || column > len(lines[line-1]) {
		return ""
	}
	text := lines[line-1]
	if wrongElse.MatchString(text) {
		return "it is written elseif"
	}
	// The place may be that of the token after.
	for _, at := range []int{column - 1, column - 2, column - len(token)} {
		if at < 0 || at > len(text) {
			continue
		}
		for _, s := range spellings {
			before := text[:at]
			if i := strings.LastIndex(before, " then"); s.before == condition && i >= 0 {
				before = before[i+5:]
			}
			if s.at.MatchString(text[at:]) && (s.before == nil || s.before.MatchString(before)) {
				return s.hint
			}
		}
	}
	return ""
}

// openBlock is a block or bracket that waits for its end.
type openBlock struct {
	word   string // "if", "function", "(", ...
	line   int
	indent int
}

func (o openBlock) bracket() bool { return strings.Contains("({[", o.word) }

func (o openBlock) String() string {
	if o.bracket() {
		return fmt.Sprintf("the %s of line %d", o.word, o.line)
	}
	return fmt.Sprintf("the %s at line %d", o.word, o.line)
}

// blocks follows what is opened and closed.
type blocks struct {
	lines []string
	open  []openBlock
	loop  openBlock // a while or for that waits for its do
	early *openBlock
	stray bool // an end that closes nothing
}

func (b *blocks) indent(line int) int {
	if line < 1 || line > len(b.lines) {
		return 0
	}
	return len(b.lines[line-1]) - len(strings.TrimLeft(b.lines[line-1], " \t"))
}

func (b *blocks) push(word string, line int) {
	b.open = append(b.open, openBlock{word, line, b.indent(line)})
}

// end closes the innermost block. One that stands further to the left than
// what it closes is likely to be meant for a block around that.
func (b *blocks) end(line int, word string) {
	n := len(b.open)
	if n == 0 || b.open[n-1].bracket() {
		b.stray = b.stray || n == 0
		return
	}
	o := b.open[n-1]
	first := line <= len(b.lines) && strings.HasPrefix(strings.TrimLeft(b.lines[line-1], " \t"), word)
	if first && b.early == nil && line != o.line && b.indent(line) < o.indent {
		b.early = &o
	}
	b.open = b.open[:n-1]
}

func (b *blocks) token(tok int, line int) {
	switch tok {
	case parse.TFunction:
		b.push("function", line)
	case parse.TIf:
		b.push("if", line)
	case parse.TRepeat:
		b.push("repeat", line)
	case parse.TWhile:
		b.loop = openBlock{word: "while", line: line}
	case parse.TFor:
		b.loop = openBlock{word: "for", line: line}
	case parse.TDo:
		if b.loop.line > 0 {
			b.push(b.loop.word, b.loop.line)
			b.loop = openBlock{}
		} else {
			b.push("do", line)
		}
	case parse.TEnd:
		b.end(line, "end")
	case parse.TUntil:
		b.end(line, "until")
	case '(', '{', '[':
		b.push(string(rune(tok)), line)
	case ')', '}', ']':
		if n := len(b.open); n > 0 && b.open[n-1].bracket() {
			b.open = b.open[:n-1]
		}
	}
}

// openBlocks follows the blocks up to a place, all of the file for line 0.
func (f *File) openBlocks(line, column int) *blocks {
	b := &blocks{lines: strings.Split(f.Text, "\n")}
	sc := parse.NewScanner(strings.NewReader(f.Text), f.Name)
	lexer := &parse.Lexer{}
	for {
		tok, err := sc.Scan(lexer)
		if err != nil || tok.Type == parse.EOF || line > 0 && (tok.Pos.Line > line || tok.Pos.Line == line && tok.Pos.Column >= column) {
			return b
		}
		lexer.PrevTokenType, lexer.Token = lexer.Token.Type, tok
		b.token(tok.Type, tok.Pos.Line)
	}
}

// closes are the words near which a block is found to be open.
var closes = map[string]bool{")": true, "}": true, "]": true, ",": true, "else": true, "elseif": true, "until": true, "": true}

// syntaxFault makes an error of what the parser found, and says which block
// or bracket is open, or what may have been meant. line 0 is the end of the
// file.
func (f *File) syntaxFault(line, column int, token, message string) *Error {
	last := strings.Count(strings.TrimRight(f.Text, "\n"), "\n") + 1
	text := message
	switch {
	case line == 0:
		text = "the file ends too early"
	case message == "syntax error" || message == "parse error":
		text = "syntax error near '" + token + "'"
	}
	hint := ""
	if line > 0 {
		hint = f.spellingHint(line, column, token)
	}
	b := f.openBlocks(line, column)
	if n := len(b.open); hint == "" && n > 0 && (line == 0 || closes[token]) && !b.open[n-1].bracket() {
		o := b.open[n-1]
		word := "end"
		if o.word == "repeat" {
			word = "until"
		}
		text += fmt.Sprintf(": %q is missing, %s is open", word, o)
		if b.early != nil && b.early.line != o.line {
			hint = fmt.Sprintf("perhaps %s has no end", *b.early)
		} else if splitElse.MatchString(f.Text) {
			hint = "elseif is one word; an if after else needs its own end"
		}
	} else if hint == "" && n > 0 && b.open[n-1].bracket() && (line == 0 || b.open[n-1].line < line) {
		hint = fmt.Sprintf("%s is open: a bracket or a comma is missing", b.open[n-1])
	} else if hint == "" && n == 0 && token == "end" {
		hint = "this end closes nothing; perhaps there is one too many above"
	}
	if line == 0 {
		line, column = last, 0
	}
	return f.Fault(line, max(column, 0), "", text, hint)
}
