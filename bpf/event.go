package bpf

import (
	"fmt"
	"unsafe"
)

// Event is struct event of oom.bpf.c: what one program saw at one hook.
type Event = oomEvent

// Task is struct task_info of oom.bpf.c: one process as the kernel names and
// measures it.
type Task = oomTaskInfo

// Status is struct status of oom.bpf.c: who was killed and who asked, as they were at
// that moment. It comes right behind the Event of a victim, or for a signal.
type Status = oomStatus

// Person is struct person of oom.bpf.c: a process with what one wants to know of it.
type Person = oomPerson

// Path is struct path of oom.bpf.c: the names of a cgroup and of those above it.
type Path = oomPath

// Record is one sample of the ring buffer.
type Record struct {
	Event  Event
	Status *Status // instead of an Event
}

// Kind says which hook an Event comes from.
type Kind = oomKind

// The hooks.
const (
	OutOfMemory      = oomKindKIND_OUT_OF_MEMORY
	OutOfMemoryRet   = oomKindKIND_OUT_OF_MEMORY_RETURN
	OOMBadness       = oomKindKIND_OOM_BADNESS
	OOMEvaluateTask  = oomKindKIND_OOM_EVALUATE_TASK
	OOMKillProcess   = oomKindKIND_OOM_KILL_PROCESS
	EachKill         = oomKindKIND_EACH_KILL // __oom_kill_process
	MarkVictim       = oomKindKIND_MARK_VICTIM
	SchedProcessExit = oomKindKIND_SCHED_PROCESS_EXIT
	VictimStatus     = oomKindKIND_STATUS
	Signal           = oomKindKIND_SIGNAL
	GivenUp          = oomKindKIND_GIVEN_UP // out_of_memory() returned, and its scan ended at a victim
)

// Has says which members of an Event are filled.
type Has = oomHas

// The members.
const (
	HasTask     = oomHasHAS_TASK     // Task.Pid at least
	HasIdentity = oomHasHAS_IDENTITY // all of Task except its counters
	HasMM       = oomHasHAS_MM       // Task's counters
	HasExact    = oomHasHAS_EXACT    // Task.Exact is a sum of its own, not a copy of Task.Batched
	HasControl  = oomHasHAS_CONTROL  // struct oom_control: MemcgId to Constraint
	HasPoints   = oomHasHAS_POINTS   // Points
	IsOrigin    = oomHasIS_ORIGIN    // chosen for oom_task_origin(), without a score
	HasRefusal  = oomHasHAS_REFUSAL  // IsInit, IsKthread and InVfork were looked for
	IsInit      = oomHasIS_INIT      // is_global_init()
	IsKthread   = oomHasIS_KTHREAD   // PF_KTHREAD
	InVfork     = oomHasIN_VFORK     // in_vfork()
)

// Indexes of Task.Batched and Task.Exact: mm->rss_stat,
// include/linux/mm_types_task.h.
const (
	FilePages = iota
	AnonPages
	SwapEnts
	ShmemPages
)

// Sizes of struct event and struct status.
const (
	eventSize  = int(unsafe.Sizeof(Event{}))
	statusSize = int(unsafe.Sizeof(Status{}))
)

// Decode reads one sample of the ring buffer. It fails when the sample was not
// written by the programs that this package was built with.
func Decode(sample []byte) (Record, error) {
	var r Record
	switch len(sample) {
	// The types have the C structures' layout (TestLayout), and reflection over a
	// status takes longer than all else that is done with it.
	case statusSize:
		r.Status = &Status{}
		copy(unsafe.Slice((*byte)(unsafe.Pointer(r.Status)), statusSize), sample)
	case eventSize:
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&r.Event)), eventSize), sample)
	default:
		return r, fmt.Errorf("sample of %d bytes is neither a struct event, which has %d, nor a struct status, which "+
			"has %d; oom.bpf.c was compiled without making its Go types again", len(sample), eventSize, statusSize)
	}
	return r, nil
}

// Text is a char array of an Event up to its terminating zero.
func Text(chars []int8) string {
	b := make([]byte, 0, len(chars))
	for _, c := range chars {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}

// String is the path from the root. whole is false where it has more levels than
// struct path, or a name that is longer.
func (p *Path) String() (path string, whole bool) {
	whole = true
	levels := len(p.Name)
	for levels > 0 && p.Name[levels-1][0] == 0 {
		levels--
	}
	if levels == len(p.Name) {
		whole = false // the root's own name is empty, and would be there
	}
	for i := levels - 1; i >= 0; i-- {
		name := Text(p.Name[i][:])
		whole = whole && len(name) < len(p.Name[i])-1
		path += "/" + name
	}
	if path == "" {
		path = "/"
	}
	return path, whole
}
