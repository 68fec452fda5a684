// Package clustertest plays a cluster on paper, for tests: a node, and what its
// witnesses would tell of a run that goes as predicted.
//
// It is how the judge is tested where no cluster is at hand. What real ones tell
// is recorded beside the recordings of kernels.
package clustertest

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// Node is a small node that runs etcd, an API server and a kubelet beside its
// pods: 2304Mi, of which about 1.6Gi are free. The numbers are those of the node
// of a VM cluster.
func Node() (kernel.Machine, kubelet.Node) {
	none := kernel.Pages(0)
	m := kernel.Machine{
		Release: "6.12.118+deb13-cloud-amd64", PageSize: 4096, CPUs: 1, Emulated: true,
		MemTotal: 2218 * kernel.MiB, MemFree: 1588 * kernel.MiB, MemAvailable: 1741 * kernel.MiB, WatermarkMin: 11295,
		Cgroup: kernel.CgroupMount{Version: 2, Swap: true, Group: true}, Badness: kernel.ReadsCPUBatched,
		Arch: "x86_64", Nodes: 1, Version: "#1 SMP",
		Sysctls:  map[string]string{"vm.panic_on_oom": "0"},
		Stressor: kernel.Footprint{Anon: 150, Shmem: 420, PgTable: 12, Threads: 5, Charged: 230, Batched: &none},
		Others: []kernel.Candidate{
			{PID: 300, Comm: "etcd", RSS: 11071, PgTables: 244 << 10, Adj: -997},
			{PID: 310, Comm: "kube-apiserver", RSS: 73241, PgTables: 704 << 10, Adj: -997},
			{PID: 320, Comm: "containerd", RSS: 12801, PgTables: 268 << 10, Adj: -999},
			{PID: 330, Comm: "kubelet", RSS: 19415, PgTables: 280 << 10, Adj: -999},
			{PID: 410, Comm: "containerd-shim", RSS: 3000, PgTables: 100 << 10, Adj: -998},
		},
	}
	n := kubelet.Node{
		Name: "node", KubeletVersion: "v1.36.3", Runtime: "containerd://2.1.9",
		MemoryCapacity: m.MemTotal, CgroupVersion: 2,
		CgroupDriver: "cgroupfs", Kubepods: "/kubepods", EnforceNodeAllocatable: []string{"pods"}, Ours: true,
	}
	return m, n
}
