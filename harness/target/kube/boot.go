package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletv1 "k8s.io/kubelet/config/v1beta1"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/kube/image"
)

// Files that a node's machine gets with its initramfs, for they differ from
// boot to boot.
const (
	kubeletFile    = "/oomlab/kubelet.json"
	containerdFile = "/oomlab/containerd.toml"
	imagesFile     = "/oomlab/images.tar"
)

// The daemons' oom_score_adj: what their units and the kubelet give them
// elsewhere.
const (
	controlPlaneAdj = -997
	daemonAdj       = -999
)

// protected is what the daemons keep, as MemoryMin= of their units would have it.
// Without it the kernel throws away the pages of their programs before it kills
// anybody, and they read them again at once: an emulated node did nothing else for
// minutes. It is less than what they hold, so that a node that runs full has
// something to throw away still.
const protected = 448 * kernel.MiB

// nodeContainer is the cgroup of a node that is a container: an engine's, and an id.
const nodeContainer = "/docker/6f6f6d6c61622d6e6f64652d696e2d612d636f6e7461696e65722d6f6f6d6c61"

const containerdSocket = "/run/containerd/containerd.sock"

// Limits of the boot of an emulated node, generous: nothing waits for their end.
const (
	bootWait   = 30 * time.Minute
	stepWait   = 15 * time.Minute
	kubeletLog = "/var/log/kubelet.log"
)

// steps are collected in the order in which they are to be taken.
type steps []wire.BootStep

func (s *steps) add(step wire.BootStep) {
	step.WithinMS = stepWait.Milliseconds()
	*s = append(*s, step)
}

func (s *steps) daemon(name string, adj int, argv ...string) {
	s.add(wire.BootStep{Name: name, Adj: adj, Daemon: argv})
}

// ask has the API asked, as its administrator.
func (s *steps) ask(name, method, path, body string, status int, text string) {
	s.add(wire.BootStep{Name: name, Request: &wire.BootRequest{
		Method: method, URL: fmt.Sprintf("https://127.0.0.1:%d%s", image.APIPort, path),
		Body: body, Status: status, Text: text,
		CA: image.PKIFile("ca.crt"), Cert: image.PKIFile("admin.crt"), Key: image.PKIFile("admin.key"),
	}})
}

func (s *steps) containerd() {
	s.daemon("containerd", daemonAdj, "/usr/bin/containerd", "--config", containerdFile)
}

// images waits for containerd and gives it oomlab's images.
func (s *steps) images() {
	s.add(wire.BootStep{Name: "containerd-socket", Socket: containerdSocket})
	s.add(wire.BootStep{Name: "images", Run: []string{
		"/usr/bin/ctr", "--address", containerdSocket, "--namespace", "k8s.io", "images", "import", imagesFile,
	}})
}

func (s *steps) kubelet(access, node, ip string) {
	s.daemon("kubelet", daemonAdj, "/usr/bin/kubelet", "--config", kubeletFile, "--kubeconfig", access,
		"--hostname-override", node, "--node-ip", ip, "--node-labels", unscheduled+"=true", "--v=2")
}

// nodeBoot is what makes a whole cluster of a machine: etcd and an API server, and
// a kubelet on containerd. There is neither a scheduler nor a controller: what
// creates a pod says where it runs.
func nodeBoot(n scenario.Node, container string, linked bool) wire.Boot {
	b := wire.Boot{Hostname: image.NodeName, Address: image.NodeIP + image.NodeSize, Gateway: image.Gateway,
		Swap: int64(n.Swap), Protected: int64(protected), Container: container}
	if linked {
		b.Link = image.LinkIP + image.LinkSize
	}
	var s steps
	s.daemon("etcd", controlPlaneAdj,
		"/usr/bin/etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380", "--initial-cluster=default=http://127.0.0.1:2380",
	)
	s.containerd()
	s.daemon("kube-apiserver", controlPlaneAdj,
		"/usr/bin/kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
		fmt.Sprintf("--secure-port=%d", image.APIPort),
		"--bind-address=0.0.0.0", "--advertise-address="+image.NodeIP, "--endpoint-reconciler-type=none",
		"--tls-cert-file="+image.PKIFile("apiserver.crt"), "--tls-private-key-file="+image.PKIFile("apiserver.key"),
		"--client-ca-file="+image.PKIFile("ca.crt"),
		"--kubelet-client-certificate="+image.PKIFile("admin.crt"), "--kubelet-client-key="+image.PKIFile("admin.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+image.PKIFile("sa.pub"),
		"--service-account-signing-key-file="+image.PKIFile("sa.key"),
		"--authorization-mode=Node,RBAC", "--allow-privileged=true",
		// Whose tokens and taints nobody is there to hand out or to take away.
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,DefaultTolerationSeconds",
		"--enable-priority-and-fairness=false", "--service-cluster-ip-range=10.96.0.0/24", "--v=0",
	)
	s.images()
	s.ask("apiserver-ready", "GET", "/readyz", "", 200, "")
	s.ask("namespace-default", "GET", "/api/v1/namespaces/default", "", 200, "")
	s.ask("namespace", "POST", "/api/v1/namespaces", namespaceJSON(image.Namespace), 201, "")
	s.kubelet("/etc/kubernetes/kubelet.kc", image.NodeName, image.NodeIP)
	s.ask("node-ready", "GET", "/api/v1/nodes/"+image.NodeName, "", 200, `"type":"Ready","status":"True"`)
	b.Steps = s
	return b
}

// workerBoot makes a second node. Its kubelet has only just started when the
// snapshot is made: it joins when it is restored beside a node with an API server.
func workerBoot(n scenario.Node, container string) wire.Boot {
	var s steps
	s.containerd()
	s.images()
	s.kubelet("/etc/kubernetes/worker.kc", image.WorkerName, image.WorkerIP)
	return wire.Boot{
		Hostname: image.WorkerName, Address: image.WorkerIP + image.LinkSize, Gateway: image.LinkIP,
		Swap: int64(n.Swap), Protected: int64(protected), Container: container, Steps: s,
	}
}

// namespaceJSON is the namespace of oomlab's pods. What is in it may harm the
// node, which is what it is for.
func namespaceJSON(name string) string {
	ns := namespaceObject(name)
	ns.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}
	data, err := json.Marshal(ns)
	if err != nil {
		panic("a namespace is always JSON: " + err.Error())
	}
	return string(data)
}

