package predict_test

import (
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/stressor/profile"
)

// exact is a machine that scores what is there and costs what is known.
func exact() kernel.Machine {
	m := guest()
	m.Badness = kernel.ReadsExact
	m.Stressor = kernel.Footprint{Anon: 144, File: 2, Shmem: 443, PgTable: 19, Threads: 5, Charged: 196}
	return m
}

// forks makes a process fork another one after its first step.
func forks(parent plan.Process, child plan.Process, shares bool) []plan.Process {
	child.Parent, child.Cgroup = parent.Name, parent.Cgroup
	steps := parent.Profile.Steps
	parent.Profile.Steps = []profile.Step{steps[0], {Op: profile.Fork, Name: child.Name}, {Op: profile.Hold}}
	parent.Profile.Children = map[string]profile.Profile{child.Name: {Name: child.Name, SharesMemory: shares}}
	if shares {
		child.Profile.Steps = []profile.Step{{Op: profile.Hold}}
	}
	return []plan.Process{parent, child}
}

func TestFamilies(t *testing.T) {
	lab := plan.Cgroup{Path: "/lab", Max: mi(128), SwapMax: mi(0)}
	grouped := lab
	grouped.OOMGroup = true
	squeeze := []plan.During{{After: []string{"p", "k", "x"}, Writes: []plan.CgroupWrite{{Path: "/lab", Max: mi(48)}}}}
	for _, tt := range []struct {
		name      string
		cgroup    plan.Cgroup
		processes []plan.Process
		preempt   string // on one processor; empty: on two
		want      [][]string
		ends      map[string]int // signal that each process is sure to end with; 0: it lives
	}{
		{
			name: "of two that share memory the one that was forked is chosen, and both end", cgroup: lab,
			processes: append(forks(hog("p", "/lab", 0, 40), hog("k", "/lab", 0, 1), true), hog("x", "/lab", 0, 20)),
			want:      [][]string{{"k"}}, ends: map[string]int{"p": 9, "k": 9, "x": 0},
		},
		{
			name: "oom_score_adj of who shares memory is that of the one it was written to last", cgroup: lab,
			processes: append(forks(hog("p", "/lab", 0, 40), hog("k", "/lab", -900, 1), true), hog("x", "/lab", 0, 20)),
			want:      [][]string{{"x"}}, ends: map[string]int{"p": 0, "k": 0, "x": 9},
		},
		{
			name: "a forked child ends with its parent, unseen by the OOM killer", cgroup: lab,
			processes: append(forks(hog("p", "/lab", 0, 40), hog("k", "/lab", 0, 4), false), hog("x", "/lab", 0, 20)),
			want:      [][]string{{"p"}}, ends: map[string]int{"p": 9, "k": 9, "x": 0},
		},
		{
			name: "of a group it is gone before the kernel comes to it", cgroup: grouped,
			processes: append(forks(hog("p", "/lab", 0, 40), hog("k", "/lab", 0, 4), false), hog("x", "/lab", 0, 20)),
			want:      [][]string{{"p", "x"}}, ends: map[string]int{"p": 9, "k": 9, "x": 9},
		},
		{
			name: "a parent whose memory is shared may be killed again with the group", cgroup: grouped,
			processes: append(forks(hog("p", "/lab", 0, 40), hog("k", "/lab", 0, 1), true), hog("x", "/lab", 0, 20)),
			want:      [][]string{{"k", "x"}, {"k", "p", "x"}}, ends: map[string]int{"p": 9, "k": 9, "x": 9},
		},
		{
			name: "and is, by a kernel that is not preempted, if it is the first of the group", cgroup: grouped,
			preempt:   "voluntary",
			processes: append(forks(hog("p", "/lab", 0, 40), hog("k", "/lab", 0, 1), true), hog("x", "/lab", 0, 20)),
			want:      [][]string{{"k", "p", "x"}}, ends: map[string]int{"p": 9, "k": 9, "x": 9},
		},
		{
			name: "but not if somebody else is", cgroup: grouped, preempt: "voluntary",
			processes: append([]plan.Process{hog("x", "/lab", 0, 20)},
				forks(hog("p", "/lab", 0, 40), hog("k", "/lab", 0, 1), true)...),
			want: [][]string{{"k", "x"}}, ends: map[string]int{"p": 9, "k": 9, "x": 9},
		},
		{
			name: "nor by a kernel that is preempted", cgroup: grouped, preempt: "lazy",
			processes: append(forks(hog("p", "/lab", 0, 40), hog("k", "/lab", 0, 1), true), hog("x", "/lab", 0, 20)),
			want:      [][]string{{"k", "x"}}, ends: map[string]int{"p": 9, "k": 9, "x": 9},
		},
		{
			name:   "a chosen parent that is the first of the group is met again, and lets its child leave",
			cgroup: grouped, preempt: "voluntary",
			processes: append(forks(hog("p", "/lab", 0, 40), hog("k", "/lab", 0, 4), false), hog("x", "/lab", 0, 20)),
			want:      [][]string{{"p", "x"}}, ends: map[string]int{"p": 9, "k": 9, "x": 9},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := exact()
			m.CPUs, m.Preempt = 1, tt.preempt
			got := predict.Outcome(plan.Plan{Cgroups: []plan.Cgroup{tt.cgroup}, Processes: tt.processes,
				During: squeeze}, m, nil)
			if !reflect.DeepEqual(got.Orders, tt.want) {
				t.Errorf("orders %v; want %v", got.Orders, tt.want)
			}
			for name, signal := range tt.ends {
				if e := got.Ends[name]; e.Signal != signal || e.Alive != (signal == 0) {
					t.Errorf("%s ends with %+v; want signal %d", name, e, signal)
				}
			}
		})
	}
}

