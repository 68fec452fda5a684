package predict_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// TestProgramsThatStartOthers: what a program and its descendants hold together decides
// whether a limit is hit; who is killed then is left open, and said to be.
func TestProgramsThatStartOthers(t *testing.T) {
	program := plan.Process{Name: "shell", Of: "shell", Cgroup: "/lab", After: []string{"x"}}
	program.Launch.Argv = []string{"sh", "-c", "tail /dev/zero; true"}
	p := plan.Plan{
		Cgroups:   []plan.Cgroup{{Path: "/lab", Max: mi(128), SwapMax: mi(0)}},
		Processes: []plan.Process{hog("x", "/lab", 0, 32), program},
	}
	own := kernel.Footprint{Anon: 64, File: 300, PgTable: 12, Threads: 1}
	for _, tt := range []struct {
		name     string
		measured predict.Measured
		unsure   string // what it says; empty: it is sure
		admits   [][]string
		refuses  [][]string
	}{
		{
			name: "one of its children filled the cage", unsure: "shell starts up to 2 others",
			measured: predict.Measured{Footprint: own, Descendants: 2, Theirs: 20000, Grows: true},
			admits:   [][]string{{"shell"}, {"x", "shell"}}, refuses: [][]string{{}, {"tail[7]"}},
		},
		{
			name: "they fit", measured: predict.Measured{Footprint: own, Descendants: 1, Theirs: 5000},
			admits: [][]string{{}}, refuses: [][]string{{"shell"}},
		},
		{
			name: "they may fit", unsure: "shell starts another process",
			measured: predict.Measured{Footprint: own, Descendants: 1, Theirs: 26000},
			admits:   [][]string{{}, {"shell"}}, refuses: [][]string{{"tail[7]"}},
		},
		{
			name: "it is alone", measured: predict.Measured{Footprint: own, Grows: true},
			admits: [][]string{{"shell"}}, refuses: [][]string{{}, {"x"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := predict.Outcome(p, guest(), map[string]predict.Measured{"shell": tt.measured})
			if tt.unsure == "" && got.Unsure != "" || !strings.HasPrefix(got.Unsure, tt.unsure) {
				t.Errorf("unsure: %q, want %q", got.Unsure, tt.unsure)
			}
			admitsOnly(t, got, tt.admits, tt.refuses)
			if tt.unsure != "" && len(got.Trigger) > 0 && !slices.Contains(got.Trigger, predict.Elsewhere) {
				t.Errorf("trigger %q: its children may be the ones", got.Trigger)
			}
			if _, scored := got.Ranges["shell"]; scored && tt.measured.Descendants > 0 {
				t.Error("its score is said to be known")
			}
		})
	}
}

// admitsOnly holds a prediction against kills that it is to admit and to refuse.
func admitsOnly(t *testing.T, got predict.Prediction, admits, refuses [][]string) {
	t.Helper()
	for _, kills := range admits {
		if !got.Admits(kills) {
			t.Errorf("does not admit %q: %+v", kills, got)
		}
	}
	for _, kills := range refuses {
		if got.Admits(kills) {
			t.Errorf("admits %q: %+v", kills, got)
		}
	}
}

// TestTreesThatWereMeasured: where a rehearsal shows which of its processes a program loses,
// that one is predicted, by its number, until a plan leaves it open.
func TestTreesThatWereMeasured(t *testing.T) {
	app := plan.Process{Name: "app", Of: "app", Cgroup: "/lab", After: []string{"x"}}
	app.Launch.Argv = []string{"python3"}
	own := kernel.Footprint{Anon: 500, File: 300, PgTable: 12, Threads: 1}
	measured := func(tree predict.Tree) predict.Measured {
		return predict.Measured{Footprint: own, Descendants: 3, Theirs: 20000, Grows: true, Tree: &tree}
	}
	others := []predict.Relative{{Number: 1, Held: 600}, {Number: 2, Held: 600}}
	for _, tt := range []struct {
		name    string
		x       int // Mi of another process in the cgroup
		tree    predict.Tree
		unsure  string
		admits  [][]string
		refuses [][]string
	}{
		{name: "the third of them", x: 32, tree: predict.Tree{Grower: 3, Others: others},
			admits: [][]string{{"app/3"}}, refuses: [][]string{{}, {"app"}, {"app/1"}, {"x"}}},
		{name: "another one holds more", x: 100, tree: predict.Tree{Grower: 3, Others: others},
			admits: [][]string{{"x", "app/3"}}, refuses: [][]string{{"app/3"}}},
		{name: "it was not certain", x: 32, tree: predict.Tree{Grower: 3, Unsure: "2 kills took 2 of them"},
			unsure: "in the rehearsal 2 kills took 2 of them", admits: [][]string{{"app"}, {"x"}},
			refuses: [][]string{{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := plan.Plan{
				Cgroups:   []plan.Cgroup{{Path: "/lab", Max: mi(128), SwapMax: mi(0)}},
				Processes: []plan.Process{hog("x", "/lab", 0, tt.x), app},
			}
			got := predict.Outcome(p, guest(), map[string]predict.Measured{"app": measured(tt.tree)})
			if (tt.unsure == "") != (got.Unsure == "") || !strings.HasSuffix(got.Unsure, tt.unsure) {
				t.Errorf("unsure: %q, want %q", got.Unsure, tt.unsure)
			}
			admitsOnly(t, got, tt.admits, tt.refuses)
			for name := range got.Ranges {
				if strings.HasPrefix(name, "app") {
					t.Errorf("the score of %s is said to be known", name)
				}
			}
			if tt.unsure == "" && len(got.Killed) > 0 && !slices.Contains(got.Trigger, predict.Elsewhere) {
				t.Errorf("trigger %q: any of the program's may be the one", got.Trigger)
			}
		})
	}
}
