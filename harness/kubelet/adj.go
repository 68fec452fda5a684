package kubelet

import "github.com/oomlab/oomlab/harness/kernel"

// The adjustments that do not depend on requests: pkg/kubelet/qos/policy.go, and
// for the sandbox containerd's defaultSandboxOOMAdj and CRI-O's PodInfraOOMAdj.
const (
	KubeletAdj    = -999
	SandboxAdj    = -998
	guaranteedAdj = -997
	bestEffortAdj = 1000

	burstableFloor = 1000 + guaranteedAdj
)

// OOMScoreAdj follows GetContainerOOMScoreAdjust of pkg/kubelet/qos/policy.go
// for a container of a pod that has its defaults: the share of the node's memory
// that a Burstable container requests is taken off 1000, in integers, and kept
// above Guaranteed and below BestEffort.
//
// capacity is the node's MemTotal, in a container that plays a node (kind) still
// that of the machine.
func OOMScoreAdj(p Pod, c Container, capacity kernel.Bytes, g Gates) int {
	if p.NodeCritical {
		return guaranteedAdj
	}
	switch ClassOf(p) {
	case Guaranteed:
		return guaranteedAdj
	case BestEffort:
		return bestEffortAdj
	}
	share := p.share()
	adj := linear(c.Requests.Memory+share, capacity)
	if c.Sidecar && g.SidecarAdj && len(p.Containers) > 0 {
		least := p.Containers[0].Requests.Memory
		for _, o := range p.Containers {
			least = min(least, o.Requests.Memory)
		}
		adj = min(adj, linear(least+share, capacity))
	}
	return int(min(max(adj, burstableFloor), bestEffortAdj-1))
}

// linear is integer division, as in the kubelet.
func linear(request, capacity kernel.Bytes) int64 {
	return 1000 - 1000*int64(request)/max(1, int64(capacity))
}

// share is each container's part of what the pod requests beyond its containers
// (remainingPodMemReqPerContainer).
func (p Pod) share() kernel.Bytes {
	n := len(p.Containers) + len(p.InitContainers)
	if p.Requests.Memory == 0 || n == 0 {
		return 0
	}
	return (p.Requests.Memory - sum(p, requests).Memory) / kernel.Bytes(n)
}
