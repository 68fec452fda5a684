package bpf

import (
	"encoding/binary"
	"fmt"
)

// Event is struct event of oom.bpf.c: what one program saw at one hook.
type Event = oomEvent

// Task is struct task_info of oom.bpf.c: one process as the kernel names and
// measures it.
type Task = oomTaskInfo

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

// eventSize is the size of struct event.
var eventSize = binary.Size(Event{})

// Decode reads one sample of the ring buffer. It fails when the sample was not
// written by the programs that this package was built with.
func Decode(sample []byte) (Event, error) {
	var e Event
	if len(sample) != eventSize {
		return e, fmt.Errorf("sample of %d bytes is not a struct event, which has %d; "+
			"oom.bpf.c was compiled without making its Go types again", len(sample), eventSize)
	}
	if _, err := binary.Decode(sample, binary.NativeEndian, &e); err != nil {
		return e, fmt.Errorf("struct event: %w", err)
	}
	return e, nil
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
