package chaos_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/scenario"
)

// TestMinimizeLeavesWhatMatters looks for the smallest scenario in which some
// process has an oom_score_adj below -500 in a cgroup with memory.oom.group.
func TestMinimizeLeavesWhatMatters(t *testing.T) {
	matters := func(s scenario.Scenario) bool {
		return slices.ContainsFunc(s.Processes, func(p scenario.Process) bool {
			return p.OOMScoreAdj < -500 && p.OOMScoreAdj > -1000 &&
				slices.ContainsFunc(s.Cgroups, func(c scenario.Cgroup) bool {
					return c.Path == p.Cgroup && c.MemoryOOMGroup != nil && *c.MemoryOOMGroup == 1
				})
		})
	}
	found := 0
	for i := range 400 {
		s := chaos.Generate(11, i, chaos.Nested)
		if !matters(s) {
			continue
		}
		found++
		small, err := chaos.Minimize(s, func(s scenario.Scenario) (bool, error) {
			if err := s.Validate(); err != nil {
				t.Fatalf("%s: asked about a scenario that is not valid: %v", s.Name, err)
			}
			return matters(s), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !matters(small) {
			t.Fatalf("%s: what matters was left out", s.Name)
		}
		if family := small.Processes[0].Parent != "" || len(small.Processes) == 2 &&
			small.Processes[1].Parent != ""; len(small.Processes) > 1 && !family || len(small.During) > 0 {
			t.Errorf("%s: %d processes and %d actions are left; one is enough", s.Name, len(small.Processes),
				len(small.During))
		}
		before, _ := scenario.Format(s)
		if again, _ := scenario.Format(chaos.Generate(11, i, chaos.Nested)); string(before) != string(again) {
			t.Fatalf("%s was changed while it was made smaller", s.Name)
		}
	}
	if found == 0 {
		t.Fatal("no scenario had what is looked for")
	}
}

func TestMinimizeStopsAtAnError(t *testing.T) {
	trouble := errors.New("trouble")
	asked := 0
	_, err := chaos.Minimize(chaos.Generate(1, 1, chaos.Memcg), func(scenario.Scenario) (bool, error) {
		asked++
		return false, trouble
	})
	if !errors.Is(err, trouble) || asked != 1 {
		t.Errorf("asked %d times, error %v; want one, and trouble", asked, err)
	}
}

func TestSmallerKeepsPodsValid(t *testing.T) {
	for i := range 100 {
		for _, s := range chaos.Smaller(chaos.Generate(5, i, chaos.QoS)) {
			if err := s.Validate(); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
	}
}
