package evidence

import "github.com/oomlab/oomlab/harness/kernel"

// The witnesses that a cluster adds. Cgroups are named as the node has them, from
// the root of its hierarchy; [ContainerCgroup] events say which of them is which
// container's. Processes are called POD/CONTAINER (a container's first process)
// and POD/CONTAINER/NAME (one that it has forked).
const (
	Runtime Source = "runtime" // the container runtime's own events
	API     Source = "api"     // what the API server shows: status, events, conditions
	Kubelet Source = "kubelet" // the kubelet's log
)

// The kinds of events that a cluster adds. In such a run Spawned comes from the
// node's agent for every process that it finds in a container of the run, with
// its pid on the node, and Alive for every one that is there at the end. Ready
// is passed on from the stressor. How a container's first process ended is
// TaskEnded; how a forked one did, Exited, where its parent tells.
const (
	// agent of the node
	ContainerCgroup Kind = "container_cgroup" // Process; Cgroup
	// runtime
	TaskOOM   Kind = "task_oom"  // Process; Text is the container's id
	TaskEnded Kind = "task_exit" // Process, PID, Exit with a code only: 137 may be SIGKILL; Text is the container's id
	// api; an event for every change that was seen, the first one included
	ContainerStatus Kind = "container_status" // Process; Container
	PodStatus       Kind = "pod_status"       // Process is the pod; Pod
	PodEvent        Kind = "pod_event"        // Process is the pod; Happened
	NodeEvent       Kind = "node_event"       // Happened
	NodeCondition   Kind = "node_condition"   // Condition
	Unreachable     Kind = "unreachable"      // the API did not answer for N ms; Text is the last error
	// kubelet
	KubeletLine Kind = "kubelet_line" // Text
)

// CgroupFacts are what the node's agent read of a container's cgroup, or of one
// above it: once it is there, before anybody in it can have been killed.
type CgroupFacts struct {
	Path string `json:"path"`         // on the node: /kubepods/burstable/pod<uid>/<id>
	Plan string `json:"plan"`         // as the plan names it: /kubepods/burstable/podNAME/main
	ID   string `json:"id,omitempty"` // of the container
	PID  int    `json:"pid,omitempty"`
	// OOMScoreAdj is that of the container's first process; nil: not read, or
	// not a container's.
	OOMScoreAdj *int          `json:"oom_score_adj,omitempty"`
	Max         *kernel.Bytes `json:"max,omitempty"` // memory.max; nil: none
	SwapMax     *kernel.Bytes `json:"swap_max,omitempty"`
	OOMGroup    *bool         `json:"oom_group,omitempty"`
	// Unread: the cgroup was gone before its limits were read, and they may have been any.
	Unread bool `json:"unread,omitempty"`
}

// PodState is a pod's status.
type PodState struct {
	Phase    string `json:"phase"`
	Reason   string `json:"reason,omitempty"`
	Message  string `json:"message,omitempty"`
	QOSClass string `json:"qos_class,omitempty"`
	Node     string `json:"node,omitempty"`
	UID      string `json:"uid,omitempty"`
	// Deleted: the pod was gone from the API; nobody of oomlab's had deleted it.
	Deleted bool `json:"deleted,omitempty"`
}

// Happened is one Event object of the API, as often as Count says.
type Happened struct {
	Reason    string `json:"reason"`         // OOMKilling, BackOff, Evicted, SystemOOM
	Type      string `json:"type,omitempty"` // Normal, Warning
	Message   string `json:"message,omitempty"`
	Container string `json:"container,omitempty"` // from involvedObject.fieldPath
	From      string `json:"from,omitempty"`      // source.component
	UID       string `json:"uid,omitempty"`       // of the Event object: a later one with the same uid replaces it
	Count     int    `json:"count"`
	FirstAt   string `json:"first_at,omitempty"`
	LastAt    string `json:"last_at,omitempty"`
}

// ConditionState is one condition of the node.
type ConditionState struct {
	Type   string `json:"type"`   // MemoryPressure, Ready
	Status string `json:"status"` // True, False, Unknown
	Reason string `json:"reason,omitempty"`
}
