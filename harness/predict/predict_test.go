package predict_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/stressor/profile"
)

func TestPointsAndChoice(t *testing.T) {
	type task struct {
		name string
		rss  kernel.Pages
		adj  int
	}
	tests := []struct {
		name   string
		total  kernel.Pages
		tasks  []task
		victim string
		points int64
	}{
		{
			name: "adj outweighs size",
			// 256Mi = 65536 pages; 65536/1000 = 65; -600*65 = -39000.
			total: 65536, tasks: []task{{"small", 16974, 0}, {"big", 49114, -600}},
			victim: "small", points: 16974,
		},
		{
			name:  "adj vanishes below 1000 pages",
			total: 999, tasks: []task{{"plain", 680, 0}, {"adjusted", 392, 1000}},
			victim: "plain", points: 680,
		},
		{
			name:  "a tie goes to the task seen last", // oom_evaluate_task() passes on <, not <=
			total: 65536, tasks: []task{{"first", 500, 0}, {"last", 500, 0}},
			victim: "last", points: 500,
		},
		{
			name:  "scores may be negative", // since 5.9 there is no floor of 1
			total: 65536, tasks: []task{{"a", 100, -10}, {"b", 100, -9}},
			victim: "b", points: 100 - 9*65,
		},
		{
			name:  "-1000 is exempt, -999 is not",
			total: 65536, tasks: []task{{"exempt", 60000, -1000}, {"forgiven", 10, -999}},
			victim: "forgiven", points: 10 - 999*65,
		},
		{
			name:  "nobody is left",
			total: 65536, tasks: []task{{"exempt", 60000, -1000}},
			victim: "", points: predict.Never,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tasks []predict.Task
			for _, x := range tt.tasks {
				tasks = append(tasks, predict.Task{RSS: x.rss, Adj: x.adj})
			}
			i, points := predict.Choose(tasks, tt.total, predict.Rules{})
			victim := ""
			if i >= 0 {
				victim = tt.tasks[i].name
			}
			if victim != tt.victim || points != tt.points {
				t.Errorf("chose %q with %d points; want %q with %d", victim, points, tt.victim, tt.points)
			}
		})
	}
}

func TestOlderKernelsScoreAndChooseDifferently(t *testing.T) {
	version := func(major, minor int) predict.Rules {
		return predict.RulesFor(kernel.Version{Major: major, Minor: minor}, 4096)
	}
	forgiven := []predict.Task{{RSS: 10, Adj: -997}, {RSS: 5000, Adj: -997}, {RSS: 20, Adj: -997}}
	equal := []predict.Task{{RSS: 500}, {RSS: 500}}
	root := []predict.Task{{RSS: 1000, Root: true}, {RSS: 980}}
	for _, tt := range []struct {
		name   string
		rules  predict.Rules
		tasks  []predict.Task
		index  int
		points int64
	}{
		{"5.9: scores may be negative", version(5, 9), forgiven, 1, 5000 - 997*1048},
		{"5.8: below 1 is 1, and the last of equals dies", version(5, 8), forgiven, 2, 1},
		{"5.2: below 1 is 1, and the first of equals dies", version(5, 2), forgiven, 0, 1},
		{"5.3: the last of equals", version(5, 3), equal, 1, 500},
		{"5.2: the first of equals", version(5, 2), equal, 0, 500},
		{"4.17: no bonus for root", version(4, 17), root, 0, 1000},
		{"4.16: root is forgiven 3 %", version(4, 16), root, 1, 980},
		{"3.14: root is forgiven 3 %", version(3, 14), root, 1, 980},
		{"3.13: root is forgiven 30 of its adjustment", version(3, 13), []predict.Task{{RSS: 40000, Root: true}, {RSS: 9000}}, 1, 9000},
		{"3.13: which need not be enough", version(3, 13), []predict.Task{{RSS: 50000, Root: true}, {RSS: 9000}}, 0, 50000 - 30*1048},
		{"unknown: as of today", predict.RulesFor(kernel.Version{}, 4096), forgiven, 1, 5000 - 997*1048},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if i, points := predict.Choose(tt.tasks, 1<<20, tt.rules); i != tt.index || points != tt.points {
				t.Errorf("chose %d with %d points; want %d with %d", i, points, tt.index, tt.points)
			}
		})
	}
}

