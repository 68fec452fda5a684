// Package trace puts together what witnesses tell of a kill while it happens: one
// [Kill] for each, from the eBPF programs' events, the kernel log, or both.
//
// It takes evidence in and gives kills out, and never reads the clock: package watch
// feeds it.
package trace

import (
	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
)

// Kill is one process that was killed for memory, or by a process that does such
// things. A member that is missing was not told by any witness.
type Kill struct {
	// Time is the wall clock at the kill, RFC 3339 with nanoseconds.
	Time string `json:"time"`
	// Node is the machine of a cluster that it was on; only with --kube.
	Node string `json:"node,omitempty"`
	// AtNS is CLOCK_MONOTONIC at the kill.
	AtNS int64 `json:"at_ns"`
	// PageSize of the machine, in bytes.
	PageSize kernel.Bytes `json:"page_size"`
	// By is who killed: kernel, or process.
	By string `json:"by"`
	// Source is the witness: ebpf, or kernel log.
	Source string `json:"source"`
	// Asked says what asked for the kill: allocation, lowered limit, sysrq-f, kswapd,
	// BPF handler, or the signal of a process.
	Asked string `json:"asked"`
	// Victim is the process that was killed.
	Victim Process `json:"victim"`
	// Trigger is the process in whose context it happened, or the sender of the signal.
	Trigger *Process `json:"trigger,omitempty"`
	// Limit is what ran out.
	Limit *Limit `json:"limit,omitempty"`
	// Constraint is the kernel's word for it: none, memcg, cpuset, mempolicy.
	Constraint string `json:"constraint,omitempty"`
	// Points is the victim's score, in pages: oom_badness().
	Points *int64 `json:"points,omitempty"`
	// Group: it was killed along with the chosen one, for memory.oom.group.
	Group bool `json:"group,omitempty"`
	// Order of the allocation; -1: there was none.
	Order *int `json:"order,omitempty"`
	// GFP is the allocation's gfp_mask, whose bits differ between kernels.
	GFP *uint32 `json:"gfp_mask,omitempty"`
	// GFPFlags is the same in words.
	GFPFlags string `json:"gfp_flags,omitempty"`
	// Zones are those that the allocation could have been served from, with -v.
	Zones []Zone `json:"zones,omitempty"`
	// ZonesNS is how long after the kill they were read.
	ZonesNS *int64 `json:"zones_read_after_ns,omitempty"`
	// Load is the load average over 1, 5 and 15 minutes, read a moment later.
	Load []float64 `json:"loadavg,omitempty"`
	// Signal that a process sent.
	Signal string `json:"signal,omitempty"`
	// Daemon: the sender is known for killing when memory gets short.
	Daemon bool `json:"daemon,omitempty"`
	// Scoreboard has the candidates of the decision, the highest score first.
	Scoreboard []Candidate `json:"scoreboard,omitempty"`
	// Stack is the kernel's, of the trigger; the innermost call first.
	Stack []string `json:"stack,omitempty"`
	// ExitedNS is how long after the kill the last thread was on its way out.
	ExitedNS *int64 `json:"exited_after_ns,omitempty"`
	// ReapedNS is how long after the kill the oom_reaper had taken the memory, by the
	// kernel log.
	ReapedNS *int64 `json:"reaped_after_ns,omitempty"`
	// GoneNS is how long after the kill the victim was gone, with its memory unless somebody
	// else uses that, too; with -v. It is noticed in user space, a moment later.
	GoneNS *int64 `json:"gone_after_ns,omitempty"`
	// Snapshot is the directory of the snapshot that was taken.
	Snapshot string `json:"snapshot,omitempty"`

	addresses []uint64 // of Stack
	decision  uint64
}

// Process is one process as it was at the kill.
type Process struct {
	// PID of the process in the initial PID namespace.
	PID int `json:"pid"`
	// Thread is the id of the thread that the kernel names, where it is another.
	Thread int    `json:"tid,omitempty"`
	Comm   string `json:"comm"`
	UID    *int   `json:"uid,omitempty"`
	Adj    *int   `json:"oom_score_adj,omitempty"`
	// StartNS is when it was started, on the clock of at_ns.
	StartNS uint64 `json:"start_ns,omitempty"`
	// RSS is the resident set, the sum of the next three.
	RSS      *kernel.Bytes `json:"rss,omitempty"`
	Anon     *kernel.Bytes `json:"rss_anon,omitempty"`
	File     *kernel.Bytes `json:"rss_file,omitempty"`
	Shmem    *kernel.Bytes `json:"rss_shmem,omitempty"`
	Swap     *kernel.Bytes `json:"swap,omitempty"`
	PgTables *kernel.Bytes `json:"page_tables,omitempty"`
	TotalVM  *kernel.Bytes `json:"total_vm,omitempty"`
	// HWM is the most that was ever resident.
	HWM *kernel.Bytes `json:"rss_high_water,omitempty"`
	// Threads that had not ended yet: the signal is sent a moment before.
	Threads    int    `json:"threads,omitempty"`
	ParentPID  int    `json:"parent_pid,omitempty"`
	ParentComm string `json:"parent_comm,omitempty"`
	// Args is the command line.
	Args    []string `json:"args,omitempty"`
	ArgsCut bool     `json:"args_cut,omitempty"`
	// ArgsRead: the command line was read from /proc a moment later, because the
	// kernel lets a program read the memory of the current process only.
	ArgsRead bool `json:"args_read_later,omitempty"`
	// Cgroup is the process's own memory cgroup.
	Cgroup string `json:"cgroup,omitempty"`
	// CgroupCut: the path is not whole.
	CgroupCut bool           `json:"cgroup_cut,omitempty"`
	Owner     *explain.Owner `json:"owner,omitempty"`
	// Kubernetes is what the path tells of a pod.
	Kubernetes *explain.Kubernetes `json:"kubernetes,omitempty"`
	// Namespace and Pod are the pod's, as the kubelet names its log directory.
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`

	cgroupID uint64
}

// Limit is what ran out of memory.
type Limit struct {
	// Kind: machine, cpuset, mempolicy, or whose cgroup: container, pod, service, ...
	Kind   string         `json:"kind"`
	Cgroup string         `json:"cgroup,omitempty"`
	Owner  *explain.Owner `json:"owner,omitempty"`
	// Pages is the size that the scores were computed with.
	Pages kernel.Pages `json:"total_pages,omitempty"`
}

// Candidate is one process that the kernel looked at.
type Candidate struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
	// Points is the kernel's own score; nil: it did not score it, and Note says why.
	Points   *int64       `json:"points,omitempty"`
	RSS      kernel.Pages `json:"rss_pages"`
	Swap     kernel.Pages `json:"swap_pages"`
	PgTables kernel.Bytes `json:"page_tables"`
	Adj      int          `json:"oom_score_adj"`
	Note     string       `json:"note,omitempty"`
}

// Values of Kill.By, Source and Asked.
const (
	ByKernel  = "kernel"
	ByProcess = "process"

	FromBPF = "ebpf"
	FromLog = "kernel log"

	AskedAllocation = "allocation"
	AskedLowered    = "lowered limit"
	AskedSysrq      = "sysrq-f"
	AskedKswapd     = "kswapd"
	AskedHandler    = "BPF handler"
	AskedSignal     = "signal"
)
