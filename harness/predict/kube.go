package predict

import (
	"cmp"
	"maps"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// Kube is what a cluster will say of what happens, and do by itself.
type Kube struct {
	Classes map[string]kubelet.Class `json:"classes"`       // by pod
	Adj     map[string]int           `json:"oom_score_adj"` // by container
	Domain  kubelet.Domain           `json:"domain,omitempty"`
	// Containers and Pods are what the API says at the end.
	Containers map[string]ContainerEnd `json:"containers"`
	Pods       map[string]PodEnd       `json:"pods"`
	// BackOff are pods that get an event of that reason.
	BackOff []string `json:"back_off,omitempty"`
	// SystemOOM: the kubelet reports a node-wide OOM. It is told of every one of
	// the kernel's reports that names no cgroup.
	SystemOOM bool `json:"system_oom"`
	// Eviction says whether the kubelet evicts; Evicted whom, in order.
	Eviction Chance   `json:"eviction"`
	Evicted  []string `json:"evicted"`
	// Misreports are in what it will say that is not what the kernel did;
	// MayMisreport on any course.
	Misreports   []string `json:"misreports"`
	MayMisreport []string `json:"may_misreport,omitempty"`
}

// Chance is how sure something is that depends on when somebody looks.
type Chance string

// The chances.
const (
	Impossible Chance = "never"
	Possible   Chance = "possible"
	Certain    Chance = "certain"
)

// ContainerEnd is a container's status at the end.
type ContainerEnd struct {
	kubelet.Status
	// BackOff: it will be started again, and waits for that: the API says that it has
	// terminated, or that it is waiting.
	BackOff bool `json:"back_off,omitempty"`
	Sure    bool `json:"sure"` // on every course
}

// PodEnd is a pod's status at the end.
type PodEnd struct {
	Phase  string `json:"phase"`
	Reason string `json:"reason,omitempty"`
	Sure   bool   `json:"sure"`
}

// life is how one life of a container ended.
type life struct {
	container string
	oom       bool // a process of the container was OOM-killed
	ends      Ends
}

// contained reports whether the plan is about pods of a cluster.
func (w *world) contained() bool { return w.plan.On != nil }

// noteOOM notes that a process was OOM-killed: the runtime sees it as the
// container's affair, whatever its first process does.
func (w *world) noteOOM(p *proc) {
	for i := range w.procs {
		if q := &w.procs[i]; q.p.Parent == "" && q.p.Cgroup == p.p.Cgroup {
			q.oom = true
		}
	}
}

// over ends the life of a container whose first process has ended.
func (w *world) over(p *proc) {
	if w.contained() && p.p.Parent == "" {
		w.past = append(slices.Clip(w.past), life{p.p.Name, p.oom, p.ends})
		p.oom = false
	}
}

// revive starts a process again where it is meant to be after such an end.
func (w *world) revive(p *proc, killed bool) {
	again := killed || p.p.RestartOn.After(p.ends.Signal != 0 || p.ends.Code != 0)
	if again && (p.p.Respawn < 0 || p.lives < p.p.Respawn) {
		p.lives++
		w.launch(p)
	}
}

// succeeded reports whether processes that must have exited with 0 have.
func (w *world) succeeded(names []string) bool {
	for _, name := range names {
		if p := w.find(name); p == nil || p.phase != ended || p.ends.Signal != 0 || p.ends.Code != 0 {
			return false
		}
	}
	return true
}

// evictsWithin is how long it may take the kubelet to notice, in seconds: it looks
// every 10 s (evictionMonitoringPeriod), at statistics that may be as old again,
// and on a busy node later.
const evictsWithin = 25.0

// evictRoom is how much may be taken in a domain before the kubelet finds that
// less than its threshold is available. Of the node that is its memory without
// its working set, which page cache that was used twice is part of: the signal
// is somewhere between what is free and what the kernel calls available. The
// same threshold holds for all pods together below their limit
// (addAllocatableThresholds of pkg/kubelet/eviction). False: it never evicts for
// this domain.
func (w *world) evictRoom(dir string) (Range, bool) {
	if !w.contained() {
		return Range{}, false
	}
	below, err := w.plan.On.EvictsBelow()
	if err != nil || below <= 0 {
		return Range{}, false
	}
	page := w.m.PageSize
	switch dir {
	case "":
		least, most := min(w.m.MemFree, w.m.MemAvailable), max(w.m.MemFree, w.m.MemAvailable)
		return Range{(least - below).Pages(page), (most - below).Pages(page)}, true
	case kubelet.Root:
		if w.plan.On.EnforcesPods() {
			return exactly((*w.cgroup(dir).Max - below).Pages(page)).widen(w.slack(), w.slack()), true
		}
	}
	return Range{}, false
}

// evictsFirst reports whether growth that will exhaust a domain certainly gives
// the kubelet the time to evict before.
func (w *world) evictsFirst(dir string, segs []segment) bool {
	threshold, ok := w.evictRoom(dir)
	if !ok {
		return false
	}
	w.mayEvict = true
	between := w.capacity(dir).Lo - threshold.Hi
	fast := 0.0
	for _, s := range segs {
		if kernel.InCgroup(s.p.p.Cgroup, dir) {
			fast += s.fast
		}
	}
	return between > 0 && float64(between)/fast > evictsWithin
}

// preempt lets the kubelet evict before a domain is exhausted; nil if it finds
// nobody.
func (w *world) preempt(segs []segment, o overflow) *world {
	next := w.clone()
	threshold, _ := next.evictRoom(o.dir)
	o.room = threshold.minus(next.usage(o.dir)).floor(0)
	next.advance(segs, o, o.late)
	if !next.evict() {
		return nil
	}
	return next
}

// pressed looks at what is held when nothing grows any more: above a threshold,
// the kubelet evicts sooner or later. It reports whether it did.
func (w *world) pressed() bool {
	for _, dir := range []string{"", kubelet.Root} {
		threshold, ok := w.evictRoom(dir)
		if !ok {
			continue
		}
		use := w.usage(dir)
		if use.Lo > threshold.Hi && w.evict() {
			return true
		}
		w.mayEvict = w.mayEvict || use.Hi > threshold.Lo
	}
	return false
}

// evict follows rankMemoryPressure of pkg/kubelet/eviction: pods that use more
// than they request come first, then those of lower priority, then those that
// use most beyond what they request. One pod goes at a time.
func (w *world) evict() bool {
	type rank struct {
		pod      *plan.Pod
		exceeds  bool
		priority int32
		beyond   Range
	}
	var all []rank
	for i := range w.plan.Pods {
		pod := &w.plan.Pods[i]
		cgroup := kubelet.PodCgroup(pod.Class, pod.Name)
		use := w.usage(cgroup)
		if pod.Spec.Critical || slices.Contains(w.evicted, pod.Name) || !w.runs(cgroup) {
			continue
		}
		request := kubelet.Requests(kubelet.Default(pod.Spec, w.plan.On.Gates())).Memory.Pages(w.m.PageSize)
		beyond := use.shift(-request)
		if beyond.Lo <= 0 && beyond.Hi > 0 {
			w.doubts = "whether pod " + pod.Name + " uses more than it requests is too close to say"
		}
		all = append(all, rank{pod, beyond.Mid() > 0, pod.Spec.Priority, beyond})
	}
	if len(all) == 0 {
		return false
	}
	slices.SortStableFunc(all, func(a, b rank) int {
		if a.exceeds != b.exceeds {
			if a.exceeds {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.beyond.Mid(), a.beyond.Mid()))
	})
	first := all[0]
	for _, r := range all[1:] {
		if r.exceeds == first.exceeds && r.priority == first.priority && r.beyond.Hi >= first.beyond.Lo {
			w.doubts = "pods " + first.pod.Name + " and " + r.pod.Name + " use too nearly the same " +
				"to say which is evicted"
		}
	}
	w.evicted = append(slices.Clip(w.evicted), first.pod.Name)
	for i := range w.procs {
		if p := &w.procs[i]; kubelet.NameOf(p.p.Name).Pod == first.pod.Name && p.phase != killed && p.phase != ended {
			p.phase, p.ends = ended, Ends{Signal: kernel.SignalNumber("SIGKILL")}
		}
	}
	return true
}

func (w *world) runs(cgroup string) bool {
	return slices.ContainsFunc(w.procs, func(p proc) bool { return p.alive() && kernel.InCgroup(p.p.Cgroup, cgroup) })
}

// kube works out what a cluster says of the courses that were followed.
func (x *explorer) kube(p *plan.Plan) *Kube {
	best := x.finals[0]
	k := best.told()
	for i := range p.Pods {
		pod := &p.Pods[i]
		k.Classes[pod.Name] = pod.Class
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			k.Adj[c.Process] = c.OOMScoreAdj
		}
	}
	may := map[string]bool{}
	for _, w := range x.finals {
		other := w.told()
		for _, name := range other.Misreports {
			may[name] = true
		}
		for name, c := range k.Containers {
			c.Sure = c.Sure && !x.open && c.Same(other.Containers[name].Status)
			k.Containers[name] = c
		}
		for name, c := range k.Pods {
			o := other.Pods[name]
			c.Sure = c.Sure && !x.open && c.Phase == o.Phase && c.Reason == o.Reason
			k.Pods[name] = c
		}
		if w.mayEvict && k.Eviction == Impossible ||
			!slices.Equal(other.Evicted, k.Evicted) || len(other.Evicted) > 0 && w.doubts != "" {
			k.Eviction = Possible
		}
	}
	k.MayMisreport = slices.Sorted(maps.Keys(may))
	return k
}

