package kernel

// Machine is what there is to know about a machine before a scenario is
// planned for it. package probe reads it; everything pure takes it as a value,
// so a plan and a prediction can be made anywhere for any machine.
type Machine struct {
	Release  string `json:"release"`   // uname -r
	Version  string `json:"version"`   // uname -v
	Arch     string `json:"arch"`      // uname -m
	PageSize Bytes  `json:"page_size"` //
	CPUs     int    `json:"cpus"`      // online
	// Emulated: a program executes the processor's instructions (QEMU's TCG),
	// many times slower than a processor does.
	Emulated bool   `json:"emulated,omitempty"`
	Boot     string `json:"boot,omitempty"` // random boot id
	// LogAheadNS is by how many nanoseconds the clock of the kernel log is ahead of
	// CLOCK_MONOTONIC, where that is much: see observe.LogAhead.
	LogAheadNS int64 `json:"log_ahead_ns,omitempty"`
	// Userland is the distribution that a VM booted, as os-release calls it; empty:
	// a bare guest, or not a VM.
	Userland string `json:"userland,omitempty"`

	MemTotal     Bytes `json:"mem_total"`     // managed pages, as MemTotal says
	MemFree      Bytes `json:"mem_free"`      //
	MemAvailable Bytes `json:"mem_available"` //
	SwapTotal    Bytes `json:"swap_total"`    //
	SwapFree     Bytes `json:"swap_free"`     //
	WatermarkMin Pages `json:"watermark_min"` // sum of the zones' min watermarks
	// FreePCP is what processors keep on lists of their own: free, and not in MemFree.
	FreePCP Pages `json:"free_pcp,omitempty"`
	Nodes   int   `json:"nodes"` // NUMA nodes with memory
	// NUMA is the memory of each node; none on a machine with one node.
	NUMA      []NodeMemory `json:"numa,omitempty"`
	HugePage  Bytes        `json:"huge_page,omitempty"`  // size of those in the pool of vm.nr_hugepages
	HugePages int64        `json:"huge_pages,omitempty"` // that the pool has, in use or not
	// CommittedAS is what all processes together were promised, as Committed_AS says.
	CommittedAS Bytes `json:"committed_as,omitempty"`

	// Namespaces are those of the agent that are not the initial ones, as in a node
	// that is a container: pid (the kernel log has other pids), cgroup (it has longer
	// paths).
	Namespaces []string `json:"namespaces,omitempty"`

	Cgroup  CgroupMount       `json:"cgroup"`
	Sysctls map[string]string `json:"sysctls"` // those that change what the OOM killer does
	THP     string            `json:"thp"`     // always, madvise, never; empty: not built in
	// Preempt is when the kernel itself may be interrupted by a task that is more
	// important: none, voluntary, full or lazy; empty: it does not tell.
	Preempt string `json:"preempt,omitempty"`

	// OOMHandler names the callbacks of BPF programs that are attached as OOM handlers:
	// they decide before oom_badness() does. Empty: none that could be seen.
	OOMHandler string `json:"oom_handler,omitempty"`

	Badness  BadnessReads `json:"badness"`
	Stressor Footprint    `json:"stressor"`
	// Others are the processes that a host-wide OOM could choose besides the
	// scenario's own, in the order the kernel visits them.
	Others []Candidate `json:"others,omitempty"`

	Abilities map[Ability]Answer `json:"abilities"`
}

// HugePageSize is the size of an explicit huge page. Where the machine was not asked
// it is what one entry of the second level of page tables maps: a page of them has 8
// bytes for each.
func (m *Machine) HugePageSize() Bytes {
	if m.HugePage > 0 {
		return m.HugePage
	}
	page := max(m.PageSize, DefaultPageSize)
	return page / 8 * page
}

// OOMHandlerHook is the name under which the eBPF programs' hooks tell of a BPF OOM
// handler, if there is one.
const OOMHandlerHook = "BPF OOM handler"

// The namespaces of Machine.Namespaces.
const (
	PIDNamespace    = "pid"
	CgroupNamespace = "cgroup"
)

