// Package evidence is what was seen during a run: events and readings, each
// with its source and its time, and the record on disk that holds them.
//
// Evidence is never interpreted here. Two sources that tell of the same kill
// stay two events; joining them is the judge's work.
package evidence

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// Source is the witness that an event comes from.
type Source string

// The witnesses. BPF, Kmsg, Counters and Wait are the four that a verdict
// needs; the others tell the story around them.
const (
	BPF      Source = "bpf"      // eBPF programs in the kernel
	Kmsg     Source = "kmsg"     // /dev/kmsg
	Counters Source = "counters" // memory.events, memory.oom_control, /proc/vmstat
	Wait     Source = "wait"     // wait status of the processes
	Stressor Source = "stressor" // what a stressor says of itself
	Agent    Source = "agent"    // what the agent did
	Sampler  Source = "sampler"  // the timeline
	Console  Source = "console"  // the VM's serial console
	Systemd  Source = "systemd"  // what systemd says of units
	Engine   Source = "engine"   // what an engine says of containers
)

// Kind says what an event is.
type Kind string

// The kinds, by source.
const (
	// agent
	Begin   Kind = "begin"   // observers are up, first readings are taken
	Spawned Kind = "spawned" // Process, PID; a respawned process has one for each life
	Did     Kind = "did"     // a during: action was carried out; Text says which
	// Stopping: Process is running, and its overseer is about to be asked to stop it
	Stopping Kind = "stopping"
	End      Kind = "end"     // the run is over; Text: settled, within, interrupted
	Failure  Kind = "failure" // the agent could not do something; Text says what
	Lost     Kind = "lost"    // Source lost N events
	Down     Kind = "down"    // the machine went down; Text: "panic: …", "hang: …"
	Alive    Kind = "alive"   // Process, PID and Status of one that is alive at the end, just before End
	// ProcRead: what /proc says of a process that has just become ready; Proc and Status.
	ProcRead Kind = "proc_read"
	// Descendants: Process, a program of the user's own, has started others, and these again:
	// N of them at one time, at most, which held Held.Resident together. Just before End.
	Descendants Kind = "descendants"
	// Forked: Process was started by a program of the user's own or by what that has
	// started, which its name says. Named: it is called otherwise now. Program says by whom,
	// and what it is called; N numbers both.
	Forked Kind = "forked"
	Named  Kind = "named"
	Ranked Kind = "ranked" // who would die next, where the plan asks for it: Ranking
	// stressor
	Ready Kind = "ready" // Process holds what it was told to
	Step  Kind = "step"
	// Failed: the kernel refused a step what it asked for, and Process ends with that.
	// Call says which; Text is what the stressor says of it.
	Failed Kind = "failed"
	// wait
	Exited Kind = "exited" // Process, PID, Exit
	// kmsg, console
	Record Kind = "record" // one record of the kernel log
	// counters
	Reading Kind = "reading" // values of one file, before or after
	// systemd
	UnitShown Kind = "unit" // Process, the main one, and Unit: what systemd says of it at the end
	// Process, the first one, and Engine: what its engine says of a container at the end
	ContainerShown Kind = "container"
	// sampler
	Sample Kind = "sample"
	// bpf, by hook
	OutOfMemory  Kind = "out_of_memory"        // an invocation of the OOM killer began
	OOMReturn    Kind = "out_of_memory_return" // and ended; Result
	Badness      Kind = "oom_badness"          // one candidate and the kernel's score of it
	KillDecision Kind = "oom_kill_process"     // the victim is chosen
	Kill         Kind = "__oom_kill_process"   // one process is killed, group members included
	MarkVictim   Kind = "mark_victim"
	GivenUp      Kind = "scans_given_up"     // N scans in a row ended at a victim that was still on its way out
	TaskExit     Kind = "sched_process_exit" // of a process that was an OOM victim
	// VictimStatus comes behind MarkVictim and Signalled for itself; both only where
	// they were asked for.
	VictimStatus Kind = "victim_status"
	Signalled    Kind = "signal_generate" // SIGKILL or SIGTERM that a process sent
)