// TestBatchesAreReadWhole: anonymous pages come one by one, so that a percpu
// counter holds whole batches of them, and the rest is not read.
func TestBatchesAreReadWhole(t *testing.T) {
	m := exact()
	m.Badness = kernel.ReadsCPUBatched
	read := kernel.Pages(425)
	m.Stressor.Batched = &read
	p := hog("p", "/lab", 0, 8)
	p.Launch.OneCPU = true
	got := predict.Outcome(plan.Plan{Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(64), SwapMax: mi(0)}},
		Processes: []plan.Process{p},
		During:    []plan.During{{After: []string{"p"}, Writes: []plan.CgroupWrite{{Path: "/lab", Max: mi(4)}}}}}, m,
		nil)
	// 2048 + 144 + 2..6 pages are 68 batches of 32; page tables are 19 and 4 to 5
	const batches, margin = 68 * 32, 40 + 32
	want := predict.Range{Lo: batches + 425 + 19 + 4 - margin, Hi: batches + 425 + 19 + 5 + margin}
	if got.Ranges["p"] != want {
		t.Errorf("score %+v; want %+v", got.Ranges["p"], want)
	}
}

// TestWhoGrowsAloneHasTheRest: the uncertainty of what a process has taken does
// not grow from kill to kill.
func TestWhoGrowsAloneHasTheRest(t *testing.T) {
	processes := []plan.Process{hog("a", "/lab", 900, 20), hog("b", "/lab", 800, 20), hog("c", "/lab", 700, 20),
		hog("g", "/lab", -900, 100, "a", "b", "c")}
	got := predict.Outcome(plan.Plan{Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(80), SwapMax: mi(0)}},
		Processes: processes}, exact(), nil)
	if len(got.Steps) < 3 {
		t.Fatalf("%d kills are predicted, %v; want a, b and c", len(got.Steps), got.Orders)
	}
	const margin, widest = 40, 100
	for i, s := range got.Steps[:3] {
		if r := s.Ranges["g"]; r.Hi-r.Lo-2*margin > widest {
			t.Errorf("at kill %d the score of g is %+v, wider than %d", i+1, r, widest)
		}
	}
}

