package oomlog

import (
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Report is what the kernel log says of one invocation of the OOM killer: from
// the line "X invoked oom-killer" to the kills that followed.
//
// A report is put together from whatever lines there are. Heads and tails may
// be missing: the kernel limits the rate of everything but the "Killed process"
// line, logs are cut, lines get lost. What was not printed is empty or nil;
// Complete and Missing say how much that is.
//
// The lines are printed by dump_header(), dump_tasks() and oom_kill_process()
// in mm/oom_kill.c, mem_cgroup_print_oom_context() and
// mem_cgroup_print_oom_meminfo() in mm/memcontrol.c (mm/memcontrol-v1.c), and
// show_free_areas() in mm/show_mem.c (lib/show_mem.c, mm/page_alloc.c).
type Report struct {
	// At is the time of the first line as the log prints it: "6115.303887",
	// "Di Aug 12 03:54:03 2025", "May 30 14:08:25".
	At   string `json:"at,omitempty"`
	Host string `json:"host,omitempty"` // from a syslog prefix
	// KernelFormat names the layout after the mainline releases that have it:
	// "3.10-3.19", "4.0-4.14", "4.15-4.18", "4.19-5.0", "5.1-5.3", "5.4-6.7",
	// "6.8+"; where parts are missing, a wider range such as "5.4+", "4.19-6.7"
	// or "-5.0". Distributions backport, so it is not the version of the kernel.
	// Empty: nothing in the report tells.
	KernelFormat  string  `json:"kernel_format,omitempty"`
	KernelRelease string  `json:"kernel_release,omitempty"`
	Trigger       Trigger `json:"trigger"`

	Constraint  string `json:"constraint,omitempty"` // CONSTRAINT_NONE, _CPUSET, _MEMORY_POLICY, _MEMCG; 5.0 and newer
	NodeMask    string `json:"nodemask,omitempty"`   // as printed, "(null)" included
	Cpuset      string `json:"cpuset,omitempty"`     // last component of the trigger's cpuset
	MemsAllowed string `json:"mems_allowed,omitempty"`
	OOMMemcg    string `json:"oom_memcg,omitempty"`  // the cgroup whose limit was hit
	TaskMemcg   string `json:"task_memcg,omitempty"` // the victim's cgroup
	// Global: the whole machine, or the trigger's cpuset or memory policy, was
	// out of memory; false: a memory cgroup. Nil: no line tells.
	Global *bool `json:"global,omitempty"`
	// Sysrq: asked for by sysrq-f.
	Sysrq bool `json:"sysrq,omitempty"`
	// Calls are the functions of the trigger's call trace that tell what ran out or
	// who is chosen, the innermost first; see callMarks.
	Calls []string `json:"calls,omitempty"`
	// AllocatingTask: vm.oom_kill_allocating_task chose the victim.
	AllocatingTask bool `json:"allocating_task,omitempty"`

	// TableFormat is the table's header, its columns separated by one space.
	TableFormat string `json:"table_format,omitempty"`
	// UnknownColumns are columns of the table that no known kernel has. What
	// they count may be part of a score; the other columns are read by name.
	UnknownColumns []string  `json:"unknown_columns,omitempty"`
	Tasks          []TaskRow `json:"tasks,omitempty"` // in the order of the log, which is the order of the scan
	// ContextPID, ContextComm and ContextUID are of the task= in the summary
	// line "oom-kill:"; with oom_kill_allocating_task it can be a thread of the
	// process that is killed.
	ContextPID  *int   `json:"context_pid,omitempty"`
	ContextComm string `json:"context_comm,omitempty"`
	ContextUID  *int64 `json:"context_uid,omitempty"`
	// Kills holds the lines about victims in their order. Not each is a kill;
	// Killed gives those that are, once each.
	Kills []KillLine `json:"kills,omitempty"`
	// GroupPath is the cgroup that memory.oom.group had killed as a whole.
	GroupPath string `json:"group_path,omitempty"`

	Memcg  *MemcgUsage `json:"memcg,omitempty"`
	Mem    *MemInfo    `json:"mem,omitempty"`
	Slab   []SlabInfo  `json:"slab,omitempty"` // unreclaimable caches
	Reaped []ReapLine  `json:"reaped,omitempty"`

	NoKillable bool   `json:"no_killable,omitempty"` // "Out of memory and no killable processes..."
	PanicText  string `json:"panic,omitempty"`       // behind "Kernel panic - not syncing: "
	// SuppressedCallbacks is how many reports the rate limit swallowed before
	// this one.
	SuppressedCallbacks *uint64 `json:"suppressed_callbacks,omitempty"`

	// Lost: the log itself says that lines are not in it.
	Lost *Lost `json:"lost,omitempty"`

	// Complete: nothing that a replay needs is missing.
	Complete bool `json:"complete"`
	// Missing names what is not there though kernels of this layout print it.
	Missing []string `json:"missing,omitempty"`
	// Capped names the collections that reached their limit and are cut.
	Capped []string `json:"capped,omitempty"`
}

// What Report.Missing may name.
const (
	MissingHead      = "head"         // the "invoked oom-killer" line
	MissingHeadEnd   = "end of head"  // its gfp_mask, order and oom_score_adj
	MissingUsage     = "memcg usage"  // the memory: line of a memory cgroup
	MissingMemInfo   = "mem-info"     // the memory of a machine that ran out of it
	MissingTable     = "task table"   // also when vm.oom_dump_tasks is 0
	MissingTableHead = "table header" // rows, but not the line that names their columns
	MissingRow       = "cut task row" // a row that ends too early
	MissingVictimRow = "victim's row" // the victim is not in the table
	MissingSummary   = "summary"      // the oom-kill: line
	MissingSumEnd    = "end of summary"
	MissingKill      = "kill line"
	MissingKillSizes = "end of kill line" // its sizes
	// MissingOwner: another report's lines stand between this one's, and
	// nothing tells for certain whose each is.
	MissingOwner = "certain owner of each line"
	// MissingLost: the log says that lines were dropped inside the report.
	MissingLost = "lost lines"
	// MissingPath: a cgroup's path is cut off; it is not given.
	MissingPath = "end of cgroup path"
	// MissingColumns: the table has a column that no known kernel prints.
	MissingColumns = "meaning of a table column"
)

// Lost says what a log tells of lines that were dropped inside a report, by the
// kernel ("** 23 printk messages dropped **"), by a logger ("Missed 23 kernel
// messages"), or by whoever pasted the log ("[snip]").
type Lost struct {
	Lines uint64 `json:"lines,omitempty"` // 0: the log does not say how many
	Rows  bool   `json:"rows,omitempty"`  // rows of the task table can be among them
}

// Limits on what one report holds. A log is not trusted to be of a sane size;
// what is beyond a limit is counted as Capped and dropped.
const (
	MaxTasks    = 1 << 16
	MaxKills    = 1 << 12
	MaxStats    = 1 << 10 // cgroups with statistics
	MaxStatKeys = 1 << 8  // of one cgroup, one zone, one node
	MaxZones    = 1 << 10
	MaxSlab     = 1 << 11
	MaxReaped   = 1 << 12
)

// Trigger is the task whose allocation could not be satisfied.
type Trigger struct {
	Comm string `json:"comm,omitempty"`
	PID  *int   `json:"pid,omitempty"` // from the CPU: line; a thread's id
	// GFPMask's bits differ between versions; GFP, the flags' names, do not.
	GFP     string  `json:"gfp,omitempty"`
	GFPMask *uint64 `json:"gfp_mask,omitempty"`
	Order   *int    `json:"order,omitempty"` // -1: sysrq
	Adj     *int    `json:"oom_score_adj,omitempty"`
	// OOMAdj is the older adjustment of -17 to 15: oomkilladj= up to 2.6.31,
	// oom_adj= up to 3.x, which prints both.
	OOMAdj *int `json:"oom_adj,omitempty"`
	// NodeMask of the head; 4.11 to 4.20 print it there.
	NodeMask string `json:"nodemask,omitempty"`
}

// TaskRow is one line of the task table. Memory is in pages unless the name
// says bytes.
type TaskRow struct {
	PID      int           `json:"pid"` // of a thread that has the memory
	UID      int64         `json:"uid"`
	TGID     int           `json:"tgid"`
	TotalVM  kernel.Pages  `json:"total_vm"`
	RSS      kernel.Pages  `json:"rss"`
	RSSAnon  *kernel.Pages `json:"rss_anon,omitempty"` // 6.8 and newer
	RSSFile  *kernel.Pages `json:"rss_file,omitempty"`
	RSSShmem *kernel.Pages `json:"rss_shmem,omitempty"`
	PgTables *kernel.Bytes `json:"pgtables_bytes,omitempty"` // 4.15 and newer
	NrPtes   *int64        `json:"nr_ptes,omitempty"`        // before: pages of the lowest level
	NrPmds   *int64        `json:"nr_pmds,omitempty"`        // 4.0 to 4.14
	Swapents kernel.Pages  `json:"swapents"`
	Adj      int           `json:"oom_score_adj"`
	Name     string        `json:"name"`
}

// KillLine is one line about a victim. The amounts are kB, as printed.
type KillLine struct {
	At         string  `json:"at,omitempty"`
	PID        int     `json:"pid"`
	Comm       string  `json:"comm"`
	UID        *int64  `json:"uid,omitempty"` // 5.4 and newer, and Red Hat's 3.10
	TotalVMKB  *uint64 `json:"total_vm_kb,omitempty"`
	AnonRSSKB  *uint64 `json:"anon_rss_kb,omitempty"`
	FileRSSKB  *uint64 `json:"file_rss_kb,omitempty"`
	ShmemRSSKB *uint64 `json:"shmem_rss_kb,omitempty"` // 4.4 and newer
	PgTablesKB *uint64 `json:"pgtables_kb,omitempty"`  // 5.4 and newer
	Adj        *int    `json:"oom_score_adj,omitempty"`
	// Message is the text before "Killed process": "Memory cgroup out of memory".
	Message string `json:"message,omitempty"`

	// Score of 0 to 1000 and more, from "Kill process N (x) score S or
	// sacrifice child" (up to 5.0).
	Score *int `json:"score,omitempty"`
	// SacrificeChild: the kernel announced ChosenPID and killed a child of it.
	SacrificeChild bool `json:"sacrifice_child,omitempty"`
	// ChosenThread: ChosenPID is a thread of the killed process: Red Hat's 3.10
	// prints the thread's id first and the leader's on the line of the kill.
	ChosenThread bool   `json:"chosen_thread,omitempty"`
	ChosenPID    *int   `json:"chosen_pid,omitempty"`
	ChosenComm   string `json:"chosen_comm,omitempty"`

	// Announced: "Kill process N" without "Killed process"; who was killed, if
	// anybody, the log does not say.
	Announced bool `json:"announced,omitempty"`
	// AlreadyExiting: the victim was gone; nothing was killed.
	AlreadyExiting bool `json:"already_exiting,omitempty"`
	// SharesMemory: killed because it shares the victim's memory (up to 4.6;
	// later kernels do it silently).
	SharesMemory bool `json:"shares_memory,omitempty"`
	// Duplicate: the line tells of a kill that an earlier one told of. The
	// first victim of a group kill is printed twice.
	Duplicate bool `json:"duplicate,omitempty"`

	// long: the line has the form of 5.4 and newer, which ends in oom_score_adj;
	// bare: the one of kernels before 2.6.34, which ends in the name.
	long, bare bool
}

// MemcgUsage is a memory cgroup's state when it ran out.
type MemcgUsage struct {
	Memory     *Usage       `json:"memory,omitempty"`
	Swap       *Usage       `json:"swap,omitempty"`        // v2
	MemorySwap *Usage       `json:"memory_swap,omitempty"` // v1, both together
	Kmem       *Usage       `json:"kmem,omitempty"`        // v1
	Stats      []MemcgStats `json:"stats,omitempty"`       // v1 up to 5.2 prints those of the children too
}

// Usage is one "usage, limit, failcnt" line. On cgroup v2 Failcnt counts max
// events from 6.18 on.
type Usage struct {
	UsageKB uint64 `json:"usage_kb"`
	LimitKB uint64 `json:"limit_kb"` // 9007199254740988 and more: no limit
	Failcnt uint64 `json:"failcnt"`
}

// Unlimited reports whether the limit is PAGE_COUNTER_MAX, however the version
// and page size round it.
func (u Usage) Unlimited() bool { return u.LimitKB >= 1<<52 }

// MemcgStats are a cgroup's statistics by the kernel's names: bytes and counts
// as in memory.stat. Amounts that old kernels print in KB are made bytes.
type MemcgStats struct {
	Path   string            `json:"path"`
	Values map[string]uint64 `json:"values"`
}

// MemInfo is the machine's memory when it ran out: the block under "Mem-Info:".
type MemInfo struct {
	// Pages is the first block, by the kernel's names: active_anon, free, ...
	Pages map[string]kernel.Pages `json:"pages,omitempty"`
	Nodes []NodeInfo              `json:"nodes,omitempty"`
	Zones []ZoneInfo              `json:"zones,omitempty"`
	// PagesRAM less PagesReserved is about MemTotal.
	PagesRAM       *kernel.Pages `json:"pages_ram,omitempty"`
	PagesReserved  *kernel.Pages `json:"pages_reserved,omitempty"`
	PageCachePages *kernel.Pages `json:"page_cache_pages,omitempty"`
	SwapCachePages *kernel.Pages `json:"swap_cache_pages,omitempty"`
	FreeSwapKB     *uint64       `json:"free_swap_kb,omitempty"`
	TotalSwapKB    *uint64       `json:"total_swap_kb,omitempty"`
	// HugePagesKB is what hugetlb holds, over all sizes: memory that no score
	// counts and nothing can reclaim.
	HugePagesKB *uint64 `json:"hugepages_kb,omitempty"`
	// HighMem is memory above what the kernel maps for itself, and what only
	// movable pages may use; CMA is what was set aside for devices.
	HighMem *kernel.Pages `json:"pages_highmem,omitempty"`
	CMA     *kernel.Pages `json:"pages_cma,omitempty"`
}

// NodeInfo is the "Node N active_anon:..." line; kB by the kernel's names.
type NodeInfo struct {
	Node             int               `json:"node"`
	KB               map[string]uint64 `json:"kb"`
	AllUnreclaimable *bool             `json:"all_unreclaimable,omitempty"`
}

// ZoneInfo is the "Node N Normal free:..." line; kB.
type ZoneInfo struct {
	Node    int     `json:"node"` // 0 where a kernel without NUMA prints none
	Name    string  `json:"name"`
	Free    *uint64 `json:"free_kb,omitempty"`
	Boost   *uint64 `json:"boost_kb,omitempty"`
	Min     *uint64 `json:"min_kb,omitempty"`
	Low     *uint64 `json:"low_kb,omitempty"`
	High    *uint64 `json:"high_kb,omitempty"`
	Present *uint64 `json:"present_kb,omitempty"`
	Managed *uint64 `json:"managed_kb,omitempty"`
	// KB is everything the line holds, by the kernel's names.
	KB map[string]uint64 `json:"kb"`
	// LowmemReserve is what the zone keeps back, in pages, from requests that may
	// use a higher zone: by the index of that zone.
	LowmemReserve []kernel.Pages `json:"lowmem_reserve,omitempty"`
	// Blocks are its free blocks by size; nil: the line is missing.
	Blocks []FreeBlocks `json:"blocks,omitempty"`
}

// FreeBlocks are the free blocks of one size: "5*32kB (UMEC)".
type FreeBlocks struct {
	Count uint64 `json:"count"`
	KB    uint64 `json:"kb"` // of each
	// Types are the migrate types that have some: U, M, E (reclaimable), C (CMA),
	// H (kept for atomic requests), I (isolated). 3.9 and newer.
	Types string `json:"types,omitempty"`
}

// SlabInfo is one line of "Unreclaimable slab info:".
type SlabInfo struct {
	Name    string `json:"name"`
	UsedKB  uint64 `json:"used_kb"`
	TotalKB uint64 `json:"total_kb"`
}

// ReapLine is what the oom_reaper said of a victim that was slow to exit.
type ReapLine struct {
	PID        int     `json:"pid"`
	Comm       string  `json:"comm"`
	AnonRSSKB  *uint64 `json:"anon_rss_kb,omitempty"` // still held
	FileRSSKB  *uint64 `json:"file_rss_kb,omitempty"`
	ShmemRSSKB *uint64 `json:"shmem_rss_kb,omitempty"`
	Unable     bool    `json:"unable,omitempty"` // "unable to reap"
}

// Killed gives each process that the report shows to have been killed, once,
// in order.
func (r Report) Killed() []KillLine {
	return slices.DeleteFunc(slices.Clone(r.Kills), func(k KillLine) bool {
		return k.Announced || k.AlreadyExiting || k.Duplicate
	})
}

// Candidates is the task table as oom_badness() would look at it, in the order
// of the scan. Page tables that old kernels print as a number of pages are made
// bytes of pageSize.
func (r Report) Candidates(pageSize kernel.Bytes) []kernel.Candidate {
	all := make([]kernel.Candidate, 0, len(r.Tasks))
	for _, t := range r.Tasks {
		c := kernel.Candidate{PID: t.PID, Comm: t.Name, RSS: t.RSS, Swap: t.Swapents, Adj: t.Adj}
		if t.PgTables != nil {
			c.PgTables = *t.PgTables
		}
		for _, n := range []*int64{t.NrPtes, t.NrPmds} {
			if n != nil {
				c.PgTables += kernel.Pages(*n).Bytes(pageSize)
			}
		}
		all = append(all, c)
	}
	return all
}
