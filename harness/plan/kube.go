package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// What is charged to a pod and to a container beside its processes: the
// sandbox's own process, and the mounts and namespaces that the runtime makes in
// their name.
var (
	sandboxExtra   = Bounds{64 * kernel.KiB, 3 * kernel.MiB}
	containerExtra = Bounds{0, kernel.MiB}
)

// pods are a scenario's pods as a node's kubelet will make them.
type pods struct {
	node      kubelet.Node
	gates     kubelet.Gates
	cgroups   []Cgroup
	processes scenario.Processes
	more      map[string]Process // what a scenario's process has no word for
	pods      []Pod
}

// layOutPods works out what the kubelet of a node makes of the scenario's pods.
func layOutPods(s scenario.Scenario, node kubelet.Node, manifests map[string]scenario.Manifest) (pods, error) {
	l := pods{node: node, gates: node.Gates(), more: map[string]Process{}}
	if node.Limit != nil {
		used := node.Used
		l.cgroups = append(l.cgroups, Cgroup{Path: kubelet.NodeRoot, Max: node.Limit, Extra: &Bounds{used - used/4, used + used/4}})
	}
	root := kubelet.KubepodsLimit(node)
	l.cgroups = append(l.cgroups, Cgroup{Path: kubelet.Root, Max: &root},
		Cgroup{Path: kubelet.ClassCgroup(kubelet.Burstable)}, Cgroup{Path: kubelet.ClassCgroup(kubelet.BestEffort)})
	for _, p := range s.Pods {
		var raw []byte
		if p.Manifest != "" {
			m, ok := manifests[p.Manifest]
			if !ok {
				return l, fmt.Errorf("pod %s: %s was not read", p.Name, p.Manifest)
			}
			var err error
			if p, err = adopt(p, m.As); err != nil {
				return l, err
			}
			raw = m.Pod
		}
		l.pod(p, raw)
	}
	return l, nil
}

// adopt gives a pod that names a manifest what the manifest says.
func adopt(p scenario.KubePod, as scenario.KubePod) (scenario.KubePod, error) {
	holds := p.Containers
	as.Name, as.After, as.Manifest = p.Name, p.After, p.Manifest
	as.Restarts = p.Restarts
	if as.RestartPolicy == "Never" {
		as.Restarts = 0
	}
	if p.NodeName != "" {
		as.NodeName = p.NodeName
	}
	if p.NodeSelector != nil {
		as.NodeSelector = p.NodeSelector
	}
	as.Containers = slices.Clone(as.Containers)
	for _, h := range holds {
		i := slices.IndexFunc(as.Containers, func(c scenario.KubeContainer) bool { return c.Name == h.Name })
		if i < 0 {
			return p, fmt.Errorf("pod %s: %s has no container %q", p.Name, p.Manifest, h.Name)
		}
		as.Containers[i].Holds = h.Holds
	}
	return as, nil
}

// rules is what the kubelet's rules ask of a pod, as it is written.
func rules(p scenario.KubePod) kubelet.Pod {
	out := kubelet.Pod{
		Name: p.Name, Requests: resources(p.Requests), Limits: resources(p.Limits),
		NodeCritical: p.PriorityClassName == "system-node-critical",
		Critical:     strings.HasPrefix(p.PriorityClassName, "system-"),
	}
	switch p.PriorityClassName { // pkg/apis/scheduling
	case "system-node-critical":
		out.Priority = 2000001000
	case "system-cluster-critical":
		out.Priority = 2000000000
	}
	container := func(c scenario.KubeContainer) kubelet.Container {
		return kubelet.Container{Name: c.Name, Requests: resources(c.Requests), Limits: resources(c.Limits), Sidecar: c.RestartPolicy == "Always"}
	}
	for _, c := range p.InitContainers {
		out.InitContainers = append(out.InitContainers, container(c))
	}
	for _, c := range p.Containers {
		out.Containers = append(out.Containers, container(c))
	}
	return out
}

