// Package profile is what one stressor is told to do, and what it answers.
//
// The agent writes a [Launch] and a [Profile], a line each, to the stressor's file
// descriptor 3 and reads one [Report] per line from its descriptor 4. The words of
// these lines are those that a person types as arguments of the stressor. Reports
// are JSON. Amounts are in bytes and become whole pages, rounded up.
//
// The package imports nothing but the standard library, and little of that: the
// stressor links it, and everything the stressor links becomes part of the
// experiment. The JSON tags of Launch and Profile are for plan.json alone, which
// the harness reads and writes.
package profile

// LargestPiece bounds one mapping of the steps that take memory: with
// vm.overcommit_memory=0 the kernel refuses a single one that is larger than RAM and swap
// together (__vm_enough_memory() in mm/util.c), however little of it is ever touched. A
// piece is filled before the next one is mapped.
const LargestPiece = 64 << 20

// File descriptors that the agent opens for a stressor.
const (
	ControlFD = 3 // the stressor reads a Launch, then a Profile, and dies at end of file
	ReportFD  = 4 // the stressor writes Reports
)

// End is the line that tells a stressor to exit with status 0. The end of the
// control file without it means that the agent is gone: ExitOrphaned.
const End = "end"

// MaxNodes is how many NUMA nodes the largest kernels know (MAX_NUMNODES).
const MaxNodes = 1024

// CommLen is how many bytes of a name the kernel shows: TASK_COMM_LEN less its zero.
const CommLen = 15

// Launch tells the launcher what to become. The launcher (the stressor binary
// with the argument "launch") waits for it, so that the agent can first place
// the process in its cgroup and set its oom_score_adj. It then calls execve:
// the new program's memory is charged where it belongs.
type Launch struct {
	// Argv is the program to become; empty means a stressor.
	Argv []string `json:"argv,omitempty"`
	// Comm names a stressor in the kernel's reports (at most 15 bytes).
	Comm   string   `json:"comm,omitempty"`
	Nice   int      `json:"nice,omitempty"`
	UID    int      `json:"uid,omitempty"`    // 0 keeps the agent's user
	Ignore []string `json:"ignore,omitempty"` // signals set to SIG_IGN, such as SIGTERM
	// OOMScoreAdj and CgroupProcs are what the process sets and joins itself
	// before it becomes the program. The agent does both from outside and
	// leaves them empty; a stressor that forks uses them for its child.
	OOMScoreAdj *int   `json:"oom_score_adj,omitempty"`
	CgroupProcs string `json:"cgroup_procs,omitempty"`
	// OneCPU binds the process and its children to the first processor it may
	// run on. Processes of one run that share a processor take turns, which is
	// what makes the order of their allocations and of a victim's exit repeatable.
	OneCPU bool `json:"one_cpu,omitempty"`
	// Bind are the NUMA nodes that the process and its children may have memory of
	// (MPOL_BIND); none: what its cpuset allows.
	Bind []int `json:"bind,omitempty"`
	// DeadlineMS is when the launched program is killed in any case, in
	// milliseconds from the launch; it must be set. A program of the user's
	// own has no timer: it dies with the process that launched it, and that
	// one has to keep the deadline.
	DeadlineMS int64 `json:"deadline_ms"`
}

// Profile is what one stressor does, from its start to its end.
type Profile struct {
	Name    string `json:"name"`
	Steps   []Step `json:"steps"`
	Threads int    `json:"threads,omitempty"` // extra threads that exist and do nothing
	// Children are the processes that steps with Op Fork start, by name.
	Children map[string]Profile `json:"children,omitempty"`
	// OOMScoreAdj and CgroupProcs are set by a forked child for itself before it
	// does its steps; the agent sets those of the processes it starts. Everything
	// else of a [Launch] is its parent's.
	OOMScoreAdj *int `json:"oom_score_adj,omitempty"`
	// CgroupProcs is the cgroup.procs file that a forked child joins; empty: its parent's.
	CgroupProcs string `json:"cgroup_procs,omitempty"`
	// SharesMemory makes a forked child share its parent's address space
	// (CLONE_VM without CLONE_THREAD). Such a child runs no code of its own: it
	// waits to be killed, so it has no steps but Hold and dies with its parent.
	SharesMemory bool `json:"shares_memory,omitempty"`
	// DeadlineMS is from the moment the profile was read; 0: the deadline of
	// the launch, or of the parent, which holds in any case.
	DeadlineMS int64 `json:"deadline_ms"`
}

// Step is one thing a stressor does.
type Step struct {
	Op         Op     `json:"op"`
	Bytes      int64  `json:"bytes,omitempty"`
	Rate       int64  `json:"rate,omitempty"` // bytes a second; 0: as fast as it goes
	DurationMS int64  `json:"duration_ms,omitempty"`
	Code       int    `json:"code,omitempty"`
	Name       string `json:"name,omitempty"`
	// Content is what the pages hold, one of [Contents]; empty: Random
	// where there is swap, and otherwise whatever is fastest.
	Content string `json:"content,omitempty"`
	// Path is the file of File and Write; empty: a fresh temporary file.
	Path string `json:"path,omitempty"`
}

// The events of a Report, in the order in which they can come. A parent says Forked and
// Exited of its child, and Started and Ready too of one that shares its memory.
const (
	Started = "started" // the profile is understood, nothing is done yet
	Forked  = "forked"  // the child Name exists and has the PID
	Stepped = "step"    // the step Step is done
	Ready   = "ready"   // all steps are done; Held, Resident and Overhead are filled in
	Exited  = "exited"  // the child Name ended with Code or Signal
	Error   = "error"   // the process is about to exit; Error says why
)

// Report is one line that a stressor says. A line is shorter than PIPE_BUF, so
// the lines of a parent and its children never mix.
type Report struct {
	Event string `json:"event"`
	Name  string `json:"name"` // of the process that speaks, or that ended
	PID   int    `json:"pid"`
	// MonoNS is CLOCK_MONOTONIC when the report was made.
	MonoNS int64 `json:"mono_ns"`
	Step   int   `json:"step,omitempty"` // index of the step that is done, or that failed

	// Held is what the process was told to hold at this moment, in bytes of
	// whole pages. Ready alone fills in the other two.
	Held int64 `json:"held,omitempty"`
	// Resident is how much of just that memory the kernel shows: pages of the
	// page table, swapped out ones included (/proc/self/pagemap), and pages of
	// the page cache for File and Write (mincore). A ready stressor has both
	// equal; only page cache, and shared memory on a machine with swap, may
	// have been reclaimed in between.
	Resident int64 `json:"resident,omitempty"`
	// Overhead is the rest of the process's resident set
	// (/proc/self/smaps_rollup), in bytes.
	Overhead int64 `json:"overhead,omitempty"`

	// Exited: how the child Name ended.
	Code   int `json:"code,omitempty"`
	Signal int `json:"signal,omitempty"`

	Error string `json:"error,omitempty"`
	// Errno is why the kernel refused a step the address space that it asked for, by its
	// name: ENOMEM. Whatever else fails is no outcome, and has none.
	Errno string `json:"errno,omitempty"`
}

// ENOMEM is why the kernel refuses address space.
const ENOMEM = "ENOMEM"

// Exit codes of the stressor and the launcher that are not a scenario's own.
const (
	ExitUsage    = 64 // the launch or the profile could not be understood
	ExitFailed   = 71 // a step failed: no memory was given, a file could not be written
	ExitOrphaned = 72 // the agent is gone
	ExitDeadline = 75 // the deadline passed
)
