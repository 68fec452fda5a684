package harness_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

var fileName = regexp.MustCompile("`([a-z_/]+(?:NAME)?[a-z_]*\\.go)`")

// TestWhereNewThingsGoExists: docs/architecture.md names the files that a new
// witness, claim, step, target or kernel rule touches, below harness or the
// module's root. NAME stands for any.
func TestWhereNewThingsGoExists(t *testing.T) {
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Where a new thing goes\n")
	if !ok {
		t.Fatal("docs/architecture.md does not say where a new thing goes")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, thing := range []string{"witness", "claim", "step", "target", "kernel rule"} {
		if !strings.Contains(section, "**"+thing+"**") {
			t.Errorf("it does not say where a new %s goes", thing)
		}
	}
	names := fileName.FindAllStringSubmatch(section, -1)
	if len(names) < 10 {
		t.Errorf("it names %d files", len(names))
	}
	for _, m := range names {
		pattern := strings.ReplaceAll(m[1], "NAME", "*")
		found := 0
		for _, dir := range []string{".", ".."} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			found += len(files)
		}
		if found == 0 {
			t.Errorf("there is no file %s", m[1])
		}
	}
}

// TestLines: no line of Go has more than 120 columns (a tab is four), and no
// function of product code more than 80 lines. Exempt are generated code, raw
// strings, lines of logs and tables, and go:generate.
func TestLines(t *testing.T) {
	files, err := filepath.Glob("../*")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, root := range files {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.Contains(path, "_bpfel") ||
				strings.Contains(path, "testdata") {
				return err
			}
			seen++
			checkLines(t, path)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if seen < 300 {
		t.Errorf("only %d files of Go were looked at", seen)
	}
}

func checkLines(t *testing.T, path string) {
	src, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, path, src, 0)
	if err != nil {
		t.Error(err)
		return
	}
	raw := map[int]bool{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			// a line of a log or a table, which wrapping would make unreadable
			data := len(n.Value) > 95 || len(n.Value) > 24 && strings.HasSuffix(path, "_test.go")
			if n.Kind == token.STRING && (data || n.Value[0] == '`') {
				for line := files.Position(n.Pos()).Line; line <= files.Position(n.End()).Line; line++ {
					raw[line] = true
				}
			}
		case *ast.FuncDecl:
			first, last := files.Position(n.Pos()).Line, files.Position(n.End()).Line
			if length := last - first + 1; length > 80 && !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s:%d: %s has %d lines", path, first, n.Name, length)
			}
		}
		return true
	})
	for i, line := range strings.Split(string(src), "\n") {
		width := utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
		if width > 120 && !raw[i+1] && !strings.HasPrefix(line, "//go:generate") {
			t.Errorf("%s:%d: %d columns", path, i+1, width)
		}
	}
}
