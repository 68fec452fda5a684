package kube

import (
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// at is the time of a test's clock, in seconds.
func at(seconds int) time.Time { return time.Unix(int64(seconds), 0) }

func status(process, state, reason string, code, restarts int) evidence.Event {
	s := &kubelet.Status{State: state, Reason: reason, RestartCount: restarts}
	if state == "terminated" {
		s.ExitCode = &code
	}
	if restarts > 0 || reason == "CrashLoopBackOff" {
		s.Last = &kubelet.Status{State: "terminated"}
	}
	return evidence.Event{Kind: evidence.ContainerStatus, Process: process, Container: s}
}

func ended(process string) evidence.Event {
	return evidence.Event{Source: evidence.Runtime, Kind: evidence.TaskEnded, Process: process,
		Exit: &evidence.ExitStatus{Code: 137}}
}

// TestCourse walks runs to their end: every step says whether the run is over
// when nothing more happens after it.
func TestCourse(t *testing.T) {
	one := func(policy string, restarts int, init ...plan.Container) plan.Plan {
		return plan.Plan{
			Pods: []plan.Pod{{
				Name: "web", RestartPolicy: policy, Restarts: restarts, InitContainers: init,
				Containers: []plan.Container{{Name: "main", Process: "web/main"}},
			}},
			Processes: []plan.Process{{Name: "web/main"}, {Name: "web/main/worker"}},
		}
	}
	ready := func(process string) evidence.Event {
		return evidence.Event{Source: evidence.Stressor, Kind: evidence.Ready, Process: process}
	}
	phase := func(phase string) evidence.Event {
		return evidence.Event{Kind: evidence.PodStatus, Process: "web", Pod: &evidence.PodState{Phase: phase}}
	}
	type step struct {
		event evidence.Event
		over  bool
	}
	for name, test := range map[string]struct {
		plan  plan.Plan
		steps []step
	}{
		"holds": {one("Never", 0), []step{
			{status("web/main", "running", "", 0, 0), false},
			{ready("web/main"), false}, // its worker is not
			{ready("web/main/worker"), true},
		}},
		"a worker dies": {one("Never", 0), []step{
			{status("web/main", "running", "", 0, 0), false},
			{ready("web/main"), false},
			{evidence.Event{Kind: evidence.TaskExit, Process: "web/main/worker"}, true},
		}},
		"killed, and not started again": {one("Never", 0), []step{
			{status("web/main", "running", "", 0, 0), false},
			{ready("web/main"), false},
			{ready("web/main/worker"), true},
			{ended("web/main"), false}, // the API does not know yet
			{status("web/main", "terminated", "OOMKilled", 137, 0), false},
			{phase("Failed"), true},
		}},
		"exits 0, on failure": {one("OnFailure", 1), []step{
			{ended("web/main"), false},
			{status("web/main", "terminated", "Completed", 0, 0), false},
			{phase("Succeeded"), true},
		}},
		"killed twice": {one("Always", 1), []step{
			{ended("web/main"), false},
			{status("web/main", "terminated", "OOMKilled", 137, 0), false},
			{status("web/main", "running", "", 0, 1), false},
			{ended("web/main"), false},
			{status("web/main", "terminated", "OOMKilled", 137, 1), true},
			{status("web/main", "waiting", "CrashLoopBackOff", 0, 1), true},
		}},
		"backs off before its restart is done": {one("Always", 1), []step{
			{ended("web/main"), false},
			{status("web/main", "waiting", "CrashLoopBackOff", 0, 0), false},
		}},
		"an init container that fails": {one("Never", 0, plan.Container{Name: "init", Process: "web/init"}), []step{
			{status("web/main", "waiting", "PodInitializing", 0, 0), false},
			{ended("web/init"), false},
			{status("web/init", "terminated", "OOMKilled", 137, 0), false},
			{phase("Failed"), true},
		}},
		"an init container that succeeds": {one("Never", 0, plan.Container{Name: "init", Process: "web/init"}), []step{
			{ended("web/init"), false},
			{status("web/init", "terminated", "Completed", 0, 0), false}, // main is still to run
		}},
		"evicted": {one("Always", 1), []step{
			{evidence.Event{Kind: evidence.PodStatus, Process: "web", Pod: &evidence.PodState{Phase: "Failed",
				Reason: "Evicted"}}, true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCourse(test.plan, true)
			for i, s := range test.steps {
				c.see(s.event, at(i))
				if got := c.over(1, at(i).Add(quiet)); got != s.over {
					t.Errorf("step %d, %s of %s: over is %v", i+1, s.event.Kind, s.event.Process, got)
				}
				if c.over(1, at(i)) {
					t.Errorf("step %d: over in the very moment in which something happened", i+1)
				}
				if c.over(0, at(i).Add(quiet)) {
					t.Errorf("step %d: over before the pod was created", i+1)
				}
			}
		})
	}
}

func TestCourseWaitsForEvictions(t *testing.T) {
	p := plan.Plan{Evictions: 1, Pods: []plan.Pod{{Name: "a", Containers: []plan.Container{{Process: "a/main"}}}}}
	c := newCourse(p, true)
	c.see(status("a/main", "running", "", 0, 0), at(0))
	c.see(evidence.Event{Kind: evidence.Ready, Process: "a/main"}, at(0))
	if c.over(1, at(60)) {
		t.Error("over without the eviction that is awaited")
	}
	c.see(evidence.Event{Kind: evidence.PodStatus, Process: "a", Pod: &evidence.PodState{Phase: "Failed",
		Reason: "Evicted"}}, at(60))
	if !c.over(1, at(60).Add(quiet)) {
		t.Error("not over with the eviction")
	}
}

func TestMayCreate(t *testing.T) {
	p := plan.Plan{Pods: []plan.Pod{
		{Name: "a", RestartPolicy: "Never", Containers: []plan.Container{{Process: "a/main"}}},
		{Name: "b", After: []string{"a/main"}},
	}}
	c := newCourse(p, true)
	if !c.mayCreate(p.Pods[0]) || c.mayCreate(p.Pods[1]) {
		t.Error("b may be created before a, or a may not at all")
	}
	c.see(status("a/main", "running", "", 0, 0), at(0))
	if c.mayCreate(p.Pods[1]) {
		t.Error("b may be created before a is ready")
	}
	c.see(evidence.Event{Kind: evidence.Ready, Process: "a/main"}, at(1))
	if !c.mayCreate(p.Pods[1]) {
		t.Error("b may not be created after a")
	}
}

// TestAnOOMOfTheNodeIsWaitedFor: the kubelet takes its time to tell of it, and may
// never do so; of another limit's it tells nothing.
func TestAnOOMOfTheNodeIsWaitedFor(t *testing.T) {
	kill := func(constraint string) evidence.Event {
		return evidence.Event{Kind: evidence.KillDecision,
			OOM: &evidence.OOM{Control: &evidence.OOMControl{Constraint: constraint}}}
	}
	event := func(reason string) evidence.Event {
		return evidence.Event{Kind: evidence.NodeEvent, Happened: &evidence.Happened{Reason: reason}}
	}
	for _, test := range []struct {
		events   []evidence.Event
		at, over int // seconds: the events, and when the run is over
	}{
		{[]evidence.Event{kill("memcg")}, 0, 4},
		{[]evidence.Event{kill("none")}, 0, 30},
		{[]evidence.Event{kill("none"), event("NodeHasSufficientMemory")}, 0, 30},
		{[]evidence.Event{kill("none"), event("SystemOOM")}, 0, 4},
	} {
		c := newCourse(plan.Plan{}, true)
		for _, e := range test.events {
			c.see(e, at(test.at))
		}
		if c.over(0, at(test.over-1)) || !c.over(0, at(test.over)) {
			t.Errorf("%+v: over after %d s: %t, after %d s: %t; want it to be over then and not before",
				test.events, test.over-1, c.over(0, at(test.over-1)), test.over, c.over(0, at(test.over)))
		}
	}
}

func TestStuck(t *testing.T) {
	p := plan.Plan{Pods: []plan.Pod{{Name: "a", Containers: []plan.Container{{Process: "a/main"}}}}}
	c := newCourse(p, true)
	e := status("a/main", "waiting", "ErrImageNeverPull", 0, 0)
	e.Container.Message = "no such image"
	c.see(e, at(0))
	if got, want := c.neverStarts(), "a/main: ErrImageNeverPull: no such image"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	c.see(status("a/main", "waiting", "ContainerCreating", 0, 0), at(1))
	if got := c.neverStarts(); got != "" {
		t.Errorf("%q while it is being made", got)
	}
}

// TestRejected: a pod that the kubelet does not admit never starts; one that it
// evicts, or that failed by itself, has something to be judged.
func TestRejected(t *testing.T) {
	for _, test := range []struct{ reason, message, want string }{
		{"OutOfmemory", "Pod was rejected: Node didn't have enough resource: memory",
			"a: OutOfmemory: Pod was rejected: Node didn't have enough resource: memory"},
		{"Evicted", "Pod was rejected: The node had condition: [MemoryPressure]. ", ""},
		{"Evicted", "The node was low on resource: memory.", ""},
		{"", "", ""},
	} {
		c := newCourse(plan.Plan{Pods: []plan.Pod{{Name: "a", Containers: []plan.Container{{Process: "a/main"}}}}},
			true)
		c.see(evidence.Event{Kind: evidence.PodStatus, Process: "a", Pod: &evidence.PodState{Phase: "Failed",
			Reason: test.reason, Message: test.message}}, at(0))
		if got := c.neverStarts(); got != test.want {
			t.Errorf("%s %q: %q, want %q", test.reason, test.message, got, test.want)
		}
	}
}

// kubeletPod is a pod with one container and no amounts.
func kubeletPod(container string) kubelet.Pod {
	return kubelet.Pod{Containers: []kubelet.Container{{Name: container}}}
}
