package kubelet

import "github.com/oomlab/oomlab/harness/kernel"

// ContainerLimit is a container's memory.max, getMemoryLimit of
// pkg/kubelet/kuberuntime: its own or, where it has none, the pod's. Zero: none.
func ContainerLimit(p Pod, c Container) kernel.Bytes {
	if c.Limits.Memory == 0 {
		return p.Limits.Memory
	}
	return c.Limits.Memory
}

// PodLimit is the memory.max of a pod's cgroup, ResourceConfigForPod of
// pkg/kubelet/cm: that of the pod as a whole or, when all of its containers are
// limited, what they may have together. Zero: none.
func PodLimit(p Pod) kernel.Bytes {
	if p.Limits.Memory > 0 {
		return p.Limits.Memory
	}
	for _, c := range p.Containers {
		if c.Limits.Memory == 0 {
			return 0
		}
	}
	var sidecars kernel.Bytes
	for _, c := range p.InitContainers {
		if c.Sidecar {
			sidecars += c.Limits.Memory
		}
		if c.Limits.Memory+sidecars == 0 {
			return 0
		}
	}
	return sum(p, limits).Memory
}

// SwapLimit is a container's memory.swap.max, configureContainerSwapResources
// of pkg/kubelet/kuberuntime: with LimitedSwap a Burstable container may swap
// out its share of the node's swap, all others nothing.
func SwapLimit(p Pod, c Container, n Node) kernel.Bytes {
	request := c.Requests.Memory
	if n.SwapBehavior != LimitedSwap || p.Critical || p.NodeCritical || ClassOf(p) != Burstable ||
		request == 0 || request == c.Limits.Memory || n.MemoryCapacity == 0 {
		return 0
	}
	return kernel.Bytes(float64(request) / float64(n.MemoryCapacity) * float64(n.SwapCapacity))
}

// KubepodsLimit is the memory.max of the cgroup of all pods,
// getNodeAllocatableInternalAbsolute of pkg/kubelet/cm: what is reserved is taken
// off; eviction thresholds are not.
func KubepodsLimit(n Node) kernel.Bytes {
	if !n.EnforcesPods() {
		return n.MemoryCapacity
	}
	return max(0, n.MemoryCapacity-n.SystemReserved-n.KubeReserved)
}
