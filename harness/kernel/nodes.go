package kernel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Nodes are numbers of NUMA nodes, in ascending order and each once.
type Nodes []int

// MaxNodes is MAX_NUMNODES of the largest kernels.
const MaxNodes = 1 << 10

// NumberRange is the numbers from First to Last.
type NumberRange struct{ First, Last int }

// ParseRanges reads a list such as "0-3,8", as the kernel prints CPUs and nodes (%*pbl).
func ParseRanges(list string) (out []NumberRange, ok bool) {
	for part := range strings.SplitSeq(list, ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && ranged {
			last, err = strconv.Atoi(to)
		}
		if err != nil || last < first {
			return nil, false
		}
		out = append(out, NumberRange{first, last})
	}
	return out, true
}

// ParseNodes reads a list such as "0-1,3", as the kernel prints one (%*pbl) and as
// cpuset.mems takes one.
func ParseNodes(list string) (Nodes, error) {
	var out Nodes
	ranges, ok := ParseRanges(list)
	for _, r := range ranges {
		if ok = ok && r.First >= 0 && r.Last < MaxNodes; !ok {
			break
		}
		for n := r.First; n <= r.Last; n++ {
			out = append(out, n)
		}
	}
	if !ok {
		return nil, fmt.Errorf("%q is not a list of nodes such as 0-1,3", list)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// String is the list as the kernel prints it.
func (n Nodes) String() string {
	var parts []string
	for i := 0; i < len(n); {
		k := i
		for k+1 < len(n) && n[k+1] == n[k]+1 {
			k++
		}
		part := strconv.Itoa(n[i])
		if k > i {
			part += "-" + strconv.Itoa(n[k])
		}
		parts, i = append(parts, part), k+1
	}
	return strings.Join(parts, ",")
}

// Has reports whether a node is one of them.
func (n Nodes) Has(node int) bool { return slices.Contains(n, node) }

// And are the nodes that are in both.
func (n Nodes) And(other Nodes) Nodes {
	var out Nodes
	for _, node := range n {
		if other.Has(node) {
			out = append(out, node)
		}
	}
	return out
}

// Within reports whether all of them are among others.
func (n Nodes) Within(others Nodes) bool { return len(n.And(others)) == len(n) }

// NodeMemory is the memory of one NUMA node, in pages.
type NodeMemory struct {
	Node    int   `json:"node"`
	Present Pages `json:"present"` // node_present_pages(): what a domain of nodes is scored with
	Managed Pages `json:"managed"`
	Free    Pages `json:"free"`
	Min     Pages `json:"min"` // sum of the zones' min watermarks
}

// Memory sums up zones by node: those with memory, in ascending order.
func (z Zoneinfo) Memory() []NodeMemory {
	var out []NodeMemory
	for _, zone := range z.Zones {
		if zone.Managed == 0 {
			continue
		}
		i := slices.IndexFunc(out, func(n NodeMemory) bool { return n.Node == zone.Node })
		if i < 0 {
			i = len(out)
			out = append(out, NodeMemory{Node: zone.Node})
		}
		n := &out[i]
		n.Present, n.Managed = n.Present+zone.Present, n.Managed+zone.Managed
		n.Free, n.Min = n.Free+zone.Free, n.Min+zone.Min
	}
	slices.SortFunc(out, func(a, b NodeMemory) int { return a.Node - b.Node })
	return out
}

// AllNodes are the machine's nodes with memory (N_MEMORY).
func (m *Machine) AllNodes() Nodes {
	var out Nodes
	for _, n := range m.NUMA {
		out = append(out, n.Node)
	}
	return out
}
