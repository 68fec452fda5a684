package kube

import (
	"slices"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// course is how far a run has come, by what was seen of it. It decides when a
// pod may be created and when the run is over; it judges nothing. Not safe for
// concurrent use.
type course struct {
	plan       plan.Plan
	containers map[string]*life // POD/CONTAINER
	processes  map[string]*life // of children
	pods       map[string]podState
	evicted    map[string]bool
	runtime    bool      // the runtime's events are seen
	changed    time.Time // when something last happened that may have consequences
	nodeOOM    time.Time // when the kernel last killed for the whole node; zero: never
	toldOOM    bool      // the kubelet has said that the node had an OOM
}

// life is what is known of a container or a process.
type life struct {
	ready  bool // in its present life
	ended  bool // a child: it is gone
	ends   int  // of the container, as the runtime told
	status *kubelet.Status
}

type podState struct {
	phase, reason, message string
}

func newCourse(p plan.Plan, runtime bool) *course {
	c := &course{
		plan: p, containers: map[string]*life{}, processes: map[string]*life{}, pods: map[string]podState{},
		evicted: map[string]bool{}, runtime: runtime,
	}
	for _, pod := range p.Pods {
		for _, k := range slices.Concat(pod.InitContainers, pod.Containers) {
			c.containers[k.Process] = &life{}
		}
	}
	for _, q := range p.Processes {
		if c.containers[q.Name] == nil {
			c.processes[q.Name] = &life{}
		}
	}
	return c
}

// see takes in one event.
func (c *course) see(e evidence.Event, now time.Time) {
	l := c.containers[e.Process]
	child := c.processes[e.Process]
	switch e.Kind {
	case evidence.Ready:
		if l != nil {
			l.ready = true
		}
		if child != nil {
			child.ready = true
		}
	case evidence.Spawned:
		if l != nil {
			l.ready = false
			for name, p := range c.processes {
				if kubelet.ContainerOf(name) == e.Process {
					*p = life{}
				}
			}
		}
	case evidence.Exited, evidence.TaskExit:
		if child != nil {
			child.ended = true
		}
	case evidence.TaskEnded:
		if l == nil {
			return
		}
		l.ends++
		l.ready = false
	case evidence.ContainerStatus:
		if l == nil {
			return
		}
		l.status = e.Container
	case evidence.PodStatus:
		s := c.pods[e.Process]
		s.phase, s.reason, s.message = e.Pod.Phase, e.Pod.Reason, e.Pod.Message
		c.pods[e.Process] = s
		if e.Pod.Reason == kubelet.Evicted {
			c.evicted[e.Process] = true
		}
	case evidence.KillDecision:
		if e.OOM != nil && e.OOM.Control != nil && e.OOM.Control.Constraint == "none" {
			c.nodeOOM = now
		}
	case evidence.NodeEvent:
		c.toldOOM = c.toldOOM || e.Happened != nil && e.Happened.Reason == kubelet.SystemOOM
	case evidence.OutOfMemory, evidence.OOMReturn, evidence.Kill, evidence.MarkVictim, evidence.TaskOOM,
		evidence.PodEvent, evidence.NodeCondition:
	default:
		return
	}
	if now.After(c.changed) { // what eBPF and the log tell comes out of order
		c.changed = now
	}
}

// held reports whether a process is ready, or has ended and will not come back.
func (c *course) held(name string) bool {
	if l := c.containers[name]; l != nil {
		pod := kubelet.NameOf(name).Pod
		i := slices.IndexFunc(c.plan.Pods, func(p plan.Pod) bool { return p.Name == pod })
		return i >= 0 && c.settledContainer(c.plan.Pods[i], name)
	}
	l := c.processes[name]
	return l != nil && (l.ready || l.ended)
}

// mayCreate reports whether all that a pod comes after has happened.
func (c *course) mayCreate(p plan.Pod) bool {
	for _, name := range p.After {
		if !c.held(name) {
			return false
		}
	}
	return true
}

// settledContainer reports whether nothing more is awaited of a container.
func (c *course) settledContainer(p plan.Pod, name string) bool {
	l := c.containers[name]
	if s := c.pods[p.Name]; s.phase == kubelet.PodFailed && s.reason != "" {
		return true // as a whole: evicted, or refused by the kubelet
	}
	s := l.status
	if s == nil {
		return false
	}
	if c.runtime && s.Ends() < l.ends {
		return false // the API has yet to hear of it
	}
	switch s.State {
	case kubelet.Running:
		if !l.ready {
			return false
		}
		for child, q := range c.processes {
			if kubelet.ContainerOf(child) == name && !q.ready && !q.ended {
				return false
			}
		}
		return true
	case kubelet.Terminated:
		// The kubelet (1.36) leaves it at that until the back-off has passed, and
		// shows CrashLoopBackOff in the moment in which it starts the next life.
		return !c.comesBack(p, name) || s.RestartCount >= p.Restarts
	case kubelet.Waiting:
		return s.Reason == kubelet.CrashLoopBackOff && s.RestartCount >= p.Restarts
	}
	return false
}

// comesBack reports whether the kubelet starts a container again that ended as
// its status says.
func (c *course) comesBack(p plan.Pod, name string) bool {
	return p.Restart(name).After(c.containers[name].status.Failed())
}

// quiet is for how long nothing may happen until a run counts as over: the
// kubelet tells the API of changes once a second or so, and an emulated one is
// slower than that.
const quiet = 4 * time.Second

// systemOOMWait is for the kubelet to tell the API of an OOM of the node. It reads
// of it in the kernel log, and has to come to its senses itself.
const systemOOMWait = 30 * time.Second

// over reports whether the run has come to its end.
func (c *course) over(created int, now time.Time) bool {
	open := created < len(c.plan.Pods) || len(c.plan.Throttled) > 0 || len(c.evicted) < c.plan.Evictions
	if open || now.Sub(c.changed) < quiet {
		return false
	}
	if !c.nodeOOM.IsZero() && !c.toldOOM && now.Sub(c.nodeOOM) < systemOOMWait {
		return false
	}
	for _, p := range c.plan.Pods {
		if !c.settledPod(p) {
			return false
		}
	}
	return true
}

func (c *course) settledPod(p plan.Pod) bool {
	if s := c.pods[p.Name]; s.phase == kubelet.PodFailed && (s.reason != "" || p.RestartPolicy == "Never") {
		return true
	}
	// A container whose pod fails before its turn comes never runs: an init
	// container that goes on failing keeps those behind it back.
	for _, k := range p.InitContainers {
		l := c.containers[k.Process]
		if !c.settledContainer(p, k.Process) {
			return false
		}
		switch s := l.status; {
		case k.Sidecar:
		case s.State == kubelet.Waiting:
			return true
		case s.State == kubelet.Terminated && s.Failed():
			return c.comesBack(p, k.Process) || c.pods[p.Name].phase == kubelet.PodFailed
		}
	}
	over := true
	for _, k := range p.Containers {
		if !c.settledContainer(p, k.Process) {
			return false
		}
		s := c.containers[k.Process].status
		over = over && s.State == kubelet.Terminated && !c.comesBack(p, k.Process)
	}
	// The phase follows its containers' ends.
	phase := c.pods[p.Name].phase
	return !over || phase == kubelet.PodFailed || phase == kubelet.PodSucceeded
}

// neverStarts says why a container will never start, in the kubelet's words; empty:
// it may. A pod that is kept out for the node's memory pressure is evicted, in
// the kubelet's words as in ours.
func (c *course) neverStarts() string {
	for _, p := range c.plan.Pods {
		s := c.pods[p.Name]
		if s.phase == kubelet.PodFailed && s.reason != kubelet.Evicted &&
			strings.HasPrefix(s.message, kubelet.Rejected) {
			return p.Name + ": " + s.reason + ": " + s.message
		}
		for _, k := range slices.Concat(p.InitContainers, p.Containers) {
			s := c.containers[k.Process].status
			if s == nil || s.State != kubelet.Waiting {
				continue
			}
			switch s.Reason {
			case "ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName",
				"CreateContainerConfigError", "RunContainerError":
				text := k.Process + ": " + s.Reason
				if s.Message != "" {
					text += ": " + s.Message
				}
				return text
			}
		}
	}
	return ""
}