// kubeletConfig are the settings of the node's kubelet. What the scenario leaves
// out is as the kubelet has it, except for eviction: a scenario that wants it says
// so.
func kubeletConfig(n scenario.Node, container bool) ([]byte, error) {
	no, yes := false, true
	zero := metav1.Duration{}
	c := kubeletv1.KubeletConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: kubeletv1.SchemeGroupVersion.String(), Kind: "KubeletConfiguration",
		},
		ContainerRuntimeEndpoint: "unix://" + containerdSocket,
		CgroupDriver:             "cgroupfs",
		Authentication: kubeletv1.KubeletAuthentication{
			X509:      kubeletv1.KubeletX509Authentication{ClientCAFile: image.PKIFile("ca.crt")},
			Webhook:   kubeletv1.KubeletWebhookAuthentication{Enabled: &no},
			Anonymous: kubeletv1.KubeletAnonymousAuthentication{Enabled: &no},
		},
		Authorization:          kubeletv1.KubeletAuthorization{Mode: kubeletv1.KubeletAuthorizationModeAlwaysAllow},
		FailSwapOn:             &no,
		EnforceNodeAllocatable: []string{"pods"},
		EvictionHard: map[string]string{
			kubelet.MemoryAvailable: "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
		MakeIPTablesUtilChains: &no,
		ResolverConfig:         new(string),
		SingleProcessOOMKill:   n.SingleProcessOOMKill,
		// A status change is of interest as soon as it is there.
		NodeStatusUpdateFrequency: metav1.Duration{Duration: 5 * time.Second},
		ImageMaximumGCAge:         zero,
		ImageGCHighThresholdPercent: func() *int32 {
			never := int32(100)
			return &never
		}(),
		SerializeImagePulls: &yes,
	}
	if container {
		c.CgroupRoot = wire.KubeletCgroup
	}
	for signal, t := range n.EvictionHard {
		c.EvictionHard[signal] = t.Text
	}
	c.SystemReserved, c.KubeReserved = reserved(n.SystemReserved), reserved(n.KubeReserved)
	if len(n.EnforceNodeAllocatable) > 0 {
		c.EnforceNodeAllocatable = n.EnforceNodeAllocatable
	}
	if n.SwapBehavior != "" {
		c.MemorySwap.SwapBehavior = n.SwapBehavior
	}
	return json.MarshalIndent(c, "", " ")
}

func reserved(r scenario.Resources) map[string]string {
	if r.Memory == 0 {
		return nil
	}
	return map[string]string{"memory": r.Memory.String()}
}

// containerdConfig is containerd's, version 3 of its format as containerd 2 has it.
func containerdConfig(images image.Images) []byte {
	return fmt.Appendf(nil, `version = 3
disabled_plugins = ["io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri"]

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %q

[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
`, images.Pause)
}

// unsettable says which setting of a node a VM cluster cannot give it; empty:
// it can give all.
func unsettable(n scenario.Node) string {
	if n.CgroupDriver != "" && n.CgroupDriver != "cgroupfs" {
		return "cgroup driver " + n.CgroupDriver + ": a node of a VM cluster runs without systemd"
	}
	for _, signal := range slices.Sorted(maps.Keys(n.EvictionHard)) {
		if signal != kubelet.MemoryAvailable {
			return "eviction signal " + signal
		}
	}
	return ""
}

// memoryOf is how much memory a VM cluster's node gets for a scenario.
func memoryOf(needs kernel.Bytes) kernel.Bytes {
	if needs == 0 {
		return defaultMemory
	}
	const step = 256 * kernel.MiB
	return max(leastMemory, (needs+step-1)/step*step)
}

// A node with much less than the least thrashes before it is ready. The library's
// scenarios are made for nodes of that size, whose snapshots all share.
const (
	defaultMemory = 4 * kernel.GiB
	leastMemory   = 2304 * kernel.MiB
)
