package kubelet_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

const capacity = 4000000000

func mem(b kernel.Bytes) kubelet.Resources { return kubelet.Resources{Memory: b} }

func pod(c ...kubelet.Container) kubelet.Pod { return kubelet.Pod{Name: "p", Containers: c} }

// TestOOMScoreAdj has the vectors of pkg/kubelet/qos/policy_test.go, and the
// rules that came later. The container is the last of the pod's.
func TestOOMScoreAdj(t *testing.T) {
	both := kubelet.Resources{Memory: 10000000000, MilliCPU: 5}
	old := kubelet.Node{KubeletVersion: "v1.31.14"}.Gates()
	v33 := kubelet.Node{KubeletVersion: "v1.33.2"}.Gates()
	v36 := kubelet.Node{KubeletVersion: "v1.36.3"}.Gates()
	side := func(own, main kernel.Bytes) kubelet.Pod {
		p := pod(kubelet.Container{Name: "main", Requests: mem(main)},
			kubelet.Container{Name: "big", Requests: mem(2 * main)})
		p.InitContainers = []kubelet.Container{{Name: "side", Requests: mem(own), Sidecar: true}}
		return p
	}
	whole := func(requests, limits kubelet.Resources, c ...kubelet.Container) kubelet.Pod {
		p := pod(c...)
		p.Requests, p.Limits = requests, limits
		return p
	}
	for _, tt := range []struct {
		name      string
		pod       kubelet.Pod
		container string
		gates     kubelet.Gates
		class     kubelet.Class
		adj       int
	}{
		{"cpu limit only", pod(kubelet.Container{Limits: kubelet.Resources{MilliCPU: 10}}), "", v36, kubelet.Burstable,
			999},
		{"half of the node", pod(kubelet.Container{Requests: mem(capacity / 2)}), "", v36, kubelet.Burstable, 500},
		{"nearly all of the node", pod(kubelet.Container{Requests: mem(capacity - 1)}), "", v36, kubelet.Burstable, 3},
		{"a little", pod(kubelet.Container{Requests: mem(capacity / 1000)}), "", v36, kubelet.Burstable, 999},
		{"nothing", pod(kubelet.Container{}), "", v36, kubelet.BestEffort, 1000},
		{"all of it", pod(kubelet.Container{Requests: both, Limits: both}), "", v36, kubelet.Guaranteed, -997},
		{"limits are requests too", pod(kubelet.Container{Limits: both}), "", v36, kubelet.Guaranteed, -997},
		{"one container of two", pod(kubelet.Container{Limits: both}, kubelet.Container{Name: "b"}), "", v36,
			kubelet.Burstable, 3},
		{"node-critical", kubelet.Pod{NodeCritical: true, Containers: []kubelet.Container{{}}}, "", v36,
			kubelet.BestEffort, -997},
		// 1000 - 1000*100000000/4000000000 = 975; the smallest regular container requests 400000000: 900
		{"a sidecar is as safe as what it serves", side(100000000, 400000000), "side", v36, kubelet.Burstable, 900},
		{"a sidecar that requests more keeps its own", side(800000000, 400000000), "side", v36, kubelet.Burstable, 800},
		{"a sidecar before 1.32", side(100000000, 400000000), "side", old, kubelet.Burstable, 975},
		// (1000000000 - 200000000) / 2 = 400000000 on top of 200000000: 1000 - 150
		{"a pod's own request is shared", whole(mem(1000000000), kubelet.Resources{},
			kubelet.Container{Name: "a", Requests: mem(200000000)}, kubelet.Container{Name: "b"}),
			"a", v36, kubelet.Burstable, 850},
		{"by its other container too", whole(mem(1000000000), kubelet.Resources{},
			kubelet.Container{Name: "a", Requests: mem(200000000)}, kubelet.Container{Name: "b"}),
			"b", v36, kubelet.Burstable, 900},
		{"and not at all before 1.34", whole(mem(1000000000), kubelet.Resources{},
			kubelet.Container{Name: "a", Requests: mem(200000000)}, kubelet.Container{Name: "b"}),
			"a", v33, kubelet.Burstable, 950},
		{"a pod's limits alone make it Guaranteed", whole(kubelet.Resources{}, both, kubelet.Container{Name: "a"}),
			"a", v36, kubelet.Guaranteed, -997},
		{"its requests below its limits do not", whole(mem(capacity/4), both, kubelet.Container{Name: "a"}), "a", v36,
			kubelet.Burstable, 750},
		{"before 1.34 the API server drops them", whole(mem(capacity/4), both, kubelet.Container{Name: "a"}), "a", v33,
			kubelet.BestEffort, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := kubelet.Default(tt.pod, tt.gates)
			c, ok := p.Container(tt.container)
			if !ok {
				t.Fatalf("no container %q", tt.container)
			}
			if class, adj := kubelet.ClassOf(p), kubelet.OOMScoreAdj(p, c, capacity, tt.gates); class != tt.class ||
				adj != tt.adj {
				t.Errorf("%s with oom_score_adj %d; want %s with %d", class, adj, tt.class, tt.adj)
			}
		})
	}
}

