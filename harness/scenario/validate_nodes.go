package scenario

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
)

// The NUMA nodes that a VM may have. Node 0 holds the kernel and the programs of the guest.
const (
	leastNodes, mostNodes = 2, 8
	leastNode             = 64 * kernel.MiB
	leastFirst            = 192 * kernel.MiB
	nodeStep              = 32 * kernel.MiB
)

// nodesHint is how nodes are written.
const nodesHint = "write system: {nodes: [256Mi, 256Mi]}"

// allNodes are the nodes of the VM that the scenario asks for.
func (s Scenario) allNodes() kernel.Nodes {
	var out kernel.Nodes
	for i := range s.System.Nodes {
		out = append(out, i)
	}
	return out
}

// Mems are the nodes that processes in a cgroup may have memory of: the nearest
// cpuset.mems at or above it, or all.
func (s Scenario) Mems(path string) kernel.Nodes {
	best, out := "", s.allNodes()
	for _, c := range s.Cgroups {
		if c.CpusetMems == "" || !kernel.InCgroup(path, c.Path) || len(c.Path) <= len(best) {
			continue
		}
		if nodes, err := kernel.ParseNodes(c.CpusetMems); err == nil {
			best, out = c.Path, nodes
		}
	}
	return out
}

// nodes checks the nodes of a VM, and what refers to them.
func (v *validator) nodes() {
	v.nodeSizes()
	for _, c := range v.s.Cgroups {
		if c.CpusetMems == "" {
			continue
		}
		path := at("cgroups", c.Path, "cpuset.mems")
		nodes, err := kernel.ParseNodes(c.CpusetMems)
		if err != nil {
			v.problem(path, "write 1, 0-1 or \"0,2\"", "%v", err)
			continue
		}
		if !v.nodesThere(nodes, path) {
			continue
		}
		if parent, ok := c.Parent(); ok && !nodes.Within(v.s.Mems(parent)) {
			v.problem(path, "", "the nodes %s are not all among those of %s, %s", nodes, parent, v.s.Mems(parent))
		}
	}
	for i := range v.s.Processes {
		if p := &v.s.Processes[i]; p.Mempolicy != nil {
			v.mempolicy(p, at("processes", p.Name, "mempolicy"))
		}
	}
	for i, d := range v.s.During {
		for name, c := range d.Set {
			if c.CpusetMems != "" {
				v.problem(at("during", strconv.Itoa(i), "set", name, "cpuset.mems"), "write it in cgroups",
					"nodes are set before anything is started")
			}
		}
	}
}

// nodeSizes checks the memory of the nodes.
func (v *validator) nodeSizes() {
	s, path := v.s, at("system", "nodes")
	if s.System.Nodes == nil {
		return
	}
	if n := len(s.System.Nodes); n < leastNodes || n > mostNodes {
		v.problem(path, nodesHint, "%d of them: a VM with NUMA has %d to %d nodes", n, leastNodes, mostNodes)
		return
	}
	for i, t := range s.Targets {
		if !t.Traits().Throwaway && !v.wrong("targets") {
			v.problem(at("targets", strconv.Itoa(i)), "write targets: [vm]",
				"%s has the nodes that it has: system.nodes is for a VM", t)
		}
	}
	if s.Needs.Userland != "" || len(s.Pods) > 0 {
		v.problem(path, "", "a VM with a userland or with pods has one node")
	}
	var sum kernel.Bytes
	for i, size := range s.System.Nodes {
		least := leastNode
		if i == 0 {
			least = leastFirst
		}
		switch where := with(path, strconv.Itoa(i)); {
		case size < least:
			v.problem(where, "", "%s is too small: node %d of a VM takes %s", size, i, least)
		case size%nodeStep != 0:
			v.problem(where, "", "%s is not a multiple of %s", size, nodeStep)
		}
		sum += size
	}
	if s.Needs.Memory != 0 && s.Needs.Memory != sum {
		v.problem(at("needs", "memory"), fmt.Sprintf("write %s, or leave it out", sum),
			"the nodes have %s together, not %s", sum, s.Needs.Memory)
	}
	for _, key := range []string{kernel.NrHugepages, kernel.NrOvercommitHugepages} {
		if _, said := s.System.Sysctls[key]; said {
			v.problem(at("system", "sysctls", key), "leave out one of both",
				"from which nodes the kernel takes huge pages is not modelled")
		}
	}
}

// nodesThere checks that nodes are the VM's.
func (v *validator) nodesThere(nodes kernel.Nodes, path []string) bool {
	if v.unread("system") || v.unread("system", "nodes") {
		return false
	}
	all := v.s.allNodes()
	if len(all) == 0 {
		v.problem(path, nodesHint, "the machine has no NUMA nodes")
		return false
	}
	for _, n := range nodes {
		if !all.Has(n) {
			v.problem(path, fmt.Sprintf("system.nodes has the nodes %s", all), "there is no node %d", n)
			return false
		}
	}
	return true
}

// mempolicy checks the nodes that a process is bound to.
func (v *validator) mempolicy(p *Process, path []string) {
	bind := with(path, "bind")
	nodes := kernel.Nodes(slices.Compact(slices.Sorted(slices.Values(p.Mempolicy.Bind))))
	switch {
	case len(nodes) == 0:
		v.problem(path, "write mempolicy: {bind: [1]}", "it names no nodes")
	case p.Parent != "":
		v.problem(path, fmt.Sprintf("write it for %s", p.Parent), "%s has the memory policy of its parent", p.Name)
	case !v.nodesThere(nodes, bind):
	case len(nodes.And(v.s.Mems(p.Cgroup))) == 0:
		v.problem(bind, "", "the cgroup %s allows the nodes %s, and none of these", p.Cgroup, v.s.Mems(p.Cgroup))
	}
}