// TestStacksGoLate: what a victim's threads leave behind may have somebody else
// killed for the same limit, if it is lowered to just above what is left without
// the victim.
func TestStacksGoLate(t *testing.T) {
	open := 0
	for pages := kernel.Pages(8200); pages < 8700; pages++ {
		limit := pages.Bytes(4096)
		got := predict.Outcome(plan.Plan{
			Cgroups:   []plan.Cgroup{{Path: "/lab", Max: mi(128), SwapMax: mi(0)}},
			Processes: []plan.Process{hog("p", "/lab", 0, 40), hog("q", "/lab", 0, 20), hog("r", "/lab", 0, 12)},
			During: []plan.During{{After: []string{"p", "q", "r"},
				Writes: []plan.CgroupWrite{{Path: "/lab", Max: &limit}}}},
		}, exact(), nil)
		switch {
		case reflect.DeepEqual(got.Orders, [][]string{{"p"}}), reflect.DeepEqual(got.Orders, [][]string{{"p", "q"}}):
		case len(got.Orders) == 2:
			open++
		default:
			t.Fatalf("a limit of %d pages: %v", pages, got.Orders)
		}
	}
	if open < 48 || open > 120 {
		t.Errorf("open for %d limits; want the 48 pages of a victim's stacks, and what is not known of the others",
			open)
	}
}

// A child that begins to grow does not wait for those who began beside its
// parent: the page too many may be theirs.
func TestWhoMayTrigger(t *testing.T) {
	lab := plan.Cgroup{Path: "/lab", Max: mi(64), SwapMax: mi(0)}
	for _, tt := range []struct {
		name  string
		after []string // what the parent waits for
		want  []string
	}{
		{"a child beside others", nil, []string{"k", "a", "b"}},
		{"a child whose parent has waited for one of them", []string{"a"}, []string{"k", "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			family := forks(hog("p", "/lab", 0, 4), hog("k", "/lab", 0, 60), false)
			family[0].After = tt.after
			p := plan.Plan{Cgroups: []plan.Cgroup{lab},
				Processes: append([]plan.Process{hog("a", "/lab", 0, 8), hog("b", "/lab", 0, 8)}, family...)}
			if got := predict.Outcome(p, exact(), nil).Trigger; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("triggers %v; want %v", got, tt.want)
			}
		})
	}
}

// What victims of several cgroups leave in the stocks of a CPU is charged still when
// the writer of a limit looks again: since 6.16 of each of them, before of one.
func TestVictimsLeaveStocks(t *testing.T) {
	open := func(release string) (n int) {
		m := exact()
		m.Release = release
		v, err := kernel.ParseVersion(release)
		if err != nil {
			t.Fatal(err)
		}
		for pages := kernel.Pages(0); pages < 1024; pages += 8 {
			limit := pages.Bytes(m.PageSize) + 20*kernel.MiB
			p := plan.Plan{
				Cgroups: []plan.Cgroup{{Path: "/p", Max: mi(96), SwapMax: mi(0)}, {Path: "/p/a"}, {Path: "/p/b"},
					{Path: "/p/c"}, {Path: "/p/d"}},
				Processes: []plan.Process{hog("a", "/p/a", 600, 20), hog("b", "/p/b", 400, 20),
					hog("c", "/p/c", 200, 20), hog("d", "/p/d", 0, 20)},
				During: []plan.During{{After: []string{"a", "b", "c", "d"},
					Writes: []plan.CgroupWrite{{Path: "/p", Max: &limit}}}},
			}
			if predict.OutcomeBy(t.Context(), predict.RulesFor(v, m.PageSize), p, m, nil).Unsure != "" {
				n++
			}
		}
		return n
	}
	before, since := open("6.12.1"), open("6.16.1")
	if before == 0 || since < before+2*40/8-1 {
		t.Errorf("open are %d limits on 6.12 and %d on 6.16; want more by two cgroups' stocks", before, since)
	}
}

// A plan in which everybody waits for all those before has more ways back than
// there is time to go.
func TestManyWhoWaitForMany(t *testing.T) {
	p := plan.Plan{Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(128), SwapMax: mi(0)}},
		Processes: []plan.Process{hog("free", "/lab", 0, 2)}}
	var before []string
	for i := range 40 {
		name := "w" + strconv.Itoa(i)
		p.Processes = append(p.Processes, hog(name, "/lab", 0, 1, before...))
		before = append(before, name)
	}
	p.Processes = append(p.Processes, hog("last", "/lab", 0, 60, before...))
	if got := predict.Outcome(p, exact(), nil).Trigger; !slices.Contains(got, "last") || !slices.Contains(got, "free") {
		t.Errorf("triggers %v; want last and free, which nobody has waited for", got)
	}
}