func TestPodLimit(t *testing.T) {
	limited := func(name string, b kernel.Bytes) kubelet.Container {
		return kubelet.Container{Name: name, Limits: mem(b)}
	}
	for _, tt := range []struct {
		name string
		pod  kubelet.Pod
		want kernel.Bytes
	}{
		{"the sum", pod(limited("a", 10), limited("b", 20)), 30},
		{"none when one has none", pod(limited("a", 10), kubelet.Container{Name: "b"}), 0},
		{"an init container that needs more", kubelet.Pod{Containers: []kubelet.Container{limited("a", 10)},
			InitContainers: []kubelet.Container{limited("i", 50)}}, 50},
		{"a sidecar runs beside", kubelet.Pod{Containers: []kubelet.Container{limited("a", 10)},
			InitContainers: []kubelet.Container{{Name: "s", Limits: mem(5), Sidecar: true}}}, 15},
		{"an init container without one", kubelet.Pod{Containers: []kubelet.Container{limited("a", 10)},
			InitContainers: []kubelet.Container{{Name: "i"}}}, 0},
		{"the pod's own", kubelet.Pod{Limits: mem(64), Containers: []kubelet.Container{{Name: "a"}}}, 64},
	} {
		if got := kubelet.PodLimit(kubelet.Default(tt.pod, kubelet.Node{}.Gates())); got != tt.want {
			t.Errorf("%s: %d; want %d", tt.name, got, tt.want)
		}
	}
}

func TestSwapLimit(t *testing.T) {
	n := kubelet.Node{MemoryCapacity: 4 * kernel.GiB, SwapCapacity: kernel.GiB, SwapBehavior: kubelet.LimitedSwap}
	burstable := kubelet.Container{Name: "a", Requests: mem(kernel.GiB)}
	if got := kubelet.SwapLimit(pod(burstable), burstable, n); got != 256*kernel.MiB {
		t.Errorf("a quarter of the node may swap %s; want a quarter of the swap, 256Mi", got)
	}
	idle := kubelet.Container{Name: "a"}
	critical := pod(burstable)
	critical.Critical = true
	off := n
	off.SwapBehavior = kubelet.NoSwap
	for name, got := range map[string]kernel.Bytes{
		"BestEffort": kubelet.SwapLimit(pod(idle), idle, n), "a critical pod": kubelet.SwapLimit(critical, burstable,
			n),
		"NoSwap": kubelet.SwapLimit(pod(burstable), burstable, off),
	} {
		if got != 0 {
			t.Errorf("%s may swap %s; want nothing", name, got)
		}
	}
}

func TestDomainOf(t *testing.T) {
	for _, tt := range []struct {
		constraint, memcg string
		want              kubelet.Domain
	}{
		{"none", "", kubelet.InNode}, {"memcg", "/", kubelet.InNode}, {"memcg", "/kubepods", kubelet.InKubepods},
		{"memcg", "/kubepods/burstable", kubelet.InKubepods}, {"memcg", "/kubepods/burstable/poda", kubelet.InPod},
		{"memcg", "/kubepods/podg", kubelet.InPod}, {"memcg", "/kubepods/podg/main", kubelet.InContainer},
		{"memcg", "/kubepods/besteffort/podb/main", kubelet.InContainer}, {"memcg", "/kubepodsx/a", ""}, {"memcg",
			"//system.slice", ""},
		{"cpuset", "", ""},
	} {
		if got := kubelet.DomainOf(tt.constraint, tt.memcg); got != tt.want {
			t.Errorf("%s %s: %q; want %q", tt.constraint, tt.memcg, got, tt.want)
		}
	}
}

func TestEvictsBelow(t *testing.T) {
	n := kubelet.Node{MemoryCapacity: 2 * kernel.GiB}
	for text, want := range map[string]kernel.Bytes{"100Mi": 100 * kernel.MiB, "25%": 512 * kernel.MiB, "0%": 0} {
		n.EvictionHard = map[string]string{kubelet.MemoryAvailable: text}
		if got, err := n.EvictsBelow(); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	if got, err := (kubelet.Node{}).EvictsBelow(); err != nil || got != 0 {
		t.Errorf("no threshold: %s, %v", got, err)
	}
}

// TestEveryMisreportIsExplained in docs/kubernetes.md, and nothing is explained
// that is not there.
func TestEveryMisreportIsExplained(t *testing.T) {
	data, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## When Kubernetes says otherwise\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|").FindAllStringSubmatch(section, -1) {
		got = append(got, m[1])
	}
	want := slices.Sorted(slices.Values(kubelet.Misreports))
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("the guide explains %q; want %q", got, want)
	}
}
