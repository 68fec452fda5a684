package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// machine has everything.
func machine() kernel.Machine {
	yes := kernel.Answer{Is: "yes"}
	m := kernel.Machine{
		Release: "6.12.107", PageSize: 4096, CPUs: 2, MemTotal: 4 * kernel.GiB, MemAvailable: 3 * kernel.GiB,
		Cgroup:    kernel.CgroupMount{Version: 2, Swap: true, Group: true},
		Abilities: map[kernel.Ability]kernel.Answer{},
	}
	for _, a := range []kernel.Ability{
		kernel.AbilityRoot, kernel.AbilityMemcg, kernel.AbilityOOMGroup, kernel.AbilityMemoryHigh, kernel.AbilitySwap,
		kernel.AbilityNegativeAdj, kernel.AbilityKmsg, kernel.AbilitySysrq, kernel.AbilityHostOOM, kernel.AbilityFreeze,
	} {
		m.Abilities[a] = yes
	}
	return m
}

func makePlan(s scenario.Scenario, m kernel.Machine) (plan.Plan, error) {
	l, err := plan.LayOut(s, plan.Place{Target: scenario.VM, Machine: m}, nil)
	if err != nil {
		return plan.Plan{}, err
	}
	return l.Make("1")
}

func size(b kernel.Bytes) *kernel.Bytes { return &b }

func step(op profile.Op, b kernel.Bytes) scenario.Step { return scenario.Step{Op: op, Size: b} }

