package oomlog

import "strings"

// kind says what a line of the kernel log is to an OOM report.
type kind uint8

const (
	kindNone kind = iota // nothing that can be told without its neighbours
	kindHead
	kindCPU
	kindCpuset
	kindTaskIn
	kindUsage
	kindStats
	kindMemInfo
	kindNode
	kindZone
	kindHuge
	kindFree
	kindReserve
	kindSwapTotals
	kindPages
	kindSlab
	kindTasks
	kindTable
	kindRow
	kindSummary
	kindSummaryEnd // of a summary that was split
	kindKill
	kindChosen
	kindSharing
	kindExiting
	kindGroup
	kindReaper
	kindNoKillable
	kindPanic
	kindSuppressed
	kindSysrq
	kindElsewhere
	kindLost
	kindOther // known, of no use, and the end of the line before it
)

// kinds has a row for each kind of line, with all that sets it apart. To read
// another line of the kernel's, add a row.
var kinds = [...]struct {
	// like is an example.
	like string
	// opens are the words that such a line begins with. A head and a cpuset
	// line begin with a name instead; see isHead and isCpuset.
	opens []opening
	// complete reports whether a line has all its parts, so that the next line
	// cannot be a piece of it. Nil: the line is so short that nothing breaks it.
	complete func(s string) bool
	// extends reports whether s can be the rest of such a line. Nil: anything can.
	extends func(s string) bool
	// ends: the line says how a report ended.
	ends bool
	// apply adds the line to its report.
	apply func(*Parser, logLine)
}{
	kindNone: {apply: (*Parser).applyWeak},
	kindHead: {
		like:     "hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
		complete: completeHead,
		extends:  func(s string) bool { return strings.ContainsAny(s, "=|") },
		apply:    (*Parser).applyHead,
	},
	kindCPU: {
		like: "CPU: 0 PID: 107 Comm: hog Not tainted 6.12.0 #1",
		opens: []opening{
			{words: "CPU: ", far: "CPU: ", tell: containing(" PID: ", kindCPU)},
			{words: "Pid: ", tell: containing(", comm: ", kindCPU)},
		},
		complete: func(s string) bool { _, _, release := parseCPU(s, ""); return release != "" },
		apply:    (*Parser).applyCPU,
	},
	kindCpuset: {like: "hog cpuset=/ mems_allowed=0", apply: (*Parser).applyCpuset},
	kindTaskIn: {
		like:  "Task in /a/b killed as a result of limit of /a",
		opens: anywhere("Task in /"),
		complete: func(s string) bool {
			_, limit, ok := strings.Cut(squeeze(s), squeeze(limitOf))
			return ok && (limit == "host" || strings.HasPrefix(limit, "/"))
		},
		apply: (*Parser).applyTaskIn,
	},
	kindUsage: {
		like:     "memory: usage 40960kB, limit 40960kB, failcnt 19",
		opens:    anywhere("memory: usage ", "swap: usage ", "memory+swap: usage ", "kmem: usage "),
		complete: func(s string) bool { _, ok := parseUsage(s); return ok },
		extends:  extendsAmounts,
		apply:    (*Parser).applyUsage,
	},
	kindStats: {
		like:     "Memory cgroup stats for /a:",
		opens:    []opening{{words: "Memory cgroup stats", far: "Memory cgroup stats for "}},
		complete: func(s string) bool { return strings.HasSuffix(s, ":") || strings.HasSuffix(s, "KB") },
		apply:    (*Parser).applyStats,
	},
	kindMemInfo: {like: "Mem-Info:", opens: anywhere("Mem-Info:"), apply: (*Parser).applyMemInfo},
	kindNode: {
		like:     "Node 0 active_anon:0kB inactive_anon:4kB all_unreclaimable? no",
		complete: completeZone,
		extends:  extendsAmounts,
		apply:    applyMem((*draft).addNode),
	},
	kindZone: { // and kindNode, kindHuge, kindFree: classifyZone tells them apart
		like: "Node 0 DMA free:0kB min:0kB low:0kB high:0kB all_unreclaimable? no",
		opens: append([]opening{{words: "Node ", far: "Node ", tell: classifyZone}},
			eachWith(classifyZone, "DMA", "Normal", "Device", "HighMem", "Movable")...),
		complete: completeZone,
		extends:  extendsAmounts,
		apply:    applyMem((*draft).addZone),
	},
	kindHuge: {
		like: "Node 0 hugepages_total=0 hugepages_free=0 hugepages_surp=0 hugepages_size=2048kB",
		complete: func(s string) bool {
			return strings.Contains(s, "hugepages_size=") && strings.HasSuffix(s, "kB")
		},
		extends: extendsAmounts,
		apply:   applyMem((*draft).addHuge),
	},
	kindFree: {
		like:     "Node 0 DMA: 1*4kB (U) 2*8kB (UE) 0*16kB = 20kB",
		complete: func(s string) bool { _, sum, ok := strings.Cut(s, "= "); return ok && strings.HasSuffix(sum, "kB") },
		extends:  extendsAmounts,
		apply:    applyMem((*draft).addFree),
	},
	kindReserve: {
		like:  "lowmem_reserve[]: 0 1900 15897 15897 15897",
		opens: eachWith(nil, "lowmem_reserve[]:", "protections[]:"),
		apply: applyMem((*draft).addReserve),
	},
	kindSwapTotals: {
		like:  "Free swap  = 0kB",
		opens: anywhere("Free swap  = ", "Total swap = "),
		apply: applyMem((*draft).addSwapTotal),
	},
	kindPages: {
		like:  "1234 pages RAM",
		opens: eachWith(classifyPages, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
		apply: applyMem((*draft).addPages),
	},
	kindSlab: {
		like:  "Unreclaimable slab info:",
		opens: anywhere("Unreclaimable slab info:"),
		apply: (*Parser).applySlab,
	},
	kindTasks: {
		like:  "Tasks state (memory values in pages):",
		opens: anywhere("Tasks state (memory values in pages)"),
		apply: (*Parser).applyTasks,
	},
	kindTable: {
		like:     "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
		complete: func(s string) bool { return strings.HasSuffix(s, " name") },
		extends:  extendsTable,
		apply:    (*Parser).applyTable,
	},
	kindRow: { // and kindTable
		like:  "[    107]     0   107    15609    10344   110592        0             0 hog",
		opens: eachWith(classifyTable, "["),
		// Whether a row is complete depends on the table's columns; see whole.
		complete: func(string) bool { return false },
		apply:    (*Parser).applyRow,
	},
	kindSummary: {
		like:     "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/a,task_memcg=/a,task=hog,pid=107,uid=0",
		opens:    anywhere("oom-kill:constraint="),
		complete: completeSummary,
		extends:  func(s string) bool { return strings.Contains(s, "=") || !strings.Contains(s, " ") },
		apply:    (*Parser).applySummary,
	},
	kindSummaryEnd: {
		like:  ",task=hog,pid=107,uid=0",
		opens: eachWith(classifySummaryEnd, ","),
		apply: func(p *Parser, l logLine) { p.continues(l) },
	},
	kindKill: { // and kindChosen, kindSharing, kindExiting: classifyKill tells them apart
		like: "Memory cgroup out of memory: Killed process 107 (hog) total-vm:62436kB, anon-rss:40832kB",
		opens: []opening{
			{words: "Killed process", far: "Killed process ", tell: classifyVictim},
			{words: "Kill process", tell: classifyVictim},
			{words: "Memory cgroup out of memory", far: "Memory cgroup out of memory: Kill", tell: classifyVictim},
			{words: "Memory cgroup out of memory", far: "Memory cgroup out of memory: kill", tell: classifyVictim},
			{words: "Out of memory", far: "Out of memory: Kill", tell: classifyVictim},
			{words: "Out of memory", far: "Out of memory: kill", tell: classifyVictim},
			{words: "Out of Memory", far: "Out of Memory: Kill", tell: classifyVictim},
			{words: "Out of memory (", far: "Out of memory (oom_kill_allocating_task): Kill", tell: classifyVictim},
		},
		complete: completeKill,
		extends:  extendsKill,
		ends:     true,
		apply:    (*Parser).applyKill,
	},
	kindChosen: {
		like: "Memory cgroup out of memory: Kill process 107 (hog) score 900 or sacrifice child",
		complete: func(s string) bool {
			return strings.HasSuffix(s, " or sacrifice child") || strings.HasSuffix(s, " or a child")
		},
		ends:  true,
		apply: (*Parser).applyChosen,
	},
	kindSharing: {
		like:  "Kill process 108 (hog) sharing same memory",
		ends:  true,
		apply: (*Parser).applySharing,
	},
	kindExiting: {
		like:     "Memory cgroup out of memory: OOM victim 107 (hog) is already exiting. Skip killing the task",
		complete: func(s string) bool { return strings.HasSuffix(s, "the task") },
		ends:     true,
		apply:    (*Parser).applyExiting,
	},
	kindGroup: {
		like:     "Tasks in /a are going to be killed due to memory.oom.group set",
		opens:    anywhere("Tasks in /"),
		complete: func(s string) bool { return strings.HasSuffix(squeeze(s), "memory.oom.groupset") },
		ends:     true,
		apply:    (*Parser).applyGroup,
	},
	kindReaper: {
		like: "oom_reaper: reaped process 107 (hog), now anon-rss:0kB, file-rss:0kB, shmem-rss:544kB",
		opens: []opening{
			{words: "oom_reaper: reaped process ", far: "oom_reaper: "},
			{words: "oom_reaper: unable to reap pid:"},
		},
		complete: func(s string) bool { return strings.Contains(s, "shmem-rss:") && strings.HasSuffix(s, "kB") },
		extends:  func(s string) bool { return strings.Contains(s, "rss:") },
		apply:    (*Parser).applyReaper,
	},
	kindNoKillable: {
		like:  "Out of memory and no killable processes...",
		opens: anywhere("Out of memory and no killable processes"),
		ends:  true,
		apply: (*Parser).applyNoKillable,
	},
	kindPanic: {
		like:     panicMsg + "Out of memory: system-wide panic_on_oom is enabled",
		opens:    anywhere(panicMsg),
		complete: completePanic,
		extends:  func(s string) bool { return endsPanic(s) || s == "enabled" },
		ends:     true,
		apply:    (*Parser).applyPanic,
	},
	kindSuppressed: {
		like:  "oom_kill_process: 6 callbacks suppressed",
		opens: []opening{{words: "oom_kill_process: ", far: "oom_kill_process: ", tell: classifySuppressed}},
		apply: (*Parser).applySuppressed,
	},
	kindSysrq: {
		like: "sysrq: Manual OOM execution",
		opens: []opening{
			{words: "s", far: "sysrq: Manual OOM", tell: classifySysrq},
			{words: "S", far: "SysRq : Manual OOM", tell: classifySysrq},
		},
		apply: func(p *Parser, _ logLine) { p.sysrq = true },
	},
	kindElsewhere: {
		like: "hog: page allocation failure: order:2, mode:0xcc0(GFP_KERNEL)",
		opens: []opening{
			{words: "s", tell: classifyShowMem},
			{words: "S", tell: classifyShowMem},
		},
		apply: (*Parser).applyElsewhere,
	},
	kindLost: {
		like:  "** 23 printk messages dropped **",
		opens: eachWith(classifyLost, "**", "Missed ", "imjournal: ", "[", "<", "-", ".", "("),
		apply: (*Parser).applyLost,
	},
	kindOther: {
		like: "Hardware name: QEMU Standard PC (Q35 + ICH9, 2009)",
		opens: append(anywhere("Hardware name: ", "Call Trace:"), eachWith(nil,
			"Memory allocations:", "Memory cgroup min protection ", "Swap cache stats:", "Workqueue: ",
			"<TASK>", "</TASK>", "RIP: ", "EIP: ")...),
		apply: func(p *Parser, _ logLine) { p.rest() },
	},
}

// wraps reports whether a line of this kind is long enough that mail programs
// break it.
func (k kind) wraps() bool { return kinds[k].complete != nil }

// extends reports whether s can be the rest of a line of this kind.
func (k kind) extends(s string) bool { return kinds[k].extends == nil || kinds[k].extends(s) }
