package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
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

// Unmet lists what the machine lacks for the scenario, worst first; empty means
// that it can run there. Nothing was tried: the machine's abilities were probed
// before, and an ability that the probe was unsure of counts as lacking.
func Unmet(s scenario.Scenario, m kernel.Machine, target scenario.Target) []Need {
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
	if !slices.Contains(s.Targets, target) {
		lack("target %s", "", strings.Join(scenario.TargetNames(s.Targets...), " or "))
		return out
	}
	if len(s.Pods) == 0 {
		ability(kernel.AbilityRoot, "cgroups", "run it as root")
		ability(kernel.AbilityMemcg, "memory cgroups", "")
		if reason := HostWide(s, m); reason != "" {
			ability(kernel.AbilityHostOOM, reason, "use --target vm")
		}
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
	if s.System.Swap != nil {
		ability(kernel.AbilitySwap, "swap", "use --target vm")
	}
	cgroups, processes := s.Cgroups, s.Processes
	if s.QoS != nil {
		cgroups, processes = LayOut(*s.QoS, m)
	}
	for _, p := range processes {
		if p.OOMScoreAdj < 0 {
			ability(kernel.AbilityNegativeAdj, fmt.Sprintf("%s's oom_score_adj %d", p.Name, p.OOMScoreAdj), "CAP_SYS_RESOURCE, or --target vm")
			break
		}
	}
	for _, d := range s.During {
		if d.Sysrq != "" {
			ability(kernel.AbilitySysrq, "sysrq", "use --target vm")
		}
		if d.Freeze != "" {
			ability(kernel.AbilityFreeze, "freeze", "")
		}
		for path, c := range d.Set {
			c.Path = path
			cgroups = append(slices.Clip(cgroups), c)
		}
	}
	for _, c := range cgroups {
		out = append(out, unmetKnobs(c, m)...)
	}
	return dedupe(out)
}

// unmetKnobs refuses knobs that the machine's cgroup version does not have,
// unless they ask for what it does without them.
func unmetKnobs(c scenario.Cgroup, m kernel.Machine) []Need {
	var out []Need
	v1 := func(knob string) {
		out = append(out, Need{What: fmt.Sprintf("%s (%s), which cgroup v1 has not", knob, c.Path), Hint: "use --target vm"})
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
			out = append(out, Need{What: "memory.oom.group, which this kernel has not", Hint: "since 4.19"})
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

// HostWide says why a scenario could reach an OOM of the whole machine, or
// change it as a whole; empty when every process is caged by limits that
// together fit into the memory that is free.
func HostWide(s scenario.Scenario, m kernel.Machine) string {
	switch {
	case s.Expect.Constraint == "none" || s.Expect.Constraint == "cpuset" || s.Expect.Constraint == "mempolicy":
		return "an OOM of the whole machine"
	case s.Expect.Panic != "":
		return "a panic"
	case len(s.System.Sysctls) > 0:
		return "sysctls of the whole machine"
	case s.System.Swap != nil:
		return "swap of the whole machine"
	}
	for _, d := range s.During {
		if d.Sysrq != "" || d.Swapoff || len(d.Sysctls) > 0 {
			return "a change of the whole machine"
		}
	}
	cgroups, processes := s.Cgroups, s.Processes
	if s.QoS != nil {
		cgroups, processes = LayOut(*s.QoS, m)
	}
	var demand kernel.Bytes
	caged := map[string]bool{}
	for _, p := range processes {
		if cage, limit := outermostLimit(p.Cgroup, cgroups); limit != nil {
			if !caged[cage] {
				caged[cage] = true
				demand += *limit
			}
			continue
		}
		d, bounded := Demand(p)
		if !bounded {
			return p.Name + ", which no cgroup limits"
		}
		demand += d * kernel.Bytes(max(1, p.Copies))
	}
	if demand > m.MemAvailable-m.MemAvailable/5 {
		return fmt.Sprintf("%s of memory where %s are available", demand.Human(), m.MemAvailable.Human())
	}
	return ""
}

// outermostLimit finds the limited ancestor-or-self that is nearest the root.
func outermostLimit(path string, cgroups scenario.Cgroups) (string, *kernel.Bytes) {
	best := ""
	var limit *kernel.Bytes
	for _, c := range cgroups {
		if c.MemoryMax == nil || *c.MemoryMax == scenario.Max {
			continue
		}
		if c.Path == path || strings.HasPrefix(path, c.Path+"/") {
			if best == "" || len(c.Path) < len(best) {
				best, limit = c.Path, c.MemoryMax
			}
		}
	}
	return best, limit
}

// Demand is the most that a process takes at once, and whether that is bounded.
func Demand(p scenario.Process) (peak kernel.Bytes, bounded bool) {
	if len(p.Command) > 0 {
		return 0, false
	}
	return scenario.Peak(p.Do, profile.Row.Takes)
}
