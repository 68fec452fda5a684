package profile

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestStepsAreConsistent(t *testing.T) {
	seen := map[Op]bool{}
	for _, r := range Steps {
		if seen[r.Op] || r.Op == "" || r.Help == "" {
			t.Errorf("%q: is there twice, or lacks a name or help", r.Op)
		}
		seen[r.Op] = true
		if r.Endless && !r.Last {
			t.Errorf("%s never ends, and other steps may follow it", r.Op)
		}
		if r.Required && len(r.Qualifiers) == 0 {
			t.Errorf("%s requires a qualifier and has none", r.Op)
		}
		if r.Memory != NoMemory && r.Amount != Size && r.Amount != Rate {
			t.Errorf("%s is about memory, and its amount is a %s", r.Op, r.Amount)
		}
		if slices.Contains(r.Qualifiers, r.Amount) {
			t.Errorf("%s: %s is its amount and a qualifier", r.Op, r.Amount)
		}
	}
}

// TestNoStepIsOutsideTheTable: the constants of type Op are the rows of the
// table, and other packages name a step by its constant alone.
func TestNoStepIsOutsideTheTable(t *testing.T) {
	text := func(e ast.Expr) string {
		lit, ok := e.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return ""
		}
		s, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	isOp := func(e ast.Expr) bool {
		s, ok := e.(*ast.SelectorExpr)
		return ok && s.Sel.Name == "Op"
	}
	var constants []Op
	walk := func(file string, n ast.Node) bool {
		var literals []ast.Expr
		switch n := n.(type) {
		case *ast.ValueSpec:
			if id, ok := n.Type.(*ast.Ident); ok && id.Name == "Op" && file == "step.go" {
				constants = append(constants, Op(text(n.Values[0])))
			}
		case *ast.CompositeLit:
			if t, ok := n.Type.(*ast.SelectorExpr); ok && t.Sel.Name == "PathError" {
				return false // its Op is no step
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Op" {
				literals = append(literals, n.Value)
			}
		case *ast.BinaryExpr:
			if isOp(n.X) {
				literals = append(literals, n.Y)
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if isOp(left) && len(n.Rhs) == len(n.Lhs) {
					literals = append(literals, n.Rhs[i])
				}
			}
		case *ast.SwitchStmt:
			if isOp(n.Tag) {
				for _, c := range n.Body.List {
					literals = append(literals, c.(*ast.CaseClause).List...)
				}
			}
		case *ast.CallExpr: // a conversion
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Op" && len(n.Args) == 1 {
				literals = append(literals, n.Args[0])
			}
		}
		for _, e := range literals {
			s := text(e)
			undo := strings.Contains(file, "/agent/") || strings.Contains(file, "/cmd/") // has an Op, too
			if s != "" && (!undo || Op(s).Row().Op != "") {
				t.Errorf("%s writes the step %q; use the constant of package profile", file, s)
			}
		}
		return true
	}
	for _, root := range []string{".", "..", "../../harness", "../../cmd"} {
		err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(parsed, func(n ast.Node) bool { return walk(file, n) })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(constants) != len(Steps) {
		t.Errorf("%d constants, %d rows", len(constants), len(Steps))
	}
	for _, op := range constants {
		if op.Row().Op == "" {
			t.Errorf("%q has no row", op)
		}
	}
}

// TestContents: what a step takes for the content of pages is in the list, and nothing else.
func TestContents(t *testing.T) {
	for _, content := range append(slices.Clone(Contents), "") {
		p := Profile{Name: "p", Steps: []Step{{Op: Touch, Bytes: 4096, Content: content}}}
		if err := p.Validate(); err != nil {
			t.Errorf("%q: %v", content, err)
		}
	}
	p := Profile{Name: "p", Steps: []Step{{Op: Touch, Bytes: 4096, Content: "noise"}}}
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), `"noise" is none of random, zeros, text`) {
		t.Errorf("noise: %v", err)
	}
}