func (l *pods) pod(p scenario.KubePod, raw []byte) {
	written := rules(p)
	r := kubelet.Default(written, l.gates)
	out := Pod{
		Name: p.Name, Spec: written, Class: kubelet.ClassOf(r), After: p.After, RestartPolicy: p.RestartPolicy, Restarts: p.Restarts,
		PriorityClassName: p.PriorityClassName, NodeName: p.NodeName, NodeSelector: p.NodeSelector, Manifest: raw,
	}
	extra := sandboxExtra
	cgroup := Cgroup{Path: kubelet.PodCgroup(out.Class, p.Name), Extra: &extra}
	if limit := kubelet.PodLimit(r); limit > 0 {
		cgroup.Max = &limit
	}
	l.cgroups = append(l.cgroups, cgroup)
	var before []string // init containers that must have succeeded
	for i, c := range p.InitContainers {
		l.container(&out, r, c, r.InitContainers[i], before, true)
		if c.RestartPolicy == "" {
			before = append(slices.Clip(before), p.Name+"/"+c.Name)
		}
	}
	for i, c := range p.Containers {
		l.container(&out, r, c, r.Containers[i], before, false)
	}
	l.pods = append(l.pods, out)
}

func (l *pods) container(pod *Pod, r kubelet.Pod, c scenario.KubeContainer, k kubelet.Container, before []string, init bool) {
	name := pod.Name + "/" + c.Name
	extra := containerExtra
	swap := kubelet.SwapLimit(r, k, l.node)
	cgroup := Cgroup{Path: kubelet.ContainerCgroup(pod.Class, pod.Name, c.Name), OOMGroup: l.node.Grouped(), SwapMax: &swap, Extra: &extra}
	if limit := kubelet.ContainerLimit(r, k); limit > 0 {
		cgroup.Max = &limit
	}
	l.cgroups = append(l.cgroups, cgroup)
	out := Container{
		Name: c.Name, Process: name, Cgroup: cgroup.Path, OOMScoreAdj: kubelet.OOMScoreAdj(r, k, l.node.MemoryCapacity, l.gates),
		Sidecar: k.Sidecar, Image: c.Image, Command: c.Command, Args: c.Args,
	}
	if cgroup.Max != nil {
		out.Max = *cgroup.Max
	}
	if init {
		pod.InitContainers = append(pod.InitContainers, out)
	} else {
		pod.Containers = append(pod.Containers, out)
	}
	whole := func(do []scenario.Step) []scenario.Step {
		do = slices.Clone(do)
		for i := range do {
			if do[i].Name != "" {
				do[i].Name = name + "/" + do[i].Name
			}
		}
		return do
	}
	program := slices.Concat(c.Command, c.Args)
	if c.Image != "" && len(program) == 0 {
		program = []string{c.Image}
	}
	l.processes = append(l.processes, scenario.Process{
		Name: name, Cgroup: cgroup.Path, OOMScoreAdj: out.OOMScoreAdj, After: pod.After, Respawn: scenario.Respawn(pod.Restarts),
		Command: program, Do: whole(c.Do),
	})
	on := kubelet.RestartOf(pod.RestartPolicy, init, k.Sidecar)
	if on == kubelet.RestartNever {
		l.processes[len(l.processes)-1].Respawn = 0
	}
	l.more[name] = Process{NeedsSuccess: before, RestartOn: on, Holds: c.Holds, Aside: init && !k.Sidecar}
	parents := map[string]string{}
	note := func(parent string, do []scenario.Step) {
		for _, s := range do {
			if s.Op == profile.Fork {
				parents[s.Name] = parent
			}
		}
	}
	note(name, c.Do)
	for _, f := range c.Processes {
		note(name+"/"+f.Name, f.Do)
	}
	for _, f := range c.Processes {
		child := name + "/" + f.Name
		l.processes = append(l.processes, scenario.Process{
			Name: child, Cgroup: cgroup.Path, OOMScoreAdj: out.OOMScoreAdj, Parent: parents[f.Name], Do: whole(f.Do),
		})
		l.more[child] = Process{Aside: true}
	}
}