// told is what the API says of this course when it is over.
func (w *world) told() *Kube {
	k := &Kube{
		Classes: map[string]kubelet.Class{}, Adj: map[string]int{},
		Containers: map[string]ContainerEnd{}, Pods: map[string]PodEnd{},
		Eviction: Impossible, Evicted: slices.Clone(w.evicted), Misreports: []string{},
	}
	if k.Evicted == nil {
		k.Evicted = []string{}
	}
	if len(w.evicted) > 0 {
		k.Eviction = Certain
	}
	if len(w.steps) > 0 {
		k.Domain = kubelet.DomainOf(w.steps[0].Constraint, w.steps[0].OOMMemcg)
	}
	for _, s := range w.steps {
		k.SystemOOM = k.SystemOOM || s.Constraint == "none"
	}
	said := map[string]bool{}
	for i := range w.plan.Pods {
		w.tellPod(k, &w.plan.Pods[i], said)
	}
	k.Misreports = append(k.Misreports, slices.Sorted(maps.Keys(said))...)
	return k
}

func (w *world) tellPod(k *Kube, pod *plan.Pod, said map[string]bool) {
	evicted := slices.Contains(w.evicted, pod.Name)
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		end := w.status(c.Process, said)
		if evicted {
			// it is told to end, and killed a second later
			end = ContainerEnd{Status: kubelet.Status{State: kubelet.Terminated, RestartCount: end.RestartCount}}
		}
		k.Containers[c.Process] = end
		if end.BackOff && !slices.Contains(k.BackOff, pod.Name) {
			k.BackOff = append(k.BackOff, pod.Name)
		}
	}
	if evicted {
		k.Pods[pod.Name] = PodEnd{Phase: kubelet.PodFailed, Reason: kubelet.Evicted, Sure: true}
		return
	}
	k.Pods[pod.Name] = PodEnd{Phase: phaseOf(pod, k.Containers), Sure: true}
	if k.Pods[pod.Name].Phase == kubelet.PodFailed {
		for _, c := range pod.Containers { // what never started has a status of no meaning
			if end := k.Containers[c.Process]; end.State == kubelet.Waiting {
				end.Sure = false
				k.Containers[c.Process] = end
			}
		}
	}
	over := !slices.ContainsFunc(pod.Containers, func(c plan.Container) bool {
		return k.Containers[c.Process].State != kubelet.Terminated
	})
	for _, c := range pod.InitContainers {
		if end := k.Containers[c.Process]; c.Sidecar && over && end.State == kubelet.Running {
			end.Sure = false // the kubelet ends sidecars when there is nothing left to serve
			k.Containers[c.Process] = end
		}
	}
}

