package reproduce

import (
	"github.com/oomlab/oomlab/harness/kernel"
)

// The VMs that scenarios run in, as measured on Debian cloud kernels 5.10 to
// 7.3: what the kernel keeps of the memory, what of the rest is available, and
// what an idle stressor costs.
const (
	guestPage     = kernel.DefaultPageSize
	guestKeeps    = 44 * kernel.MiB // and 1.6 % for struct page
	guestOccupies = 58 * kernel.MiB // of MemTotal, before anything is started

	stressorPoints  kernel.Pages = 570 // resident and page tables
	stressorCharged kernel.Pages = 205

	// what the agent has mapped that counts for overcommit, and an idle stressor
	guestPromised                  = 105 * kernel.MiB
	stressorCommitted kernel.Pages = 10142
	stressorVirtual   kernel.Pages = 306772

	minGuest = 512 * kernel.MiB
	maxGuest = 2 * kernel.GiB
	// guests are sized in these steps, so that scenarios share snapshots
	guestStep = 128 * kernel.MiB
)

// managed is the MemTotal of a guest with so much memory.
func managed(memory kernel.Bytes) kernel.Bytes { return memory - memory/62 - guestKeeps }

// guestFor is how much memory a guest needs to have so much MemTotal.
func guestFor(total kernel.Bytes) kernel.Bytes {
	memory := (total + guestKeeps) * 62 / 61
	return min(maxGuest, max(minGuest, (memory+guestStep/2)/guestStep*guestStep))
}

// What a NUMA guest's nodes hold back, in pages: of each what is not present, and the min
// watermarks of all together (set_recommended_min_free_pages() in mm/khugepaged.c).
const (
	nodeAbsent   kernel.Pages = 32
	guestNUMAMin kernel.Pages = 5900
)

// guestOf is a machine like a VM with NUMA nodes of these sizes: the kernel, and the
// programs of the guest, are on node 0.
func guestOf(nodes []kernel.Bytes) kernel.Machine {
	var memory kernel.Bytes
	for _, size := range nodes {
		memory += size
	}
	m := guest(memory)
	m.Nodes, m.WatermarkMin, m.Cgroup.Cpuset = len(nodes), guestNUMAMin, true
	rest := m.MemFree.Pages(guestPage)
	for i, size := range nodes {
		present := size.Pages(guestPage) - nodeAbsent
		n := kernel.NodeMemory{Node: i, Present: present, Managed: present - present/30,
			Free: present - present/17,
			Min:  guestNUMAMin * kernel.Pages(size/kernel.MiB) / kernel.Pages(memory/kernel.MiB)}
		m.NUMA = append(m.NUMA, n)
		if i > 0 {
			rest -= n.Free
		}
	}
	m.NUMA[0].Free = max(0, rest)
	return m
}

// guest is a machine like such a VM.
func guest(memory kernel.Bytes) kernel.Machine {
	total := managed(memory)
	return kernel.Machine{
		Release: "6.12", PageSize: guestPage, CPUs: 1, Emulated: true,
		MemTotal: total, MemAvailable: total - guestOccupies, MemFree: total - guestOccupies, WatermarkMin: 700,
		Cgroup:      kernel.CgroupMount{Version: 2, Root: "/sys/fs/cgroup", Self: "/", Swap: true, Group: true},
		Badness:     kernel.ReadsCPUBatched,
		CommittedAS: guestPromised,
		Sysctls:     map[string]string{"vm.user_reserve_kbytes": "13928"},
		Stressor: kernel.Footprint{Anon: 140, File: 2, Shmem: 409, PgTable: 19, Threads: 5, Charged: stressorCharged,
			Committed: stressorCommitted, Virtual: stressorVirtual},
	}
}
