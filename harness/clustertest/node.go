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
// pods: 2304Mi, of which about 1.4Gi are left.
func Node() (kernel.Machine, kubelet.Node) {
	none := kernel.Pages(0)
	m := kernel.Machine{
		Release: "6.12.117+deb13-cloud-amd64", PageSize: 4096, CPUs: 2, Emulated: true,
		MemTotal: 2200 * kernel.MiB, MemFree: 1300 * kernel.MiB, MemAvailable: 1450 * kernel.MiB, WatermarkMin: 1400,
		Cgroup: kernel.CgroupMount{Version: 2, Swap: true, Group: true}, Badness: kernel.ReadsCPUBatched,
		Sysctls:  map[string]string{"vm.panic_on_oom": "0"},
		Stressor: kernel.Footprint{Anon: 150, Shmem: 420, PgTable: 12, Threads: 5, Charged: 230, Batched: &none},
		Others: []kernel.Candidate{
			{PID: 300, Comm: "etcd", RSS: 12000, PgTables: 200 << 10, Adj: -997},
			{PID: 310, Comm: "kube-apiserver", RSS: 70000, PgTables: 700 << 10, Adj: -997},
			{PID: 320, Comm: "containerd", RSS: 11000, PgTables: 200 << 10, Adj: -999},
			{PID: 330, Comm: "kubelet", RSS: 22000, PgTables: 400 << 10, Adj: -999},
			{PID: 410, Comm: "containerd-shim", RSS: 3000, PgTables: 100 << 10, Adj: -998},
		},
	}
	n := kubelet.Node{
		Name: "node", KubeletVersion: "v1.36.3", Runtime: "containerd://2.1.9", MemoryCapacity: m.MemTotal, CgroupVersion: 2,
		CgroupDriver: "cgroupfs", Kubepods: "/kubepods", EnforceNodeAllocatable: []string{"pods"}, Ours: true,
	}
	return m, n
}
