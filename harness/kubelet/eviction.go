package kubelet

import (
	"regexp"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
)

// EvictionThresholdMet is the Event of a node whose kubelet begins to evict pods.
const EvictionThresholdMet = "EvictionThresholdMet"

// Eviction is what the status of an evicted pod says of why: evictionMessage() of
// pkg/kubelet/eviction.
type Eviction struct {
	Resource string // memory, ephemeral-storage, …; empty: it was another reason
	// Threshold and Available are the node's; nil: it does not say.
	Threshold, Available *kernel.Bytes
	Containers           []Excess // those that use more than they request
}

// Excess is what a container uses, and what it requests.
type Excess struct {
	Container      string
	Usage, Request kernel.Bytes // -1: what it says is no amount
}

var (
	lowOn     = regexp.MustCompile(`^The node was low on resource: ([^ ]+)\. `)
	threshold = regexp.MustCompile(`Threshold quantity: ([^ ,]+), available: ([^ ,]+)\. `)
	wasUsing  = regexp.MustCompile(`Container ([^ ]+) was using ([^ ,]+), request is ([^ ,]+), has larger consumption of `)
)

// ParseEviction reads the message of an evicted pod.
func ParseEviction(message string) Eviction {
	var out Eviction
	m := lowOn.FindStringSubmatch(message)
	if m == nil {
		return out
	}
	out.Resource = m[1]
	if m := threshold.FindStringSubmatch(message); m != nil {
		least, free := amount(m[1]), amount(m[2])
		out.Threshold, out.Available = &least, &free
	}
	for _, m := range wasUsing.FindAllStringSubmatch(message, -1) {
		out.Containers = append(out.Containers, Excess{m[1], amount(m[2]), amount(m[3])})
	}
	return out
}

// amount is a quantity in bytes; -1: it is none.
func amount(quantity string) kernel.Bytes {
	n, err := kernel.ParseBytes(quantity)
	if err != nil {
		return -1
	}
	return n
}

// MemoryRequest is what a container of the pod requests: its limit where it requests
// nothing, as the API server has it.
func (p Pod) MemoryRequest(container string) (kernel.Bytes, bool) {
	for _, c := range slices.Concat(p.InitContainers, p.Containers) {
		if c.Name == container {
			return c.Requests.or(c.Limits).Memory, true
		}
	}
	return 0, false
}
