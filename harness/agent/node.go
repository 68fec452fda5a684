package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// NodeOptions say where the node of a cluster has what its agent reads. What is
// empty is not there; the others' witness is enough then.
type NodeOptions struct {
	Bundles    string   // where the runtime keeps one directory for each container
	PodLogs    string   // where the kubelet keeps what containers print
	KubeletLog string   // file
	Events     []string // command that prints containerd's events
}

// scanEvery is how often the node's cgroups are looked at where nothing else says
// that there is something to be seen: the runtime tells of containers that are
// born, and the kernel of kills.
const scanEvery = 250 * time.Millisecond

// node is what an agent of a cluster's node has beside the others.
type node struct {
	o        NodeOptions
	kubepods string // directory of all pods' cgroup, below the hierarchy
	events   string // how the runtime's are had, or why not

	mu    sync.Mutex
	lost  string    // why there are no more events of the runtime
	watch *podWatch // takes the runtime's events; nil: nobody does
}

// kubepodsNames are where the kubelet puts all pods, by driver, and where it
// does in a node that is a container.
var kubepodsNames = []string{"kubepods", "kubepods.slice", "kubelet/kubepods", "kubelet.slice/kubelet-kubepods.slice"}

// openNode finds the pods' cgroup and subscribes to the runtime's events.
func openNode(ctx context.Context, o NodeOptions, hierarchy string) *node {
	n := &node{o: o, events: "not attached: no command to read them is known"}
	for _, name := range kubepodsNames {
		if _, err := os.Stat(filepath.Join(hierarchy, name)); err == nil {
			n.kubepods = filepath.Join(hierarchy, name)
			break
		}
	}
	if len(o.Events) > 0 {
		if err := n.subscribe(ctx); err != nil {
			n.events = "not attached: " + err.Error()
		} else {
			n.events = "attached: " + filepath.Base(o.Events[0])
		}
	}
	return n
}

// facts are what Hello says of the node; the API knows the rest.
func (n *node) facts(m kernel.CgroupMount, hierarchy string) *kubelet.Node {
	out := &kubelet.Node{CgroupVersion: m.Version}
	if n.kubepods != "" {
		out.Kubepods = strings.TrimPrefix(n.kubepods, hierarchy)
	}
	if m.Version != 2 {
		return out
	}
	// The root of a machine has no such file; that of a node that is a container does.
	if out.Limit = limit(hierarchy, "memory.max"); out.Limit != nil {
		out.Used = used(hierarchy)
	}
	return out
}

// used is what a cgroup holds that the kernel cannot take back: without pages of files.
func used(dir string) kernel.Bytes {
	var sum kernel.Bytes
	text, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var name string
		var n int64
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			continue
		}
		switch name {
		case "anon", "kernel", "shmem", "sock":
			sum += kernel.Bytes(n)
		}
	}
	return sum
}
