package report

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

const guide = "../../docs/reading-a-verdict.md"

// verdictSource parses package verdict, to learn the names that it gives.
func verdictSource(t *testing.T) []*ast.File {
	t.Helper()
	names, err := filepath.Glob("../verdict/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var out []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, file)
	}
	return out
}

// disagreements are the values of all constants of type Kind.
func disagreements(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, file := range verdictSource(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Kind" {
				for _, v := range spec.Values {
					out = append(out, literal(v))
				}
			}
			return true
		})
	}
	return out
}

// claims are the names that claims are made with: a string, or one that a
// process's name is appended to.
func claims(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, file := range verdictSource(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			if f, ok := call.Fun.(*ast.Ident); !ok ||
				!slices.Contains([]string{"claim", "cannotTell", "every", "eventClaim", "replayed"}, f.Name) {
				return true
			}
			arg := call.Args[0]
			for sum, ok := arg.(*ast.BinaryExpr); ok; sum, ok = arg.(*ast.BinaryExpr) {
				arg = sum.X
			}
			if name := strings.TrimSpace(literal(arg)); name != "" && !slices.Contains(out, name) {
				out = append(out, name)
			}
			return true
		})
	}
	return out
}

func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// explained are the names that begin the rows of a section's tables.
func explained(t *testing.T, section string) []string { return explainedIn(t, guide, section) }

func explainedIn(t *testing.T, guide, section string) []string {
	t.Helper()
	data, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(data), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %s", guide, section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var out []string
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\|").FindAllStringSubmatch(text, -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			out = append(out, strings.Trim(name, "`"))
		}
	}
	return out
}

// TestEveryDisagreementIsExplained, and nothing is explained that is not there.
func TestEveryDisagreementIsExplained(t *testing.T) {
	want, got := disagreements(t), explained(t, "Disagreements")
	if len(want) < 20 {
		t.Fatalf("found only %q in package verdict", want)
	}
	compareNames(t, want, got)
}

func TestEveryClaimIsExplained(t *testing.T) {
	want := append(claims(t), "memory.events", "memory.events.local", "vmstat") // counters have the file's name
	if len(want) < 18 {
		t.Fatalf("found only %q in package verdict", want)
	}
	var got []string
	for _, name := range explained(t, "Claims") {
		first, _, _ := strings.Cut(name, " ")
		got = append(got, first)
	}
	compareNames(t, want, got)
}

// TestEveryKeyIsExplained: the keys of a result that has all of them.
func TestEveryKeyIsExplained(t *testing.T) {
	var want []string
	for _, r := range append(all(t), ofCluster(t, "kube/stress-worker-dies-alone")) {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(data, &keys); err != nil {
			t.Fatal(err)
		}
		for key := range keys {
			if !slices.Contains(want, key) {
				want = append(want, key)
			}
		}
	}
	compareNames(t, want, explained(t, "JSON"))
}

func compareNames(t *testing.T, want, got []string) {
	t.Helper()
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s does not explain %s", guide, name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("%s explains %s, which does not exist", guide, name)
		}
	}
}

// TestTheClusterSampleIsReal: so is that in the guide to clusters, of a run on a
// real kubelet.
func TestTheClusterSampleIsReal(t *testing.T) {
	dir, err := fs.Sub(selftest.Recorded(), "kube-1.36/three-classes-in-order")
	if err != nil {
		t.Fatal(err)
	}
	in, err := verdict.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	golden.Section(t, "../../docs/kubernetes.md", "```text\n", "```",
		text(t, verdict.Judge(in), Options{RunsDir: "runs"}))
}

// TestTheSampleIsReal: the report in the guide is what is printed.
func TestTheSampleIsReal(t *testing.T) {
	golden.Section(t, guide, "```text\n", "```", text(t, read(t, "pass"), Options{RunsDir: "runs"}))
}
