package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
)

// Place is where a scenario is to run.
type Place struct {
	Target  scenario.Target
	Machine kernel.Machine
	// Node is the node of a target with a kubelet.
	Node *kubelet.Node
}

// Layout is a scenario as it lies on one machine: its cgroups and processes, those
// of its pods included. What the machine lacks for it and the plan both go by it.
type Layout struct {
	scenario scenario.Scenario
	target   scenario.Target
	machine  kernel.Machine
	// node is the node, set as the scenario says; without a kubelet it is the
	// machine as a kubelet would see it.
	node  kubelet.Node
	gates kubelet.Gates
	// kubelet: the node's own one makes the cgroups and starts the processes.
	kubelet bool

	knobs     scenario.Cgroups // that are written here; none with a kubelet
	cgroups   []Cgroup
	processes scenario.Processes
	more      map[string]Process // what a scenario's process has no word for
	pods      []Pod
}

// errNoNode is what a layout of pods without facts about a node fails with.
var errNoNode = errors.New("plan: pods need a node, and nothing is known of one")

// LayOut works out what becomes of a valid scenario at a place. Pods are laid out
// by the kubelet's rules, whether there is one or not. manifests are the user's own
// pods by the name of their file.
func LayOut(s scenario.Scenario, at Place, manifests map[string]scenario.Manifest) (Layout, error) {
	l := Layout{
		scenario: s, target: at.Target, machine: at.Machine,
		knobs: s.Cgroups, processes: s.Processes, more: map[string]Process{},
	}
	if len(s.Pods) > 0 && slices.Contains(s.Targets, at.Target) { // or it does not run there at all
		l.kubelet = at.Target.Traits().Kubelet
		node := bare(at.Machine)
		if l.kubelet && at.Node == nil {
			return l, errNoNode
		} else if l.kubelet {
			node = *at.Node
		}
		l.node = setAs(node, s.Node)
		l.gates = l.node.Gates()
		if err := l.layPods(manifests); err != nil {
			return l, err
		}
	}
	for _, c := range l.knobs {
		l.cgroups = append(l.cgroups, planCgroup(c, l.machine))
	}
	return l, nil
}

// bare is a machine without a kubelet as a current kubelet would see it.
func bare(m kernel.Machine) kubelet.Node {
	return kubelet.Node{
		MemoryCapacity: m.MemTotal, CgroupVersion: m.Cgroup.Version, SingleProcessOOMKill: !m.Cgroup.Group, Ours: true,
	}
}

// layPods lays out all pods. Without a kubelet the agent makes their cgroups, with
// the kubelet's limits.
func (l *Layout) layPods(manifests map[string]scenario.Manifest) error {
	l.nodeCgroups()
	for _, p := range l.scenario.Pods {
		var raw []byte
		if p.Manifest != "" {
			m, ok := manifests[p.Manifest]
			if !ok {
				return fmt.Errorf("pod %s: %s was not read", p.Name, p.Manifest)
			}
			var err error
			if p, err = adopt(p, m.As); err != nil {
				return err
			}
			raw = m.Pod
		}
		l.pod(p, raw)
	}
	if l.kubelet {
		return nil
	}
	for _, c := range l.cgroups {
		k := scenario.Cgroup{Path: c.Path, MemoryMax: c.Max, MemorySwapMax: c.SwapMax}
		if c.OOMGroup {
			one := 1
			k.MemoryOOMGroup = &one
		}
		l.knobs = append(l.knobs, k)
	}
	l.cgroups, l.pods = nil, nil
	return nil
}

// reaches says why the scenario could exhaust or change more than what is its own:
// the machine, the node, or all pods of a node together, and with that kill what is
// none of its own. It is empty when every process is caged by limits that together
// fit into the memory that is available.
func (l Layout) reaches() string {
	if reason := l.declares(); reason != "" {
		return reason
	}
	room := l.machine.MemAvailable
	if l.node.Limit != nil {
		room = min(room, *l.node.Limit-l.node.Used)
	}
	demand, uncaged := l.demand()
	switch {
	case uncaged != "":
		return uncaged + ", which no cgroup limits"
	case demand > room-room/5:
		return fmt.Sprintf("%s of memory where %s are available", demand.Human(), room.Human())
	}
	return ""
}

// declares is the part of reaches that the scenario says by itself, whatever the machine.
func (l Layout) declares() string {
	whole := "machine"
	if l.kubelet {
		whole = "node"
	}
	s := l.scenario
	switch e := s.Expect; {
	case slices.Contains([]string{"none", "cpuset", "mempolicy"}, e.Constraint), e.Domain == string(kubelet.InNode):
		return "an OOM of the whole " + whole
	case e.Domain == string(kubelet.InKubepods):
		return "an OOM of all pods together"
	case e.Evicted != nil && len(*e.Evicted) > 0:
		return "evictions by the node's kubelet"
	case e.Panic != "":
		return "a panic"
	case len(s.System.Sysctls) > 0:
		return "sysctls of the whole machine"
	case s.System.Swap != nil:
		return "swap of the whole machine"
	}
	for _, d := range s.During {
		if d.Sysrq != "" || d.Swapoff || len(d.Sysctls) > 0 {
			return "a change of the whole machine"
		}
	}
	return ""
}

// demand is the most that all processes take together: what limits allow and,
// outside of them, what processes ask for. uncaged is one that may grow forever.
func (l Layout) demand() (total kernel.Bytes, uncaged string) {
	caged := map[string]bool{}
	for _, p := range l.processes {
		if cage, limit := l.cage(p.Cgroup); cage != "" {
			if !caged[cage] {
				caged[cage] = true
				total += limit
			}
			continue
		}
		d, bounded := peak(p)
		if held := l.more[p.Name].Holds; held > 0 {
			d, bounded = held, true
		}
		if !bounded {
			return 0, p.Name
		}
		total += d * kernel.Bytes(max(1, p.Copies))
	}
	return total, ""
}

// cage is the outermost limit that a process of the cgroup is below. The limit of
// all pods and that of their node are none: other pods are below them too.
func (l Layout) cage(path string) (cage string, limit kernel.Bytes) {
	for _, c := range l.cgroups {
		shared := len(l.scenario.Pods) > 0 && (c.Path == kubelet.Root || c.Path == kubelet.NodeRoot)
		if c.Max == nil || shared || !kernel.InCgroup(path, c.Path) {
			continue
		}
		if cage == "" || len(c.Path) < len(cage) {
			cage, limit = c.Path, *c.Max
		}
	}
	return cage, limit
}