// endOf is how the runtime tells of the end of a life: OOMKilled when any
// process of the container was killed, whatever the first one did; the exit code
// is the first one's.
func endOf(l life) kubelet.Status {
	code := l.ends.Code
	if l.ends.Signal != 0 {
		code = 128 + l.ends.Signal
	}
	end := kubelet.Status{State: kubelet.Terminated, ExitCode: &code}
	switch {
	case l.oom:
		end.Reason = kubelet.OOMKilled
	case code == 0:
		end.Reason = kubelet.Completed
	default:
		end.Reason = kubelet.Error
	}
	return end
}

// status is a container's entry of containerStatuses.
func (w *world) status(container string, said map[string]bool) ContainerEnd {
	p := w.find(container)
	var past []life
	for _, l := range w.past {
		if l.container == container {
			past = append(past, l)
			if l.oom && l.ends.Signal == 0 {
				said[string(ownExit(l.ends.Code))] = true
			}
		}
	}
	out := ContainerEnd{Status: kubelet.Status{RestartCount: p.lives}, Sure: true}
	n := len(past)
	switch {
	case p.alive():
		out.State = kubelet.Running
		if p.oom {
			said[string(kubelet.KillUnseen)] = true
		}
	case n == 0:
		out.State, out.Reason = kubelet.Waiting, kubelet.PodInitializing
		out.Sure = p.phase == waiting
	default:
		n--
		out.Status = endOf(past[n])
		out.RestartCount, out.BackOff = p.lives, p.p.RestartOn.After(out.Failed())
	}
	if n > 0 {
		last := endOf(past[n-1])
		out.Last = &last
	}
	return out
}

