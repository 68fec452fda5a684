package verdict

import (
	"cmp"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// facts holds what the node's agent read of the cgroups of containers against itself,
// against the plan, and against the counters that were read there.
func (w *agentWitness) facts(a *account, found *findings) {
	if w.in.Plan.On == nil {
		return
	}
	pods := map[string]string{} // paths of the pods' cgroups
	for process, all := range w.cgroups {
		if name := kubelet.NameOf(process); name.Container == "" {
			for _, f := range all {
				pods[name.Pod] = f.Path
			}
		}
	}
	if w.nameless > 0 {
		found.add(ContainerDiffers, "%d containers were met, and nothing is told of them", w.nameless)
	}
	w.alike(found)
	for process, all := range w.cgroups {
		pids := map[string]int{}
		for i, f := range all {
			w.fact(a, process, f, pods, pids[f.ID], found)
			if i > 0 && reflect.DeepEqual(f, all[i-1]) {
				found.add(ContainerDiffers, "the same was told of %s twice", process)
			}
			pids[f.ID] = f.PID
		}
	}
	for f, r := range a.counters().files {
		told := slices.ContainsFunc(w.all(), func(c evidence.CgroupFacts) bool { return c.Path == f.cgroup })
		if id := path.Base(f.cgroup); f.cgroup != "" && !told && (len(id) < 64 || r.after != nil && r.after.Gone) {
			found.add(ContainerDiffers, "%s was read, and the agent tells of no such cgroup", f)
		}
	}
}

// alike holds what was read of containers against each other: one runtime makes all pods a
// container of their own, or none, and one kernel has the same files in all their cgroups.
func (w *agentWitness) alike(found *findings) {
	sandboxes, swap, ids := w.in.Plan.On.Ours, false, map[int]string{}
	for process, all := range w.cgroups {
		name := kubelet.NameOf(process)
		sandboxes = sandboxes || name.Container == kubelet.Sandbox
		for _, f := range all {
			swap = swap || f.SwapMax != nil && name.Container != "" && name.Container != kubelet.Sandbox
			if name.Container != kubelet.Sandbox {
				ids[f.PID] = process
			}
		}
	}
	for process, all := range w.cgroups {
		name := kubelet.NameOf(process)
		if name.Container != "" && sandboxes && w.cgroups[name.Pod+"/"+kubelet.Sandbox] == nil {
			found.add(ContainerDiffers, "pod %s has no container of its own, as others have", name.Pod)
		}
		for _, f := range all {
			planned := slices.ContainsFunc(w.in.Plan.Cgroups, func(c plan.Cgroup) bool {
				return c.Path == f.Plan && c.SwapMax != nil
			})
			switch of := ids[f.PID]; {
			case planned && swap && f.SwapMax == nil && !f.Unread:
				found.add(ContainerDiffers, "%q has no memory.swap.max, as others have", process)
			case name.Container == kubelet.Sandbox && f.PID != 0 && of != "":
				found.add(ContainerDiffers, "pid %d is in %s and in %s", f.PID, process, of)
			case f.OOMGroup == nil && !f.Unread && w.in.Machine.Cgroup.Group:
				found.add(ContainerDiffers, "memory.oom.group of %q was not read", process)
			}
		}
	}
}

// all are the facts of all cgroups.
func (w *agentWitness) all() []evidence.CgroupFacts {
	var out []evidence.CgroupFacts
	for _, of := range w.cgroups {
		out = append(out, of...)
	}
	return out
}

// fact holds one reading: the path ends in the container's id, below that of its pod; its
// first process stays the same, and its adjustment is read along with it.
func (w *agentWitness) fact(
	a *account, process string, f evidence.CgroupFacts, pods map[string]string, first int, found *findings,
) {
	name := kubelet.NameOf(process)
	add := func(format string, args ...any) {
		found.add(ContainerDiffers, "%q: "+format, append([]any{process}, args...)...)
	}
	end := ""
	switch {
	case name.Container != "":
		end = "/pod" + name.Pod + "/" + name.Container
	case name.Pod != "":
		end = "/pod" + name.Pod
	}
	known := slices.ContainsFunc(w.in.Plan.Cgroups, func(c plan.Cgroup) bool {
		return c.Path == strings.TrimSuffix(f.Plan, "/"+kubelet.Sandbox)
	})
	switch {
	case f.Plan == "" || f.Path == "" || !strings.HasSuffix(f.Plan, end) || !known:
		add("it is the cgroup %q of the plan's and %q of the node's", f.Plan, f.Path)
	case (name.Container != "") != (f.ID != ""), !strings.Contains(f.Path, f.ID):
		add("it is in container %q and in the cgroup %s", f.ID, f.Path)
	case name.Container != "" && pods[name.Pod] != path.Dir(f.Path),
		strings.Count(f.Path, "/") != strings.Count(f.Plan, "/")+w.deeper() && w.in.Plan.On.Ours:
		add("its cgroup is %s, and that of its pod %s", f.Path, pods[name.Pod])
	case first != 0 && f.PID != first:
		add("its first process is %d and %d", first, f.PID)
	case f.PID != 0 && name.Container != kubelet.Sandbox && w.spawned[f.PID] == 0:
		add("its first process is %d, which was never started", f.PID)
	case f.OOMScoreAdj != nil && f.PID == 0:
		add("its first process is not known, and its oom_score_adj was read")
	case f.ID != "" && f.OOMScoreAdj == nil && !a.counters().removed(f.Path):
		add("its oom_score_adj is not known, and it was there until the end")
	case f.Unread && (f.Max != nil || f.SwapMax != nil || f.OOMGroup != nil):
		add("its limits were not read, and they are told")
	case f.Unread && !a.counters().removed(f.Path):
		add("its limits were not read, and it was there until the end")
	case f.Max != nil && (*f.Max < 0 || *f.Max%a.pageSize() != 0), f.SwapMax != nil && *f.SwapMax%a.pageSize() != 0:
		add("its limits are no number of pages")
	}
	for _, c := range w.in.Plan.Cgroups {
		if group := f.OOMGroup; w.in.Plan.On.Ours && c.Path == f.Plan && group != nil && *group != c.OOMGroup {
			add("memory.oom.group is %t by the plan", c.OOMGroup)
		}
	}
}

// deeper is how much further down the node has all pods' cgroup than a plan: a node that
// is a container has it below the kubelet's.
func (w *agentWitness) deeper() int {
	return strings.Count(cmp.Or(w.in.Plan.On.Kubepods, kubelet.Root), "/") - strings.Count(kubelet.Root, "/")
}

// removed reports whether a cgroup was gone before the end of the run.
func (w *countersWitness) removed(cgroup string) bool {
	for f, r := range w.files {
		if f.cgroup == cgroup && r.after != nil && r.after.Gone {
			return true
		}
	}
	return false
}
