package bpf

import (
	"fmt"
	"strings"
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

// Span is struct span of oom.bpf.c: where a text is in the Text of a Status.
type Span = oomSpan

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

// Sizes of struct event and struct status. A status is sent without the rest of its text.
const (
	eventSize  = int(unsafe.Sizeof(Event{}))
	statusSize = int(unsafe.Sizeof(Status{}))
	statusHead = int(unsafe.Offsetof(Status{}.Text))
)

// Decode reads one sample of the ring buffer. It fails when the sample was not
// written by the programs that this package was built with.
func Decode(sample []byte) (Record, error) {
	var r Record
	switch size := len(sample); {
	// The types have the C structures' layout (TestLayout), and reflection over a
	// status takes longer than all else that is done with it.
	case size == eventSize:
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&r.Event)), eventSize), sample)
	case size >= statusHead && size <= statusSize:
		r.Status = &Status{}
		copy(unsafe.Slice((*byte)(unsafe.Pointer(r.Status)), statusSize), sample)
	default:
		return r, fmt.Errorf("sample of %d bytes is neither a struct event, which has %d, nor a struct status, which "+
			"has %d to %d; oom.bpf.c was compiled without making its Go types again", size, eventSize, statusHead,
			statusSize)
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

// text is what the span says, as far as it is there.
func (s *Status) text(at Span) string {
	end := min(int(at.At)+int(at.Len), len(s.Text))
	var b []byte
	for i := int(at.At); i < end; i++ {
		b = append(b, byte(s.Text[i]))
	}
	return string(b)
}

// Args are the words of a command line. whole is false if it goes on.
func (s *Status) Args(at Span) (words []string, whole bool) {
	text := s.text(at)
	if text == "" {
		return nil, true
	}
	text, whole = strings.CutSuffix(text, "\x00")
	return strings.Split(text, "\x00"), whole
}

// pathName is PATH_NAME of oom.bpf.c: how much of a cgroup's name is read, with its end.
const pathName = 96

// Path is the path of a cgroup from the root. whole is false where it has more levels
// than are read, or a name that is longer.
func (s *Status) Path(at Span) (path string, whole bool) {
	text, ended := strings.CutSuffix(s.text(at), "\x00")
	if text == "" {
		return "/", true
	}
	names := strings.Split(text, "\x00")
	whole = ended && names[len(names)-1] == "" // the root's own
	for _, name := range names {
		whole = whole && len(name) < pathName-1
		if name != "" {
			path = "/" + name + path
		}
	}
	return path, whole
}
