// Package rank says who would die next on a machine: for each of its OOM domains
// (the machine, every memory cgroup with a limit, each set of NUMA nodes that a
// process is confined to) the processes in the order in which the kernel would choose
// them.
//
// The score is that of package predict, the same function that predictions use. A
// ranking is as old as the numbers that it is made from; which task asks for memory
// next, and so which domain runs out first, it cannot know.
package rank

import (
	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
)

// Snapshot is what was read of a machine.
type Snapshot struct {
	AtNS      int64 // CLOCK_MONOTONIC
	Machine   Machine
	Cgroups   []Cgroup
	Processes []Process
	// Briefs are candidates that were found not to be needed; see [Snapshot.Needs].
	Briefs []Brief
	// Unread counts processes that exist and could not be read.
	Unread int
	Notes  []string // what limits the view
}

// Machine is what a ranking needs to know of the whole.
type Machine struct {
	Release       string              `json:"release"`
	PageSize      kernel.Bytes        `json:"page_size"`
	MemTotal      kernel.Bytes        `json:"mem_total"`
	MemAvailable  kernel.Bytes        `json:"mem_available"`
	SwapTotal     kernel.Bytes        `json:"swap_total"`
	SwapFree      kernel.Bytes        `json:"swap_free"`
	Swappiness    int                 `json:"swappiness"`
	CgroupVersion int                 `json:"cgroup_version"` // 0: no memory controller
	Reads         kernel.BadnessReads `json:"badness_reads"`
	// PanicOnOOM and KillAllocating are sysctls of vm.
	PanicOnOOM     int `json:"panic_on_oom"`
	KillAllocating int `json:"oom_kill_allocating_task"`
	// Nodes are the present pages of each NUMA node with memory.
	Nodes map[int]kernel.Pages `json:"nodes"`
}

// Cgroup is a memory cgroup with what is needed of its files.
type Cgroup struct {
	Path string // below the root of the hierarchy that is visible
	// Max is memory.max or memory.limit_in_bytes; nil: no limit. The rest is read
	// where there is one.
	Max *kernel.Bytes
	// SwapMax is what it may have in swap, on cgroup v1 memory.memsw.limit_in_bytes
	// without Max; nil: no limit of its own.
	SwapMax    *kernel.Bytes
	Usage      kernel.Bytes
	Swappiness *int // cgroup v1 only: of its own
	// KillDisabled: memory.oom_control of cgroup v1. Tasks sleep at the limit.
	KillDisabled bool
	Group        bool // memory.oom.group, read of every cgroup
}

// Process is what oom_badness() looks at, and a name.
type Process struct {
	PID      int
	Comm     string
	Start    uint64 // clock ticks since boot
	Cgroup   string
	RSS      kernel.Pages // as the kernel's score counts it
	Swap     kernel.Pages
	PgTables kernel.Bytes
	Anon     *kernel.Bytes // the parts of RSS, read at another moment and exactly
	File     *kernel.Bytes
	Shmem    *kernel.Bytes
	Adj      int
	Init     bool   // global init: never chosen
	Mems     string // Mems_allowed_list; empty: not told
}

// Kinds of a domain.
const (
	KindMachine = "machine"
	KindCgroup  = "cgroup"
	KindNodes   = "nodes" // CONSTRAINT_CPUSET or CONSTRAINT_MEMORY_POLICY
)

// Ranking is the answer for a machine.
type Ranking struct {
	Machine   Machine  `json:"machine"`
	Processes int      `json:"processes"`
	Unread    int      `json:"unread,omitempty"`
	Notes     []string `json:"notes"`
	// Domains are the machine first, then those nearest to their limit.
	Domains []Domain `json:"domains"`
	// Left counts domains that were left out.
	Left int `json:"domains_left_out,omitempty"`
}

// Domain is a part of the machine that runs out of memory as a whole.
type Domain struct {
	Kind  string         `json:"kind"`
	Path  string         `json:"path,omitempty"`  // of a cgroup
	Nodes string         `json:"nodes,omitempty"` // of NUMA nodes, as in Mems_allowed_list
	Owner *explain.Owner `json:"owner,omitempty"`
	// TotalPages is oc->totalpages: what oom_score_adj is a thousandth of.
	TotalPages kernel.Pages `json:"total_pages"`
	Limit      kernel.Bytes `json:"limit"`
	Usage      kernel.Bytes `json:"usage"`
	// Left is how much more it takes; page cache that can be given back is not
	// counted for a cgroup, and is for the machine (MemAvailable and free swap). Nil
	// for NUMA nodes.
	Left *kernel.Bytes `json:"left,omitempty"`
	// Growth is in bytes a second, over GrowthSeconds; FullIn is when Left is used
	// up if it goes on. Nil: not measured, or it does not grow.
	Growth        *float64 `json:"growth_bytes_per_second,omitempty"`
	GrowthSeconds float64  `json:"growth_seconds,omitempty"`
	FullIn        *float64 `json:"full_in_seconds,omitempty"`

	Candidates int `json:"candidates"`
	// Exempt processes are never chosen: oom_score_adj -1000, global init.
	Exempt int `json:"exempt"`
	// Equal is how many processes share the highest score: which of them dies follows
	// from the order in which the kernel visits them.
	Equal int   `json:"equal_first"`
	Rows  []Row `json:"rows"`
	// Group is what dies with the first because of memory.oom.group.
	Group *Group `json:"group,omitempty"`
	// ByScore is whom /proc/PID/oom_score puts first among the candidates, where that
	// is another process: oom_score is about the machine.
	ByScore *Row     `json:"highest_oom_score,omitempty"`
	Notes   []string `json:"notes"`

	order []scored
}

// Group is a cgroup that is killed as a whole.
type Group struct {
	Cgroup    string `json:"cgroup"`
	Processes int    `json:"processes"` // without those of oom_score_adj -1000
}

// Row is one process in the ranking of a domain. Points is the sum of RSS, Swap,
// PgTables and AdjPoints.
type Row struct {
	Rank      int            `json:"rank"` // 1: dies first
	PID       int            `json:"pid"`
	Comm      string         `json:"comm"`
	Cgroup    string         `json:"cgroup"`
	Owner     *explain.Owner `json:"owner,omitempty"`
	Points    int64          `json:"points"`
	RSS       kernel.Pages   `json:"rss_pages"`
	Swap      kernel.Pages   `json:"swap_pages"`
	PgTables  kernel.Pages   `json:"page_table_pages"`
	AdjPoints int64          `json:"adj_points"`
	Adj       int            `json:"oom_score_adj"`
	OldAdj    int            `json:"oom_adj"`
	OOMScore  int            `json:"oom_score"` // by the model
	// Kernel is what /proc/PID/oom_score said a moment later; nil: not read.
	Kernel *int          `json:"oom_score_read,omitempty"`
	Anon   *kernel.Bytes `json:"rss_anon,omitempty"`
	File   *kernel.Bytes `json:"rss_file,omitempty"`
	Shmem  *kernel.Bytes `json:"rss_shmem,omitempty"`
}