func TestMakeTranslatesKnobsToTheMachinesCgroupVersion(t *testing.T) {
	one := 1
	s := scenario.Scenario{
		Cgroups: scenario.Cgroups{{Path: "/lab", MemoryMax: size(64 * kernel.MiB), MemorySwapMax: size(0),
			MemoryHigh: size(scenario.Max), MemoryOOMGroup: &one}},
		Expect: scenario.Expect{Within: 30 * time.Second},
	}
	tests := []struct {
		name   string
		change func(*kernel.Machine)
		want   []plan.Write
	}{
		{"v2", func(*kernel.Machine) {}, []plan.Write{
			{"memory.swap.max", "0"}, {"memory.high", "max"}, {"memory.max", "67108864"}, {"memory.oom.group", "1"}}},
		{"v2 without swap accounting", func(m *kernel.Machine) { m.Cgroup.Swap = false }, []plan.Write{
			{"memory.high", "max"}, {"memory.max", "67108864"}, {"memory.oom.group", "1"}}},
		// memory.memsw counts memory and swap together, and must not be below the limit
		{"v1", func(m *kernel.Machine) { m.Cgroup.Version, m.Cgroup.Group = 1, false }, []plan.Write{
			{"memory.limit_in_bytes", "67108864"}, {"memory.memsw.limit_in_bytes", "67108864"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := machine()
			tt.change(&m)
			p, err := makePlan(s, m)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(p.Cgroups[0].Writes, tt.want) {
				t.Errorf("writes %v; want %v", p.Cgroups[0].Writes, tt.want)
			}
		})
	}
}

func TestMakeNamesCopiesAndTheirChildren(t *testing.T) {
	s := scenario.Scenario{
		Processes: scenario.Processes{
			{Name: "worker", Copies: 2, Do: []scenario.Step{{Op: "fork", Name: "child"}, step("hold", 0)}},
			{Name: "child", Parent: "worker", Copies: 2, OOMScoreAdj: 7,
				Do: []scenario.Step{step("touch", kernel.MiB)}},
			{Name: "late", After: scenario.Names{"worker"}, Do: []scenario.Step{step("hold", 0)}},
		},
		Expect: scenario.Expect{Within: time.Second},
	}
	p, err := makePlan(s, machine())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, q := range p.Processes {
		names = append(names, q.Name)
	}
	if want := []string{"worker/1", "worker/2", "child/1", "child/2", "late"}; !slices.Equal(names, want) {
		t.Errorf("processes %v; want %v", names, want)
	}
	late, _ := p.Process("late")
	if want := []string{"worker/1", "worker/2"}; !slices.Equal(late.After, want) {
		t.Errorf("late comes after %v; want %v", late.After, want)
	}
	second, _ := p.Process("worker/2")
	child, ok := second.Profile.Children["child/2"]
	if !ok || child.OOMScoreAdj == nil || *child.OOMScoreAdj != 7 || child.Steps[0].Op != profile.Touch {
		t.Errorf("worker/2 forks %+v; want child/2 with oom_score_adj 7 and its step", second.Profile.Children)
	}
	if got := p.Names("worker"); !slices.Equal(got, []string{"worker/1", "worker/2"}) {
		t.Errorf("worker stands for %v", got)
	}
}

func TestUnmetNamesWhatIsMissing(t *testing.T) {
	caged := scenario.Scenario{
		Targets:   []scenario.Target{scenario.Local, scenario.VM},
		Cgroups:   scenario.Cgroups{{Path: "/lab", MemoryMax: size(64 * kernel.MiB)}},
		Processes: scenario.Processes{{Name: "a", Cgroup: "/lab", Do: []scenario.Step{step("touch", kernel.GiB)}}},
	}
	no := func(a kernel.Ability) func(*kernel.Machine, *scenario.Scenario) {
		return func(m *kernel.Machine, _ *scenario.Scenario) {
			m.Abilities[a] = kernel.Answer{Is: "no", Why: "because"}
		}
	}
	tests := []struct {
		name   string
		change func(*kernel.Machine, *scenario.Scenario)
		want   string // in the first need; "" for none
	}{
		{"all is there", func(*kernel.Machine, *scenario.Scenario) {}, ""},
		{"root", no(kernel.AbilityRoot), "root for cgroups (because)"},
		{"another target",
			func(_ *kernel.Machine, s *scenario.Scenario) { s.Targets = []scenario.Target{scenario.VM} }, "target vm"},
		{"kernel", func(_ *kernel.Machine, s *scenario.Scenario) { s.Needs.Kernel = ">= 7.0" },
			"kernel >= 7.0; this is 6.12.107"},
		{"memory", func(_ *kernel.Machine, s *scenario.Scenario) { s.Needs.Memory = 16 * kernel.GiB },
			"16Gi of memory; there are 4Gi"},
		{"cgroup version", func(_ *kernel.Machine, s *scenario.Scenario) { s.Needs.Cgroup = 1 },
			"cgroup v1; the memory controller is v2 here"},
		{"a BPF OOM handler", func(m *kernel.Machine, _ *scenario.Scenario) { m.OOMHandler = "handle_out_of_memory" },
			"BPF programs are attached as OOM handlers here (handle_out_of_memory)"},
		{"huge pages of another size", func(m *kernel.Machine, s *scenario.Scenario) {
			m.HugePage, s.System.Sysctls = 32*kernel.MiB, map[string]string{kernel.NrHugepages: "8"}
		}, "explicit huge pages of 2Mi, which it counts; they have 32Mi here"},
		{"huge pages of that size", func(m *kernel.Machine, s *scenario.Scenario) {
			m.HugePage, s.System.Sysctls = 2*kernel.MiB, map[string]string{kernel.NrHugepages: "8"}
		}, ""},
		{"negative adj", func(m *kernel.Machine, s *scenario.Scenario) {
			s.Processes = slices.Clone(s.Processes)
			s.Processes[0].OOMScoreAdj = -1
			m.Abilities[kernel.AbilityNegativeAdj] = kernel.Answer{Is: "unsure", Why: "not tried"}
		}, "negative-adj for a's oom_score_adj -1 (not tried)"},
		{"memory.high on v1", func(m *kernel.Machine, s *scenario.Scenario) {
			m.Cgroup.Version = 1
			s.Cgroups = scenario.Cgroups{{Path: "/lab", MemoryMax: size(kernel.MiB), MemoryHigh: size(kernel.MiB)}}
		}, "memory.high (/lab), which cgroup v1 does not have"},
		{"host-wide", func(m *kernel.Machine, s *scenario.Scenario) {
			s.Cgroups = nil
			s.Processes = scenario.Processes{{Name: "a", Do: []scenario.Step{{Op: "leak"}}}}
			m.Abilities[kernel.AbilityHostOOM] = kernel.Answer{Is: "no"}
		}, "host-oom for a, which no cgroup limits"},
		{"more than is free, caged or not", func(m *kernel.Machine, s *scenario.Scenario) {
			s.Cgroups = scenario.Cgroups{{Path: "/lab", MemoryMax: size(3 * kernel.GiB)}}
			m.Abilities[kernel.AbilityHostOOM] = kernel.Answer{Is: "no"}
		}, "host-oom for 3Gi of memory where 3Gi are available"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, s := machine(), caged
			tt.change(&m, &s)
			l, err := plan.LayOut(s, plan.Place{Target: scenario.Local, Machine: m}, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := l.Unmet()
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("unmet: %v", got)
			case tt.want != "" && (len(got) == 0 || !strings.Contains(got[0].What, tt.want)):
				t.Errorf("unmet: %v; want %q", got, tt.want)
			}
		})
	}
}