// errNoNode is what a plan for pods without facts about a node fails with.
var errNoNode = errors.New("plan: pods need a node, and nothing is known of one")

// As is a node once it is set to what a scenario says, where that may be done.
func As(n kubelet.Node, s scenario.Node) kubelet.Node {
	if !n.Ours {
		return n
	}
	if s.SingleProcessOOMKill != nil {
		n.SingleProcessOOMKill = *s.SingleProcessOOMKill
	}
	if s.EvictionHard != nil {
		n.EvictionHard = map[string]string{}
		for signal, t := range s.EvictionHard {
			n.EvictionHard[signal] = t.Text
		}
	}
	if s.SystemReserved.Memory > 0 {
		n.SystemReserved = s.SystemReserved.Memory
	}
	if s.KubeReserved.Memory > 0 {
		n.KubeReserved = s.KubeReserved.Memory
	}
	if s.EnforceNodeAllocatable != nil {
		n.EnforceNodeAllocatable = s.EnforceNodeAllocatable
	}
	if s.SwapBehavior != "" {
		n.SwapBehavior = s.SwapBehavior
	}
	if s.Swap > 0 {
		n.SwapCapacity = max(n.SwapCapacity, s.Swap)
	}
	return n
}

// unmetNode lists in what a node is not set as the scenario wants it.
func unmetNode(s scenario.Node, n kubelet.Node) []Need {
	var out []Need
	differs := func(what string, want, have any) {
		hint := "run it with --cluster vm, whose node is set so"
		if n.Ours {
			hint = ""
		}
		out = append(out, Need{fmt.Sprintf("a node with %s %v; here it is %v", what, want, have), hint})
	}
	n = As(n, s)
	if s.SingleProcessOOMKill != nil {
		if !n.Gates().SingleProcessOption && *s.SingleProcessOOMKill {
			differs("singleProcessOOMKill", true, "not known to "+n.KubeletVersion)
		} else if n.SingleProcessOOMKill != *s.SingleProcessOOMKill {
			differs("singleProcessOOMKill", *s.SingleProcessOOMKill, n.SingleProcessOOMKill)
		}
	}
	for signal, t := range s.EvictionHard {
		if have := n.EvictionHard[signal]; !sameThreshold(t.Text, have) {
			differs("evictionHard "+signal, t.Text, orNone(have))
		}
	}
	if want := s.SystemReserved.Memory; want > 0 && n.SystemReserved != want {
		differs("systemReserved memory", want, n.SystemReserved)
	}
	if want := s.KubeReserved.Memory; want > 0 && n.KubeReserved != want {
		differs("kubeReserved memory", want, n.KubeReserved)
	}
	if s.EnforceNodeAllocatable != nil && !slices.Equal(s.EnforceNodeAllocatable, n.EnforceNodeAllocatable) {
		differs("enforceNodeAllocatable", s.EnforceNodeAllocatable, n.EnforceNodeAllocatable)
	}
	if s.CgroupDriver != "" && s.CgroupDriver != n.CgroupDriver {
		differs("cgroupDriver", s.CgroupDriver, orNone(n.CgroupDriver))
	}
	if s.Swap > n.SwapCapacity {
		differs("swap", s.Swap, n.SwapCapacity)
	}
	if s.SwapBehavior != "" && s.SwapBehavior != n.SwapBehavior && (s.SwapBehavior != kubelet.NoSwap || n.SwapBehavior != "") {
		differs("swapBehavior", s.SwapBehavior, orNone(n.SwapBehavior))
	}
	slices.SortFunc(out, func(a, b Need) int { return strings.Compare(a.What, b.What) })
	return out
}

