package predict_test

import (
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// twoNodes is a guest with two nodes of 256Mi, as 6.12.118 showed it.
func twoNodes() kernel.Machine {
	m := guest()
	m.MemTotal, m.MemFree, m.MemAvailable, m.WatermarkMin = 483168256, 400654336, 364339200, 5910
	m.Nodes = 2
	m.NUMA = []kernel.NodeMemory{{Node: 0, Present: 65438, Managed: 54685, Free: 36276, Min: 2710},
		{Node: 1, Present: 65504, Managed: 63276, Free: 61540, Min: 3136}}
	m.Stressor = kernel.Footprint{Anon: 147, File: 2, Shmem: 444, PgTable: 19, Threads: 5, Charged: 196}
	return m
}

func bound(p plan.Process, nodes ...int) plan.Process {
	p.Launch.Bind = nodes
	return p
}

// TestNodes: the scores that are wanted are those of 6.12.118.
func TestNodes(t *testing.T) {
	near, far := plan.Cgroup{Path: "/near", Mems: kernel.Nodes{0}}, plan.Cgroup{Path: "/far", Mems: kernel.Nodes{1}}
	for _, tt := range []struct {
		name       string
		plan       plan.Plan
		constraint string
		total      kernel.Pages
		killed     []string
		scores     map[string]kernel.Pages // of all candidates; 0: not known
		panics     string
		unsure     bool
	}{
		{
			name: "a cpuset", constraint: "cpuset", total: 65504, killed: []string{"hog"},
			plan: plan.Plan{Cgroups: []plan.Cgroup{near, far}, Processes: []plan.Process{
				hog("innocent", "/near", 1000, 32), hog("small", "/far", 0, 32),
				hog("hog", "/far", 0, 320, "innocent", "small")}},
			scores: map[string]kernel.Pages{"hog": 49340, "small": 0},
		},
		{
			name: "a memory policy", constraint: "mempolicy", total: 65504, killed: []string{"hog"},
			plan: plan.Plan{Processes: []plan.Process{bound(hog("innocent", "", 1000, 32), 0),
				bound(hog("small", "", 0, 32), 1),
				bound(hog("hog", "", 0, 320, "innocent", "small"), 1)}},
			scores: map[string]kernel.Pages{"hog": 49755, "small": 0},
		},
		{
			name: "who has no policy is a candidate, and gives nothing back", constraint: "mempolicy", total: 65504,
			plan: plan.Plan{Processes: []plan.Process{hog("anywhere", "", 1000, 32),
				bound(hog("near", "", 1000, 16), 0),
				bound(hog("hog", "", 0, 320, "anywhere", "near"), 1)}},
			killed: []string{"anywhere", "hog"}, scores: map[string]kernel.Pages{"anywhere": 73779, "hog": 58156},
		},
		{
			name: "memory of the second node, of who filled the first one", constraint: "cpuset", total: 65504,
			plan: plan.Plan{Cgroups: []plan.Cgroup{far}, Processes: []plan.Process{hog("wide", "", 0, 200),
				hog("hog", "/far", 0, 140, "wide"), hog("late", "/far", 0, 100, "hog")}},
			killed: []string{"wide", "hog"}, scores: map[string]kernel.Pages{"wide": 51871, "hog": 36482, "late": 0},
		},
		{
			name: "all nodes", constraint: "none", total: 117961, killed: []string{"hog"},
			plan:   plan.Plan{Processes: []plan.Process{bound(hog("hog", "", 0, 640), 0, 1)}},
			scores: map[string]kernel.Pages{"hog": 94675},
		},
		{
			name: "a limit before the node is full", constraint: "memcg", total: 32768, killed: []string{"hog"},
			plan: plan.Plan{Cgroups: []plan.Cgroup{{Path: "/far", Mems: kernel.Nodes{1}, Max: mi(128)},
				{Path: "/peer", Mems: kernel.Nodes{1}}}, Processes: []plan.Process{hog("peer", "/peer", 1000, 64),
				hog("hog", "/far", 0, 200, "peer")}},
			scores: map[string]kernel.Pages{"hog": 33147},
		},
		{
			name: "vm.panic_on_oom 1", constraint: "cpuset", total: 65504, killed: []string{"hog"},
			plan: plan.Plan{Sysctls: []plan.Sysctl{{Key: "vm.panic_on_oom", Value: "1"}}, Cgroups: []plan.Cgroup{far},
				Processes: []plan.Process{hog("hog", "/far", 0, 320)}},
			scores: map[string]kernel.Pages{"hog": 57739},
		},
		{
			name: "vm.panic_on_oom 2", panics: "Out of memory: compulsory panic_on_oom is enabled",
			plan: plan.Plan{Sysctls: []plan.Sysctl{{Key: "vm.panic_on_oom", Value: "2"}}, Cgroups: []plan.Cgroup{far},
				Processes: []plan.Process{hog("hog", "/far", 0, 320)}},
		},
		{
			name: "vm.oom_kill_allocating_task", constraint: "cpuset", total: 65504, killed: []string{"hog"},
			plan: plan.Plan{Sysctls: []plan.Sysctl{{Key: "vm.oom_kill_allocating_task", Value: "1"}},
				Cgroups: []plan.Cgroup{far}, Processes: []plan.Process{hog("big", "/far", 1000, 32),
					hog("hog", "/far", 0, 320, "big")}},
			scores: map[string]kernel.Pages{"big": 0, "hog": 0}, unsure: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := predict.Outcome(tt.plan, twoNodes(), nil)
			if !slices.Equal(got.Killed, tt.killed) || (got.Unsure != "") != tt.unsure || got.Panic != tt.panics {
				t.Errorf("killed %v, want %v; unsure %q; panic %q", got.Killed, tt.killed, got.Unsure, got.Panic)
			}
			if got.Constraint != tt.constraint || got.TotalPages != tt.total {
				t.Errorf("%s with %d pages, want %s with %d", got.Constraint, got.TotalPages, tt.constraint, tt.total)
			}
			if len(got.Ranges) != len(tt.scores) {
				t.Errorf("candidates %v, want %v", got.Ranges, tt.scores)
			}
			for name, want := range tt.scores {
				if r, ok := got.Ranges[name]; !ok || want > 0 && (want < r.Lo || want > r.Hi || r.Hi-r.Lo > 8000) {
					t.Errorf("%s has %v, seen were %d", name, r, want)
				}
			}
		})
	}
}

