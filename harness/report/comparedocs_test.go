package report

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"testing"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

const compareGuide = "../../docs/comparing-kernels.md"

// TestTheComparedSampleIsReal: the comparison in the guide is what is printed of
// recorded runs.
func TestTheComparedSampleIsReal(t *testing.T) {
	m := compare.New()
	for _, kernel := range []string{"5.10", "7.3"} {
		for _, name := range []string{"memcg-oom-group-takes-all", "system-small-adj-1000-dies-first"} {
			dir, err := fs.Sub(selftest.Recorded(), kernel+"/"+name)
			if err != nil {
				t.Fatal(err)
			}
			in, err := verdict.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			m.Add(kernel, compare.Observe(in, verdict.Judge(in)))
		}
	}
	m.Sort(false)
	var want bytes.Buffer
	if err := CompareText(&want, Comparison{Matrix: m}, Options{}); err != nil {
		t.Fatal(err)
	}
	golden.Section(t, compareGuide, "```text\n", "```\n", want.String())
}

// TestEveryAspectIsExplained, and nothing is explained that is not there.
func TestEveryAspectIsExplained(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../compare/aspect.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Aspect" {
			for _, v := range spec.Values {
				want = append(want, literal(v))
			}
		}
		return true
	})
	if len(want) < 25 {
		t.Fatalf("found only %q", want)
	}
	compareNames(t, want, explainedIn(t, compareGuide, "What is compared"))
}