func TestTotalPagesOfAMemcg(t *testing.T) {
	limit, none, some := 64*kernel.MiB, kernel.Bytes(0), 16*kernel.MiB
	tests := []struct {
		name       string
		swapMax    *kernel.Bytes
		swap       kernel.Bytes
		swappiness int
		want       kernel.Pages
	}{
		{"no swap on the machine", nil, 0, 60, 16384},
		{"swap.max 0", &none, kernel.GiB, 60, 16384},
		{"swap.max counts", &some, kernel.GiB, 60, 20480},
		{"no more than there is", &some, 8 * kernel.MiB, 60, 18432},
		{"all of the machine's by default", nil, kernel.GiB, 60, 16384 + 262144},
		{"swappiness 0 forbids it", &some, kernel.GiB, 0, 16384},
	}
	for _, tt := range tests {
		if got := predict.TotalPages(&limit, tt.swapMax, tt.swap, tt.swappiness, 4096); got != tt.want {
			t.Errorf("%s: %d pages; want %d", tt.name, got, tt.want)
		}
	}
}

// guest is a machine like the VMs that scenarios run in.
func guest() kernel.Machine {
	return kernel.Machine{
		Release: "6.12.107", PageSize: 4096, CPUs: 1, MemTotal: 460 * kernel.MiB, MemAvailable: 400 * kernel.MiB,
		WatermarkMin: 700, Cgroup: kernel.CgroupMount{Version: 2, Group: true}, Badness: kernel.ReadsCPUBatched,
		Stressor: kernel.Footprint{Anon: 250, Shmem: 300, PgTable: 20, Threads: 5, Charged: 450},
	}
}

// TestASwappedOutProgramIsNobodys: a machine that runs out of memory has swapped
// out what idle stressors have of their program, a file in a tmpfs, and no
// counter has it any more. A cgroup that runs out has not: the file is not
// charged to it.
func TestASwappedOutProgramIsNobodys(t *testing.T) {
	m := guest()
	swap := &plan.Swap{Kind: "disk", Size: 128 * kernel.MiB}
	machine := predict.Outcome(plan.Plan{Swap: swap, Processes: []plan.Process{hog("idle", "", 0, 20),
		hog("big", "", 0, 700, "idle")}}, m, nil)
	cgroup := predict.Outcome(plan.Plan{Swap: swap, Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(128)}},
		Processes: []plan.Process{hog("idle", "/lab", 0, 20), hog("big", "/lab", 0, 700, "idle")}}, m, nil)
	a, b := machine.Ranges["idle"], cgroup.Ranges["idle"]
	if b == (predict.Range{}) || a.Hi != b.Hi || b.Lo-a.Lo != m.Stressor.Shmem {
		t.Errorf("idle has %+v points in the machine and %+v in the cgroup; want %d less at the lower end", a, b,
			m.Stressor.Shmem)
	}
}

func mi(n int) *kernel.Bytes { b := kernel.Bytes(n) * kernel.MiB; return &b }

func hog(name, cgroup string, adj, mib int, after ...string) plan.Process {
	return plan.Process{Name: name, Of: name, Cgroup: cgroup, OOMScoreAdj: adj, After: after,
		Profile: profile.Profile{Name: name, Steps: []profile.Step{{Op: profile.Touch, Bytes: int64(mib) << 20},
			{Op: profile.Hold}}}}
}

func files(name, cgroup string, mib int) plan.Process {
	p := hog(name, cgroup, 0, mib)
	p.Profile.Steps[0].Op = profile.File
	return p
}

func tmpfs(name, cgroup string, adj, mib int) plan.Process {
	p := hog(name, cgroup, adj, mib)
	p.Profile.Steps[0].Op = profile.Tmpfs
	return p
}

// ending is the process without its last step: it exits with 0 instead of holding.
func ending(p plan.Process) plan.Process {
	p.Profile.Steps[len(p.Profile.Steps)-1] = profile.Step{Op: profile.Exit}
	return p
}