// Event is one line of events.jsonl.
type Event struct {
	// AtNS is CLOCK_MONOTONIC of the target, in nanoseconds. The kernel log's
	// clock is close to it but not the same.
	AtNS    int64  `json:"at_ns"`
	Source  Source `json:"source"`
	Kind    Kind   `json:"kind"`
	Process string `json:"process,omitempty"` // the plan's name, where the agent knows it
	// PID of the process (thread group), as its source numbers it: eBPF as the kernel
	// log does, in the initial pid namespace; all others in that of the agent, which is
	// another one where the machine is a container.
	PID  int    `json:"pid,omitempty"`
	Text string `json:"text,omitempty"`
	N    uint64 `json:"n,omitempty"` // Lost: how many

	Exit    *ExitStatus  `json:"exit,omitempty"`
	Held    *Holding     `json:"held,omitempty"`
	Call    *FailedCall  `json:"call,omitempty"`
	Log     *LogRecord   `json:"log,omitempty"`
	Counter *CounterFile `json:"counter,omitempty"`
	Sample  *SampleData  `json:"sample,omitempty"`
	OOM     *OOM         `json:"oom,omitempty"`
	Killed  *Killed      `json:"killed,omitempty"` // of a live trace; no run has it
	// Status is what /proc/PID/status says of the process: with Alive and ProcRead, and
	// with Ready of a program that cannot say itself what it holds.
	Status *ProcessStatus `json:"status,omitempty"`
	Proc   *ProcValues    `json:"proc,omitempty"` // ProcRead
	// Program is what a process is called that a program of the user's own has started.
	Program *Program `json:"program,omitempty"`
	// Ranking is who would die next, as the agent read it from user space.
	Ranking *Ranking `json:"ranking,omitempty"`

	Unit   *UnitState      `json:"unit,omitempty"`
	Engine *ContainerState `json:"engine,omitempty"`

	// Of a cluster.
	Cgroup    *CgroupFacts    `json:"cgroup,omitempty"`
	Container *kubelet.Status `json:"container,omitempty"`
	Pod       *PodState       `json:"pod,omitempty"`
	Happened  *Happened       `json:"happened,omitempty"`
	Condition *ConditionState `json:"condition,omitempty"`
}

// ProcessStatus is one reading of /proc/PID/status. An amount that the kernel
// did not print, because the process has no address space any more, is nil.
type ProcessStatus struct {
	State    string        `json:"state"` // one letter: R, S, D, T, Z
	Threads  int           `json:"threads"`
	RssAnon  *kernel.Bytes `json:"rss_anon,omitempty"`
	RssFile  *kernel.Bytes `json:"rss_file,omitempty"`
	RssShmem *kernel.Bytes `json:"rss_shmem,omitempty"`
	VmSwap   *kernel.Bytes `json:"vm_swap,omitempty"`
	VmPTE    *kernel.Bytes `json:"vm_pte,omitempty"`
}

// Program is what a process is called, and by whom it was forked.
type Program struct {
	Parent int      `json:"parent"`         // pid
	Comm   string   `json:"comm,omitempty"` // empty: it was gone before it could be read
	Args   []string `json:"args,omitempty"` // long ones are cut
}

// ProcValues is one reading of the files of /proc/PID that tell how the OOM killer ranks
// the process.
type ProcValues struct {
	OOMScore    int `json:"oom_score"`
	OOMScoreAdj int `json:"oom_score_adj"`
	OOMAdj      int `json:"oom_adj"`
}

// Value is that of a file of /proc/PID by its name; false: it is none of these.
func (v ProcValues) Value(file string) (int, bool) {
	switch file {
	case kernel.FileOOMScore:
		return v.OOMScore, true
	case kernel.FileOOMScoreAdj:
		return v.OOMScoreAdj, true
	case kernel.FileOOMAdj:
		return v.OOMAdj, true
	}
	return 0, false
}

// Ranking is the ranking of `oomlab rank` at one moment. One that is the same as the
// one before it is not recorded.
type Ranking struct {
	// The machine was read from FromNS to ToNS, by the clock of the events.
	FromNS  int64          `json:"from_ns"`
	ToNS    int64          `json:"to_ns"`
	Domains []RankedDomain `json:"domains"`
}

// RankedDomain is a part of the machine that may run out of memory, and the processes
// in the order in which they would be killed for it.
type RankedDomain struct {
	// Cgroup is a path below the run's base; empty: the machine.
	Cgroup     string       `json:"cgroup,omitempty"`
	TotalPages kernel.Pages `json:"total_pages"`
	Rows       []RankedRow  `json:"rows"`
}

// RankedRow is a candidate. Points are Holds and what Adj adds to them.
type RankedRow struct {
	PID    int          `json:"pid"`
	Adj    int          `json:"oom_score_adj"`
	Holds  kernel.Pages `json:"holds"` // resident, swapped out, and page tables
	Points int64        `json:"points"`
}

// ExitStatus is a wait status.
type ExitStatus struct {
	Code   int `json:"code"`             // WEXITSTATUS
	Signal int `json:"signal,omitempty"` // WTERMSIG; 0: it exited
	// MaxRSS is the most that the process, or one that it had waited for, ever
	// had resident (ru_maxrss), where the agent waited for it. One that had less than the agent has hidden that
	// from the kernel: then it is the largest sample of a program of the user's
	// own, and nil for a stressor.
	MaxRSS *kernel.Bytes `json:"max_rss,omitempty"`
	// By names who waited: "agent", or the parent stressor. Of what a program of the user's
	// own has started nobody asks its parent: the kernel's process events tell.
	By string `json:"by,omitempty"`
}

