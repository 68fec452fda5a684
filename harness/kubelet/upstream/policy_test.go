package upstream

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	resourcehelper "k8s.io/component-helpers/resource"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	v1qos "k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/kubelet/qos"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// vector is one pod, and what the kubelet makes of it.
type vector struct {
	PodLevelResources bool           `json:"pod_level_resources"`
	Capacity          kernel.Bytes   `json:"capacity"`
	Pod               kubelet.Pod    `json:"pod"`
	Class             string         `json:"class"`
	Requests          kernel.Bytes   `json:"requests"`
	Adj               map[string]int `json:"oom_score_adj"`
}

// TestTheRulesAreTheKubelets draws pods whose requests go from nothing to twice
// the node, with init containers, sidecars, pod-level resources and priorities,
// and asks the kubelet's own code what it makes of them.
func TestTheRulesAreTheKubelets(t *testing.T) {
	var vectors []vector
	for _, podLevel := range []bool{true, false} {
		featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.PodLevelResources,
			podLevel)
		gates := kubelet.Node{KubeletVersion: "v1.36.3",
			FeatureGates: map[string]bool{"PodLevelResources": podLevel}}.Gates()
		r := rand.New(rand.NewPCG(1, 36))
		seen := map[kubelet.Class]int{}
		for n := range 20000 {
			capacity := kernel.Bytes(1+r.Int64N(64)) * kernel.GiB
			if r.IntN(2) == 0 {
				capacity += kernel.Bytes(r.Int64N(1 << 30))
			}
			ours := draw(r, capacity)
			theirs := translate(ours)
			corev1.SetDefaults_Pod(theirs)
			ours = kubelet.Default(ours, gates)
			v := vector{PodLevelResources: podLevel, Capacity: capacity, Pod: ours,
				Class: string(v1qos.ComputePodQOS(theirs)), Adj: map[string]int{}}
			requests := resourcehelper.PodRequests(theirs,
				resourcehelper.PodResourcesOptions{SkipPodLevelResources: !podLevel})
			v.Requests = kernel.Bytes(requests.Memory().Value())
			if got := kubelet.ClassOf(ours); string(got) != v.Class {
				t.Fatalf("pod %d is %s; the kubelet says %s: %+v", n, got, v.Class, ours)
			}
			if got := kubelet.Requests(ours).Memory; got != v.Requests {
				t.Fatalf("pod %d requests %d; the kubelet says %d: %+v", n, got, v.Requests, ours)
			}
			seen[kubelet.ClassOf(ours)]++
			for _, c := range append(append([]v1.Container{}, theirs.Spec.InitContainers...),
				theirs.Spec.Containers...) {
				want := qos.GetContainerOOMScoreAdjust(theirs, &c, int64(capacity))
				own, _ := ours.Container(c.Name)
				if got := kubelet.OOMScoreAdj(ours, own, capacity, gates); got != want {
					t.Fatalf("pod %d, container %s of a node of %d: oom_score_adj %d; the kubelet says %d: %+v", n,
						c.Name, capacity, got, want, ours)
				}
				v.Adj[c.Name] = want
			}
			if n < 250 {
				vectors = append(vectors, v)
			}
		}
		for _, class := range kubelet.Classes {
			if seen[kubelet.Class(class)] < 500 {
				t.Errorf("only %d pods were %s", seen[kubelet.Class(class)], class)
			}
		}
	}
	var recorded bytes.Buffer
	enc := json.NewEncoder(&recorded)
	for _, v := range vectors {
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	golden.File(t, "../testdata/v1.36.3.jsonl", recorded.Bytes())
}

// draw makes a pod that the API server would accept.
func draw(r *rand.Rand, capacity kernel.Bytes) kubelet.Pod {
	p := kubelet.Pod{Name: "p", NodeCritical: r.IntN(20) == 0}
	kind := r.IntN(4) // nothing, limits only, requests only, both
	amount := func() kernel.Bytes {
		switch r.IntN(6) {
		case 0:
			return 0
		case 1:
			return kernel.Bytes(r.Int64N(1 << 20))
		}
		return kernel.Bytes(r.Int64N(2 * int64(capacity)))
	}
	container := func(name string) kubelet.Container {
		c := kubelet.Container{Name: name}
		if kind == 0 {
			return c
		}
		memory, cpu := amount(), r.Int64N(4000)
		switch kind {
		case 1:
			c.Limits = kubelet.Resources{Memory: max(1, memory), MilliCPU: max(1, cpu)}
		case 2:
			c.Requests = kubelet.Resources{Memory: memory, MilliCPU: cpu}
		case 3:
			c.Requests = kubelet.Resources{Memory: memory / 2, MilliCPU: cpu / 2}
			c.Limits = kubelet.Resources{Memory: memory, MilliCPU: cpu}
		}
		return c
	}
	for i := range 1 + r.IntN(3) {
		p.Containers = append(p.Containers, container(string(rune('a'+i))))
	}
	for i := range r.IntN(3) {
		c := container(string(rune('i' + i)))
		c.Sidecar = r.IntN(2) == 0
		p.InitContainers = append(p.InitContainers, c)
	}
	if r.IntN(3) == 0 {
		// requests of the pod are at least those of its containers
		sum := kubelet.Requests(kubelet.Default(p, kubelet.Gates{}))
		if r.IntN(2) == 0 {
			p.Requests = kubelet.Resources{Memory: sum.Memory + amount(), MilliCPU: sum.MilliCPU + r.Int64N(1000)}
		}
		if r.IntN(2) == 0 {
			p.Limits = kubelet.Resources{Memory: max(sum.Memory, p.Requests.Memory, 1) + amount(),
				MilliCPU: max(sum.MilliCPU, p.Requests.MilliCPU, 1)}
			if r.IntN(2) == 0 {
				p.Limits.Memory = max(p.Requests.Memory, sum.Memory, 1)
			}
		}
	}
	return p
}

func list(r kubelet.Resources) v1.ResourceList {
	if r == (kubelet.Resources{}) {
		return nil
	}
	out := v1.ResourceList{}
	if r.Memory > 0 {
		out[v1.ResourceMemory] = *resource.NewQuantity(int64(r.Memory), resource.BinarySI)
	}
	if r.MilliCPU > 0 {
		out[v1.ResourceCPU] = *resource.NewMilliQuantity(r.MilliCPU, resource.DecimalSI)
	}
	return out
}

func translate(p kubelet.Pod) *v1.Pod {
	out := &v1.Pod{}
	out.Name = p.Name
	if p.NodeCritical {
		priority := int32(2000001000)
		out.Spec.Priority, out.Spec.PriorityClassName = &priority, "system-node-critical"
	}
	if p.Requests != (kubelet.Resources{}) || p.Limits != (kubelet.Resources{}) {
		out.Spec.Resources = &v1.ResourceRequirements{Requests: list(p.Requests), Limits: list(p.Limits)}
	}
	container := func(c kubelet.Container) v1.Container {
		k := v1.Container{Name: c.Name, Resources: v1.ResourceRequirements{Requests: list(c.Requests),
			Limits: list(c.Limits)}}
		if c.Sidecar {
			always := v1.ContainerRestartPolicyAlways
			k.RestartPolicy = &always
		}
		return k
	}
	for _, c := range p.Containers {
		out.Spec.Containers = append(out.Spec.Containers, container(c))
	}
	for _, c := range p.InitContainers {
		out.Spec.InitContainers = append(out.Spec.InitContainers, container(c))
	}
	return out
}