func TestOutcome(t *testing.T) {
	lab := plan.Cgroup{Path: "/lab", Max: mi(256), SwapMax: mi(0)}
	tests := []struct {
		name    string
		plan    plan.Plan
		change  func(*kernel.Machine)
		killed  []string
		trigger []string
		memcg   string
		unsure  bool
		panic   string
	}{
		{
			name:   "one process over its limit",
			plan:   plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{hog("a", "/lab", 0, 300)}},
			killed: []string{"a"}, trigger: []string{"a"}, memcg: "/lab",
		},
		{
			name:   "it fits",
			plan:   plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{hog("a", "/lab", 0, 200)}},
			killed: []string{},
		},
		{
			name: "adj outweighs size",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{
				hog("small", "/lab", 0, 64), hog("big", "/lab", -600, 216, "small")}},
			killed: []string{"small"}, trigger: []string{"big"}, memcg: "/lab",
		},
		{
			name: "two kills when one is not enough",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{
				hog("a", "/lab", 500, 40), hog("b", "/lab", 400, 60, "a"), hog("c", "/lab", -500, 230, "b")}},
			killed: []string{"a", "b"}, trigger: []string{"c"}, memcg: "/lab",
		},
		{
			name: "the group goes together, victim first, then in scan order, -1000 spared",
			plan: plan.Plan{Cgroups: []plan.Cgroup{{Path: "/g", Max: mi(200), OOMGroup: true}},
				Processes: []plan.Process{
					hog("one", "/g", 0, 20), hog("safe", "/g", -1000, 20, "one"), hog("two", "/g", 0, 30, "safe"),
					hog("big", "/g", 0, 190, "two")}},
			killed: []string{"big", "one", "two"}, trigger: []string{"big"}, memcg: "/g",
		},
		{
			name: "the parent's limit kills in the fatter child",
			plan: plan.Plan{Cgroups: []plan.Cgroup{{Path: "/p", Max: mi(128)}, {Path: "/p/thin"}, {Path: "/p/fat"}},
				Processes: []plan.Process{
					hog("fat", "/p/fat", 0, 90), hog("thin", "/p/thin", 0, 60, "fat")}},
			killed: []string{"fat"}, trigger: []string{"thin"}, memcg: "/p",
		},
		{
			name: "two that grow at once to equal size are not decided on paper",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{
				hog("a", "/lab", 0, 160), hog("b", "/lab", 0, 160)}},
			killed: []string{"b"}, trigger: []string{"a", "b"}, memcg: "/lab", unsure: true,
		},
		{
			name: "the whole machine",
			plan: plan.Plan{Processes: []plan.Process{
				hog("small", "", 1000, 16), hog("big", "", 0, 600, "small")}},
			killed: []string{"small", "big"}, trigger: []string{"big", predict.Elsewhere},
		},
		{
			name: "panic_on_oom",
			plan: plan.Plan{Sysctls: []plan.Sysctl{{Key: "vm.panic_on_oom", Value: "1"}},
				Processes: []plan.Process{hog("big", "", 0, 600)}},
			killed: []string{}, panic: "Out of memory: system-wide panic_on_oom is enabled",
		},
		{
			name: "a file in a tmpfs is there when its writer is not",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{
				ending(tmpfs("a", "/lab", 0, 160)), hog("b", "/lab", 0, 100, "a")}},
			killed: []string{"b"}, trigger: []string{"b"}, memcg: "/lab",
		},
		{
			name: "who wrote it is killed for nothing",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{
				tmpfs("a", "/lab", 1000, 160), hog("b", "/lab", 0, 100, "a")}},
			killed: []string{"a", "b"}, trigger: []string{"b"}, memcg: "/lab",
		},
		{
			name: "it counts for no score",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{
				tmpfs("a", "/lab", 0, 160), hog("b", "/lab", 0, 40, "a"), hog("c", "/lab", 0, 70, "b")}},
			killed: []string{"c"}, trigger: []string{"c"}, memcg: "/lab",
		},
		{
			name:   "on the machine as well",
			plan:   plan.Plan{Processes: []plan.Process{ending(tmpfs("a", "", 0, 160)), hog("b", "", 0, 300, "a")}},
			killed: []string{"b"}, trigger: []string{"b", predict.Elsewhere},
		},
		{
			name: "swap takes it like other memory",
			plan: plan.Plan{Swap: &plan.Swap{Kind: "disk", Size: 256 * kernel.MiB},
				Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(256)}}, Processes: []plan.Process{
					ending(tmpfs("a", "/lab", 0, 160)), hog("b", "/lab", 0, 150, "a")}},
			killed: []string{},
		},
		{
			name: "swap takes what the limit does not",
			plan: plan.Plan{Swap: &plan.Swap{Kind: "disk", Size: 128 * kernel.MiB},
				Cgroups:   []plan.Cgroup{{Path: "/lab", Max: mi(64)}},
				Processes: []plan.Process{hog("a", "/lab", 0, 100)}},
			killed: []string{},
		},
		{
			name: "a pool of huge pages is nobody's memory",
			plan: plan.Plan{Sysctls: []plan.Sysctl{{Key: "vm.nr_hugepages", Value: "100"}},
				Processes: []plan.Process{hog("a", "", 0, 300)}},
			killed: []string{"a"}, trigger: []string{"a", predict.Elsewhere},
		},
		{
			name: "a pool that the machine has had from the beginning is taken off already",
			plan: plan.Plan{Sysctls: []plan.Sysctl{{Key: "vm.nr_hugepages", Value: "100"}},
				Processes: []plan.Process{hog("a", "", 0, 300)}},
			change: func(m *kernel.Machine) { m.HugePage, m.HugePages = 2*kernel.MiB, 100 },
			killed: []string{},
		},
		{
			name: "page cache gives way, but not what it leaves behind",
			plan: plan.Plan{Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(96), SwapMax: mi(0)}},
				Processes: []plan.Process{files("reader", "/lab", 80), hog("app", "/lab", 0, 64, "reader")}},
			killed: []string{},
		},
		{
			name: "where page cache has given way, the rest does not fit",
			plan: plan.Plan{Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(96), SwapMax: mi(0)}},
				Processes: []plan.Process{files("reader", "/lab", 80), hog("app", "/lab", 0, 128, "reader")}},
			killed: []string{"app"}, trigger: []string{"app"}, memcg: "/lab",
		},
		{
			name: "swapoff that fits kills nobody",
			plan: plan.Plan{Swap: &plan.Swap{Kind: "disk", Size: 256 * kernel.MiB},
				Processes: []plan.Process{hog("cold", "", 0, 100), hog("warm", "", 0, 120, "cold")},
				During:    []plan.During{{After: []string{"cold", "warm"}, Swapoff: true}}},
			killed: []string{},
		},
		{
			name: "swapoff that does not fit kills the largest",
			plan: plan.Plan{Swap: &plan.Swap{Kind: "disk", Size: 256 * kernel.MiB},
				Processes: []plan.Process{hog("cold", "", 0, 200), hog("warm", "", 0, 260, "cold")},
				During:    []plan.During{{After: []string{"cold", "warm"}, Swapoff: true}}},
			killed: []string{"warm"}, trigger: []string{predict.Elsewhere},
		},
		{
			name: "what swapoff brings back is charged to its cgroup",
			plan: plan.Plan{Swap: &plan.Swap{Kind: "disk", Size: 256 * kernel.MiB},
				Cgroups: []plan.Cgroup{{Path: "/lab", Max: mi(64)}},
				Processes: []plan.Process{hog("small", "/lab", 0, 40), hog("big", "/lab", 0, 60, "small"),
					hog("aside", "", 0, 100)},
				During: []plan.During{{After: []string{"small", "big", "aside"}, Swapoff: true}}},
			killed: []string{"big", "small"}, trigger: []string{predict.Elsewhere}, memcg: "/lab", unsure: true,
		},
		{
			name: "a lowered limit kills in the writer's context",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{hog("a", "/lab", 0, 64),
				hog("b", "/lab", 0, 96, "a")},
				During: []plan.During{{After: []string{"b"},
					Writes: []plan.CgroupWrite{{Path: "/lab", Max: mi(100)}}}}},
			killed: []string{"b"}, trigger: []string{predict.Elsewhere}, memcg: "/lab",
		},
		{
			name: "a limit that nobody can be killed for is given up, and the rest goes on",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab, {Path: "/kept", Max: mi(64)}},
				Processes: []plan.Process{hog("kept", "/kept", -1000, 40), hog("b", "/lab", 0, 300, "kept")},
				During: []plan.During{{After: []string{"kept"},
					Writes: []plan.CgroupWrite{{Path: "/kept", Max: mi(32)}}}}},
			killed: []string{"b"}, trigger: []string{"b"}, memcg: "/lab",
		},
		{
			name: "who ignores SIGTERM grows on while it is stopped, and who holds by then is not the OOM killer's",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{
				deaf(hog("a", "/lab", 0, 300)), hog("b", "", 0, 16), deaf(hog("c", "", 0, 16, "a"))},
				During: []plan.During{{After: []string{"b"}, Stop: []string{"a"}},
					{After: []string{"c"}, Stop: []string{"c"}}}},
			killed: []string{"a"}, trigger: []string{"a"}, memcg: "/lab",
		},
		{
			name: "memory.high never kills",
			plan: plan.Plan{Cgroups: []plan.Cgroup{{Path: "/lab", High: mi(64)}},
				Processes: []plan.Process{hog("a", "/lab", 0, 100)}},
			killed: []string{},
		},
		{
			name: "a batched counter leaves near-ties open",
			plan: plan.Plan{Cgroups: []plan.Cgroup{lab}, Processes: []plan.Process{
				hog("a", "/lab", 0, 126), hog("b", "/lab", 0, 160, "a")}},
			killed: []string{"a"}, trigger: []string{"b"}, memcg: "/lab", unsure: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := guest()
			if tt.change != nil {
				tt.change(&m)
			}
			got := predict.Outcome(tt.plan, m, nil)
			if !slices.Equal(got.Killed, tt.killed) && !tt.unsure {
				t.Errorf("killed %v; want %v (%s)", got.Killed, tt.killed, fmt.Sprintf("%+v", got))
			}
			if tt.unsure &&
				!slices.ContainsFunc(got.Orders, func(o []string) bool { return slices.Equal(o, tt.killed) }) {
				t.Errorf("orders %v lack %v", got.Orders, tt.killed)
			}
			if (got.Unsure != "") != tt.unsure {
				t.Errorf("unsure: %q; want it %v; orders %v", got.Unsure, tt.unsure, got.Orders)
			}
			if got.OOMMemcg != tt.memcg || got.Panic != tt.panic {
				t.Errorf("limit of %q, panic %q; want %q, %q", got.OOMMemcg, got.Panic, tt.memcg, tt.panic)
			}
			if !slices.Equal(got.Trigger, tt.trigger) {
				t.Errorf("trigger %v; want %v", got.Trigger, tt.trigger)
			}
		})
	}
}