// ByProcessEvents is ExitStatus.By of a status that the kernel's process events tell.
const ByProcessEvents = "process events"

// FailedCall is a system call of a stressor's that the kernel refused.
type FailedCall struct {
	Errno string `json:"errno"` // ENOMEM
	Step  int    `json:"step"`  // index of the step that made it
}

// Holding is what a ready stressor holds.
type Holding struct {
	Told     kernel.Bytes `json:"told"`
	Resident kernel.Bytes `json:"resident"` // of that memory, swapped-out pages included
	Overhead kernel.Bytes `json:"overhead"`
}

// LogRecord is one record of /dev/kmsg.
type LogRecord struct {
	Priority int    `json:"priority"`
	Seq      uint64 `json:"seq"`
	USec     int64  `json:"usec"`
	Text     string `json:"text"` // unescaped; may hold several lines
	Cont     bool   `json:"cont,omitempty"`
	Facility int    `json:"facility,omitempty"` // not 0: written by user space, not by the kernel
	Caller   string `json:"caller,omitempty"`   // "T123", "C0"; empty without CONFIG_PRINTK_CALLER
}

// The files of counters that are read, and the counter of kills in them.
const (
	FileMemoryEvents      = "memory.events"
	FileMemoryEventsLocal = "memory.events.local"
	FileOOMControl        = "memory.oom_control" // cgroup v1
	FileFailcnt           = "memory.failcnt"     // cgroup v1
	FileVmstat            = "vmstat"             // of the machine

	CounterOOMKill = "oom_kill"
)

// CounterFile is one reading of one file of counters.
type CounterFile struct {
	When   string           `json:"when"`   // before, after
	Cgroup string           `json:"cgroup"` // path below the run's base; "" for the machine
	File   string           `json:"file"`   // one of File…
	Values map[string]int64 `json:"values"`
	// Gone: the cgroup was removed before the end, and these are the last values
	// that were seen of it. More may have been counted.
	Gone bool `json:"gone,omitempty"`
}

// SampleData is one point of the timeline.
type SampleData struct {
	Cgroups   map[string]kernel.Bytes `json:"cgroups,omitempty"`   // memory.current or usage_in_bytes
	Processes map[string]ProcessUsage `json:"processes,omitempty"` // by the plan's name
	MemFree   kernel.Bytes            `json:"mem_free"`
	SwapFree  kernel.Bytes            `json:"swap_free"`
	PSISome   *float64                `json:"psi_some,omitempty"` // avg10 of /proc/pressure/memory
	PSIFull   *float64                `json:"psi_full,omitempty"`
	Load1     float64                 `json:"load1"`
}

// ProcessUsage is what a process holds.
type ProcessUsage struct {
	RSS  kernel.Bytes `json:"rss"`
	Swap kernel.Bytes `json:"swap"`
}

// OOM is what an eBPF program saw at a hook.
type OOM struct {
	Seq uint64 `json:"seq"` // counts every event the programs tried to send, without gaps
	// FirstSeq is that of the first event which a scans_given_up stands for;
	// Seq is that of the last.
	FirstSeq uint64 `json:"first_seq,omitempty"`
	// Decision numbers the invocations of out_of_memory(); 0 where the hook
	// does not tell (tier 1).
	Decision uint64 `json:"decision,omitempty"`
	// Current is the task in whose context it happened: the trigger.
	Current TaskID `json:"current"`
	// Task is the candidate, the victim, or the task that exits.
	Task *Task `json:"task,omitempty"`
	// Control is struct oom_control; nil below tier 2.
	Control *OOMControl `json:"control,omitempty"`
	// Points is the kernel's own score of Task: the return value of
	// oom_badness(). Nil where the kernel did not compute one.
	Points *int64 `json:"points,omitempty"`
	// TotalPages that the badness was computed with.
	TotalPages *int64 `json:"total_pages,omitempty"`
	Result     *bool  `json:"result,omitempty"`    // out_of_memory_return
	ExitCode   *int   `json:"exit_code,omitempty"` // sched_process_exit: wait status
	Message    string `json:"message,omitempty"`   // "Memory cgroup out of memory"
}

