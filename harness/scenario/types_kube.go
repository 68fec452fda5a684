package scenario

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// Pods are in the order they are created.
type Pods []Pod

// Pod is one pod. Keys carry the names of the Kubernetes API. A target without a
// kubelet has its cgroups and its processes all the same.
type Pod struct {
	Name  string `yaml:"-" json:"-"`
	After Names  `yaml:"after" json:"after,omitempty"` // created when these are ready, or have ended

	// A file with a Pod of your own, beside the scenario; in place of containers.
	Manifest string `yaml:"manifest" json:"manifest,omitempty"`
	// One after the other, before the containers.
	InitContainers Containers `yaml:"initContainers" json:"initContainers,omitempty"`
	// By name, in the order they are started.
	Containers Containers `yaml:"containers" json:"containers,omitempty"`

	Requests Resources `yaml:"requests" json:"requests,omitzero"` // of the pod as a whole (pod-level resources)
	Limits   Resources `yaml:"limits" json:"limits,omitzero"`     // of the pod as a whole

	RestartPolicy string `yaml:"restartPolicy" json:"restartPolicy,omitempty"` // Always (default), OnFailure, Never
	// Restarts is how often the run waits for a container to be started again:
	// 1 where the policy allows it. After that, the next end is the last one.
	Restarts int `yaml:"restarts" json:"restarts,omitempty"`
	// system-node-critical: oom_score_adj -997, whatever it requests
	PriorityClassName string `yaml:"priorityClassName" json:"priorityClassName,omitempty"`
	// the node that it runs on
	NodeName string `yaml:"nodeName" json:"nodeName,omitempty"`
	// labels of the nodes that it may run on
	NodeSelector map[string]string `yaml:"nodeSelector" json:"nodeSelector,omitempty"`
}

// Containers are in the order they are started.
type Containers []Container

// Container is one container. Its first process is called POD/CONTAINER.
type Container struct {
	Name string `yaml:"-" json:"-"`
	// what it asks for; its limits where it asks for nothing
	Requests Resources `yaml:"requests" json:"requests,omitzero"`
	Limits   Resources `yaml:"limits" json:"limits,omitzero"` // what it gets at most
	// Always makes a sidecar of an init container.
	RestartPolicy string `yaml:"restartPolicy" json:"restartPolicy,omitempty"`
	// an image of your own, in place of do
	Image string `yaml:"image" json:"image,omitempty"`
	// its program, in place of the image's own; without kube among the targets: one of the machine's
	Command []string `yaml:"command" json:"command,omitempty"`
	// its arguments, in place of the image's own
	Args []string `yaml:"args" json:"args,omitempty"`
	// What a program of your own holds when it is at rest; nothing: it may grow forever.
	Holds kernel.Bytes `yaml:"holds" json:"holds,omitempty"`
	Do    []Step       `yaml:"do" json:"do,omitempty"` // the steps of a stressor
	// What the stressor forks, by name: POD/CONTAINER/NAME.
	Processes Forks `yaml:"processes" json:"processes,omitempty"`
}

// Forks are the processes that a container's stressor forks.
type Forks []Fork

// Fork is a process that a container's stressor forks. It has the
// container's oom_score_adj.
type Fork struct {
	Name string `yaml:"-" json:"-"`
	Do   []Step `yaml:"do" json:"do,omitempty"` // its steps
}

// Node is what a node of a cluster of oomlab's own is set to; a node of another
// cluster must be set so already. Keys carry the kubelet's names.
type Node struct {
	// true: containers without memory.oom.group
	SingleProcessOOMKill *bool `yaml:"singleProcessOOMKill" json:"singleProcessOOMKill,omitempty"`
	// memory.available: 100Mi, or 5% of the node
	EvictionHard map[string]Threshold `yaml:"evictionHard" json:"evictionHard,omitempty"`
	// taken off what pods may have
	SystemReserved Resources `yaml:"systemReserved" json:"systemReserved,omitzero"`
	// taken off what pods may have
	KubeReserved Resources `yaml:"kubeReserved" json:"kubeReserved,omitzero"`
	// [pods]: a limit for all pods together
	EnforceNodeAllocatable []string `yaml:"enforceNodeAllocatable" json:"enforceNodeAllocatable,omitempty"`
	// cgroupfs or systemd
	CgroupDriver string `yaml:"cgroupDriver" json:"cgroupDriver,omitempty"`
	// swap space on the node
	Swap kernel.Bytes `yaml:"swap" json:"swap,omitempty"`
	// NoSwap (default) or LimitedSwap
	SwapBehavior string `yaml:"swapBehavior" json:"swapBehavior,omitempty"`
}

// Threshold is when the kubelet evicts: an amount, or a share of the node.
type Threshold struct {
	Bytes   kernel.Bytes `json:"bytes,omitempty"`
	Percent float64      `json:"percent,omitempty"`
	Text    string       `json:"text"`
}

// ContainerClaim is what the API says of a container at the end. What is left
// out is not claimed.
type ContainerClaim struct {
	State string `yaml:"state" json:"state,omitempty"` // waiting, running or terminated
	// of that state: OOMKilled, Error, Completed, CrashLoopBackOff
	Reason       string     `yaml:"reason" json:"reason,omitempty"`
	ExitCode     *int       `yaml:"exitCode" json:"exitCode,omitempty"`         // of a terminated container
	RestartCount *Num       `yaml:"restartCount" json:"restartCount,omitempty"` // how often it was started again
	LastState    *LastState `yaml:"lastState" json:"lastState,omitempty"`       // how it ended the time before
}

// Holds reports whether a container's status is as claimed.
func (c ContainerClaim) Holds(s kubelet.Status) bool {
	text := func(want, got string) bool { return want == "" || want == got }
	code := func(want, got *int) bool { return want == nil || got != nil && *want == *got }
	l := c.LastState
	return text(c.State, s.State) && text(c.Reason, s.Reason) && code(c.ExitCode, s.ExitCode) &&
		(c.RestartCount == nil || c.RestartCount.Holds(int64(s.RestartCount))) &&
		(l == nil || s.Last != nil && text(l.Reason, s.Last.Reason) && code(l.ExitCode, s.Last.ExitCode))
}

// String is the claim as a status is written.
func (c ContainerClaim) String() string {
	s := kubelet.Status{State: c.State, Reason: c.Reason, ExitCode: c.ExitCode}
	if l := c.LastState; l != nil {
		s.Last = &kubelet.Status{Reason: l.Reason, ExitCode: l.ExitCode}
	}
	if c.RestartCount == nil {
		return s.String()
	}
	return s.String() + ", restartCount " + c.RestartCount.Text
}

// LastState is how a container ended before it was started again.
type LastState struct {
	Reason   string `yaml:"reason" json:"reason,omitempty"`     // OOMKilled, Error, Completed
	ExitCode *int   `yaml:"exitCode" json:"exitCode,omitempty"` // 0 to 255
}

// PodClaim is what the API says of a pod at the end.
type PodClaim struct {
	Phase  string `yaml:"phase" json:"phase,omitempty"`   // Pending, Running, Succeeded, Failed
	Reason string `yaml:"reason" json:"reason,omitempty"` // Evicted
}