// TestPodsAreLaidOutWithoutAKubelet by its rules: the agent gets cgroups to make
// and stressors to start, as for any other plan.
func TestPodsAreLaidOutWithoutAKubelet(t *testing.T) {
	pods := scenario.Pods{{
		Name: "web", RestartPolicy: "Never", Limits: scenario.Resources{Memory: 4 * kernel.MiB},
		Containers: scenario.Containers{
			{Name: "main", Requests: scenario.Resources{Memory: kernel.MiB},
				Limits:    scenario.Resources{Memory: 2 * kernel.MiB},
				Do:        []scenario.Step{{Op: "fork", Name: "kid"}, {Op: "hold"}},
				Processes: scenario.Forks{{Name: "kid", Do: []scenario.Step{step("touch", kernel.MiB)}}}},
			{Name: "side", Command: []string{"sleep"}, Args: []string{"9"}},
		},
	}, {
		Name: "idle", RestartPolicy: "Never", After: scenario.Names{"web"},
		Containers: scenario.Containers{{Name: "main", Do: []scenario.Step{{Op: "hold"}}}},
	}}
	yes := true
	tests := []struct {
		name string
		node scenario.Node
		v1   bool
		want []string
	}{
		{"v2", scenario.Node{}, false, []string{
			"/kubepods", "/kubepods/burstable", "/kubepods/besteffort",
			"/kubepods/burstable/podweb memory.max=4194304",
			"/kubepods/burstable/podweb/main memory.swap.max=0 memory.max=2097152 memory.oom.group=1",
			"/kubepods/burstable/podweb/side memory.swap.max=0 memory.max=4194304 memory.oom.group=1",
			"/kubepods/besteffort/podidle", "/kubepods/besteffort/podidle/main memory.swap.max=0 memory.oom.group=1"}},
		{"a node with settings", scenario.Node{SingleProcessOOMKill: &yes, EnforceNodeAllocatable: []string{"pods"},
			KubeReserved: scenario.Resources{Memory: kernel.GiB}}, false, []string{
			"/kubepods memory.max=3221225472", "/kubepods/burstable", "/kubepods/besteffort",
			"/kubepods/burstable/podweb memory.max=4194304",
			"/kubepods/burstable/podweb/main memory.swap.max=0 memory.max=2097152",
			"/kubepods/burstable/podweb/side memory.swap.max=0 memory.max=4194304",
			"/kubepods/besteffort/podidle", "/kubepods/besteffort/podidle/main memory.swap.max=0"}},
		{"v1", scenario.Node{}, true, []string{
			"/kubepods", "/kubepods/burstable", "/kubepods/besteffort",
			"/kubepods/burstable/podweb memory.limit_in_bytes=4194304",
			"/kubepods/burstable/podweb/main memory.limit_in_bytes=2097152 memory.memsw.limit_in_bytes=2097152",
			"/kubepods/burstable/podweb/side memory.limit_in_bytes=4194304 memory.memsw.limit_in_bytes=4194304",
			"/kubepods/besteffort/podidle", "/kubepods/besteffort/podidle/main memory.memsw.limit_in_bytes=-1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := machine()
			if tt.v1 {
				m.Cgroup.Version, m.Cgroup.Group = 1, false
			}
			s := scenario.Scenario{
				Targets: []scenario.Target{scenario.VM, scenario.Kube}, Pods: pods, Node: tt.node,
				Expect: scenario.Expect{Within: time.Second},
			}
			l, err := plan.LayOut(s, plan.Place{Target: scenario.VM, Machine: m}, nil)
			if err != nil || len(l.Unmet()) > 0 {
				t.Fatal(err, l.Unmet())
			}
			p, err := l.Make("1")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range p.Cgroups {
				line := c.Path
				for _, w := range c.Writes {
					line += " " + w.File + "=" + w.Value
				}
				got = append(got, line)
				if c.Extra != nil {
					t.Errorf("%s is said to hold more than its processes: %+v", c.Path, *c.Extra)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("cgroups\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if p.Pods != nil || p.On != nil || p.Node != nil {
				t.Errorf("the plan is one for a cluster: pods %v on %v", p.Pods, p.On)
			}
			var processes []string
			for _, q := range p.Processes {
				processes = append(processes, fmt.Sprint(q.Name, " ", q.Cgroup, " ", q.OOMScoreAdj, " ", q.After,
					q.Launch.Argv))
			}
			if want := []string{ // a Burstable pod never gets more than 999
				"web/main /kubepods/burstable/podweb/main 999 [] []", "web/main/kid " +
					"/kubepods/burstable/podweb/main 999 [] []",
				"web/side /kubepods/burstable/podweb/side 999 [] [sleep 9]",
				"idle/main /kubepods/besteffort/podidle/main 1000 [web/main web/side] []",
			}; !slices.Equal(processes, want) {
				t.Errorf("processes\n%s\nwant\n%s", strings.Join(processes, "\n"), strings.Join(want, "\n"))
			}
			kid, ok := p.Processes[0].Profile.Children["web/main/kid"]
			if !ok || kid.OOMScoreAdj == nil || *kid.OOMScoreAdj != p.Processes[1].OOMScoreAdj {
				t.Errorf("web/main forks %+v; want kid with its container's oom_score_adj",
					p.Processes[0].Profile.Children)
			}
		})
	}
}

func TestRehearsalCagesCommandsAndNothingElse(t *testing.T) {
	p := plan.Plan{
		Base: "oomlab-1", CgroupVersion: 2, Sysctls: []plan.Sysctl{{Key: "vm.panic_on_oom", Value: "1"}},
		Swap:    &plan.Swap{Kind: "disk"},
		Cgroups: []plan.Cgroup{{Path: "/lab", Max: size(64 * kernel.MiB)}},
		Processes: []plan.Process{
			{Name: "s", Cgroup: "/lab/a"},
			{Name: "caged", Cgroup: "/lab/a", After: []string{"s"}, OOMScoreAdj: -500, Respawn: -1,
				Launch: profile.Launch{Argv: []string{"true"}}},
			{Name: "free", Launch: profile.Launch{Argv: []string{"true"}}},
		},
		During: []plan.During{{Sysrq: "f"}}, Throttled: []string{"s"},
	}
	r, needed := plan.Rehearsal(p, machine())
	if !needed || len(r.Processes) != 2 {
		t.Fatalf("needed %v, processes %+v; want the two commands", needed, r.Processes)
	}
	if r.Sysctls != nil || r.Swap != nil || r.During != nil || r.Throttled != nil {
		t.Errorf("a rehearsal changes the machine: %+v", r)
	}
	caged := r.Processes[0]
	if caged.After != nil || caged.OOMScoreAdj != 0 || caged.Respawn != 0 {
		t.Errorf("caged is still told what the plan told it: %+v", caged)
	}
	if !slices.Equal(r.Processes[1].After, []string{"caged"}) {
		t.Errorf("free starts after %v; want one at a time", r.Processes[1].After)
	}
	for i, want := range []kernel.Bytes{64 * kernel.MiB, 3 * kernel.GiB / 2} {
		c, ok := r.Cgroup(r.Processes[i].Cgroup)
		if !ok || c.Max == nil || *c.Max != want || len(c.Writes) == 0 {
			t.Errorf("cage of %s: %+v; want %s", r.Processes[i].Name, c, want)
		}
	}
	if _, needed := plan.Rehearsal(plan.Plan{Processes: p.Processes[:1]}, machine()); needed {
		t.Error("stressors need no rehearsal")
	}
}
