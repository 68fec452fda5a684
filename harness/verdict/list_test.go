package verdict

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/scenario"
)

// TestEveryKeyOfExpectIsAClaim: every key of `expect:` is one kind of claim, with its
// inversion.
func TestEveryKeyOfExpectIsAClaim(t *testing.T) {
	kinds := map[string]int{}
	for _, k := range claimKinds {
		if (k.key == "") != (k.invert == nil) {
			t.Errorf("claim at place %d: what the scenario claims has a key and an inversion, the rest neither",
				k.place)
		}
		if k.key != "" {
			kinds[k.key]++
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[scenario.Expect]()) {
		key := field.Tag.Get("yaml")
		if kinds[key] != 1 {
			t.Errorf("%d kinds of claims for expect: %s; want 1, in a file claim_*.go", kinds[key], key)
		}
		delete(kinds, key)
	}
	for key := range kinds {
		t.Errorf("a claim is about expect: %s, which is no key", key)
	}
}

// TestEveryWitnessHasAFile of its own name, here and among the lies.
func TestEveryWitnessHasAFile(t *testing.T) {
	seen := map[evidence.Source]bool{}
	for _, w := range witnessesOf(Input{}) {
		s := w.source()
		if seen[s] {
			t.Errorf("two witnesses speak for %s", s)
		}
		seen[s] = true
		for _, name := range []string{"witness_" + string(s) + ".go", "../selftest/lies_" + string(s) + ".go"} {
			if _, err := os.Stat(name); err != nil {
				t.Error(err)
			}
		}
	}
	files, err := filepath.Glob("witness_*.go")
	if err != nil || len(files) != len(seen) {
		t.Errorf("%d files of witnesses for %d witnesses, %v", len(files), len(seen), err)
	}
}

// TestEveryKindOfDisagreementIsFound by somebody. Package report holds them, and the
// claims, against the docs.
func TestEveryKindOfDisagreementIsFound(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared, uses := []string{}, map[string]int{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if of, ok := n.Type.(*ast.Ident); ok && of.Name == "Kind" {
					declared = append(declared, n.Names[0].Name)
				}
			case *ast.Ident:
				uses[n.Name]++
			}
			return true
		})
	}
	if len(declared) == 0 {
		t.Fatal("no kinds of disagreement were found in the source")
	}
	for _, name := range declared {
		if uses[name] < 2 {
			t.Errorf("nothing finds %s", name)
		}
	}
}

// oomdWitness is a witness that oomlab does not have: the journal of systemd-oomd.
type oomdWitness struct {
	bystander
	killed map[int]bool
}

func (*oomdWitness) source() evidence.Source { return "oomd" }

func (w *oomdWitness) hear(e evidence.Event) {
	if e.Kind == "oomd_killed" {
		w.killed[e.PID] = true
	}
}

func (w *oomdWitness) explains(_ *account, l *life) bool { return w.killed[l.pid] }

func (w *oomdWitness) tells(_ *account, k *Kill, _ *life) bool { return w.killed[k.Victim.PID] }

func (w *oomdWitness) agree(a *account, found *findings) {
	for pid := range w.killed {
		if l := a.life(pid); l == nil || l.exit == nil {
			found.add("oomd-without-exit", "oomd killed pid %d, and nobody saw it end", pid)
		}
	}
}

// TestANewWitnessIsOneType: what it hears, explains and contradicts counts, with
// nothing but its place on the list.
func TestANewWitnessIsOneType(t *testing.T) {
	before := listed
	defer func() { listed = before }()
	listed = slices.Clone(listed)
	addWitness(1000, func(Input) witness { return &oomdWitness{killed: map[int]bool{}} })
	process := plan.Process{Name: "big", Cgroup: "/lab"}
	event := func(k evidence.Kind, pid int) evidence.Event {
		return evidence.Event{Kind: k, Process: "big", PID: pid, Source: evidence.Agent}
	}
	exited := event(evidence.Exited, 7)
	exited.Exit = &evidence.ExitStatus{Signal: sigkill}
	in := Input{
		Tier: evidence.Tier{Tier: 1}, Plan: plan.Plan{Processes: []plan.Process{process}},
		Events: []evidence.Event{
			event(evidence.Begin, 0), event(evidence.Spawned, 7), event("oomd_killed", 7), exited, event(evidence.End,
				0),
		},
	}
	finds := func(in Input, kind Kind) bool {
		return slices.ContainsFunc(Judge(in).Disagreements, func(d Disagreement) bool { return d.Name == kind })
	}
	if !slices.Contains(Witnesses(in), "oomd") {
		t.Error("the new witness is not among those of the run")
	}
	if finds(in, KillWithoutRecord) {
		t.Error("the new witness explains the SIGKILL, and nobody asked it")
	}
	in.Events = append(in.Events, event("oomd_killed", 8))
	if !finds(in, "oomd-without-exit") {
		t.Error("what the new witness contradicts was not found")
	}
	listed = before
	if !finds(in, KillWithoutRecord) {
		t.Error("without the new witness nobody explains the SIGKILL")
	}
}
