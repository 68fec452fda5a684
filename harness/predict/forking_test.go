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
			for _, kills := range tt.admits {
				if !got.Admits(kills) {
					t.Errorf("does not admit %q: %+v", kills, got)
				}
			}
			for _, kills := range tt.refuses {
				if got.Admits(kills) {
					t.Errorf("admits %q: %+v", kills, got)
				}
			}
			if tt.unsure != "" && len(got.Trigger) > 0 && !slices.Contains(got.Trigger, predict.Elsewhere) {
				t.Errorf("trigger %q: its children may be the ones", got.Trigger)
			}
			if _, scored := got.Ranges["shell"]; scored && tt.measured.Descendants > 0 {
				t.Error("its score is said to be known")
			}
		})
	}
}
