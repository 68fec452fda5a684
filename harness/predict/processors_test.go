package predict_test

import (
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// TestSeveralProcessors: who takes memory beside a victim that leaves may have the next in
// rank killed; on one processor the victim leaves first.
func TestSeveralProcessors(t *testing.T) {
	grower := plan.Plan{Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(128), SwapMax: mi(0)}}, Processes: []plan.Process{
		hog("big", "/lab", 600, 64), hog("small", "/lab", 300, 16), hog("hog", "/lab", 0, 80, "big", "small")}}
	alone := plan.Plan{Cgroups: grower.Cgroups, Processes: []plan.Process{
		hog("holder", "/lab", 0, 48), hog("hog", "/lab", 0, 96, "holder")}}
	machine := plan.Plan{Processes: []plan.Process{
		hog("big", "", 600, 64), hog("small", "", 300, 16), hog("hog", "", 0, 400, "big", "small")}}
	squeezed := plan.Plan{
		Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(128), SwapMax: mi(0)}},
		Processes: []plan.Process{
			hog("big", "/lab", 600, 64), hog("small", "/lab", 300, 16), hog("kept", "/lab", -1000, 16)},
		During: []plan.During{{After: []string{"big", "small", "kept"},
			Writes: []plan.CgroupWrite{{Path: "/lab", Max: mi(48)}}}},
	}
	for _, tt := range []struct {
		name string
		cpus int
		plan plan.Plan
		want [][]string
	}{
		{"one processor", 1, grower, [][]string{{"big"}}},
		{"several", 4, grower, [][]string{{"big"}, {"big", "small"}, {"big", "small", "hog"}}},
		{"the victim alone takes memory", 4, alone, [][]string{{"hog"}}},
		{"a limit is lowered, on one processor", 1, squeezed, [][]string{{"big"}}},
		{"on several", 2, squeezed, [][]string{{"big"}, {"big", "small"}}},
		// a victim that is dying ends select_bad_process() for the machine
		{"the machine", 4, machine, predict.Outcome(machine, withCPUs(1), nil).Orders},
	} {
		p := predict.Outcome(tt.plan, withCPUs(tt.cpus), nil)
		if !slices.EqualFunc(p.Orders, tt.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", tt.name, p.Orders, tt.want)
		}
		if (len(p.Orders) > 1) != (p.Unsure != "") {
			t.Errorf("%s: unsure %q of %d orders", tt.name, p.Unsure, len(p.Orders))
		}
	}
}

func withCPUs(n int) kernel.Machine {
	m := guest()
	m.CPUs = n
	return m
}
