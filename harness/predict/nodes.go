package predict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// NUMA (constrained_alloc() in mm/oom_kill.c). A process that its cpuset or its memory
// policy confines to some nodes runs out of memory when these are full, whatever others
// have left. Its domain is called after the constraint and the nodes, such as cpuset=1.

// nodeDomain is a domain of some NUMA nodes.
type nodeDomain struct {
	constraint string // cpuset or mempolicy
	nodes      kernel.Nodes
}

// NodesTotal is oc->totalpages of a domain of nodes: the pages present on them, managed
// or not, and all swap.
func NodesTotal(m kernel.Machine, nodes kernel.Nodes, swap kernel.Bytes) kernel.Pages {
	sum := kernel.Pages(swap / m.PageSize)
	for _, n := range m.NUMA {
		if nodes.Has(n.Node) {
			sum += n.Present
		}
	}
	return sum
}

// Nodes are the NUMA nodes that a process may have memory of.
type Nodes struct {
	Mems kernel.Nodes // by its cpuset
	Bind kernel.Nodes // by MPOL_BIND, of those that the cpuset allows; nil: it has no such policy
}

// NodesOf are the nodes of a process by the plan. A child has its parent's policy.
func NodesOf(p plan.Plan, m kernel.Machine, q plan.Process) Nodes {
	n := Nodes{Mems: m.AllNodes()}
	best := ""
	for _, c := range p.Cgroups {
		if c.Mems != nil && q.Cgroup != "" && kernel.InCgroup(q.Cgroup, c.Path) && len(c.Path) > len(best) {
			best, n.Mems = c.Path, c.Mems
		}
	}
	for q.Parent != "" {
		parent, ok := p.Process(q.Parent)
		if !ok {
			break
		}
		q = parent
	}
	if len(q.Launch.Bind) > 0 {
		n.Bind = n.Mems.And(q.Launch.Bind)
	}
	return n
}

// Constraint is the constraint that an allocation of the process fails with when its nodes
// are full, and these nodes; empty: it may use all.
func (n Nodes) Constraint(m kernel.Machine) (string, kernel.Nodes) {
	all := m.AllNodes()
	switch {
	case n.Bind != nil && !all.Within(n.Bind):
		return "mempolicy", n.Bind
	case !all.Within(n.Mems):
		return "cpuset", n.Mems
	}
	return "", all
}

// Scored follows oom_cpuset_eligible(): which processes are looked at when some nodes are
// full. A policy's nodes are compared with those of other policies alone: a process without
// one is scored, wherever its memory is.
func (n Nodes) Scored(constraint string, nodes kernel.Nodes) bool {
	switch constraint {
	case "mempolicy":
		return n.Bind == nil || len(n.Bind.And(nodes)) > 0
	case "cpuset":
		return len(n.Mems.And(nodes)) > 0
	}
	return true
}

// confine finds out which nodes processes may use, on a machine that has several.
func (w *world) confine() {
	if len(w.m.NUMA) < 2 || w.rules.mistake == nodesForgotten {
		return
	}
	for i := range w.procs {
		p := &w.procs[i]
		n := NodesOf(*w.plan, *w.m, *p.p)
		d := nodeDomain{}
		d.constraint, d.nodes = n.Constraint(*w.m)
		p.nodes, p.numa = d.nodes, n
		if d.constraint != "" {
			p.domain = d.constraint + "=" + d.nodes.String()
			w.look.nodes[p.domain] = d
		}
		p.on = make([]Range, len(w.m.NUMA))
	}
}

// inside reports whether all that a process takes is taken of a domain.
func (w *world) inside(p *proc, dir string) bool {
	if d, ok := w.look.nodes[dir]; ok {
		return p.nodes.Within(d.nodes)
	}
	return kernel.InCgroup(p.p.Cgroup, dir)
}

// tree is the cgroup that a domain is, or lies in.
func (w *world) tree(dir string) string {
	if _, ok := w.look.nodes[dir]; ok {
		return ""
	}
	return dir
}

// global reports whether the domain is no cgroup's: out_of_memory() treats the machine and
// some of its nodes alike.
func (w *world) global(dir string) bool { return w.tree(dir) == "" }

