package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// source is one file of a module.
type source struct {
	folder, path string // from the module's root, with slashes
	test         bool
	text         []byte
	syntax       *ast.File
	lines        int
}

// module is what is read of a module.
type module struct {
	root, path string
	set        *token.FileSet
	files      []*source
}

var moduleLine = regexp.MustCompile(`(?m)^module[ \t]+("?)([^"\s]+)("?)`)

// readModule parses all files of the module in a folder.
func readModule(root string) (*module, error) {
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no go.mod: give the root of a Go module", root)
	} else if err != nil {
		return nil, err
	}
	name := moduleLine.FindSubmatch(gomod)
	if name == nil {
		return nil, fmt.Errorf("%s: no line \"module PATH\"", filepath.Join(root, "go.mod"))
	}
	m := &module{root: root, path: string(name[2]), set: token.NewFileSet()}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != root && skipFolder(p, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") {
			return nil
		}
		return m.add(p)
	})
	if err == nil && len(m.files) == 0 {
		err = fmt.Errorf("%s has no Go files", root)
	}
	return m, err
}

func skipFolder(p, name string) bool {
	if name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(p, "go.mod"))
	return err == nil
}

func (m *module) add(p string) error {
	text, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(m.root, p)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	syntax, err := parser.ParseFile(m.set, p, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	lines := bytes.Count(text, []byte("\n"))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		lines++
	}
	m.files = append(m.files, &source{folder: path.Dir(rel), path: rel, test: strings.HasSuffix(rel, "_test.go"),
		text: text, syntax: syntax, lines: lines})
	return nil
}

// own returns the folder of an import of the module itself.
func (m *module) own(spec *ast.ImportSpec) (folder string, ok bool) {
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return "", false
	}
	if name == m.path {
		return ".", true
	}
	return strings.CutPrefix(name, m.path+"/")
}

// lineOf returns the number of the line where something begins.
func (m *module) lineOf(p token.Pos) int { return m.set.Position(p).Line }

// span returns how many lines a node has.
func (m *module) span(n ast.Node) int { return m.lineOf(n.End()) - m.lineOf(n.Pos()) + 1 }
