package explain

import (
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// Kubernetes is what a cgroup path says of a pod and a container, as kubelet and
// container runtimes name cgroups. Containers outside of Kubernetes have
// Runtime and ContainerID alone.
type Kubernetes struct {
	QoS         string `json:"qos,omitempty"` // Guaranteed, Burstable, BestEffort
	PodUID      string `json:"pod_uid,omitempty"`
	ContainerID string `json:"container_id,omitempty"`
	Runtime     string `json:"runtime,omitempty"` // containerd, cri-o, docker, podman
	// Node is the container that is a node: a kind cluster.
	Node string `json:"node_container_id,omitempty"`
	// Limit says whose limit was hit: container, pod, qos (a class), kubepods
	// (all pods of the node), node (a node that is a container), or machine.
	Limit string `json:"limit,omitempty"`
}

// runtimes are the prefixes of systemd scopes. With the cgroupfs driver a
// container's cgroup is its bare id.
var runtimes = []struct{ prefix, name string }{
	{"cri-containerd-", "containerd"}, {"crio-conmon-", "cri-o"}, {"crio-", "cri-o"},
	{"docker-", "docker"}, {"libpod-conmon-", "podman"}, {"libpod-", "podman"}, {"containerd-", "containerd"},
}

// kubernetesOf decodes the victim's path, and says what the other one limits.
func kubernetesOf(r oomlog.Report) *Kubernetes {
	limit := DecodeCgroup(r.OOMMemcg)
	k := DecodeCgroup(victimPath(r))
	if k == nil && limit != nil {
		copied := *limit
		k = &copied
	}
	if k == nil {
		return nil
	}
	switch {
	case r.Global != nil && *r.Global:
		k.Limit = "machine"
	case r.OOMMemcg == "":
	case limit == nil:
		k.Limit = ""
	case limit.ContainerID != "" && limit.ContainerID == k.Node:
		k.Limit = "node"
	case limit.ContainerID != "":
		k.Limit, k.ContainerID, k.Runtime = "container", limit.ContainerID, limit.Runtime
	case limit.PodUID != "":
		k.Limit = "pod"
	case limit.Limit != "":
		k.Limit = limit.Limit
	}
	return k
}

// victimPath is the victim's cgroup. Its path in the summary may be cut: then it is
// not below the one whose limit was hit, and the line of a group kill, or the limit
// itself, says more.
func victimPath(r oomlog.Report) string {
	if r.OOMMemcg == "" || kernel.InCgroup(r.TaskMemcg, r.OOMMemcg) && r.TaskMemcg != "" {
		return r.TaskMemcg
	}
	if kernel.InCgroup(r.GroupPath, r.OOMMemcg) && r.GroupPath != "" {
		return r.GroupPath
	}
	return r.OOMMemcg
}

// DecodeCgroup reads a memory cgroup's path: the kubelet's drivers cgroupfs
// (/kubepods/burstable/podUID/ID) and systemd
// (/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice/cri-containerd-ID.scope),
// both of them inside a node that is a container, and containers of Docker and
// Podman alone. Nil: the path names none of that.
func DecodeCgroup(path string) *Kubernetes {
	var k Kubernetes
	inside := false // of kubepods
	last, name := "", ""
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			continue
		}
		last, name = name, part
		if slice, ok := podsSlice(name); ok {
			if !inside && k.ContainerID != "" {
				k.Node, k.ContainerID, k.Runtime = k.ContainerID, "", ""
			}
			inside = true
			k.slice(slice)
			// containerd that is told the wrong driver: kubepods-podUID.slice:cri-containerd:ID
			if _, rest, ok := strings.Cut(name, ".slice:"); ok {
				k.container(strings.ReplaceAll(rest, ":", "-"))
			}
			continue
		}
		switch {
		case inside && k.PodUID == "" && name == "burstable":
			k.QoS, k.Limit = "Burstable", "qos"
		case inside && k.PodUID == "" && name == "besteffort":
			k.QoS, k.Limit = "BestEffort", "qos"
		case inside && k.PodUID == "" && strings.HasPrefix(name, "pod") && isPodUID(name[3:]):
			k.pod(name[3:])
		case k.ContainerID == "" || k.Node == "" && !inside:
			k.container(name)
			if k.ContainerID == name && last == "docker" {
				k.Runtime = "docker"
			}
		}
	}
	if k == (Kubernetes{}) {
		return nil
	}
	return &k
}

// podsSlice finds kubepods, kubepods.slice, kubepods-burstable.slice and those
// with the name of a node's root before them: kubelet-kubepods-burstable.slice.
func podsSlice(name string) (string, bool) {
	name, _, _ = strings.Cut(name, ".slice")
	if name == "kubepods" || strings.HasPrefix(name, "kubepods-") {
		return name, true
	}
	if i := strings.Index(name, "-kubepods"); i >= 0 && (len(name) == i+9 || name[i+9] == '-') {
		return name[i+1:], true
	}
	return "", false
}

func (k *Kubernetes) slice(name string) {
	rest := strings.TrimPrefix(strings.TrimPrefix(name, "kubepods"), "-")
	switch {
	case rest == "" && k.QoS == "" && k.PodUID == "":
		k.Limit = "kubepods"
	case strings.HasPrefix(rest, "burstable"):
		k.QoS, k.Limit = "Burstable", "qos"
	case strings.HasPrefix(rest, "besteffort"):
		k.QoS, k.Limit = "BestEffort", "qos"
	}
	if i := strings.Index(rest, "pod"); i == 0 || i > 0 && rest[i-1] == '-' {
		if uid := strings.ReplaceAll(rest[i+3:], "_", "-"); isPodUID(uid) {
			k.pod(uid)
		}
	}
}

func (k *Kubernetes) pod(uid string) {
	k.PodUID, k.Limit = uid, ""
	if k.QoS == "" {
		k.QoS = "Guaranteed"
	}
}

func (k *Kubernetes) container(name string) {
	name = strings.TrimSuffix(name, ".scope")
	for _, r := range runtimes {
		if id, ok := strings.CutPrefix(name, r.prefix); ok && isContainerID(id) {
			k.ContainerID, k.Runtime = id, r.name
			return
		}
	}
	if isContainerID(name) {
		k.ContainerID = name
	}
}

// isPodUID accepts a UUID and, for static pods, 32 hexadecimal digits.
func isPodUID(s string) bool {
	return isHex(strings.ReplaceAll(s, "-", ""), 32) && (len(s) == 32 || len(s) == 36)
}

func isContainerID(s string) bool { return isHex(s, 64) }

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}