// TestTheNodesOfAProcess are what constrained_alloc() goes by.
func TestTheNodesOfAProcess(t *testing.T) {
	m := twoNodes()
	m.NUMA = append(m.NUMA, kernel.NodeMemory{Node: 2, Present: 1000})
	p := plan.Plan{
		Cgroups: []plan.Cgroup{{Path: "/a", Mems: kernel.Nodes{1, 2}}, {Path: "/a/b", Mems: kernel.Nodes{2}},
			{Path: "/a/c"}},
		Processes: []plan.Process{hog("free", "", 0, 1), hog("c", "/a/c", 0, 1), hog("b", "/a/b", 0, 1),
			bound(hog("wide", "/a", 0, 1), 0, 1, 2), bound(hog("all", "", 0, 1), 0, 1, 2),
			{Name: "child", Parent: "wide", Cgroup: "/a"}},
	}
	for _, tt := range []struct {
		of, constraint string
		nodes          kernel.Nodes
	}{
		{"free", "", kernel.Nodes{0, 1, 2}}, {"c", "cpuset", kernel.Nodes{1, 2}}, {"b", "cpuset", kernel.Nodes{2}},
		{"wide", "mempolicy", kernel.Nodes{1, 2}}, {"all", "", kernel.Nodes{0, 1, 2}},
		{"child", "mempolicy", kernel.Nodes{1, 2}},
	} {
		q, _ := p.Process(tt.of)
		constraint, nodes := predict.NodesOf(p, m, q).Constraint(m)
		if constraint != tt.constraint || !slices.Equal(nodes, tt.nodes) {
			t.Errorf("%s: %q %s, want %q %s", tt.of, constraint, nodes, tt.constraint, tt.nodes)
		}
	}
	if got := predict.NodesTotal(m, kernel.Nodes{1, 2}, 8192); got != 65504+1000+2 {
		t.Errorf("%d pages on the nodes 1-2", got)
	}
}
