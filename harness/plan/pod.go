package plan

import (
	"encoding/json"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// Pod is one pod to create on a cluster. Amounts are as the scenario has them:
// what is left out, the API server fills in.
type Pod struct {
	Name  string        `json:"name"`
	Spec  kubelet.Pod   `json:"spec"`            // requests and limits, of the pod and of its containers
	Class kubelet.Class `json:"class"`           // as predicted
	After []string      `json:"after,omitempty"` // processes; created when all are ready or have ended for good
	// InitContainers come first, one after the other; a sidecar goes on running.
	InitContainers []Container `json:"init_containers,omitempty"`
	Containers     []Container `json:"containers"`
	RestartPolicy  string      `json:"restart_policy"`
	// Restarts is how often the run waits for a container to be started again.
	Restarts          int               `json:"restarts,omitempty"`
	PriorityClassName string            `json:"priority_class_name,omitempty"`
	NodeName          string            `json:"node_name,omitempty"`
	NodeSelector      map[string]string `json:"node_selector,omitempty"`
	// Manifest is the user's own Pod, complete: it is created as it stands, but
	// for its name, namespace, labels and node.
	Manifest json.RawMessage `json:"manifest,omitempty"`
}

// Restart is after which ends a container of the pod is started again.
func (p Pod) Restart(process string) kubelet.Restart {
	for _, c := range p.InitContainers {
		if c.Process == process {
			return kubelet.RestartOf(p.RestartPolicy, true, c.Sidecar)
		}
	}
	return kubelet.RestartOf(p.RestartPolicy, false, false)
}

// Container is one container of a pod. What its stressor does is the profile of
// the process that bears its name.
type Container struct {
	Name        string       `json:"name"`
	Process     string       `json:"process"` // POD/CONTAINER: of the plan's processes
	Cgroup      string       `json:"cgroup"`  // of the plan's cgroups
	Max         kernel.Bytes `json:"max,omitempty"`
	OOMScoreAdj int          `json:"oom_score_adj"` // as predicted
	Sidecar     bool         `json:"sidecar,omitempty"`
	Image       string       `json:"image,omitempty"` // of the user's own; empty: the stressor's
	Command     []string     `json:"command,omitempty"`
	Args        []string     `json:"args,omitempty"`
}
