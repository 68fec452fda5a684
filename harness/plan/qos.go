package plan

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
)

// resources are the scenario's words for what package kubelet asks.
func resources(r scenario.Resources) kubelet.Resources {
	return kubelet.Resources{Memory: r.Memory, MilliCPU: int64(r.CPU)}
}

// ofQoS is what the kubelet's rules ask of a pod of a kubelet-less layout, with
// the defaults that an API server would have given it.
func ofQoS(p scenario.Pod) kubelet.Pod {
	out := kubelet.Pod{Name: p.Name, NodeCritical: p.NodeCritical}
	for _, c := range p.Containers {
		out.Containers = append(out.Containers, kubelet.Container{Name: c.Name, Requests: resources(c.Requests), Limits: resources(c.Limits)})
	}
	return kubelet.Default(out, kubelet.Current())
}

// LayOut makes cgroups and processes of pods as a kubelet with the systemd
// cgroup driver does: kubepods.slice, a slice for the class (Guaranteed pods
// have none), a slice for the pod, a scope for the container. Containers get
// memory.oom.group unless the kubelet is told singleProcessOOMKill.
func LayOut(q scenario.QoS, m kernel.Machine) (scenario.Cgroups, scenario.Processes) {
	const root = "/kubepods.slice"
	cgroups := scenario.Cgroups{{Path: root}}
	var processes scenario.Processes
	have := map[string]bool{root: true}
	mk := func(c scenario.Cgroup) string {
		if !have[c.Path] {
			have[c.Path] = true
			cgroups = append(cgroups, c)
		}
		return c.Path
	}
	// the class slices exist before any pod does
	burstable := mk(scenario.Cgroup{Path: root + "/kubepods-burstable.slice"})
	besteffort := mk(scenario.Cgroup{Path: root + "/kubepods-besteffort.slice"})
	for _, pod := range q.Pods {
		parent, prefix := root, "kubepods"
		rules := ofQoS(pod)
		switch kubelet.ClassOf(rules) {
		case kubelet.Burstable:
			parent, prefix = burstable, "kubepods-burstable"
		case kubelet.BestEffort:
			parent, prefix = besteffort, "kubepods-besteffort"
		}
		podCgroup := scenario.Cgroup{Path: parent + "/" + prefix + "-pod" + pod.Name + ".slice"}
		if limit := kubelet.PodLimit(rules); limit > 0 {
			podCgroup.MemoryMax = &limit
		}
		mk(podCgroup)
		for i, c := range pod.Containers {
			scope := scenario.Cgroup{Path: podCgroup.Path + "/cri-containerd-" + c.Name + ".scope"}
			if c.Limits.Memory > 0 {
				limit := c.Limits.Memory
				scope.MemoryMax = &limit
			}
			if m.Cgroup.Group && !q.SingleProcessOOMKill {
				one := 1
				scope.MemoryOOMGroup = &one
			}
			mk(scope)
			processes = append(processes, scenario.Process{
				Name: pod.Name + "/" + c.Name, Cgroup: scope.Path, OOMScoreAdj: kubelet.OOMScoreAdj(rules, rules.Containers[i], m.MemTotal, kubelet.Current()),
				After: pod.After, Command: c.Command, Do: c.Do,
			})
		}
	}
	return cgroups, processes
}
