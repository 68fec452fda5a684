package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Need is something that a scenario needs and a machine lacks.
type Need struct{ What, Hint string }

func (n Need) String() string {
	if n.Hint == "" {
		return "needs " + n.What
	}
	return "needs " + n.What + "; " + n.Hint
}

// Unmet lists what the place lacks for the scenario, worst first; empty means
// that it can run there. Nothing was tried: the machine's abilities were probed
// before, and an ability that the probe was unsure of counts as lacking.
func (l Layout) Unmet() []Need {
	s, m := l.scenario, l.machine
	if !slices.Contains(s.Targets, l.target) {
		return []Need{{What: "target " + strings.Join(scenario.TargetNames(s.Targets...), " or ")}}
	}
	var out []Need
	lack := func(what, hint string, args ...any) {
		out = append(out, Need{fmt.Sprintf(what, args...), hint})
	}
	ability := func(a kernel.Ability, because, hint string) {
		if got := m.Abilities[a]; !got.Yes() {
			what := string(a) + " for " + because
			if got.Why != "" {
				what += " (" + got.Why + ")"
			}
			lack("%s", hint, what)
		}
	}
	if !l.kubelet {
		ability(kernel.AbilityRoot, "cgroups", "run it as root")
		ability(kernel.AbilityMemcg, "memory cgroups", "")
		if reason := l.reaches(); reason != "" {
			ability(kernel.AbilityHostOOM, reason, "use --target vm")
		}
	}
	if m.OOMHandler != "" {
		lack("a kernel that chooses by oom_badness(); BPF programs are attached as OOM handlers here (%s)",
			"detach them, or use --target vm", m.OOMHandler)
	}
	if s.Needs.Kernel != "" {
		v, err := kernel.ParseVersion(m.Release)
		if ok, cerr := kernel.Satisfies(v, s.Needs.Kernel); err != nil || cerr != nil || !ok {
			lack("kernel %s; this is %s", "", s.Needs.Kernel, m.Release)
		}
	}
	if s.Needs.Cgroup != 0 && s.Needs.Cgroup != m.Cgroup.Version {
		lack("cgroup v%d; the memory controller is v%d here", "", s.Needs.Cgroup, m.Cgroup.Version)
	}
	if s.Needs.CPUs > m.CPUs {
		lack("%d CPUs; there are %d", "", s.Needs.CPUs, m.CPUs)
	}
	// a fifth is allowed for what firmware and kernel keep for themselves
	if s.Needs.Memory > m.MemTotal+m.MemTotal/4 {
		lack("%s of memory; there are %s", "", s.Needs.Memory, m.MemTotal.Human())
	}
	for _, a := range s.Needs.Abilities {
		ability(a, "the scenario", "")
	}
	if l.kubelet {
		return dedupe(append(out, l.unmetCluster(l.reaches())...))
	}
	l.unmetEvents(ability, lack)
	out = append(append(out, unmetNodes(s, m)...), unmetHugePages(s, m)...)
	if s.System.Swap != nil {
		ability(kernel.AbilitySwap, "swap", "use --target vm")
	}
	if i := slices.IndexFunc(l.processes, func(p scenario.Process) bool { return p.ScoreAdj() < 0 }); i >= 0 {
		because := fmt.Sprintf("%s's oom_score_adj %d", l.processes[i].Name, l.processes[i].ScoreAdj())
		ability(kernel.AbilityNegativeAdj, because, "CAP_SYS_RESOURCE, or --target vm")
	}
	knobs := slices.Clip(l.knobs)
	for _, d := range s.During {
		if d.Sysrq != "" {
			ability(kernel.AbilitySysrq, "sysrq", "use --target vm")
		}
		if d.Freeze != "" {
			ability(kernel.AbilityFreeze, "freeze", "")
		}
		for path, c := range d.Set {
			c.Path = path
			knobs = append(knobs, c)
		}
	}
	for _, c := range knobs {
		out = append(out, unmetKnobs(c, m)...)
	}
	return dedupe(out)
}

// unmetHugePages: a pool is counted in huge pages of one size.
func unmetHugePages(s scenario.Scenario, m kernel.Machine) []Need {
	if !s.CountsHugePages() || m.HugePage == 0 || m.HugePage == scenario.HugePage {
		return nil
	}
	return []Need{{What: fmt.Sprintf("explicit huge pages of %s, which it counts; they have %s here",
		scenario.HugePage.Human(), m.HugePage.Human())}}
}

// unmetEvents says what a machine lacks to follow what others start than the agent.
func (l Layout) unmetEvents(ability func(a kernel.Ability, because, hint string), lack func(string, string, ...any)) {
	if l.scenario.NamesDescendants() {
		ability(kernel.AbilityProcessEvents, "what a program starts", "use --target vm")
	}
	if len(l.scenario.Units) > 0 {
		ability(kernel.AbilityProcessEvents, "what systemd starts", "use --target vm")
		if l.machine.Userland == "" {
			lack("a userland with systemd for units", "use --target vm")
		}
	}
	if len(l.scenario.Containers) > 0 {
		ability(kernel.AbilityProcessEvents, "what an engine of containers starts", "use --target vm")
		if l.machine.Userland == "" {
			lack("a userland with an engine of containers", "use --target vm")
		}
	}
}

