package plan

import (
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

// nodeCgroups lays out the node itself and what all pods are below.
func (l *Layout) nodeCgroups() {
	if l.node.Limit != nil {
		used := l.node.Used
		extra := Bounds{used - used/4, used + used/4}
		l.cgroups = append(l.cgroups, Cgroup{Path: kubelet.NodeRoot, Max: l.node.Limit, Extra: &extra})
	}
	root := Cgroup{Path: kubelet.Root}
	if l.kubelet || l.node.EnforcesPods() { // without a kubelet the machine's size is limit enough
		limit := kubelet.KubepodsLimit(l.node)
		root.Max = &limit
	}
	l.cgroups = append(l.cgroups, root,
		Cgroup{Path: kubelet.ClassCgroup(kubelet.Burstable)}, Cgroup{Path: kubelet.ClassCgroup(kubelet.BestEffort)})
}

// adopt gives a pod that names a manifest what the manifest says.
func adopt(p scenario.Pod, as scenario.Pod) (scenario.Pod, error) {
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
		i := slices.IndexFunc(as.Containers, func(c scenario.Container) bool { return c.Name == h.Name })
		if i < 0 {
			return p, fmt.Errorf("pod %s: %s has no container %q", p.Name, p.Manifest, h.Name)
		}
		as.Containers[i].Holds = h.Holds
	}
	return as, nil
}

// resources are the scenario's words for what package kubelet asks.
func resources(r scenario.Resources) kubelet.Resources {
	return kubelet.Resources{Memory: r.Memory, MilliCPU: int64(r.CPU)}
}

// rules is what the kubelet's rules ask of a pod, as it is written.
func rules(p scenario.Pod) kubelet.Pod {
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
	container := func(c scenario.Container) kubelet.Container {
		return kubelet.Container{
			Name: c.Name, Requests: resources(c.Requests), Limits: resources(c.Limits),
			Sidecar: c.RestartPolicy == "Always",
		}
	}
	for _, c := range p.InitContainers {
		out.InitContainers = append(out.InitContainers, container(c))
	}
	for _, c := range p.Containers {
		out.Containers = append(out.Containers, container(c))
	}
	return out
}

func (l *Layout) pod(p scenario.Pod, raw []byte) {
	written := rules(p)
	r := kubelet.Default(written, l.gates)
	out := Pod{
		Name: p.Name, Spec: written, Class: kubelet.ClassOf(r), After: p.After,
		RestartPolicy: p.RestartPolicy, Restarts: p.Restarts, PriorityClassName: p.PriorityClassName,
		NodeName: p.NodeName, NodeSelector: p.NodeSelector, Manifest: raw,
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

// container lays out a container of a pod, and what it forks. r and k are the two
// with their defaults, before the init containers that must have succeeded.
func (l *Layout) container(
	pod *Pod, r kubelet.Pod, c scenario.Container, k kubelet.Container, before []string, init bool,
) {
	name := pod.Name + "/" + c.Name
	extra := containerExtra
	swap := kubelet.SwapLimit(r, k, l.node)
	cgroup := Cgroup{
		Path: kubelet.ContainerCgroup(pod.Class, pod.Name, c.Name), OOMGroup: l.node.Grouped(),
		SwapMax: &swap, Extra: &extra,
	}
	if limit := kubelet.ContainerLimit(r, k); limit > 0 {
		cgroup.Max = &limit
	}
	l.cgroups = append(l.cgroups, cgroup)
	out := Container{
		Name: c.Name, Process: name, Cgroup: cgroup.Path,
		OOMScoreAdj: kubelet.OOMScoreAdj(r, k, l.node.MemoryCapacity, l.gates), Sidecar: k.Sidecar,
		Image: c.Image, Command: c.Command, Args: c.Args,
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
		Name: name, Cgroup: cgroup.Path, OOMScoreAdj: out.OOMScoreAdj, After: pod.After,
		Respawn: scenario.Respawn(pod.Restarts), Command: program, Do: whole(c.Do),
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