// ownExit names what it is when a container counts as OOM-killed and its first
// process ended by itself.
func ownExit(code int) kubelet.Misreport {
	switch code {
	case 0:
		return kubelet.OOMKilledExit0
	case 143:
		return kubelet.OOMKilledExit143
	}
	return kubelet.OOMKilledExitOwn
}

// phaseOf follows getPhase of pkg/kubelet/kubelet_pods.go.
func phaseOf(pod *plan.Pod, all map[string]ContainerEnd) string {
	for _, c := range pod.InitContainers {
		end := all[c.Process]
		done := end.State == kubelet.Terminated && !end.Failed() || c.Sidecar && end.State == kubelet.Running
		switch {
		case done:
		case end.State == kubelet.Terminated && !end.BackOff:
			return kubelet.PodFailed
		default:
			return kubelet.PodPending
		}
	}
	running, stopped, succeeded, waits := 0, 0, 0, 0
	for _, c := range pod.Containers {
		switch end := all[c.Process]; {
		case end.State == kubelet.Running:
			running++
		case end.State == kubelet.Terminated:
			stopped++
			if !end.Failed() {
				succeeded++
			}
		case end.Last != nil:
			stopped++
		default:
			waits++
		}
	}
	switch {
	case waits > 0:
		return kubelet.PodPending
	case running > 0 || pod.RestartPolicy == "Always":
		return kubelet.PodRunning
	case stopped == succeeded:
		return kubelet.PodSucceeded
	case pod.RestartPolicy == "Never":
		return kubelet.PodFailed
	}
	return kubelet.PodRunning
}
