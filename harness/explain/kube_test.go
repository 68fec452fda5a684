package explain_test

import (
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
)

func TestDecodeCgroup(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	node := strings.Repeat("fedcba9876543210", 4)
	const uid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
	under := strings.ReplaceAll(uid, "-", "_")
	const static = "0123456789abcdef0123456789abcdef"
	for _, tt := range []struct {
		name, path string
		want       *explain.Kubernetes
	}{
		{"cgroupfs, burstable", "/kubepods/burstable/pod" + uid + "/" + id, &explain.Kubernetes{QoS: "Burstable",
			PodUID: uid, ContainerID: id}},
		{"cgroupfs, besteffort", "/kubepods/besteffort/pod" + uid + "/" + id, &explain.Kubernetes{QoS: "BestEffort",
			PodUID: uid, ContainerID: id}},
		{"cgroupfs, guaranteed", "/kubepods/pod" + uid + "/" + id, &explain.Kubernetes{QoS: "Guaranteed", PodUID: uid,
			ContainerID: id}},
		{"cgroupfs, the pod", "/kubepods/pod" + uid, &explain.Kubernetes{QoS: "Guaranteed", PodUID: uid}},
		{"cgroupfs, the class", "/kubepods/burstable", &explain.Kubernetes{QoS: "Burstable", Limit: "qos"}},
		{"cgroupfs, all pods", "/kubepods", &explain.Kubernetes{Limit: "kubepods"}},
		{"systemd, containerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under +
			".slice/cri-containerd-" + id + ".scope",
			&explain.Kubernetes{QoS: "Burstable", PodUID: uid, ContainerID: id, Runtime: "containerd"}},
		{"systemd, guaranteed, cri-o", "/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + id + ".scope",
			&explain.Kubernetes{QoS: "Guaranteed", PodUID: uid, ContainerID: id, Runtime: "cri-o"}},
		{"cri-o with a cgroup below", "/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + id + ".scope/container",
			&explain.Kubernetes{QoS: "Guaranteed", PodUID: uid, ContainerID: id, Runtime: "cri-o"}},
		{"systemd, docker", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + under +
			".slice/docker-" + id + ".scope",
			&explain.Kubernetes{QoS: "BestEffort", PodUID: uid, ContainerID: id, Runtime: "docker"}},
		{"static pod", "/kubepods/burstable/pod" + static + "/" + id, &explain.Kubernetes{QoS: "Burstable",
			PodUID: static, ContainerID: id}},
		{"containerd that was told the wrong driver", "/system.slice/containerd.service/kubepods-burstable-pod" +
			under + ".slice:cri-containerd:" + id,
			&explain.Kubernetes{QoS: "Burstable", PodUID: uid, ContainerID: id, Runtime: "containerd"}},
		{"kind, cgroup v2", "/system.slice/docker-" + node +
			".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + under + ".slice/cri-containerd-" + id + ".scope",
			&explain.Kubernetes{QoS: "Burstable", PodUID: uid, ContainerID: id, Runtime: "containerd", Node: node}},
		{"kind, cgroup v1", "/docker/" + node + "/kubelet/kubepods/besteffort/pod" + uid + "/" + id,
			&explain.Kubernetes{QoS: "BestEffort", PodUID: uid, ContainerID: id, Node: node}},
		{"docker", "/docker/" + id, &explain.Kubernetes{ContainerID: id, Runtime: "docker"}},
		{"docker under systemd", "/system.slice/docker-" + id + ".scope", &explain.Kubernetes{ContainerID: id,
			Runtime: "docker"}},
		{"podman", "/machine.slice/libpod-" + id + ".scope/container", &explain.Kubernetes{ContainerID: id,
			Runtime: "podman"}},
		{"none", "/user.slice/user-1000.slice/session-40.scope", nil},
		{"root", "/", nil},
		{"empty", "", nil},
		{"a pod that is none", "/kubepods/podcast", &explain.Kubernetes{Limit: "kubepods"}},
		{"kubepods in a word", "/mykubepods/x", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := explain.DecodeCgroup(tt.path)
			if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
				t.Errorf("%s: %+v, want %+v", tt.path, got, tt.want)
			}
		})
	}
}

// TestWhoseLimit says in words of Kubernetes which limit was hit.
func TestWhoseLimit(t *testing.T) {
	container := kubeLog[strings.Index(kubeLog, "oom_memcg=")+len("oom_memcg=") : strings.Index(kubeLog,
		",task_memcg=")]
	parent := func(levels int) string {
		p := container
		for range levels {
			p = p[:strings.LastIndex(p, "/")]
		}
		return p
	}
	for levels, want := range []string{"container", "pod", "qos", "kubepods"} {
		e := one(t, strings.Replace(kubeLog, "oom_memcg="+container, "oom_memcg="+parent(levels), 1), explain.Options{})
		if e.Kubernetes == nil || e.Kubernetes.Limit != want || e.Kubernetes.ContainerID == "" {
			t.Errorf("oom_memcg=%s: %+v, want the limit of %s", parent(levels), e.Kubernetes, want)
		}
	}
}

// TestTheLimitOfANodeThatIsAContainer: docker update --memory of a kind node.
func TestTheLimitOfANodeThatIsAContainer(t *testing.T) {
	node := "/docker/" + strings.Repeat("fedcba9876543210", 4)
	log := strings.ReplaceAll(kubeLog, "=/kubepods.slice", "="+node+"/kubelet/kubepods.slice")
	container := log[strings.Index(log, "oom_memcg=")+len("oom_memcg=") : strings.Index(log, ",task_memcg=")]
	e := one(t, strings.Replace(log, "oom_memcg="+container, "oom_memcg="+node, 1), explain.Options{})
	if k := e.Kubernetes; k == nil || k.Limit != "node" || k.QoS != "Burstable" || "/docker/"+k.Node != node {
		t.Errorf("%+v, want the limit of the node", k)
	}
	if want := "The node fedcba987654, which is a container, reached its limit"; !strings.HasPrefix(e.Why, want) {
		t.Errorf("%q does not begin with %q", e.Why, want)
	}
}

func TestParseChangeNamesTheMistake(t *testing.T) {
	for in, want := range map[string]string{
		"limit":                        "write victim.oom_score_adj=-500",
		"limit=much":                   "not a quantity",
		"limit=0":                      "a limit of nothing",
		"without=":                     `"" is no process`,
		"victim.oom_score_adj=-2000":   "-1000 to 1000",
		"victim.rss=5":                 `not "rss"`,
		"swaps=5Gi":                    `no "swaps" to change`,
		"swap=-1":                      "not a quantity",
		"memory.oom.group=2":           "from 0 to 1",
		"panic_on_oom=yes":             "from 0 to 2",
		"-3.oom_score_adj=0":           `"-3" is no process`,
		"9999999999999.oom_score_adj=": `is no`,
	} {
		if _, err := explain.ParseChange(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}
