// Package wire is what the agent and the one who commands it say to each other:
// one JSON object per line, in both directions, over whatever carries lines (a
// serial port of a VM, a pipe, a function call).
//
// The agent speaks first, with a Hello. It then carries out one Request at a
// time and answers with Messages, the last of which has Done set.
package wire

import (
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// Hello is the agent's first line, said when its observers are attached and
// nothing has been started.
type Hello struct {
	Protocol int            `json:"protocol"`
	Build    string         `json:"build"` // identity of the agent binary
	Machine  kernel.Machine `json:"machine"`
	Tier     evidence.Tier  `json:"tier"`
	// Node is what there is to know about a cluster's node beside its machine;
	// nil: this is no cluster.
	Node *kubelet.Node `json:"node,omitempty"`
	// Files are what a guest made while it booted and whoever uses it needs, such as
	// the kubeconfig of a cluster, by name.
	Files map[string]string `json:"files,omitempty"`
}

// Protocol is the version of this package's types.
const Protocol = 2

// Request is a plan to carry out.
type Request struct {
	ID       int       `json:"id"`
	WallNS   int64     `json:"wall_ns,omitempty"` // a restored VM's clock is set to this
	Plan     plan.Plan `json:"plan"`
	SampleMS int       `json:"sample_ms,omitempty"` // period of the timeline; 0: 100, below 0: none
	// Watch is in place of a plan: somebody else starts things here.
	Watch *Watch `json:"watch,omitempty"`
	// Clock asks for nothing but that the clock be set.
	Clock bool `json:"clock,omitempty"`
	// Enough ends the watch with this ID. It has no answer of its own.
	Enough bool `json:"enough,omitempty"`
}

// Watch asks the agent of a cluster's node to say what happens to pods that
// somebody creates through the API. It answers with Begin when it looks, and
// with End after Enough or when the deadline has passed. What a pod is called
// on the node is in the runtime's bundles.
type Watch struct {
	DeadlineMS int64 `json:"deadline_ms"`
	// Namespace holds the pods, Pods are the plan's names by those of the API.
	Namespace string            `json:"namespace"`
	Pods      map[string]string `json:"pods"`
	// Children are the processes that containers fork, POD/CONTAINER/NAME.
	Children []string `json:"children,omitempty"`
}

// NoSamples as the period of a timeline leaves it out.
const NoSamples = -1

// Message is one line of an answer. Exactly one of Events, Done and Error is
// set.
type Message struct {
	ID     int    `json:"id"`
	Events Events `json:"events,omitempty"`
	Done   bool   `json:"done,omitempty"`
	Error  string `json:"error,omitempty"` // the request could not be carried out; everything was put back
	// Lacks says that the reason is what the machine lacks, and Hint what would supply it.
	Lacks string `json:"lacks,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// Sum counts the events before Done, so that a lossy line is noticed.
	Sum int `json:"sum,omitempty"`
}
