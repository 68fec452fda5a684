package plan

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
)

// QoSClass is Kubernetes' word for how sure a pod is of its resources.
type QoSClass string

// The classes, as the API writes them.
const (
	Guaranteed QoSClass = "Guaranteed"
	Burstable  QoSClass = "Burstable"
	BestEffort QoSClass = "BestEffort"
)

// The kubelet's fixed adjustments, pkg/kubelet/qos/policy.go.
const (
	guaranteedAdj  = -997
	bestEffortAdj  = 1000
	burstableFloor = 1000 + guaranteedAdj
)

// ClassOf follows GetPodQOS of pkg/apis/core/v1/helper/qos: Guaranteed when
// every container limits both CPU and memory and requests just that, BestEffort
// when none names either, Burstable otherwise. A limit without a request is
// its own request, as the API server's defaulting makes it.
func ClassOf(p scenario.Pod) QoSClass {
	named, guaranteed := false, len(p.Containers) > 0
	for _, c := range p.Containers {
		req := Requests(c)
		if req != (scenario.Resources{}) || c.Limits != (scenario.Resources{}) {
			named = true
		}
		if c.Limits.Memory == 0 || c.Limits.CPU == 0 || req != c.Limits {
			guaranteed = false
		}
	}
	switch {
	case !named:
		return BestEffort
	case guaranteed:
		return Guaranteed
	}
	return Burstable
}

// Requests are a container's requests after defaulting: what is limited but
// not requested is requested at its limit.
func Requests(c scenario.Container) scenario.Resources {
	req := c.Requests
	if req.Memory == 0 {
		req.Memory = c.Limits.Memory
	}
	if req.CPU == 0 {
		req.CPU = c.Limits.CPU
	}
	return req
}

// OOMScoreAdj follows GetContainerOOMScoreAdjust of pkg/kubelet/qos/policy.go:
// the share of the node's memory that a Burstable container requests is taken
// off 1000, in integers, and kept above Guaranteed and below BestEffort.
func OOMScoreAdj(p scenario.Pod, c scenario.Container, capacity kernel.Bytes) int {
	if p.NodeCritical {
		return guaranteedAdj
	}
	switch ClassOf(p) {
	case Guaranteed:
		return guaranteedAdj
	case BestEffort:
		return bestEffortAdj
	}
	adj := 1000 - 1000*int64(Requests(c).Memory)/max(1, int64(capacity))
	return int(min(max(adj, burstableFloor), bestEffortAdj-1))
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
		switch ClassOf(pod) {
		case Burstable:
			parent, prefix = burstable, "kubepods-burstable"
		case BestEffort:
			parent, prefix = besteffort, "kubepods-besteffort"
		}
		podLimit, limited := kernel.Bytes(0), true
		for _, c := range pod.Containers {
			podLimit += c.Limits.Memory
			limited = limited && c.Limits.Memory > 0
		}
		podCgroup := scenario.Cgroup{Path: parent + "/" + prefix + "-pod" + pod.Name + ".slice"}
		if limited {
			podCgroup.MemoryMax = &podLimit
		}
		mk(podCgroup)
		for _, c := range pod.Containers {
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
				Name: pod.Name + "/" + c.Name, Cgroup: scope.Path, OOMScoreAdj: OOMScoreAdj(pod, c, m.MemTotal),
				After: pod.After, Command: c.Command, Do: c.Do,
			})
		}
	}
	return cgroups, processes
}
