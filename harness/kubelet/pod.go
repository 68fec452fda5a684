// Package kubelet is what the kubelet does to memory, on paper: the QoS class
// of a pod, the oom_score_adj and the limits that its containers get, what is
// said of them when they end, and who is evicted.
//
// It is one piece of code for everything that needs the kubelet's rules: pods on a
// target without a kubelet, the pods of a cluster, and the judge. The rules
// follow pkg/kubelet of k8s.io/kubernetes, by version and feature gates where
// versions differ; a nested module holds them against that code itself.
//
// The package is pure and knows neither scenarios nor API objects.
package kubelet

import "github.com/oomlab/oomlab/harness/kernel"

// Resources are amounts of memory and CPU. Zero means that none is named: the
// kubelet treats both alike.
type Resources struct {
	Memory   kernel.Bytes `json:"memory,omitempty"`
	MilliCPU int64        `json:"cpu_m,omitempty"`
}

func (r Resources) plus(s Resources) Resources {
	return Resources{r.Memory + s.Memory, r.MilliCPU + s.MilliCPU}
}

func (r Resources) max(s Resources) Resources {
	return Resources{max(r.Memory, s.Memory), max(r.MilliCPU, s.MilliCPU)}
}

// or takes what is not named from s.
func (r Resources) or(s Resources) Resources {
	if r.Memory == 0 {
		r.Memory = s.Memory
	}
	if r.MilliCPU == 0 {
		r.MilliCPU = s.MilliCPU
	}
	return r
}

// Container is what the kubelet's rules ask of a container.
type Container struct {
	Name     string    `json:"name"`
	Requests Resources `json:"requests,omitzero"`
	Limits   Resources `json:"limits,omitzero"`
	// Sidecar: an init container with restartPolicy Always.
	Sidecar bool `json:"sidecar,omitempty"`
}

// Pod is what the kubelet's rules ask of a pod.
type Pod struct {
	Name string `json:"name"`
	// Requests and Limits are those of the pod as a whole (pod-level resources).
	Requests       Resources   `json:"requests,omitzero"`
	Limits         Resources   `json:"limits,omitzero"`
	InitContainers []Container `json:"init_containers,omitempty"`
	Containers     []Container `json:"containers"`
	// NodeCritical: priorityClassName system-node-critical.
	NodeCritical bool `json:"node_critical,omitempty"`
	// Critical: priority of system-cluster-critical or above.
	Critical bool  `json:"critical,omitempty"`
	Priority int32 `json:"priority,omitempty"`
}

// Container finds a container, init containers included.
func (p Pod) Container(name string) (Container, bool) {
	for _, c := range append(append([]Container{}, p.InitContainers...), p.Containers...) {
		if c.Name == name {
			return c, true
		}
	}
	return Container{}, false
}

// Default fills in what the API server does (SetDefaults_Pod and
// defaultPodRequests of pkg/apis/core/v1/defaults.go): a limit without a
// request is its own request; the pod's requests are its containers' sum, or
// its limits where no container names any.
func Default(p Pod, g Gates) Pod {
	fill := func(all []Container) []Container {
		out := append([]Container(nil), all...)
		for i := range out {
			out[i].Requests = out[i].Requests.or(out[i].Limits)
		}
		return out
	}
	p.InitContainers, p.Containers = fill(p.InitContainers), fill(p.Containers)
	if !g.PodLevelResources {
		p.Requests, p.Limits = Resources{}, Resources{} // the API server drops them
		return p
	}
	if p.Limits != (Resources{}) {
		p.Requests = p.Requests.or(sum(p, requests)).or(p.Limits)
	}
	return p
}

func requests(c Container) Resources { return c.Requests }
func limits(c Container) Resources   { return c.Limits }

// sum follows AggregateContainerRequests and AggregateContainerLimits of
// k8s.io/component-helpers/resource: containers and sidecars run together, and
// an init container beside the sidecars that were started before it.
func sum(p Pod, of func(Container) Resources) Resources {
	var all, sidecars, most Resources
	for _, c := range p.Containers {
		all = all.plus(of(c))
	}
	for _, c := range p.InitContainers {
		if c.Sidecar {
			all, sidecars = all.plus(of(c)), sidecars.plus(of(c))
			most = most.max(sidecars)
			continue
		}
		most = most.max(of(c).plus(sidecars))
	}
	return all.max(most)
}

// Requests is what the pod as a whole requests, PodRequests of the same.
func Requests(p Pod) Resources {
	return p.Requests.or(sum(p, requests))
}