// Killed is who was killed, or sent a signal, and who asked for it, as the kernel had
// them at that moment.
type Killed struct {
	Decision uint64 `json:"decision,omitempty"`
	Signal   int    `json:"signal"`
	Code     int    `json:"code"`   // si_code; 0 from kill(2)
	Result   int    `json:"result"` // enum trace_signal_result; 0: delivered
	Victim   Person `json:"victim"`
	Trigger  Person `json:"trigger"` // the sender of a signal
	// Domain is the path of the cgroup whose limit was hit; empty: not known, or none.
	Domain    string   `json:"domain,omitempty"`
	DomainCut bool     `json:"domain_cut,omitempty"` // see Person.PathCut
	Stack     []uint64 `json:"stack,omitempty"`      // addresses, the innermost call first
}

// Person is a process with what one wants to know of it, beside what is scored.
type Person struct {
	Task
	// PathCut: Task.Cgroup misses its beginning, or the end of a long name.
	PathCut bool         `json:"path_cut,omitempty"`
	HWM     kernel.Pages `json:"hiwater_rss"` // pages; kept up by the kernel now and then
	// Threads are those that are left: the signal was sent just before.
	Threads int    `json:"threads"`
	Parent  TaskID `json:"parent"` // TGID and name
	// Args is the command line; nil where it could not be read in that context.
	Args    []string `json:"args,omitempty"`
	ArgsCut bool     `json:"args_cut,omitempty"`
}

// TaskID names a task.
type TaskID struct {
	PID  int `json:"pid"`  // of the thread
	TGID int `json:"tgid"` // of the process
	// NSTGID is the process in the agent's pid namespace, where that is not the
	// initial one; 0: it is, or the process is outside of it.
	NSTGID int    `json:"ns_tgid,omitempty"`
	Comm   string `json:"comm"`
}

// Task is a task with what oom_badness() looks at.
type Task struct {
	TaskID
	StartNS  uint64 `json:"start_ns"` // task->start_time, CLOCK_MONOTONIC
	UID      int    `json:"uid"`
	Adj      int    `json:"oom_score_adj"`
	CgroupID uint64 `json:"cgroup_id"`        // of its memory cgroup (kernfs node)
	Cgroup   string `json:"cgroup,omitempty"` // path, where the agent could tell
	// Refusal is why oom_badness() gives the task no score, beside Adj and MM.
	// Empty: the record does not say; runs before this field have none.
	Refusal Refusal `json:"refusal,omitempty"`
	// MM is nil when the task has no address space any more.
	MM *MM `json:"mm,omitempty"`
}

// Refusal is a reason of oom_badness() in mm/oom_kill.c to pass over a task.
type Refusal string

// The reasons.
const (
	NotRefused     Refusal = "none"
	RefusedInit    Refusal = "init"    // is_global_init()
	RefusedKthread Refusal = "kthread" // PF_KTHREAD
	RefusedVfork   Refusal = "vfork"   // in_vfork(): it uses its parent's mm until it calls execve(2)
)

// MM is an address space's page counters, read twice: as the batched value
// (percpu_counter.count, or the atomics before 6.2) and as the exact sum.
// Before 6.2 both are the same. Which of them oom_badness() used is a fact of
// the machine, kernel.BadnessReads.
type MM struct {
	Batched  Counts       `json:"batched"`
	Exact    Counts       `json:"exact"`
	PgTables kernel.Bytes `json:"pgtables_bytes"`
	TotalVM  kernel.Pages `json:"total_vm"`
	OOMSkip  bool         `json:"oom_skip,omitempty"` // MMF_OOM_SKIP
	// Gone: no thread of the process uses it any more, it is being torn down.
	// find_lock_task_mm() finds nobody, and oom_badness() gives no score.
	Gone bool `json:"gone,omitempty"`
	// ExactUnknown: what the CPUs keep back could not be read, and Exact is a
	// copy of Batched.
	ExactUnknown bool `json:"exact_unknown,omitempty"`
}

// Counts are mm->rss_stat, in pages. A batched value may be negative.
type Counts struct {
	File  kernel.Pages `json:"file"`
	Anon  kernel.Pages `json:"anon"`
	Swap  kernel.Pages `json:"swap"`
	Shmem kernel.Pages `json:"shmem"`
}

// OOMControl is struct oom_control.
type OOMControl struct {
	Constraint   string       `json:"constraint"` // none, cpuset, mempolicy, memcg
	MemcgID      uint64       `json:"memcg_id,omitempty"`
	Memcg        string       `json:"memcg,omitempty"` // path, where the agent could tell
	TotalPages   kernel.Pages `json:"total_pages"`
	ChosenPoints int64        `json:"chosen_points"`
	Order        int          `json:"order"` // -1: sysrq
	GFP          uint32       `json:"gfp"`
}

// Tier is how much of the kernel the eBPF programs reached.
type Tier struct {
	Tier  int               `json:"tier"`  // 0 none, 1 mark_victim, 2 the kill, 3 the scoreboard
	Hooks map[string]string `json:"hooks"` // hook -> how it is attached, or why not
}
