package scenario

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Words that the API and the kubelet know.
var (
	restartPolicies = []string{"Always", "OnFailure", "Never"}
	containerStates = []string{"waiting", "running", "terminated"}
	podPhases       = []string{"Pending", "Running", "Succeeded", "Failed", "Unknown"}
	nodeConditions  = []string{"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"}
	cgroupDrivers   = []string{"cgroupfs", "systemd"}
	swapBehaviors   = []string{kubelet.NoSwap, kubelet.LimitedSwap}
	enforceable     = []string{"pods", "system-reserved", "kube-reserved", "none"}
	reasonWord      = regexp.MustCompile(`^[A-Z][A-Za-z]*$`)
	labelKey        = regexp.MustCompile(`^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
)

// nameKube collects the names of containers and of what they fork.
func (v *validator) nameKube() {
	v.manifests = map[string]bool{}
	one := func(name string) {
		v.spoken = append(v.spoken, name)
		v.stands[name] = []string{name}
	}
	for _, pod := range v.s.Pods {
		v.spoken = append(v.spoken, pod.Name)
		v.stands[pod.Name] = []string{}
		v.manifests[pod.Name] = pod.Manifest != ""
		for i, c := range pod.all() {
			name := pod.Name + "/" + c.Name
			one(name)
			if i >= len(pod.InitContainers) || c.RestartPolicy != "" {
				v.stands[pod.Name] = append(v.stands[pod.Name], name)
			}
			for _, f := range c.Processes {
				one(name + "/" + f.Name)
			}
		}
	}
}

// all are the containers of a pod, init containers first.
func (p Pod) all() Containers { return slices.Concat(p.InitContainers, p.Containers) }

// inManifest reports whether a name may be a container that only a manifest
// knows.
func (v *validator) inManifest(name string) bool {
	return v.manifests[kubelet.NameOf(name).Pod]
}

// podOf finds the pod that a name of a process belongs to.
func (v *validator) podOf(name string) *Pod {
	pod := kubelet.NameOf(name).Pod
	i := slices.IndexFunc(v.s.Pods, func(p Pod) bool { return p.Name == pod })
	if i < 0 {
		return nil
	}
	return &v.s.Pods[i]
}

// restarts reports whether a process may live more than once.
func (v *validator) restarts(one string) bool {
	if p := v.podOf(one); p != nil {
		return p.Restarts > 0
	}
	p := v.of(one)
	return p != nil && p.Respawn != 0
}

func (v *validator) kube() {
	s := v.s
	kubelets, _ := s.kubelets()
	if len(s.Pods) == 0 {
		if v.unread("pods") {
			return
		}
		if len(s.Processes) == 0 {
			v.problem(at("processes"), "write processes, or pods", "there is none")
		}
		v.ofCluster("write pods, which run on a cluster", "is about a cluster, and there are no pods")
		if !isZero(s.Node) {
			v.problem(at("node"), "write pods, which run on a cluster", "is about a cluster, and there are no pods")
		}
		return
	}
	for _, f := range []struct {
		key   string
		given bool
		of    string
	}{
		{"cgroups", len(s.Cgroups) > 0, "which bring their own"},
		{"processes", len(s.Processes) > 0, "which bring their own"},
		{"system", kubelets != nil && (len(s.System.Sysctls) > 0 || s.System.Swap != nil), "which a cluster runs"},
		{"during", kubelets != nil && len(s.During) > 0, "which a cluster runs"},
	} {
		if f.given {
			v.problem(at(f.key), "leave it out; what a node is set to is said in node", "stands beside pods, %s", f.of)
		}
	}
	for i := range s.Pods {
		v.kubePod(&s.Pods[i])
	}
	v.node()
	v.bare()
}

// ofCluster refuses claims about what only a cluster says.
func (v *validator) ofCluster(hint, what string, args ...any) {
	e := v.s.Expect
	for _, f := range []struct {
		key   string
		given bool
	}{
		{"domain", e.Domain != ""}, {"qosClass", e.QoSClass != nil}, {"oom_score_adj", e.OOMScoreAdj != nil},
		{"containers", e.Containers != nil}, {"pods", e.Pods != nil}, {"podEvents", e.PodEvents != nil},
		{"nodeEvents", e.NodeEvents != nil}, {"nodeConditions", e.NodeConditions != nil},
		{"evicted", e.Evicted != nil}, {"misreports", e.Misreports != nil},
	} {
		if f.given {
			v.problem(at("expect", f.key), hint, what, args...)
		}
	}
}

// bare refuses what only a kubelet and a container runtime do, where one target
// has none.
func (v *validator) bare() {
	_, without := v.s.kubelets()
	if len(without) == 0 {
		return
	}
	t := without[0]
	const hint = "leave it out, or write targets: [kube]"
	v.ofCluster(hint, "is about a cluster, and target %s is none", t)
	n := v.s.Node
	evicts := false
	for _, at := range n.EvictionHard {
		evicts = evicts || at.Bytes > 0 || at.Percent > 0
	}
	refuse := func(given bool, path []string) {
		if given {
			v.problem(path, hint, "takes a kubelet, and target %s has none", t)
		}
	}
	refuse(evicts, at("node", "evictionHard"))
	refuse(n.CgroupDriver != "", at("node", "cgroupDriver"))
	refuse(n.Swap > 0, at("node", "swap"))
	refuse(n.SwapBehavior != "", at("node", "swapBehavior"))
	for _, p := range v.s.Pods {
		path := at("pods", p.Name)
		if slices.Contains(restartPolicies, p.RestartPolicy) && p.RestartPolicy != "Never" {
			v.problem(with(path, "restartPolicy"), "write restartPolicy: Never, or targets: [kube]",
				"%s takes a kubelet, and target %s has none", p.RestartPolicy, t)
		}
		refuse(p.Manifest != "", with(path, "manifest"))
		refuse(len(p.InitContainers) > 0, with(path, "initContainers"))
		refuse(p.NodeName != "", with(path, "nodeName"))
		refuse(p.NodeSelector != nil, with(path, "nodeSelector"))
		for _, c := range p.Containers {
			if c.Image != "" {
				v.problem(with(with(with(path, "containers"), c.Name), "image"), "write do, or targets: [kube]",
					"takes a container runtime, and target %s has none", t)
			}
		}
	}
}

func isZero(n Node) bool {
	return n.SingleProcessOOMKill == nil && n.EvictionHard == nil && n.SystemReserved == (Resources{}) &&
		n.KubeReserved == (Resources{}) &&
		n.EnforceNodeAllocatable == nil && n.CgroupDriver == "" && n.Swap == 0 && n.SwapBehavior == ""
}

func (v *validator) node() {
	n := v.s.Node
	for _, key := range slices.Sorted(maps.Keys(n.EvictionHard)) {
		if key != kubelet.MemoryAvailable {
			v.problem(at("node", "evictionHard", key), meant(key, []string{kubelet.MemoryAvailable}),
				"%q is not a signal that is about memory", key)
		}
	}
	for i, word := range n.EnforceNodeAllocatable {
		v.word(word, enforceable, at("node", "enforceNodeAllocatable", strconv.Itoa(i)),
			"%q is nothing that the kubelet enforces")
	}
	v.word(n.CgroupDriver, cgroupDrivers, at("node", "cgroupDriver"), "%q is not a cgroup driver")
	v.word(n.SwapBehavior, swapBehaviors, at("node", "swapBehavior"), "%q is not a swap behavior")
	if n.SwapBehavior == kubelet.LimitedSwap && n.Swap == 0 {
		v.problem(at("node", "swapBehavior"), "write swap: 256Mi beside it", "there is no swap to limit")
	}
}

// word checks a value that has only so many spellings; an empty one was not given.
func (v *validator) word(got string, known []string, path []string, what string) {
	if got != "" && !slices.Contains(known, got) {
		v.problem(path, v.meant(got, known), what, got)
	}
}

func (v *validator) podName(name, of string, path []string) {
	if !processName.MatchString(name) || strings.Contains(name, ".") || strings.HasSuffix(name, "-") || len(name) > 40 {
		v.problem(path, "begin and end with a letter or a digit, with these and dashes between; at most 40",
			"%q is not a name for a %s", name, of)
	}
}

func (v *validator) kubePod(p *Pod) {
	path := at("pods", p.Name)
	v.podName(p.Name, "pod", path)
	v.refer(p.After, with(path, "after"))
	v.word(p.RestartPolicy, restartPolicies, with(path, "restartPolicy"), "%q is not a restart policy")
	switch {
	case p.Restarts < 0 || p.Restarts > 20:
		v.problem(with(path, "restarts"), "", "%d is not a number of restarts that a run waits for", p.Restarts)
	case p.Restarts > 0 && p.RestartPolicy == "Never":
		v.problem(with(path, "restarts"), "leave it out, or write restartPolicy: Always",
			"with restartPolicy Never nothing is started again")
	}
	for _, key := range slices.Sorted(maps.Keys(p.NodeSelector)) {
		if !labelKey.MatchString(key) {
			v.problem(with(with(path, "nodeSelector"), key), "write a label such as kubernetes.io/arch",
				"%q is not the name of a label", key)
		}
	}
	v.within(p.Requests, p.Limits, path)
	if p.Manifest != "" {
		v.manifest(p, path)
		return
	}
	if len(p.Containers) == 0 {
		v.problem(with(path, "containers"), "write at least one, or a manifest", "there is none")
	}
	seen := map[string]bool{}
	for i, c := range p.all() {
		list := "containers"
		if i < len(p.InitContainers) {
			list = "initContainers"
		}
		below := with(with(path, list), c.Name)
		if seen[c.Name] {
			v.problem(below, "", "%q is the name of another container of this pod", c.Name)
		}
		seen[c.Name] = true
		if p.Limits.Memory > 0 && c.Limits.Memory > p.Limits.Memory {
			v.problem(with(with(below, "limits"), "memory"), "", "%s are more than the pod's limit of %s",
				c.Limits.Memory, p.Limits.Memory)
		}
		v.kubeContainer(c, list == "initContainers", below)
	}
}

// within checks that nothing requests more than its limit.
func (v *validator) within(requests, limits Resources, path []string) {
	if limits.Memory > 0 && requests.Memory > limits.Memory {
		v.problem(with(with(path, "requests"), "memory"), "", "%s are more than the limit of %s", requests.Memory,
			limits.Memory)
	}
	if limits.CPU > 0 && requests.CPU > limits.CPU {
		v.problem(with(with(path, "requests"), "cpu"), "", "%dm are more than the limit of %dm", requests.CPU,
			limits.CPU)
	}
}

func (v *validator) manifest(p *Pod, at []string) {
	if clean := path.Clean(p.Manifest); path.IsAbs(p.Manifest) || clean != p.Manifest || clean == "." ||
		strings.HasPrefix(clean, "..") {
		v.problem(with(at, "manifest"), "write its name, or a path below the directory that the scenario is in",
			"%q is not a file beside the scenario", p.Manifest)
	}
	for _, f := range []struct {
		key   string
		given bool
	}{
		{"initContainers", len(p.InitContainers) > 0}, {"requests", p.Requests != (Resources{})}, {"limits",
			p.Limits != (Resources{})},
		{"priorityClassName", p.PriorityClassName != ""},
	} {
		if f.given {
			v.problem(with(at, f.key), "write it in the manifest", "the pod is said in %s", p.Manifest)
		}
	}
	for _, c := range p.Containers {
		only := Container{Name: c.Name, Holds: c.Holds}
		if c.Holds == 0 || len(c.Do)+len(c.Command)+len(c.Args)+len(c.Processes) > 0 || c.Image != only.Image ||
			c.Requests != only.Requests ||
			c.Limits != only.Limits || c.RestartPolicy != "" {
			v.problem(with(with(at, "containers"), c.Name), "write {holds: 64Mi}",
				"beside a manifest a container only says what it holds")
		}
	}
}

func (v *validator) kubeContainer(c Container, init bool, path []string) {
	v.podName(c.Name, "container", path)
	if c.Name == kubelet.Sandbox {
		v.problem(path, "take another one", "%q is what the container of a pod's namespaces is called here", c.Name)
	}
	v.within(c.Requests, c.Limits, path)
	if c.RestartPolicy != "" && (!init || c.RestartPolicy != "Always") {
		v.problem(with(path, "restartPolicy"), "write Always at an init container to make it a sidecar",
			"%q is not a restart policy of a container", c.RestartPolicy)
	}
	kubelets, _ := v.s.kubelets()
	switch {
	case c.Image != "" && len(c.Do) > 0:
		v.problem(path, "do is for the stressor, image for a program of your own", "has both do and image")
		return
	case c.Image == "" && len(c.Command) > 0 && kubelets == nil:
		v.program(c.Command, c.Do, path)
		if c.Holds > 0 || len(c.Processes) > 0 {
			v.problem(path, "leave out holds and processes", "has a command, which is measured and does not fork "+
				"on demand")
		}
		return
	case c.Image == "" && len(c.Command)+len(c.Args) > 0:
		v.problem(path, "write image: NAME", "has a command and no image that it is in")
		return
	case c.Image == "" && len(c.Do) == 0:
		v.problem(path, "write do: [{touch: 64Mi}, hold], or an image of your own", "has nothing to do")
		return
	case c.Image == "" && c.Holds > 0:
		v.problem(with(path, "holds"), "leave it out", "what a stressor holds is said by its steps")
	case c.Image != "" && len(c.Processes) > 0:
		v.problem(with(path, "processes"), "leave them out", "only a stressor forks on demand")
		return
	case c.Image != "":
		return
	}
	v.steps(c.Do, with(path, "do"))
	v.forks(c, path)
	if last := c.Do[len(c.Do)-1].Op; init && c.RestartPolicy == "" && last != profile.Exit {
		v.problem(with(path, "do"), "end with {exit: 0}, or write restartPolicy: Always for a sidecar",
			"an init container that never ends keeps its pod waiting")
	}
}

// forks checks that what is forked is there, and that what is there is forked.
func (v *validator) forks(c Container, path []string) {
	forked := map[string]bool{}
	known := []string{}
	for _, f := range c.Processes {
		known = append(known, f.Name)
	}
	look := func(do []Step, path []string) {
		for i, s := range do {
			if s.Op != profile.Fork || s.Name == "" {
				continue // what is waited for must have been forked: see steps
			}
			where := with(path, strconv.Itoa(i))
			if !slices.Contains(known, s.Name) {
				v.problem(where, fmt.Sprintf("write processes: {%s: {do: [...]}} in the container", s.Name),
					"%q is not among the container's processes", s.Name)
			}
			if forked[s.Name] && slices.IndexFunc(do, func(o Step) bool {
				return o.Op == profile.Fork &&
					o.Name == s.Name
			}) == i {
				v.problem(where, "give a second child a name of its own", "%q is forked by another process too", s.Name)
			}
			forked[s.Name] = true
		}
	}
	look(c.Do, with(path, "do"))
	for _, f := range c.Processes {
		below := with(with(path, "processes"), f.Name)
		v.podName(f.Name, "process", below)
		v.program(nil, f.Do, below)
		look(f.Do, with(below, "do"))
	}
	for _, f := range c.Processes {
		if !forked[f.Name] {
			v.problem(with(with(path, "processes"), f.Name), fmt.Sprintf("write {fork: %s} among the steps", f.Name),
				"nobody forks %q", f.Name)
		}
	}
}

// container checks the name of a container in a claim, and reports whether
// there is one.
func (v *validator) container(name string, path []string) {
	if v.unread("pods") || v.inManifest(name) {
		return
	}
	v.refer(Names{name}, path)
	if !kubelet.NameOf(name).First() && v.stands[name] != nil {
		v.problem(path, "write POD/CONTAINER", "%q is not a container", name)
	}
}

func (v *validator) podNamed(name string, path []string) {
	if v.unread("pods") || v.podOf(name) != nil && !strings.Contains(name, "/") {
		return
	}
	var known []string
	for _, p := range v.s.Pods {
		known = append(known, p.Name)
	}
	v.problem(path, v.meant(name, known), "no pod %q", name)
}

// expectKube checks the claims about a cluster.
func (v *validator) expectKube(e Expect) {
	if len(v.s.Pods) == 0 {
		return
	}
	v.word(e.Domain, kubelet.Domains, at("expect", "domain"), "%q is not whose limit can be hit")
	if e.Domain != "" && e.Constraint != "" && slices.Contains(kubelet.Domains, e.Domain) &&
		(e.Domain == "node") != (e.Constraint == "none") {
		v.problem(at("expect", "domain"), "leave constraint out", "%s contradicts constraint: %s", e.Domain,
			e.Constraint)
	}
	if e.Panic != "" {
		v.problem(at("expect", "panic"), "write a scenario for target vm", "a node that panics takes its witnesses "+
			"along")
	}
	for _, pod := range slices.Sorted(maps.Keys(e.QoSClass)) {
		v.podNamed(pod, at("expect", "qosClass", pod))
		v.word(e.QoSClass[pod], kubelet.Classes, at("expect", "qosClass", pod), "%q is not a QoS class")
	}
	for _, name := range slices.Sorted(maps.Keys(e.OOMScoreAdj)) {
		path, c := at("expect", "oom_score_adj", name), e.OOMScoreAdj[name]
		v.container(name, path)
		if c.Min <= -1000 && c.Max >= 1000 {
			v.problem(path, "write a number", "%q holds for every oom_score_adj: it cannot fail", c)
		} else if c.Min > 1000 || c.Max < -1000 {
			v.problem(path, "it goes from -1000 to 1000", "%q holds for no oom_score_adj", c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Containers)) {
		v.containerClaim(name, e.Containers[name])
	}
	for _, pod := range slices.Sorted(maps.Keys(e.Pods)) {
		path, c := at("expect", "pods", pod), e.Pods[pod]
		v.podNamed(pod, path)
		v.word(c.Phase, podPhases, with(path, "phase"), "%q is not a phase of a pod")
		if c == (PodClaim{}) {
			v.problem(path, "write {phase: Failed}", "claims nothing")
		}
	}
	for _, pod := range slices.Sorted(maps.Keys(e.PodEvents)) {
		path := at("expect", "podEvents", pod)
		v.podNamed(pod, path)
		v.happens(e.PodEvents[pod], path)
	}
	if e.NodeEvents != nil {
		v.happens(e.NodeEvents, at("expect", "nodeEvents"))
	}
	for _, name := range slices.Sorted(maps.Keys(e.NodeConditions)) {
		v.word(name, nodeConditions, at("expect", "nodeConditions", name), "%q is not a condition of a node")
	}
	if e.Evicted != nil {
		for i, pod := range *e.Evicted {
			path := at("expect", "evicted", strconv.Itoa(i))
			v.podNamed(pod, path)
			for _, one := range v.stands[pod] {
				if slices.Contains(v.all(e.Survives), one) {
					v.problem(path, "leave it out of one of them", "%q is also in survives", one)
				}
			}
		}
	}
	if e.Misreports != nil {
		for i, name := range *e.Misreports {
			v.word(name, kubelet.Misreports, at("expect", "misreports", strconv.Itoa(i)),
				"%q is not the name of a misreport")
		}
	}
}

func (v *validator) happens(events map[string]Num, path []string) {
	if len(events) == 0 {
		v.problem(path, `write {BackOff: ">= 1"}`, "claims nothing")
	}
	for _, reason := range slices.Sorted(maps.Keys(events)) {
		if !reasonWord.MatchString(reason) {
			v.problem(with(path, reason), "write it as the API does: BackOff, SystemOOM",
				"%q is not the reason of an event", reason)
		}
		v.counter(events[reason], with(path, reason))
	}
}

func (v *validator) containerClaim(name string, c ContainerClaim) {
	path := at("expect", "containers", name)
	v.container(name, path)
	v.word(c.State, containerStates, with(path, "state"), "%q is not a state of a container")
	code := func(n *int, path []string) {
		if n != nil && (*n < 0 || *n > 255) {
			v.problem(path, "it goes from 0 to 255", "%d is not an exit code", *n)
		}
	}
	code(c.ExitCode, with(path, "exitCode"))
	switch {
	case c == (ContainerClaim{}):
		v.problem(path, "write {state: terminated, reason: OOMKilled}", "claims nothing")
	case c.Reason != "" && c.State == "":
		v.problem(with(path, "reason"), "write state: terminated or state: waiting beside it",
			"is a reason for no state")
	case c.State == "running" && c.Reason != "":
		v.problem(with(path, "reason"), "leave it out", "a running container has no reason")
	case c.ExitCode != nil && c.State != "terminated":
		v.problem(with(path, "exitCode"), "write state: terminated beside it, or lastState: {exitCode: 1}",
			"only a terminated container has one")
	}
	if c.RestartCount != nil {
		v.counter(*c.RestartCount, with(path, "restartCount"))
	}
	if l := c.LastState; l != nil {
		code(l.ExitCode, with(with(path, "lastState"), "exitCode"))
		if *l == (LastState{}) {
			v.problem(with(path, "lastState"), "write {reason: OOMKilled}", "claims nothing")
		}
	}
}
