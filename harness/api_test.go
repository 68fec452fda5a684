package harness

import (
	"bytes"
	"go/ast"
	"go/build"
	"go/parser"
	"go/printer"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
)

// stable are the packages that programs outside of this module may use, see
// docs/architecture.md. What they export changes with a version of its own, and is listed in
// testdata/api, so that nobody changes it without seeing it.
var stable = []string{"explain", "kernel", "oomlog", "predict", "verdict"}

// TestAPI: what the stable packages export is what is listed.
func TestAPI(t *testing.T) {
	for _, name := range stable {
		t.Run(name, func(t *testing.T) {
			golden.File(t, filepath.Join("testdata", "api", name+".txt"), []byte(api(t, name)))
		})
	}
}

// api is what a package exports, a line for each declaration.
func api(t *testing.T, name string) string {
	t.Helper()
	pkg, err := build.ImportDir(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, file := range pkg.GoFiles {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, filepath.Join(name, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.FileExports(f)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				d.Body = nil
			case *ast.GenDecl:
				if d.Tok == token.IMPORT {
					continue
				}
			}
			var text bytes.Buffer
			if err := printer.Fprint(&text, set, d); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, oneLine.ReplaceAllString(text.String(), " "))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

var oneLine = regexp.MustCompile(`\s+`)
