package kubelet

import (
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// What a node may do with swap, memorySwap.swapBehavior of the kubelet.
const (
	NoSwap      = "NoSwap"
	LimitedSwap = "LimitedSwap"
)

// Node is what there is to know about a node beside its machine.
type Node struct {
	Name           string `json:"name"`
	KubeletVersion string `json:"kubelet_version"` // v1.36.3
	Runtime        string `json:"runtime"`         // containerd://2.1.9
	OSImage        string `json:"os_image,omitempty"`
	// Labels are those that group runs of a fleet.
	Labels map[string]string `json:"labels,omitempty"`

	// MemoryCapacity is what the kubelet takes for the node's memory: MemTotal
	// of the machine, also where the node is a container (kind).
	MemoryCapacity kernel.Bytes `json:"memory_capacity"`
	SwapCapacity   kernel.Bytes `json:"swap_capacity,omitempty"`
	Allocatable    kernel.Bytes `json:"allocatable,omitempty"`
	AllocatableCPU int64        `json:"allocatable_cpu_m,omitempty"` // in thousandths
	// Requested is what pods request that were on the node before the run and were not
	// over; nil: nobody was allowed to look.
	Requested *Resources `json:"requested,omitempty"`
	// Limit is the memory.max of the cgroup that the whole node lives in, as a
	// node of kind may have one; nil: the node is a machine. Cgroup is its path,
	// Used what it held before anything was started.
	Limit  *kernel.Bytes `json:"limit,omitempty"`
	Cgroup string        `json:"cgroup,omitempty"`
	Used   kernel.Bytes  `json:"used,omitempty"`

	CgroupVersion int    `json:"cgroup_version"`
	CgroupDriver  string `json:"cgroup_driver"` // cgroupfs, systemd
	// Kubepods is the cgroup of all pods: /kubepods, /kubepods.slice.
	Kubepods               string            `json:"kubepods"`
	SingleProcessOOMKill   bool              `json:"single_process_oom_kill"`
	EvictionHard           map[string]string `json:"eviction_hard,omitempty"` // memory.available: 100Mi, 5%
	SystemReserved         kernel.Bytes      `json:"system_reserved,omitempty"`
	KubeReserved           kernel.Bytes      `json:"kube_reserved,omitempty"`
	EnforceNodeAllocatable []string          `json:"enforce_node_allocatable,omitempty"`
	SwapBehavior           string            `json:"swap_behavior,omitempty"`
	FeatureGates           map[string]bool   `json:"feature_gates,omitempty"`

	// Ours: oomlab made this cluster, so it may set its nodes and exhaust them.
	Ours bool `json:"ours,omitempty"`
	// MayOOM: the user has named this node to --allow-node-oom.
	MayOOM bool `json:"may_oom,omitempty"`
}

// EnforcesPods reports whether all pods together have a limit.
func (n Node) EnforcesPods() bool { return slices.Contains(n.EnforceNodeAllocatable, "pods") }

// Gates are the feature gates that matter here, and what of the kubelet changed
// without one.
type Gates struct {
	// PodLevelResources: alpha and off in 1.32, on since 1.34.
	PodLevelResources bool
	// SidecarAdj: since 1.32 a sidecar is no likelier to be killed than the
	// containers that it serves.
	SidecarAdj bool
	// SingleProcessOption: since 1.32 the kubelet knows singleProcessOOMKill.
	SingleProcessOption bool
	// SlowBackOff: containers are started again after 10 s, 20 s and so on; with
	// ReduceDefaultCrashLoopBackOffDecay, alpha since 1.33, after 1 s, 2 s.
	SlowBackOff bool
}

// Gates are what the node's version and settings say. An unknown version counts
// as a current one.
func (n Node) Gates() Gates {
	minor := Minor(n.KubeletVersion)
	g := Gates{
		PodLevelResources: minor >= 34, SidecarAdj: minor >= 32, SingleProcessOption: minor >= 32, SlowBackOff: true,
	}
	if on, ok := n.FeatureGates["PodLevelResources"]; ok && minor >= 32 {
		g.PodLevelResources = on
	}
	if n.FeatureGates["ReduceDefaultCrashLoopBackOffDecay"] {
		g.SlowBackOff = false
	}
	return g
}

// newest stands for a version that cannot be read.
const newest = 1 << 20

// Minor is the 36 of v1.36.3.
func Minor(version string) int {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 2 || parts[0] != "1" {
		return newest
	}
	n, err := strconv.Atoi(strings.TrimRight(parts[1], "+"))
	if err != nil {
		return newest
	}
	return n
}

// Grouped reports whether containers get memory.oom.group: on cgroup v2 unless
// the kubelet is told singleProcessOOMKill, which it always is on v1.
func (n Node) Grouped() bool { return n.CgroupVersion != 1 && !n.SingleProcessOOMKill }

// MemoryAvailable is the eviction signal that this package knows.
const MemoryAvailable = "memory.available"

// EvictsBelow is how much memory must be available lest the kubelet evicts;
// zero: it never does. An amount is a quantity, or a share of the node.
func (n Node) EvictsBelow() (kernel.Bytes, error) {
	text, ok := n.EvictionHard[MemoryAvailable]
	if !ok {
		return 0, nil
	}
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		f, err := strconv.ParseFloat(percent, 64)
		return kernel.Bytes(float64(n.MemoryCapacity) * f / 100), err
	}
	return kernel.ParseBytes(text)
}