// sameThreshold: 0% is how a kubelet is told that nothing is evicted.
func sameThreshold(a, b string) bool {
	off := func(s string) bool { return s == "" || s == "0" || s == "0%" }
	return a == b || off(a) && off(b)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// UnmetPods is Unmet for the pods of a cluster: what the node lacks for them,
// and whether it may be exhausted.
func UnmetPods(s scenario.Scenario, m kernel.Machine, node *kubelet.Node, manifests map[string]scenario.Manifest) ([]Need, error) {
	out := Unmet(s, m, scenario.Kube)
	if node == nil {
		return out, errNoNode
	}
	out = append(out, unmetNode(s.Node, *node)...)
	tooLarge, err := tooLargeFor(s, *node, manifests)
	if err != nil {
		return out, err
	}
	out = append(out, tooLarge...)
	reason, err := NodeWide(s, m, *node, manifests)
	if err == nil && reason != "" && !node.Ours && !node.MayOOM {
		out = append(out, Need{
			fmt.Sprintf("to be allowed %s, which may kill what is not its own on node %s", reason, node.Name),
			"use --cluster vm, or name the node: --allow-node-oom " + node.Name,
		})
	}
	return out, err
}

// tooLargeFor lists the pods that request more memory than the node has to give:
// the kubelet admits none of them, whatever else runs there. Several pods that
// fit one by one and not together depend on when each of them is over.
func tooLargeFor(s scenario.Scenario, n kubelet.Node, manifests map[string]scenario.Manifest) ([]Need, error) {
	if n.Allocatable == 0 {
		return nil, nil
	}
	l, err := layOutPods(s, As(n, s.Node), manifests)
	if err != nil {
		return nil, err
	}
	var out []Need
	for _, p := range l.pods {
		if want := kubelet.Requests(kubelet.Default(p.Spec, l.gates)).Memory; want > n.Allocatable {
			out = append(out, Need{
				fmt.Sprintf("a node that has %s for pod %s; %s can give %s", want.Human(), p.Name, n.Name, n.Allocatable.Human()),
				"raise needs.memory, or run it on a larger node",
			})
		}
	}
	return out, nil
}

// NodeWide says why a scenario could exhaust its node, or all pods of it
// together, and with that kill or evict pods that are none of its own; empty
// when every container is caged by a limit of its own or of its pod, and all
// limits fit.
func NodeWide(s scenario.Scenario, m kernel.Machine, node kubelet.Node, manifests map[string]scenario.Manifest) (string, error) {
	switch e := s.Expect; {
	case e.Constraint == "none" || e.Domain == string(kubelet.InNode):
		return "an OOM of the whole node", nil
	case e.Domain == string(kubelet.InKubepods):
		return "an OOM of all pods together", nil
	case e.Evicted != nil && len(*e.Evicted) > 0:
		return "evictions by the node's kubelet", nil
	}
	l, err := layOutPods(s, As(node, s.Node), manifests)
	if err != nil {
		return "", err
	}
	room := m.MemAvailable
	if node.Limit != nil {
		room = min(room, *node.Limit-node.Used)
	}
	var demand kernel.Bytes
	caged := map[string]bool{}
	for _, p := range l.processes {
		if cage, limit := l.cage(p.Cgroup); cage != "" {
			if !caged[cage] {
				caged[cage] = true
				demand += limit
			}
			continue
		}
		d, bounded := Demand(p)
		if held := l.more[p.Name].Holds; held > 0 {
			d, bounded = held, true
		}
		if !bounded {
			return p.Name + ", which nothing limits", nil
		}
		demand += d
	}
	if demand > room-room/5 {
		return fmt.Sprintf("%s of memory where %s are available", demand.Human(), room.Human()), nil
	}
	return "", nil
}

// cage is the outermost limit of a pod's or a container's own.
func (l pods) cage(path string) (cage string, limit kernel.Bytes) {
	for _, c := range l.cgroups {
		if d := kubelet.DomainOf("memcg", c.Path); c.Max == nil || d != kubelet.InPod && d != kubelet.InContainer {
			continue
		}
		if (path == c.Path || strings.HasPrefix(path, c.Path+"/")) && (cage == "" || len(c.Path) < len(cage)) {
			cage, limit = c.Path, *c.Max
		}
	}
	return cage, limit
}
