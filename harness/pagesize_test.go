package harness_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// notPages are the constants of 4096 that have nothing to do with a page, by the file and
// what they are there.
var notPages = map[string]string{
	"agent/process.go":             "buffers of lines",
	"census/census.go":             "a buffer",
	"kernel/keyvalue.go":           "a buffer",
	"kernel/units.go":              "DefaultPageSize, of reports that do not show theirs",
	"observe/counters.go":          "a buffer",
	"predict/outcome.go":           "maxEvents",
	"explain/summary.go":           "maxVictims",
	"stressor/forms.go":            "a number of workers",
	"stressor/resident.go":         "a buffer",
	"chaos/draw.go":                "amounts that are drawn at random; the kernel rounds them",
	"chaos/generate.go":            "the same",
	"clustertest/node.go":          "the page of the made-up node",
	"clustertest/run.go":           "the same",
	"scenario/validate.go":         "a number of processors",
	"trace/assemble.go":            "maxWaiting",
	"watch/complete.go":            "a length of text",
	"target/vm/process.go":         "a length of text",
	"oomlog/parser.go":             "a number of lines",
	"oomlog/scan.go":               "a length of text",
	"oomlog/csv.go":                "a length of text",
	"oomlog/line.go":               "PATH_MAX",
	"oomlog/report.go":             "numbers of kills",
	"oomlog/order.go":              "a number of reports",
	"oomlog/unpack/unpack.go":      "a length of text",
	"scenario/validate_process.go": "a number of threads",
}

// TestNoPageIsFourKiB: a page is as large as the machine says. Who counts in pages of
// 4 KiB is wrong on arm64 with pages of 16 or 64 KiB, so that 4096, and what comes to
// it, is in no product code but where it is something else.
func TestNoPageIsFourKiB(t *testing.T) {
	used := map[string]bool{}
	for _, root := range []string{".", "../stressor"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name := strings.TrimPrefix(filepath.ToSlash(path), "../")
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok && isFourKiB(e) {
					used[name] = true
					if notPages[name] == "" {
						t.Errorf("%s: 4 KiB: a page is as large as the machine says (TestNoPageIsFourKiB has exceptions)",
							fset.Position(n.Pos()))
					}
					return false
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range notPages {
		if !used[name] {
			t.Errorf("%s has no 4096 any more", name)
		}
	}
}

// isFourKiB reports whether an expression is 4096, 4095, 4 * KiB, 4 << 10 or a shift by 12.
func isFourKiB(e ast.Expr) bool {
	literal := func(e ast.Expr, values ...string) bool {
		l, ok := e.(*ast.BasicLit)
		for _, v := range values {
			if ok && strings.ToLower(l.Value) == v {
				return true
			}
		}
		return false
	}
	b, ok := e.(*ast.BinaryExpr)
	if !ok {
		return literal(e, "4096", "4095", "0x1000", "0xfff", "4_096")
	}
	switch b.Op {
	case token.MUL:
		kib, ok := b.Y.(*ast.SelectorExpr)
		name := ""
		if ok {
			name = kib.Sel.Name
		} else if id, ok := b.Y.(*ast.Ident); ok {
			name = id.Name
		}
		return literal(b.X, "4") && (name == "KiB" || literal(b.Y, "1024"))
	case token.SHL, token.SHR:
		return literal(b.Y, "12") || b.Op == token.SHL && literal(b.X, "4") && literal(b.Y, "10")
	}
	return false
}
