package predict_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/allocs"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// copies are n equal processes of one scenario entry.
func copies(of, cgroup string, n, mib, respawn int) []plan.Process {
	var out []plan.Process
	for i := range n {
		p := hog(fmt.Sprintf("%s/%d", of, i+1), cgroup, 0, mib)
		p.Of, p.Respawn, p.Launch.Comm = of, respawn, p.Name
		out = append(out, p)
	}
	return out
}

// storms are plans with many equal processes, or many cgroups.
func storms() map[string]plan.Plan {
	lab := func(mib int) []plan.Cgroup { return []plan.Cgroup{{Path: "/lab", Max: mi(mib), SwapMax: mi(0)}} }
	many := plan.Plan{}
	for c := range 50 {
		dir := fmt.Sprintf("/c%02d", c)
		many.Cgroups = append(many.Cgroups, plan.Cgroup{Path: dir, Max: mi(24), SwapMax: mi(0)})
		many.Processes = append(many.Processes, copies(fmt.Sprintf("p%02d", c), dir, 4, 8, 0)...)
	}
	stress := copies("worker", "/lab", 4, 64, -1)
	for i := range stress {
		stress[i].OOMScoreAdj = 1000
	}
	return map[string]plan.Plan{
		"3 copies with respawn":       {Cgroups: lab(24), Processes: copies("worker", "/lab", 3, 8, -1)},
		"60 copies":                   {Cgroups: lab(256), Processes: copies("worker", "/lab", 60, 8, 0)},
		"60 copies with respawn":      {Cgroups: lab(256), Processes: copies("worker", "/lab", 60, 8, -1)},
		"stress-ng --vm 4":            {Cgroups: lab(128), Processes: stress},
		"200 processes in 50 cgroups": many,
		"1000 processes":              {Cgroups: lab(1800), Processes: copies("worker", "/lab", 1000, 2, 0)},
		"1000 processes of two kinds": {Cgroups: lab(1800), Processes: append(copies("a", "/lab", 500, 2, 0),
			copies("b", "/lab", 500, 3, 0)...)},
	}
}

func BenchmarkStorms(b *testing.B) {
	m := guest()
	m.MemTotal, m.MemAvailable = 16*kernel.GiB, 15*kernel.GiB
	for name, p := range storms() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				predict.Outcome(p, m, nil)
			}
		})
	}
}

// TestStormsArePredictedWithinBounds: however many processes and courses there
// are, the answer costs little, is the same each time, and says what is certain.
func TestStormsArePredictedWithinBounds(t *testing.T) {
	m := guest()
	m.MemTotal, m.MemAvailable = 16*kernel.GiB, 15*kernel.GiB
	for name, want := range map[string]struct {
		least, most, possible, parts int
		endless                      bool
	}{
		// 256Mi hold 31 of 8Mi at the most, stressors left out
		"60 copies":                   {least: 29, most: 37, possible: 60},
		"60 copies with respawn":      {least: 1, possible: 60, endless: true},
		"3 copies with respawn":       {least: 1, possible: 3, endless: true},
		"stress-ng --vm 4":            {least: 1, possible: 4, endless: true},
		"200 processes in 50 cgroups": {least: 100, possible: 200, parts: 50},
		// 1800Mi hold 900 of 2Mi
		"1000 processes":              {least: 100, possible: 1000},
		"1000 processes of two kinds": {least: 280, possible: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			p := storms()[name]
			var got predict.Prediction
			allocs.Within(t, 100<<20, 1, func() { got = predict.Outcome(p, m, nil) })
			if got.AtLeast < want.least || len(got.Possible) != want.possible || len(got.Parts) != want.parts ||
				got.Unsure == "" {
				t.Errorf("at least %d kills of %d possible in %d parts (%s); want %+v", got.AtLeast, len(got.Possible),
					len(got.Parts), got.Unsure, want)
			}
			// as many as may be held at the same time are not killed
			if most := want.most; most > 0 && (got.AtMost == 0 || max(got.AtMost, len(got.Killed)) > most) {
				t.Errorf("at most %d kills, likely %d; want at most %d", got.AtMost, len(got.Killed), most)
			}
			if strings.Contains(got.Unsure, "as long as the run does") != want.endless {
				t.Errorf("unsure because %s", got.Unsure)
			}
			if again := predict.Outcome(p, m, nil); !reflect.DeepEqual(got, again) {
				t.Error("predicted again, it comes out otherwise")
			}
		})
	}
}

// TestStatesAreTheCourses holds the two ways to predict against each other: what
// is merged state by state are the courses that can be followed one by one.
func TestStatesAreTheCourses(t *testing.T) {
	m := guest()
	m.MemTotal, m.MemAvailable = 2*kernel.GiB, 2*kernel.GiB
	lab := func(mib int) []plan.Cgroup { return []plan.Cgroup{{Path: "/lab", Max: mi(mib), SwapMax: mi(0)}} }
	two := []plan.Cgroup{{Path: "/a", Max: mi(32), SwapMax: mi(0)}, {Path: "/b", Max: mi(32), SwapMax: mi(0)}}
	group := lab(64)
	group[0].OOMGroup = true
	for name, p := range map[string]plan.Plan{
		"copies":                {Cgroups: lab(40), Processes: copies("w", "/lab", 4, 12, 0)},
		"copies, started again": {Cgroups: lab(40), Processes: copies("w", "/lab", 2, 30, 1)},
		"copies and another": {Cgroups: lab(64), Processes: append(copies("w", "/lab", 3, 12, 0),
			hog("x", "/lab", 0, 30, "w/1", "w/2", "w/3"))},
		"one waits for one": {Cgroups: lab(64), Processes: append(copies("w", "/lab", 3, 12, 0),
			hog("x", "/lab", 0, 30, "w/1"))},
		"two cgroups": {Cgroups: two, Processes: append(copies("a", "/a", 2, 20, 0), copies("b", "/b", 2, 20, 0)...)},
		"a group":     {Cgroups: group, Processes: copies("w", "/lab", 4, 20, 0)},
		"a limit is lowered": {Cgroups: lab(128), Processes: copies("w", "/lab", 4, 20, 0), During: []plan.During{
			{After: []string{"w/1", "w/2", "w/3", "w/4"}, Writes: []plan.CgroupWrite{{Path: "/lab", Max: mi(48)}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			courses, states := predict.Outcome(p, m, nil), predict.OutcomeByStates(p, m)
			if courses.Open || states.Open {
				t.Fatalf("open: courses %t, states %t", courses.Open, states.Open)
			}
			want := map[string]bool{}
			for _, o := range courses.Orders {
				if !states.Admits(o) {
					t.Errorf("[%s] is a course, and no state admits it", strings.Join(o, ", "))
				}
				want[strings.Join(states.Labelled(o), ", ")] = true
			}
			for _, o := range states.Orders {
				if text := strings.Join(o, ", "); len(states.Parts) == 0 && !want[text] {
					t.Errorf("[%s] comes of states, and is no course", text)
				}
			}
			if !slices.Equal(courses.Possible, states.Possible) {
				t.Errorf("%v are killed on some course, %v by states", courses.Possible, states.Possible)
			}
			if states.Admits([]string{"nobody"}) || states.Admits(append(slices.Clone(courses.Killed), "w/1", "w/1")) {
				t.Error("it admits what cannot be")
			}
		})
	}
}