func TestOOMScore(t *testing.T) {
	const total = 1 << 20 // 4 GiB
	old := predict.RulesFor(kernel.Version{Major: 5, Minor: 8}, 4096)
	for _, tt := range []struct {
		name  string
		task  predict.Task
		rules predict.Rules
		want  int
	}{
		{"nothing held", predict.Task{}, predict.Rules{}, 666},
		{"a quarter of the machine: (1000 + 250) * 2 / 3", predict.Task{RSS: total / 4}, predict.Rules{}, 833},
		{"1000 is worth 1048000 pages of 1048576: (1000 + 999) * 2 / 3", predict.Task{Adj: 1000}, predict.Rules{},
			1332},
		{"-999 and nothing: (1000 - 998) * 2 / 3", predict.Task{Adj: -999}, predict.Rules{}, 1},
		{"exempt", predict.Task{RSS: total / 4, Adj: -1000}, predict.Rules{}, 0},
		{"before 5.9 in thousandths of the machine", predict.Task{RSS: total / 4}, old, 250},
		{"where nothing was below 1 point", predict.Task{Adj: -999}, old, 0},
		{"and 1000 was nearly all of it", predict.Task{Adj: 1000}, old, 999},
	} {
		if got := predict.OOMScore(predict.Points(tt.task, total, tt.rules), total, tt.rules); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// BenchmarkChoose is the scoring of a large machine's task table.
func BenchmarkChoose(b *testing.B) {
	tasks := make([]predict.Task, 100_000)
	for i := range tasks {
		tasks[i] = predict.Task{RSS: kernel.Pages(i * 7919 % 65536), PgTables: kernel.Bytes(i%64) * 4096,
			Adj: i%2001 - 1000}
	}
	b.ReportAllocs()
	for b.Loop() {
		predict.Choose(tasks, 1<<24, predict.Rules{})
	}
}

// deaf has a process sleep before its steps, and ignore SIGTERM.
func deaf(p plan.Process) plan.Process {
	p.Launch.Ignore = []string{"SIGTERM"}
	p.Profile.Steps = append([]profile.Step{{Op: profile.Sleep, DurationMS: 1000}}, p.Profile.Steps...)
	return p
}

// TestStopped: who ignores SIGTERM and holds what it has is killed in the end.
func TestStopped(t *testing.T) {
	got := predict.Outcome(plan.Plan{Processes: []plan.Process{deaf(hog("a", "", 0, 16)), hog("b", "", 0, 16)},
		During: []plan.During{{After: []string{"a", "b"}, Stop: []string{"a", "b"}}}}, guest(), nil)
	for name, signal := range map[string]string{"a": "SIGKILL", "b": "SIGTERM"} {
		if end := got.Ends[name]; end.Signal != kernel.SignalNumber(signal) || end.Alive || !end.Sure {
			t.Errorf("%s ends with %+v, want %s", name, end, signal)
		}
	}
}
