package predict_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/stressor/profile"
)

// TestReads: 460Mi are 117760 pages. A stressor has 570 of its own, and a score may be 165
// pages lower and 72 higher: one or two steps of oom_score, each of 177 pages.
func TestReads(t *testing.T) {
	child := hog("child", "/lab", 0, 8)
	child.Parent = "parent"
	parent := hog("parent", "/lab", 0, 8)
	parent.Profile.Steps = slices.Insert(parent.Profile.Steps, 1, profile.Step{Op: profile.Fork, Name: "child"})
	parent.Profile.Children = map[string]profile.Profile{"child": child.Profile}
	command := hog("command", "", 0, 8)
	command.Launch.Argv = []string{"sleep", "10"}
	all := []plan.Process{
		hog("idle", "/lab", 0, 1),     // 256 + 570 pages: 7 thousandths
		hog("half", "", 0, 230),       // 58880 + 570 + 115 of page tables: 505 thousandths
		hog("never", "", -1000, 64),   //
		hog("first", "", 1000, 1),     // 117 * 1000 / 117760: 993, and 7
		hog("dies", "/lab", 0, 64),    // of the limit, and yet it would be read like this
		hog("raised", "/lab", 0, 1),   // set to something else, but when it has been read
		hog("unclear", "/lab", 0, 1),  // set to something else, perhaps before
		hog("unread", "/lab", 500, 1), //
		parent, child, command,
	}
	names := []string{"idle", "half", "never", "first", "dies", "raised", "unclear", "child", "parent", "command"}
	got := predict.Outcome(plan.Plan{
		Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(32)}}, Processes: all, Reads: names,
		During: []plan.During{{After: []string{"raised"}, OOMScoreAdj: map[string]int{"raised": 500}},
			{OOMScoreAdj: map[string]int{"unclear": 500}}},
	}, guest(), nil).Reads
	want := map[string]predict.Read{
		"idle":   {OOMScoreLeast: 670, OOMScoreMost: 671},
		"half":   {OOMScoreLeast: 1002, OOMScoreMost: 1004},
		"never":  {OOMScoreAdj: -1000, OOMAdj: -17},
		"first":  {OOMScoreLeast: 1332, OOMScoreMost: 1334, OOMScoreAdj: 1000, OOMAdj: 15},
		"dies":   {OOMScoreLeast: 761, OOMScoreMost: 762},
		"raised": {OOMScoreLeast: 670, OOMScoreMost: 671},
		"child":  {OOMScoreLeast: 680, OOMScoreMost: 681},
		"parent": {OOMScoreLeast: 680, OOMScoreMost: 682},
	}
	if !maps.Equal(got, want) {
		t.Errorf("reads\n%+v; want\n%+v", got, want)
	}
}

// TestSysrqWithoutVictims: out_of_memory() panics where nobody can be killed, but not for
// SysRq f.
func TestSysrqWithoutVictims(t *testing.T) {
	p := plan.Plan{Processes: []plan.Process{hog("one", "", -1000, 8)},
		During: []plan.During{{After: []string{"one"}, Sysrq: "f"}}}
	if got := predict.Outcome(p, guest(), nil); got.Panic != "" || len(got.Killed) != 0 {
		t.Errorf("panic %q and kills %v; want neither", got.Panic, got.Killed)
	}
}