// CgroupMount is how the memory controller is reached.
type CgroupMount struct {
	Version int    `json:"version"`        // 1 or 2; 0: no memory controller
	Root    string `json:"root"`           // mount point of the hierarchy with the memory controller
	Self    string `json:"self"`           // the agent's own cgroup in it, "/" for the root
	Swap    bool   `json:"swap"`           // swap accounting: memory.swap.max or memory.memsw exists
	Local   bool   `json:"local"`          // mounted with memory_localevents
	Group   bool   `json:"group"`          // memory.oom.group exists
	Kmem    string `json:"kmem,omitempty"` // v1: "nokmem" when kernel memory is not charged
	// Cpuset: cgroups below the agent's own can have a cpuset.mems.
	Cpuset bool `json:"cpuset,omitempty"`
}

// BadnessReads says which reading of a process's page counters oom_badness()
// sees on this machine. It is measured (/proc/PID/oom_score runs the same
// function), not concluded from the version.
type BadnessReads string

const (
	// ReadsThreadBatched: mm->rss_stat atomics; each thread keeps up to 64
	// events back (SPLIT_RSS_COUNTING, up to 6.1).
	ReadsThreadBatched BadnessReads = "thread-batched"
	// ReadsCPUBatched: percpu_counter.count only; each CPU keeps up to batch-1
	// pages back per counter (6.2 to 6.19).
	ReadsCPUBatched BadnessReads = "cpu-batched"
	// ReadsExact: percpu_counter_sum() (7.0 and newer).
	ReadsExact BadnessReads = "exact"
)

// Footprint is what a process costs before it does anything it was told to.
type Footprint struct {
	Anon    Pages `json:"anon"`
	File    Pages `json:"file"`
	Shmem   Pages `json:"shmem"`
	PgTable Pages `json:"pgtables"`
	Threads int   `json:"threads"`
	// Charged is what a memory cgroup is charged for one idle stressor in all:
	// its anonymous pages, page tables, stacks and other kernel memory.
	Charged Pages `json:"charged"`
	// Committed is what it has mapped that counts for overcommit (VM_ACCOUNT), Virtual
	// all of its address space; 0: unknown.
	Committed Pages `json:"committed,omitempty"`
	Virtual   Pages `json:"virtual,omitempty"`
	// Batched is how much of File and Shmem oom_badness() reads where counters
	// are batched: what their last batches keep back never comes. Nil: unknown.
	Batched *Pages `json:"batched,omitempty"`
}

// RSS is the resident set as oom_badness() adds it up.
func (f Footprint) RSS() Pages { return f.Anon + f.File + f.Shmem }

// Candidate is one process as oom_badness() looks at it.
type Candidate struct {
	PID      int    `json:"pid"`
	Comm     string `json:"comm"`
	RSS      Pages  `json:"rss"`
	Swap     Pages  `json:"swapents"`
	PgTables Bytes  `json:"pgtables_bytes"`
	Adj      int    `json:"oom_score_adj"`
}

// Answer is yes, no, or unsure with the reason, after cilium/ebpf's feature
// probes: only the first two may be relied upon.
type Answer struct {
	Is  string `json:"is"` // "yes", "no", "unsure"
	Why string `json:"why,omitempty"`
}

// Yes reports whether the ability is certainly there.
func (a Answer) Yes() bool { return a.Is == "yes" }

// Ability is one thing a scenario or an observer may need from a machine.
type Ability string

// The abilities that doctor shows.
const (
	AbilityRoot        Ability = "root"         // effective uid 0 or equivalent capabilities
	AbilityMemcg       Ability = "memcg"        // a memory controller below which cgroups can be made
	AbilityOOMGroup    Ability = "oom.group"    // memory.oom.group
	AbilityMemoryHigh  Ability = "memory.high"  // cgroup v2 throttling
	AbilitySwap        Ability = "swap"         // swap is on, or can be switched on here
	AbilityNegativeAdj Ability = "negative-adj" // CAP_SYS_RESOURCE: oom_score_adj below 0
	AbilityKmsg        Ability = "kmsg"         // /dev/kmsg can be read
	AbilitySysrq       Ability = "sysrq"        // /proc/sysrq-trigger can be written
	AbilityHostOOM     Ability = "host-oom"     // a host-wide OOM is allowed here
	AbilityBTF         Ability = "btf"          // /sys/kernel/btf/vmlinux
	AbilityTracepoints Ability = "tracepoints"  // eBPF tier 1: mark_victim
	AbilityKprobes     Ability = "kprobes"      // eBPF tier 2 and 3
	AbilityFreeze      Ability = "freeze"       // cgroup.freeze or the v1 freezer
	// AbilityProcessEvents: the kernel tells of the beginnings and ends of processes.
	AbilityProcessEvents Ability = "process-events"
)