// scored reports whether the process is looked at when a domain is full.
func (w *world) scored(p *proc, dir string) bool {
	if d, ok := w.look.nodes[dir]; ok {
		return p.numa.Scored(d.constraint, d.nodes)
	}
	return kernel.InCgroup(p.p.Cgroup, dir)
}

// place works out on which nodes the memory of processes lies. Who may use several takes it
// of the first one that has some left: the processors are on node 0, and the others are as
// far from there (build_zonelists() in mm/page_alloc.c). Memory stays where it is.
func (w *world) place() {
	if len(w.look.nodes) == 0 {
		return
	}
	for i := range w.procs {
		p := &w.procs[i]
		charge := p.charge()
		var sum Range
		for _, r := range p.on {
			sum = sum.plus(r)
		}
		if sum == charge {
			continue
		}
		p.on = slices.Clone(p.on)
		more := charge.minus(Range{sum.Hi, sum.Lo}) // by how much either bound has grown
		if more.Hi <= 0 || len(p.nodes) == 1 {
			w.shrink(p, charge)
			continue
		}
		for k, n := range p.nodes {
			place := w.nodePlace(n)
			if k == len(p.nodes)-1 {
				p.on[place] = p.on[place].plus(more.floor(0))
				break
			}
			left := w.nodeRoom(place).floor(0)
			p.on[place] = p.on[place].plus(Range{min(more.Lo, left.Lo), min(more.Hi, left.Hi)}.floor(0))
			more = Range{max(0, more.Lo-left.Hi), max(0, more.Hi-left.Lo)}
		}
	}
}

// shrink makes what a process has on its nodes no more than its charge: what it took last
// is given back first.
func (w *world) shrink(p *proc, charge Range) {
	left := charge
	for k, n := range p.nodes {
		place := w.nodePlace(n)
		if len(p.nodes) == 1 {
			p.on[place] = charge
			return
		}
		was := p.on[place]
		if k == len(p.nodes)-1 {
			was = left
		}
		p.on[place] = Range{min(was.Lo, left.Lo), min(was.Hi, left.Hi)}
		left = Range{max(0, left.Lo-p.on[place].Hi), max(0, left.Hi-p.on[place].Lo)}
	}
}

// nodePlace is the place of a node among the machine's.
func (w *world) nodePlace(node int) int {
	return max(0, slices.IndexFunc(w.m.NUMA, func(n kernel.NodeMemory) bool { return n.Node == node }))
}

// nodeRoom is what one node has left.
func (w *world) nodeRoom(place int) Range {
	parts := []Range{w.nodeCapacity(w.m.NUMA[place])}
	for i := range w.procs {
		r := w.procs[i].on[place]
		parts = append(parts, Range{-r.Hi, -r.Lo})
	}
	return together(parts...)
}

// nodeCapacity is what processes can have of a node before its OOM killer runs. As on the
// whole machine the allocator gives up near the min watermarks; next to nothing can be
// reclaimed in a guest.
func (w *world) nodeCapacity(n kernel.NodeMemory) Range {
	return Range{n.Free - n.Min - 2000, n.Free - n.Min/4 + 256}
}

// nodesCapacity is that of a domain. What is on its nodes can be swapped out, wherever the
// swap space is.
func (w *world) nodesCapacity(d nodeDomain) Range {
	var sum Range
	for _, n := range w.m.NUMA {
		if d.nodes.Has(n.Node) {
			sum = sum.plus(w.nodeCapacity(n))
		}
	}
	if swap := (w.swapOn - w.zram()).Pages(w.m.PageSize); swap > 0 {
		sum = sum.shift(swap).widen(swapSlack, 0)
	}
	return sum
}

// nodesCharges are what processes have on the nodes of a domain.
func (w *world) nodesCharges(d nodeDomain) []Range {
	var out []Range
	for i := range w.procs {
		p := &w.procs[i]
		if p.nodes.Within(d.nodes) {
			out = append(out, p.charge())
			continue
		}
		if !p.alive() && p.file.Hi == 0 {
			continue
		}
		for _, n := range p.nodes.And(d.nodes) {
			out = append(out, p.on[w.nodePlace(n)])
		}
	}
	return out
}