// UnmetByNode lists what a cluster's node lacks by what its kubelet and the API say of it
// alone: nothing has to be started on the node to know that.
func (l Layout) UnmetByNode() []Need {
	if !l.kubelet {
		return nil
	}
	return l.unmetCluster(l.declares())
}

// unmetCluster lists what a node lacks for the pods, and whether it may be exhausted,
// which reason says.
func (l Layout) unmetCluster(reason string) []Need {
	n := l.node
	out := unmetNode(l.scenario.Node, n)
	out = append(out, l.unmetRequests()...)
	if reason != "" && !n.Ours && !n.MayOOM {
		out = append(out, Need{
			fmt.Sprintf("to be allowed %s, which may kill what is not its own on node %s", reason, n.Name),
			"use --cluster vm, or name the node: --allow-node-oom " + n.Name,
		})
	}
	return out
}

// unmetRequests lists the pods that their node has no room for: the kubelet admits none
// that requests more memory or CPU than the node has to give beside what others
// request, and a scheduler lets it wait (pkg/scheduler/framework/plugins/noderesources).
// Several pods that fit one by one and not together depend on when each of them is over.
func (l Layout) unmetRequests() []Need {
	n, taken := l.node, kubelet.Resources{}
	if n.Requested != nil {
		taken = *n.Requested
	}
	var out []Need
	for _, p := range l.pods {
		want := kubelet.Requests(kubelet.Default(p.Spec, l.gates))
		lack := func(hint, amount, free, all, by string) {
			what := fmt.Sprintf("a node that has %s for pod %s; %s can give %s", amount, p.Name, n.Name, all)
			if free != all {
				what = fmt.Sprintf("a node that has %s for pod %s; %s has %s left: others request %s of %s", amount,
					p.Name, n.Name, free, by, all)
			}
			out = append(out, Need{what, hint})
		}
		if n.Allocatable > 0 && want.Memory > n.Allocatable-taken.Memory && want.Memory > 0 {
			lack("raise needs.memory, or run it on a larger node", want.Memory.Human(),
				max(0, n.Allocatable-taken.Memory).Human(), n.Allocatable.Human(), taken.Memory.Human())
		}
		if cpu := n.AllocatableCPU; cpu > 0 && want.MilliCPU > cpu-taken.MilliCPU && want.MilliCPU > 0 {
			lack("run it on a node with more CPUs, or with less on it", cpus(want.MilliCPU),
				cpus(max(0, cpu-taken.MilliCPU)), cpus(cpu), cpus(taken.MilliCPU))
		}
	}
	return out
}

// cpus is an amount of CPU as manifests have it: 500m, 2.
func cpus(milli int64) string {
	switch {
	case milli == 1000:
		return "1 CPU"
	case milli%1000 == 0:
		return fmt.Sprintf("%d CPUs", milli/1000)
	}
	return fmt.Sprintf("%dm of CPU", milli)
}

// unmetNodes refuses a machine without the scenario's NUMA nodes, or one that cannot give
// a cgroup some of them.
func unmetNodes(s scenario.Scenario, m kernel.Machine) []Need {
	var out []Need
	if want := len(s.System.Nodes); want > 0 && want != m.Nodes {
		out = append(out, Need{What: fmt.Sprintf("%d NUMA nodes; there are %d", want, m.Nodes),
			Hint: "use --target vm, with a kernel that has CONFIG_NUMA"})
	}
	cpusets := slices.ContainsFunc(s.Cgroups, func(c scenario.Cgroup) bool { return c.CpusetMems != "" })
	if cpusets && !m.Cgroup.Cpuset {
		out = append(out, Need{What: "the cpuset controller for cpuset.mems",
			Hint: "use --target vm, with a kernel that has CONFIG_CPUSETS"})
	}
	return out
}

// unmetKnobs refuses knobs that the machine's cgroup version does not have,
// unless they ask for what it does without them.
func unmetKnobs(c scenario.Cgroup, m kernel.Machine) []Need {
	var out []Need
	v1 := func(knob string) {
		out = append(out, Need{What: fmt.Sprintf("%s (%s), which cgroup v1 does not have", knob, c.Path),
			Hint: "use --target vm"})
	}
	if m.Cgroup.Version == 1 {
		for knob, b := range map[string]*kernel.Bytes{"memory.min": c.MemoryMin, "memory.low": c.MemoryLow} {
			if b != nil && *b != 0 {
				v1(knob)
			}
		}
		if c.MemoryHigh != nil && *c.MemoryHigh != scenario.Max {
			v1("memory.high")
		}
	}
	if c.MemoryOOMGroup != nil && *c.MemoryOOMGroup == 1 && !m.Cgroup.Group {
		if m.Cgroup.Version == 1 {
			v1("memory.oom.group")
		} else {
			out = append(out, Need{What: "memory.oom.group, which this kernel does not have", Hint: "since 4.19"})
		}
	}
	if c.MemorySwapMax != nil && *c.MemorySwapMax != scenario.Max && !m.Cgroup.Swap && m.SwapTotal > 0 {
		out = append(out, Need{What: "swap accounting for memory.swap.max", Hint: "boot with swapaccount=1"})
	}
	return out
}

func dedupe(in []Need) []Need {
	var out []Need
	for _, n := range in {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// peak is the most that a process takes at once, and whether that is bounded.
func peak(p scenario.Process) (most kernel.Bytes, bounded bool) {
	if len(p.Command) > 0 {
		return 0, false
	}
	return scenario.Peak(p.Do, profile.Row.Takes)
}
